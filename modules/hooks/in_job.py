"""Calls the extensions during one job: in order, with their results checked, without those that have failed.

`modules.hookspecs` describes the hooks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from modules.errors import Stopped
from modules.hooks.loading import Extension, Extensions, Hook, InvalidExtension
from modules.request import Txt2Img
from modules.request.result import GeneratedImage

if TYPE_CHECKING:
    from torch import Tensor

    from modules.hooks.steps import Call, Run, Watch
    from modules.hooks.types import GenerationContext
    from modules.request.options import Options
    from modules.sampling.mask import Blend
    from modules.sampling.types import Answer, RowPredict, SDModel

    Models = Callable[[Options, str], SDModel]

FAILURES = (Exception, SystemExit)
"""The exceptions that count as a failure of an extension. SystemExit: an extension may call sys.exit."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Hooks:
    """The extensions of one job. Without `extensions` every method returns its input unchanged.

    `arguments` are the values of the controls that are on, by extension. `switched_off` names the extensions whose
    controls are off. `context` makes the context for `filter_image`. `warnings` names each extension that has failed.
    """

    def __init__(self, extensions: Extensions | None = None, arguments: Mapping[str, Mapping[str, Any]] | None = None,
                 switched_off: frozenset[str] = frozenset(),
                 context: Callable[[], GenerationContext] | None = None) -> None:
        self.arguments: Mapping[str, Mapping[str, Any]] = arguments or {}
        self._extensions, self._switched_off = extensions, switched_off
        self._context = context
        self._failed: set[Extension] = set()
        self.warnings: list[str] = []

    @classmethod
    def of(cls, extensions: Extensions, request: Txt2Img, context: Callable[[], GenerationContext]) -> Hooks:
        """The Hooks of the job that carries out `request`, with its arguments. Raises InvalidInput."""
        arguments = {name: values for name, (_, values) in extensions.bound(request).items()}
        return cls(extensions, arguments, frozenset(extensions.controls(request.tab)) - frozenset(arguments), context)

    @property
    def left_out(self) -> frozenset[str]:
        """The names of the extensions that are not asked: those whose controls are off, and those that have failed."""
        return self._switched_off | {extension.name for extension in self._failed}

    def prepare_request(self, request: Txt2Img) -> Txt2Img:
        """The request as changed by the extensions."""
        for hook in self._hooks("prepare_request"):
            with hook.extension.turn:
                request = self._ask(hook, request, _like(request), request=request)
        return request

    @contextlib.contextmanager
    def patched(self, models: Models, request: Txt2Img) -> Iterator[Models]:
        """Yield a function like `models`. The model that it returned last is patched by the extensions until it returns
        another one or one with other networks, or until the block ends."""
        if next(self._hooks("wrap_model"), None) is None:
            yield models
            return
        patches = contextlib.ExitStack()
        patched: list[SDModel] = []
        asked: list[tuple[Options, str]] = []

        def load(options: Options, prompt: str) -> SDModel:
            if asked != [(options, prompt)]:  # the extensions' patches lie above those of networks
                patches.close()
                patched.clear()
            model = models(options, prompt)
            asked[:] = [(options, prompt)]
            if patched != [model]:
                patches.close()
                model.clear_caches()
                patches.callback(model.clear_caches)
                for hook in self._hooks("wrap_model"):
                    self._enter(hook, patches, model, request)
                patched[:] = [model]
            return model

        with patches:
            yield load

    def denoiser(self, denoise: Answer, request: Txt2Img) -> Answer:
        """`denoise` wrapped by the extensions."""
        for hook in self._hooks("wrap_denoiser"):
            denoise = self._wrap(hook, "denoise", denoise, _same_shape, request=request)
        return denoise

    @property
    def wraps_predict(self) -> bool:
        """Whether an extension wants to be put around each call of the network."""
        return next(self._hooks("wrap_predict"), None) is not None

    def predict(self, predict: RowPredict, model: SDModel, request: Txt2Img) -> RowPredict:
        """`predict`, which asks `model`, wrapped by the extensions."""
        channels = model.latent.channels
        for hook in self._hooks("wrap_predict"):
            predict = self._wrap(hook, "predict", predict, lambda answer, x: _same_shape(answer, x[:, :channels]),
                                 model=model, request=request)
        return predict

    def blend(self, blend: Blend, paint: Tensor, request: Txt2Img) -> Blend:
        """`blend` wrapped or replaced by the extensions; the same object if none does."""
        for hook in self._hooks("blend_mask"):
            blend = self._wrap(hook, "blend", blend, _same_shape, paint=paint, request=request)
        return blend

    def watches(self, run: Run, request: Txt2Img) -> list[Watch]:
        """What the extensions want to tell each call of `run` to."""
        found = [(hook, self._ask(hook, None, callable, run=run, request=request))
                 for hook in self._hooks("watch_steps")]
        return [self._guarded_watch(hook, watch) for hook, watch in found if watch is not None]

    def _guarded_watch(self, hook: Hook, watch: Watch) -> Watch:
        """`watch` until it fails."""
        def tell(call: Call) -> None:
            if hook.extension in self._failed:
                return
            try:
                watch(call)
            except Stopped:
                raise
            except FAILURES as error:
                self._fail(hook.extension, hook.function.__name__, error)

        return tell

    def filter_image(self, image: Image.Image, seed: int, request: Txt2Img) -> Image.Image:
        """A decoded RGB picture as changed by the extensions. An extension that is interrupted changes nothing."""
        for hook in self._hooks("filter_image"):
            with contextlib.suppress(Stopped):
                filtered = self._ask(hook, image, _as_large_as(image), image=image, seed=seed, request=request,
                                     context=self._context and self._context())
                image = filtered.convert("RGB")
        return image

    def saved(self, image: GeneratedImage, request: Txt2Img) -> None:
        """Call `saved` for a picture or grid that was written to disk."""
        for hook in self._hooks("saved") if image.path else ():
            with hook.extension.turn:
                self._ask(hook, None, lambda answer: True, image=image, request=request)

    def keys(self, request: Txt2Img) -> dict[str, Any]:
        """The keys of the parameters text for the controls that are on, without extensions that have failed."""
        bound = self._extensions.bound(request) if self._extensions else {}
        failed = {extension.name for extension in self._failed}
        return {key: value for name, (form, arguments) in bound.items() if name not in failed
                for key, value in form.describe(arguments).items()}

    def _hooks(self, name: str) -> Iterator[Hook]:
        for hook in self._extensions.hooks(name) if self._extensions else ():
            if hook.extension.name not in self._switched_off and hook.extension not in self._failed:
                yield hook

    def _ask(self, hook: Hook, otherwise: Any, fits: Callable[[Any], bool], **values: Any) -> Any:
        """Call the hook. Returns its result, or `otherwise` if that is None or the extension fails."""
        assert self._extensions
        name, extension = hook.function.__name__, hook.extension
        values |= {"arguments": self.arguments.get(extension.name, {}),
                   "settings": self._extensions.settings(extension)}
        try:
            answer = hook(values)
            if answer is None:
                return otherwise
            if not fits(answer):
                raise InvalidExtension("its answer is not what the hook is to return")
            return answer
        except Stopped:
            raise
        except FAILURES as error:
            self._fail(extension, name, error)
            return otherwise

    def _wrap(self, hook: Hook, role: str, inner: Function, check: Callable[[Any, Any], None],
              **values: Any) -> Function | Callable[..., Any]:
        """Return `inner` wrapped by the hook. Once the extension fails, the wrapper calls only `inner`.

        An exception raised by `inner` itself is passed on and does not count as the extension's failure.
        """
        from_inside: list[BaseException] = []

        def watched(*arguments: Any) -> Any:
            try:
                return inner(*arguments)
            except FAILURES as error:
                from_inside.append(error)
                raise

        outer = self._ask(hook, None, callable, **{role: watched}, **values)
        if outer is None or outer is watched:
            return inner

        def guarded(*arguments: Any) -> Any:
            if hook.extension in self._failed:
                return inner(*arguments)
            try:
                answer = outer(*arguments)
                check(answer, arguments[0])
                return answer
            except FAILURES as error:
                if isinstance(error, Stopped) or error in from_inside:
                    raise
                self._fail(hook.extension, hook.function.__name__, error)
                return inner(*arguments)
            finally:
                from_inside.clear()  # the frames of these exceptions hold tensors

        return guarded

    def _enter(self, hook: Hook, patches: contextlib.ExitStack, model: SDModel, request: Txt2Img) -> None:
        """Enter one extension's context manager and register its exit. Both may fail."""
        manager = self._ask(hook, None, lambda answer: hasattr(answer, "__exit__"), model=model, request=request)
        if manager is None:
            return

        def undo(*error: Any) -> None:
            try:
                manager.__exit__(None, None, None)
            except FAILURES as failure:
                self._fail(hook.extension, hook.function.__name__, failure)

        try:
            manager.__enter__()
        except FAILURES as error:
            self._fail(hook.extension, hook.function.__name__, error)
        else:
            patches.push(undo)

    def _fail(self, extension: Extension, hook: str, error: BaseException) -> None:
        self._failed.add(extension)
        self.warnings.append(f"The extension {extension.name} was left out: {extension.fail(hook, error)}")


def _like(request: Txt2Img) -> Callable[[Any], bool]:
    return lambda answer: type(answer) is type(request)


def _as_large_as(image: Image.Image) -> Callable[[Any], bool]:
    return lambda answer: isinstance(answer, Image.Image) and answer.size == image.size


def _same_shape(answer: Any, like: Tensor) -> None:
    """Raise InvalidExtension if `answer` is not a tensor with the shape of `like`."""
    if getattr(answer, "shape", None) != like.shape:
        raise InvalidExtension("what it wrapped returned no tensor of the shape that it was given")
