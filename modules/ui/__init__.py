"""The page. `build` draws it; `look` is what Gradio wants to be told when it is mounted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

if TYPE_CHECKING:
    from modules.engine import Engine
    from modules.jobs import JobQueue
    from modules.settings import Settings

__all__ = ["build", "look"]

HERE = Path(__file__).parent
DELETE_CACHE = (3600, 86400)
"""Every hour, uploads and copies that are older than a day are deleted."""


def build(engine: Engine, queue: JobQueue, settings: Settings) -> gr.Blocks:
    """The whole page: header and tabs. To be mounted with `look(settings)` as further arguments."""
    from modules.ui import img2img, inpaint, txt2img
    from modules.ui.controls import Panel
    from modules.ui.header import Header
    from modules.ui.results import remembered_job
    from modules.ui.tab import connect_sending

    makers = {"txt2img": txt2img, "img2img": img2img, "inpaint": inpaint}
    demo = gr.Blocks(title="Inpaint WebUI", fill_width=True, delete_cache=DELETE_CACHE, analytics_enabled=False)
    with demo:
        header, refresh = Header.build(engine, queue)
        job_ids = {name: remembered_job(name) for name in makers}
        built = {}
        with gr.Tabs(selected="inpaint", elem_id="tabs") as tabs:
            for name, maker in makers.items():
                with gr.Tab(name, id=name, elem_id=f"tab_{name}"):
                    built[name] = maker.build(header, Panel(name, settings), job_ids[name])
        for name, maker in makers.items():
            maker.connect(built[name], header, demo)
            connect_sending(built[name], built, tabs)
        sizes = [tab.panel.widgets[name] for tab in built.values() for name in ("width", "height")]
        header.connect(demo, refresh, [tab.examples for tab in built.values()], sizes)
        samplers = [tab.panel.widgets[name] for tab in built.values() for name in ("sampler", "scheduler")]
        demo.load(lambda: sampler_choices() * len(built), None, samplers, show_progress="hidden",
                  api_visibility="private", concurrency_limit=None)
    return demo


def sampler_choices() -> list[Any]:
    """The two dropdowns with all samplers and schedules. Importing those brings torch, so it is not done by `build`."""
    from modules.sampling.registry import SAMPLERS
    from modules.sampling.schedules import AUTOMATIC, SCHEDULES

    return [gr.update(choices=[sampler.name for sampler in SAMPLERS]),
            gr.update(choices=[AUTOMATIC, *(schedule.label for schedule in SCHEDULES)])]


def look(settings: Settings) -> dict[str, Any]:
    """Theme, style and script, as arguments for `gr.mount_gradio_app` and `Blocks.launch`."""
    from modules.ui.theme import theme

    chosen = f"inpaintPage.useTheme({settings.theme!r});" if settings.theme else ""
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return {"theme": theme(), "css": (HERE / "style.css").read_text(encoding="utf-8"),
            "head": f"<script>{script}{chosen}</script>"}
