"""The page, built with Gradio. `build` builds it; `look` gives its style and scripts as arguments for mounting it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from modules.engine.engine import Engine
    from modules.gallery.history import History
    from modules.jobs.queue import JobQueue
    from modules.request import Txt2Img
    from modules.request.result import GeneratedImage
    from modules.settings import Settings

__all__ = ["build", "look"]

HERE = Path(__file__).parent / "page"
SCRIPTS = ("gradio.js", "windows.js", "page.js", "help.js", "roving.js", "prompts.js", "complete.js")
DELETE_CACHE = (3600, 86400)
"""Gradio checks every hour and deletes uploads and copies older than a day (both in seconds)."""


def build(engine: Engine, queue: JobQueue, settings: Settings, history: History) -> gr.Blocks:
    """Build the whole page: header and tabs. Mount it with the arguments that `look` returns."""
    from modules.engine.meanings import Meanings
    from modules.gallery.formats import Format
    from modules.gallery.saving import Saver
    from modules.ui import endpoints
    from modules.ui.controls import fewer_steps
    from modules.ui.controls.describe import described
    from modules.ui.controls.request_panel import SAME, Panel
    from modules.ui.page.blocks import Page
    from modules.ui.page.events import AT_ONCE
    from modules.ui.page.header import Header
    from modules.ui.page.help import hand_over
    from modules.ui.page.local_storage import remember
    from modules.ui.tabs import extensions, extras, img2img, inpaint, merger, pnginfo, train, txt2img
    from modules.ui.tabs import history as history_tab
    from modules.ui.tabs import settings as settings_tab
    from modules.ui.tabs.results import window_id
    from modules.ui.tabs.tab import connect_paste, connect_sending

    def save_as(made: GeneratedImage, request: Txt2Img, form: Format) -> Path:
        return Saver(settings.outputs_dir, history.add, lambda: form)(made, request)

    makers = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}
    demo = Page(title="Inpaint WebUI", fill_width=True, delete_cache=DELETE_CACHE, analytics_enabled=False)
    with demo:
        header, refresh = Header.build(engine, queue)
        window = window_id()
        built = {}
        with gr.Tabs(selected="inpaint", elem_id="tabs") as tabs:
            for name, maker in makers.items():
                with gr.Tab(name, id=name, elem_id=f"tab_{name}"):
                    built[name] = maker.build(header, Panel(name, settings), window)
            with gr.Tab("PNG Info", id="pnginfo", elem_id="tab_pnginfo"):
                info = pnginfo.build(settings, history)
            with gr.Tab("Extras", id="extras", elem_id="tab_extras"):
                enlarging = extras.build(header)
            with gr.Tab("Checkpoint Merger", id="merger", elem_id="tab_merger"):
                merging = merger.build(header)
            with gr.Tab("Train", id="train", elem_id="tab_train"):
                train.build(header)
            with gr.Tab("History", id="history", elem_id="tab_history"):
                past = history_tab.build(
                    history, Meanings(settings, history),
                    lambda picture, model: described(picture, model, engine, queue), settings.root_path)
            with gr.Tab("Extensions", id="extensions", elem_id="tab_extensions") as extensions_tab:
                guests = extensions.build(engine)
            with gr.Tab("Settings", id="settings", elem_id="tab_settings"):
                chosen = settings_tab.build(engine, settings, lambda: list_choices(engine))
        targets = {**built, "extras": enlarging}
        for name, maker in makers.items():
            maker.connect(built[name], header, demo)
            connect_paste(built[name], header)
            connect_sending(built[name], targets, tabs, header)
            built[name].results.download.connect(
                built[name].results.shown, built[name].results.selected, save_as,
                lambda: Format.of(engine.config.values()))
        pnginfo.connect(info, targets, tabs, header)
        extras.connect(enlarging, targets, tabs, demo, history.add)
        history_tab.connect(past, targets, tabs, header)
        extensions.connect(guests, extensions_tab, demo, engine)
        sliders = [(name, tab.panel.widgets[name]) for tab in built.values()
                   for name in ("width", "height", "cfg_scale")]
        checkpoints = [(widget, SAME[name]) for tab in built.values() for name, widget in tab.panel.widgets.items()
                       if name in ("hr_checkpoint", "refiner_checkpoint")]
        refreshing = [refresh.click, merging.refresh.click, merging.made.change]
        merger.connect(merging, demo, refreshing)
        panels = [tab.panel for tab in built.values()]
        started = settings_tab.connect(chosen, demo, panels, tabs, engine, settings)
        strips = [tab.examples for tab in built.values()]
        special = [(panel.widgets[name], reads) for panel in panels
                   for name, reads in (("image_cfg_scale", "edit"), ("depth_map", "depth"),
                                       ("inpainting_mask_weight", "inpaint")) if name in panel.widgets]
        refiners = [panel.widgets["refiner"] for panel in panels]
        choosing = [tab.cards for tab in built.values()]
        fewer_steps.connect([(tab.fast, tab.panel) for tab in built.values()], header, refreshing)
        loaded = header.connect(demo, refreshing, strips, sliders, special, checkpoints, refiners,
                                choosing, started)
        remember(loaded, panels)
        lists = [(name, widget) for tab in built.values() for name, widget in tab.panel.widgets.items()
                 if name in ("sampler", "scheduler", "hr_sampler", "hr_scheduler", "hr_upscaler")]

        def fill_lists() -> list[Any]:
            choices = list_choices(engine)
            return [*(gr.update(choices=choices[name]) for name, _ in lists),
                    *[gr.update(visible=bool(engine.restorers.names()))] * len(restoring)]

        restoring = [panel.widgets["face_restoration"] for panel in panels]
        demo.load(fill_lists, None, [*(widget for _, widget in lists), *restoring], **AT_ONCE)
        endpoints.add(engine, queue, settings)
        hand_over(demo)
    return demo


def list_choices(engine: Engine) -> dict[str, list[str]]:
    """The choices of the dropdowns for samplers, schedules, upscalers and face restoration models. Listing them imports
    torch, so `build` does not do it."""
    from modules.imaging import faces
    from modules.ui.controls.request_panel import SAME

    here = engine.available
    samplers, schedules = here.samplers(), here.schedules()
    return {"sampler": samplers, "scheduler": schedules,
            "hr_sampler": [SAME["hr_sampler"], *samplers], "hr_scheduler": [SAME["hr_scheduler"], *schedules],
            "hr_upscaler": here.hires_upscalers(),
            "remove_model": list(dict.fromkeys((*engine.removers.names(), engine.options.remove_model))),
            "face_restoration_model": list(dict.fromkeys((faces.AUTOMATIC, *engine.restorers.names(),
                                                          engine.options.face_restoration_model)))}


def look(page: gr.Blocks, settings: Settings) -> dict[str, Any]:
    """Theme, style sheet and scripts of `page`, as arguments for `gr.mount_gradio_app` and `Blocks.launch`."""
    from starlette.middleware import Middleware

    from modules.ui.page import language
    from modules.ui.page.head_script import EarlyScript
    from modules.ui.page.shared_scripts import share
    from modules.ui.page.theme import theme

    chosen = f"inpaintPage.useTheme({settings.theme!r});" if settings.theme else ""
    script = "".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    early = Middleware(EarlyScript, script=f"{language.script()}{script}{share(page)}{chosen}")
    return {"theme": theme(), "css": (HERE / "style.css").read_text(encoding="utf-8"),
            "app_kwargs": {"middleware": [early]}}
