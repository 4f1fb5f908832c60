"""The header above the tabs: checkpoint, VAE, the state of the model, and the language.

Loading another checkpoint is a job of the queue. The model in use stays until the new one is complete. If loading
fails, the dropdown goes back to it and a message says why.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import Any

import gradio as gr

from modules.base.files import FileVersion, tree_version
from modules.engine.cards import card_id, example_thumbnails
from modules.engine.completion import Completion
from modules.engine.engine import Engine
from modules.engine.wildcards import of_page
from modules.errors import NotFound, UserError
from modules.jobs.queue import JobQueue
from modules.request.options import Options
from modules.ui.controls.cards import CardsView
from modules.ui.controls.request_panel import tool_button
from modules.ui.page import language, queue_panel
from modules.ui.page.events import AT_ONCE, LIVE
from modules.ui.page.help import explain, list_button
from modules.ui.page.messages import tell, told
from modules.weights.catalog import CheckpointFile, metadata

POLL_SECONDS = 0.5
USUAL_SIZE = 512
USUAL_GUIDANCE = 7
MOST_CHIPS = 80
SURPRISE = {"en": "Surprise me", "zh": "随便画一张"}

BRAND = '<a class="skip-link" href="#tabs">Skip to the prompt</a><h1>Inpaint <span>WebUI</span></h1>'
SKIP_ON_LOAD = """element.querySelector(".skip-link").addEventListener("click", (event) => {
    event.preventDefault();
    inpaintPage.skip();
});"""


@dataclass
class Header:
    """The widgets of the header, and the engine and queue that they use."""

    engine: Engine
    queue: JobQueue
    checkpoint: gr.Dropdown
    vae: gr.Dropdown
    status: gr.HTML
    completion: Completion

    @classmethod
    def build(cls, engine: Engine, queue: JobQueue) -> tuple[Header, gr.Button]:
        """Build the header. Returns it and its refresh button."""
        with gr.Row(elem_classes="header tight", elem_id="header"):
            gr.HTML(BRAND, elem_classes="brand", js_on_load=SKIP_ON_LOAD)
            checkpoint = explain(
                gr.Dropdown(label="Checkpoint", elem_id="setting_sd_model_checkpoint", min_width=220, scale=3,
                            allow_custom_value=True, elem_classes="inline"),
                "The model that draws. Files in models/Stable-diffusion are offered; the arrow looks for new ones.")
            vae = explain(
                gr.Dropdown(label="VAE", elem_id="setting_sd_vae", min_width=140, scale=1, allow_custom_value=True,
                            elem_classes="inline"),
                "What turns latents into pixels. Automatic suits almost always; another one mends pale colours.")
            refresh = tool_button("refresh", "Look for new files", "refresh_sd_model_checkpoint")
            status = gr.HTML(elem_classes="model-status", elem_id="model_status", js_on_load=None,
                             apply_default_css=False)
            queue_panel.build(queue, engine.settings, lambda: engine.workers())
            language.switch()
            list_button()
        completion = Completion(engine.settings, engine.networks, engine.wildcards, lambda: known_words(engine))
        return cls(engine, queue, checkpoint, vae, status, completion), refresh

    def connect(self, demo: gr.Blocks, refreshing: Sequence[Any], strips: list[gr.HTML],
                sliders: list[tuple[str, Any]], special: list[tuple[Any, str]],
                others: list[tuple[Any, str]], refiners: list[Any],
                choosing: Sequence[CardsView], started: Any) -> Any:
        """Connect the header's events. Returns the event after which the page may restore its stored values.

        The events `refreshing` make it look for new files. `strips` are the tabs' strips of example prompts. `sliders`
        follow the checkpoint until somebody moves them; each comes with its name in `Hints.starts`. The controls
        `special` are shown while the checkpoint reads what they come with, see `Hints.reads`. `others` are
        further checkpoint dropdowns, each with its first entry. `refiners` are shown with two checkpoints. The
        cards `choosing` choose a checkpoint. After the event `started` the controls of the tabs have their default
        values.
        """
        both = [self.checkpoint, self.vae]
        all_lists = [*both, *(widget for widget, _ in others), *refiners]
        in_force = gr.State(Hints().starts)

        def lists() -> list[Any]:
            names = [(file.title, file.filename) for file in self.engine.catalog.checkpoints()]
            return [*self.choices(), *(gr.update(choices=[(first, first), *names]) for _, first in others),
                    *[gr.update(visible=len(names) > 1)] * len(refiners)]

        @told
        def look_again() -> list[Any]:
            self.engine.catalog.refresh()
            return lists()

        def follow_checkpoint(shown: dict[str, float], *values: float) -> list[Any]:
            hints = self.hints()
            chips = hints.chips(self.engine.settings.root_path)
            return [hints.starts, *(gr.update(value=chips) for _ in strips),
                    *(gr.update(visible=hints.reads == name) for _, name in special),
                    *(hints.starts[name] if value == shown[name] else gr.skip()
                      for (name, _), value in zip(sliders, values, strict=True))]

        widgets = [widget for _, widget in sliders]
        hinted: list[Any] = [follow_checkpoint, [in_force, *widgets],
                             [in_force, *strips, *(widget for widget, _ in special), *widgets]]
        demo.load(lists, None, all_lists, **AT_ONCE)
        followed = started.then(*hinted, **AT_ONCE)
        demo.load(self.follow, None, self.status, **LIVE)
        gr.on(refreshing, look_again, None, all_lists, **LIVE)
        for widget in both:
            widget.select(self.swap, both, [*both, self.status], **LIVE).then(*hinted, **AT_ONCE)
        for cards in choosing:
            cards.checkpoint.click(told(self.filename), cards.view, self.checkpoint, **LIVE).then(
                self.swap, both, [*both, self.status], **LIVE).then(*hinted, **AT_ONCE)
        return followed

    def filename(self, card_id: str) -> str:
        """The checkpoint of a card, as the dropdown calls it. Raises NotFound."""
        path = self.engine.cards.find(card_id).path
        return next(file.filename for file in self.engine.catalog.checkpoints() if file.path == path)

    def options(self, checkpoint: str | None, vae: str | None) -> Options:
        """The options of a request of the page: those in force, with the values of the dropdowns, so that it uses the
        model its sender saw."""
        return of_page(self.engine.options.replaced({"sd_model_checkpoint": checkpoint or None,
                                                     "sd_vae": vae or None}))

    def choices(self) -> tuple[Any, Any]:
        """Updates for both dropdowns: the available files, and the values in force."""
        catalog = self.engine.catalog
        checkpoint, vae = self._in_force()
        return (gr.update(choices=[(file.title, file.filename) for file in catalog.checkpoints()], value=checkpoint),
                gr.update(choices=["Automatic", "None", *(file.name for file in catalog.vaes())], value=vae))

    def swap(self, checkpoint: str, vae: str) -> Iterator[dict[Any, Any]]:
        """Load the model that the dropdowns name. Yields updates of the state while it loads."""
        try:
            options = self.options(checkpoint, vae)
            job = self.queue.submit_load(options)
        except UserError as error:
            tell(error.message)
            yield self._back()
            return
        while not job.wait(POLL_SECONDS):
            yield {self.status: status_html(job.stage_text if job.position == 0 else "Waiting for the running job",
                                            busy=True)}
        if job.error is not None:
            kept = self.engine.model_name
            tell(job.error.message + (f" {kept} stays in use." if kept else ""))
            yield self._back()
            return
        self.engine.set_options({"sd_model_checkpoint": options.sd_model_checkpoint, "sd_vae": options.sd_vae})
        yield {self.status: self.idle()}

    def follow(self) -> Iterator[str]:
        """For a page that has just loaded: yield the state of a checkpoint that is being loaded, then the model in
        use."""
        while (job := self.queue.current) is not None and job.request is None:
            yield status_html(job.stage_text, busy=True)
            job.wait(POLL_SECONDS)
        yield self.idle()

    def hints(self) -> Hints:
        """The hints of the checkpoint in force."""
        try:
            return hints_of(self.engine.files_of(self.engine.options)[0])
        except NotFound:
            return Hints()

    def _back(self) -> dict[Any, Any]:
        checkpoint, vae = self._in_force()
        return {self.checkpoint: checkpoint, self.vae: vae, self.status: self.idle()}

    def _in_force(self) -> tuple[str | None, str]:
        try:
            checkpoint, vae = self.engine.files_of(self.engine.options)
        except NotFound:
            return None, "Automatic"
        chosen = self.engine.options.sd_vae
        return checkpoint.filename if checkpoint else None, vae.name if vae and chosen != "Automatic" else chosen

    def idle(self) -> str:
        """The state as HTML when nothing is being loaded: the model in use, or why there is none."""
        if summary := self.engine.summary():
            return status_html(summary)
        if self.engine.catalog.checkpoints():
            return status_html("Loads with the first picture")
        return status_html("No checkpoint yet: put one into models/Stable-diffusion")


def status_html(text: str, *, busy: bool = False) -> str:
    """The state at the end of the header as HTML; animated if `busy`."""
    return f'<span class="{"busy" if busy else "idle"}" role="status">{html.escape(text)}</span>'


@dataclass(frozen=True)
class Vocabulary:
    """Example prompts and known words of a checkpoint, in one language. An example is a category, which may be empty,
    and a prompt. `surprise` is a prompt with wildcards of which each drawing is a good prompt; empty if there is none.
    """

    examples: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    surprise: str = ""


@dataclass(frozen=True)
class Hints:
    """What a checkpoint's header tells: vocabularies by language (as in HTML's `lang`), the addresses of thumbnails for
    the examples, in their order, the size in pixels and CFG scale that suit it, and what it reads beside the noise
    (`Inputs.name`)."""

    prompts: Mapping[str, Vocabulary] = field(default_factory=dict)
    thumbnails: tuple[str, ...] = ()
    size: int = USUAL_SIZE
    guidance: int = USUAL_GUIDANCE
    reads: str = "plain"

    @property
    def starts(self) -> dict[str, float]:
        """The start values of sliders, by name."""
        return {"width": self.size, "height": self.size, "cfg_scale": self.guidance}

    def chips(self, root: str) -> list[dict[str, str]]:
        """The entries of the strip under the prompt. An example replaces the prompt, and so does what is drawn of a
        template; a word is added to it. `root` stands before the address of a thumbnail."""
        made: list[dict[str, str]] = []
        for code, known in self.prompts.items():
            if known.surprise:
                made.append(_chip("surprise", code, SURPRISE[code], template=known.surprise))
            before = ""
            for (category, text), address in zip_longest(known.examples, self.thumbnails[: len(known.examples)]):
                picture = root + address if address else ""
                made.append(_chip("example", code, text, picture=picture,
                                  heading=category if category != before else ""))
                before = category
            made += [_chip("word", code, text) for text in known.words]
        return made


def _chip(kind: str, language: str, text: str, *, template: str = "", picture: str = "", heading: str = ""
          ) -> dict[str, str]:
    return {"kind": kind, "language": language, "text": text, "template": template, "picture": picture,
            "heading": heading}


def known_words(engine: Engine) -> tuple[str, ...]:
    """The words that the checkpoint in force knows, in all languages."""
    try:
        found = hints_of(engine.files_of(engine.options)[0]).prompts.values()
    except NotFound:
        return ()
    return tuple(dict.fromkeys(word for known in found for word in known.words))


def hints_of(checkpoint: CheckpointFile | None) -> Hints:
    """The hints of a checkpoint, read anew when its file has changed; see `_read_hints`."""
    return _read_hints(checkpoint, tree_version(checkpoint.path) if checkpoint else None)


@lru_cache(maxsize=32)
def _read_hints(checkpoint: CheckpointFile | None, version: FileVersion | None) -> Hints:
    """Read the hints from the metadata keys `words`, `thumbnails`, `native_size` and `guidance`, and from names and
    shapes. Invalid values are ignored. Imports torch.

    `words` is JSON: an object of lists of words by name, with the example prompts in "examples" (a list, or an object
    of lists by category) and a prompt with wildcards in "surprise". It may have an entry "zh": an object of Chinese
    words by their English ones, also with "examples" and "surprise". For `thumbnails` see `Cards.example`.
    """
    from modules.networks.loader import about

    found = metadata(checkpoint.path) if checkpoint else {}
    known = about(checkpoint) if checkpoint else None
    try:
        words = json.loads(found.get("words", "{}"))
    except (ValueError, RecursionError):
        words = {}
    if not isinstance(words, dict):
        words = {"words": words}
    prompts = {"en": _vocabulary(words)}
    if isinstance(words.get("zh"), dict):
        prompts["zh"] = _vocabulary(words["zh"])
    card = card_id("checkpoints", checkpoint.path) if checkpoint else ""
    addresses = (f"/cards/{card}/examples/{number}?{(version or (0, 0))[1]}"
                 for number in range(len(example_thumbnails(found))))
    return Hints(prompts, tuple(addresses),
                 _number(found.get("native_size", ""), 64, 2048, known.size if known else USUAL_SIZE),
                 _number(found.get("guidance", ""), 1, 30, USUAL_GUIDANCE), known.reads if known else "plain")


def _vocabulary(words: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary in `words`, whose values are texts or lists of texts. Anything else in it is ignored."""
    texts = {name: _texts(value) for name, value in words.items() if name != "examples"}
    surprise, examples = texts.pop("surprise", []), words.get("examples", [])
    known = dict.fromkeys(text for some in texts.values() for text in some)
    categories = examples if isinstance(examples, dict) else {"": examples}
    pairs = [(category, text) for category, some in categories.items() for text in _texts(some)]
    return Vocabulary(tuple(pairs[:MOST_CHIPS]), tuple(known)[:MOST_CHIPS], surprise[0] if surprise else "")


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text.strip()]


def _number(text: str, low: int, high: int, usual: int) -> int:
    """The integer in `text` if it is in low..high, otherwise `usual`."""
    return int(text) if text.isascii() and text.isdigit() and low <= int(text[:9]) <= high else usual
