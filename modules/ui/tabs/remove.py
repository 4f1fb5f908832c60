"""The button of the inpaint tab that takes away what is painted over. The result appears where those of Generate do."""

from __future__ import annotations

import dataclasses

import gradio as gr

from modules.engine.removing import painted
from modules.jobs.job import Job, Origin
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls.request_panel import to_removal
from modules.ui.page.header import Header
from modules.ui.page.help import explain
from modules.ui.tabs.tab import Tab


class Remove:
    """The button. `draw` draws it, `connect` connects it once the tab is there."""

    def draw(self) -> None:
        """Draw it here."""
        self._button = explain(
            gr.Button("Remove what is painted over", size="sm", elem_id="inpaint_remove"),
            "Paints the picture over with what is around the mask, without a prompt. Use it to take things away.")

    def connect(self, tab: Tab, header: Header) -> None:
        """Connect it: a click submits the canvas's picture and mask, with mask mode and seed of the panel."""
        assert tab.canvas is not None

        def submit(origin: Origin, picture: MaskData, mask_mode: str, seed: float | None) -> Job:
            request = to_removal(picture, mask_mode, seed, header.engine.options)
            painted(request)  # a mask that cannot be used is told at once
            return header.queue.submit(request, remove=True, origin=dataclasses.replace(origin, name="Remove"))

        widgets = [tab.panel.widgets[name] for name in ("mask_invert", "seed")]
        tab.results.watch_click(self._button, submit, [tab.canvas, *widgets], header)
