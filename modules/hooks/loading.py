"""Loads the extensions in the `extensions/` folders, once, when the program starts. See `modules.hookspecs`.

An extension that cannot be loaded is skipped, with its problem recorded. Switching one on or off takes effect at the
next start. No request to the page or the API can add an extension.
"""

from __future__ import annotations

import ast
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from modules import hookspecs
from modules.base.config import Config
from modules.errors import NotFound, UserError
from modules.request import Txt2Img

if TYPE_CHECKING:
    from modules.hooks.choices import Available
    from modules.hooks.forms import Controls, Input, Script
    from modules.sampling.registry import Sampler

log = logging.getLogger(__name__)

TABS = ("txt2img", "img2img", "inpaint")
DISABLED = "disabled_extensions"
"""The entry of config.json that lists the extensions switched off (WebUI's name)."""


class InvalidExtension(Exception):
    """An extension, or the result of one of its hooks, cannot be used. The message says why."""


@dataclass(eq=False)
class Extension:
    """One extension. `loaded` is True if it takes part in this run; `problem` describes its last failure."""

    name: str
    folder: Path
    about: str = ""
    version: str = ""
    loaded: bool = False
    problem: str = ""
    settings: tuple[Input, ...] = ()
    turn: threading.RLock = field(default_factory=threading.RLock, repr=False)
    """Held while it is asked for what several jobs may want at the same time."""

    def fail(self, hook: str, error: BaseException) -> str:
        """Record and log that `hook` failed with `error`. Returns a description in one line."""
        self.problem = f"{hook}: {in_words(error)}"
        log.warning("Extension %s: %s", self.name, self.problem,
                    exc_info=None if isinstance(error, (UserError, InvalidExtension)) else error)
        return self.problem


def in_words(error: BaseException) -> str:
    """A description of `error` in one line."""
    if isinstance(error, UserError):
        return error.message
    text = (str(error).strip().splitlines() or [""])[-1][:300]
    if isinstance(error, InvalidExtension):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass(frozen=True)
class Hook:
    """The function of one extension for one hook. `wants` are the names of its arguments."""

    extension: Extension
    function: Callable[..., Any]
    wants: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Call the function with its arguments out of `values`. Raises whatever it raises."""
        return self.function(*(values[name] for name in self.wants))


@dataclass
class Extensions:
    """The extensions in `folders`, sorted by name. Of two with the same name, the one in the later folder is used."""

    folders: Sequence[Path]
    config: Config
    available: Callable[[], Available]
    extensions: tuple[Extension, ...] = field(init=False)
    _manager: pluggy.PluginManager = field(init=False, repr=False)
    _controls: dict[str, dict[str, Controls]] = field(init=False, repr=False)
    _samplers: tuple[Sampler, ...] | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.extensions = tuple(_found(self.folders))
        for extension in reversed(self.extensions):  # pluggy calls the one registered last first
            if self.enabled(extension.name):
                self._load(extension)
        for extension, inputs in self._collect("register_settings"):
            extension.settings = tuple(inputs)
        self._controls = {tab: {extension.name: form for extension, form in self._collect("controls", tab=tab)}
                          for tab in TABS}

    def extension(self, name: str) -> Extension:
        """The extension of that name. Raises NotFound."""
        for extension in self.extensions:
            if extension.name == name:
                return extension
        raise NotFound(f"There is no extension called {name!r}.")

    def enabled(self, name: str) -> bool:
        """True if the extension will be loaded at the next start."""
        disabled = self.config.values().get(DISABLED)
        return not isinstance(disabled, list) or name not in disabled

    def enable(self, name: str, on: bool) -> None:
        """Switch an extension on or off from the next start. Raises NotFound."""
        self.extension(name)
        with self._lock:
            disabled = self.config.values().get(DISABLED)
            others = [one for one in disabled if one != name] if isinstance(disabled, list) else []
            self.config.update({DISABLED: others if on else [*others, name]})

    def controls(self, tab: str) -> dict[str, Controls]:
        """The controls on a tab, by extension."""
        return self._controls[tab]

    def bound(self, request: Txt2Img) -> dict[str, tuple[Controls, dict[str, Any]]]:
        """The controls that are on in `request` with their values, by extension. Unknown titles are ignored.

        Raises InvalidInput.
        """
        calls = {call.title.lower(): call for call in request.always_on}
        return {name: (form, form.bind(calls[form.title.lower()].arguments, self.available()))
                for name, form in self.controls(request.tab).items() if form.title.lower() in calls}

    def forms(self) -> tuple[Controls, ...]:
        """The controls on all tabs, one for each title."""
        return tuple({form.title.lower(): form for tab in TABS for form in self._controls[tab].values()}.values())

    def scripts(self) -> list[Script]:
        """The scripts that extensions add."""
        return [script for _, scripts in self._collect("register_scripts") for script in scripts]

    def samplers(self) -> tuple[Sampler, ...]:
        """The samplers that extensions add, without those that cannot be used. The hook is called only once."""
        if self._samplers is None:
            self._samplers = tuple(one for extension, found in self._collect("register_samplers") for one in found
                                   if _usable(one, extension))
        return self._samplers

    def settings(self, extension: Extension) -> dict[str, Any]:
        """The values of an extension's settings by name. A stored value that is no longer valid gives the default."""
        remembered = self.config.values()
        values = {}
        for one in extension.settings:
            try:
                values[one.name] = one.read(remembered.get(f"{extension.name}_{one.name}"), self.available())
            except UserError:
                values[one.name] = one.default
        return values

    def set(self, name: str, setting: str, value: Any) -> None:
        """Store the value of a setting; the next job uses it. Raises NotFound, InvalidInput."""
        extension = self.extension(name)
        for one in extension.settings:
            if one.name == setting:
                self.config.update({f"{name}_{setting}": one.read(value, self.available())})
                return
        raise NotFound(f"The extension {name} has no setting called {setting!r}.")

    def hooks(self, name: str) -> Iterator[Hook]:
        """The functions for one hook, in the order of their calls."""
        for hook in reversed(getattr(self._manager.hook, name).get_hookimpls()):
            yield Hook(self.extension(hook.plugin_name), hook.function, tuple(hook.argnames))

    def _collect(self, name: str, **values: Any) -> Iterator[tuple[Extension, Any]]:
        """Call a hook of all extensions. Yields each result; an extension that raises is skipped."""
        for hook in self.hooks(name):
            try:
                answer = hook(values)
                answer = answer if name == "controls" or answer is None else tuple(answer)
            except Exception as error:
                hook.extension.fail(name, error)
            else:
                if answer is not None:
                    yield hook.extension, answer

    def _load(self, extension: Extension) -> None:
        try:
            module = _import(extension)
            extension.version = str(getattr(module, "__version__", ""))
            self._manager.register(module, extension.name)
            callers = self._manager.get_hookcallers(module) or []
            unknown = [caller.name for caller in callers if not caller.has_spec()]
            if unknown:
                raise InvalidExtension(f"there is no hook called {', '.join(unknown)}")
            if not callers:
                raise InvalidExtension("it has no hook")
        except (Exception, SystemExit) as error:
            if self._manager.has_plugin(extension.name):
                self._manager.unregister(name=extension.name)
            extension.fail("It was not loaded", error)
        else:
            extension.loaded = True


def _usable(sampler: Sampler, extension: Extension) -> bool:
    """Whether `sampler` passes its own check; if not, the extension's `problem` says why."""
    try:
        sampler.check()
    except Exception as error:
        extension.fail("register_samplers", error)
        return False
    return True


def _found(folders: Sequence[Path]) -> Iterator[Extension]:
    """The sub-folders that may be extensions, sorted by name."""
    found = {path.name: path for folder in folders if folder.is_dir() for path in folder.iterdir()
             if path.is_dir() and path.name[0] not in "._"}
    for name, folder in sorted(found.items()):
        yield Extension(name, folder, _about(folder / "__init__.py"))


def _about(file: Path) -> str:
    """The first line of the file's docstring, read without running its code."""
    try:
        text = ast.get_docstring(ast.parse(file.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError, RecursionError):
        return ""
    return text.strip().partition("\n")[0]


def _import(extension: Extension) -> ModuleType:
    """Import the extension as the module `extensions.<name>`. Raises whatever its code raises."""
    file = extension.folder / "__init__.py"
    if not file.is_file():
        raise InvalidExtension("it has no __init__.py (extensions of AUTOMATIC1111's WebUI do not run here)")
    name = f"extensions.{extension.name}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file):
        return loaded
    for stale in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
        del sys.modules[stale]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(extension.folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
