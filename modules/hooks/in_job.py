"""The extensions as one job sees them: each hook asked in order, answers checked, and whoever fails left out.

See `modules.hookspecs` for what the hooks mean.
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

    from modules.hooks.types import GenerationContext
    from modules.request.options import Options
    from modules.sampling.mask import Blend
    from modules.sampling.types import Answer, SDModel

    Models = Callable[[Options], SDModel]

FAILURES = (Exception, SystemExit)
"""What may come out of an extension: also of one that calls sys.exit."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Hooks:
    """`warnings` grows while the job runs. Without `extensions` there is nobody to ask.

    `arguments` are the values of the controls that are on, by extension; `switched_off` names the extensions whose
    controls are off.
    """

    def __init__(self, extensions: Extensions | None = None, arguments: Mapping[str, Mapping[str, Any]] | None = None,
                 switched_off: frozenset[str] = frozenset(),
                 context: Callable[[], GenerationContext] | None = None) -> None:
        self._extensions, self._arguments, self._switched_off = extensions, arguments or {}, switched_off
        self._context = context
        self._failed: set[Extension] = set()
        self.warnings: list[str] = []

    @classmethod
    def of(cls, extensions: Extensions, request: Txt2Img, context: Callable[[], GenerationContext]) -> Hooks:
        """Those for one job, with the arguments that `request` has for them. Raises InvalidInput."""
        arguments = {name: values for name, (_, values) in extensions.bound(request).items()}
        return cls(extensions, arguments, frozenset(extensions.controls(request.tab)) - frozenset(arguments), context)

    def prepare_request(self, request: Txt2Img) -> Txt2Img:
        """The request as extensions want it."""
        for hook in self._hooks("prepare_request"):
            request = self._ask(hook, request, _like(request), request=request)
        return request

    @contextlib.contextmanager
    def patched(self, models: Models, request: Txt2Img) -> Iterator[Models]:
        """`models`, with the model that was asked for last changed by the extensions until the next, or the end."""
        if next(self._hooks("wrap_model"), None) is None:
            yield models
            return
        patches = contextlib.ExitStack()
        patched: list[SDModel] = []

        def load(options: Options) -> SDModel:
            model = models(options)
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
        """`denoise` with what extensions wrap around it."""
        for hook in self._hooks("wrap_denoiser"):
            denoise = self._wrap(hook, "denoise", denoise, _same_shape, request=request)
        return denoise

    def blend(self, blend: Blend, paint: Tensor, request: Txt2Img) -> Blend:
        """`blend` as extensions want it; the same object when nobody does."""
        for hook in self._hooks("blend_mask"):
            blend = self._wrap(hook, "blend", blend, _same_shape, paint=paint, request=request)
        return blend

    def filter_image(self, image: Image.Image, seed: int, request: Txt2Img) -> Image.Image:
        """A decoded picture, RGB, as extensions change it; what an interruption catches stays as it was."""
        for hook in self._hooks("filter_image"):
            with contextlib.suppress(Stopped):
                filtered = self._ask(hook, image, _as_large_as(image), image=image, seed=seed, request=request,
                                     context=self._context and self._context())
                image = filtered.convert("RGB")
        return image

    def saved(self, image: GeneratedImage, request: Txt2Img) -> None:
        """Tells them of a picture or grid that was written; of others nothing."""
        for hook in self._hooks("saved") if image.path else ():
            self._ask(hook, None, lambda answer: True, image=image, request=request)

    def keys(self, request: Txt2Img) -> dict[str, Any]:
        """What the parameters text says of the controls that are on, but for those of extensions that failed."""
        bound = self._extensions.bound(request) if self._extensions else {}
        failed = {extension.name for extension in self._failed}
        return {key: value for name, (form, arguments) in bound.items() if name not in failed
                for key, value in form.describe(arguments).items()}

    def _hooks(self, name: str) -> Iterator[Hook]:
        for hook in self._extensions.hooks(name) if self._extensions else ():
            if hook.extension.name not in self._switched_off and hook.extension not in self._failed:
                yield hook

    def _ask(self, hook: Hook, otherwise: Any, fits: Callable[[Any], bool], **values: Any) -> Any:
        """The hook's answer, or `otherwise` for None and where it fails."""
        assert self._extensions
        name, extension = hook.function.__name__, hook.extension
        values |= {"arguments": self._arguments.get(extension.name, {}),
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
        """What the hook makes of `inner`; from the moment that it fails `inner` alone.

        An error that comes out of `inner` is not the extension's.
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
                from_inside.clear()  # their frames hold the tensors of the call, and this list with them

        return guarded

    def _enter(self, hook: Hook, patches: contextlib.ExitStack, model: SDModel, request: Txt2Img) -> None:
        """Enters one extension's change of the model; its exit may fail as well."""
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
    """Raises InvalidExtension when `answer` is not a tensor of that shape."""
    if getattr(answer, "shape", None) != like.shape:
        raise InvalidExtension("what it wrapped returned no tensor of the shape that it was given")
