"""Run with a copy of the program in which two fields and an option were declared: what is there of them, as JSON.

    python added_fields.py FOLDER_OF_THE_COPY EMPTY_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COPY, EMPTY = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(COPY), str(Path(__file__).parents[1])]

import gradio as gr  # noqa: E402
from fakes import fake_engine, write_checkpoint  # noqa: E402
from PIL import Image  # noqa: E402

import modules  # noqa: E402
from modules import cli  # noqa: E402
from modules.api.pictures import encode  # noqa: E402
from modules.api.schema import Img2ImgBody, Txt2ImgBody  # noqa: E402
from modules.errors import InvalidInput  # noqa: E402
from modules.gallery.saving import Saver  # noqa: E402
from modules.jobs.queue import JobQueue  # noqa: E402
from modules.request import Inpaint, Txt2Img  # noqa: E402
from modules.request.options import Options  # noqa: E402
from modules.sampling.registry import SAMPLERS  # noqa: E402
from modules.scripts.axes import axes, find_axis  # noqa: E402
from modules.settings import Settings  # noqa: E402
from modules.text.infotext import parse, to_changes, write  # noqa: E402
from modules.ui.canvas.canvas import MaskData  # noqa: E402
from modules.ui.controls import request_panel  # noqa: E402
from modules.ui.controls.pasting import paste  # noqa: E402
from modules.ui.controls.request_panel import Panel  # noqa: E402
from modules.ui.page.header import Header  # noqa: E402
from modules.ui.tabs import inpaint, txt2img  # noqa: E402

assert modules.__file__ is not None
assert Path(modules.__file__).is_relative_to(COPY)
PICTURE, MASK = Image.new("RGB", (64, 64)), Image.new("L", (64, 64), 255)


def new(request: Any) -> list[Any]:
    """The values of what was added: the fields that the request has, and the option."""
    return [getattr(request, name) for name in ("wobble", "mirrored") if hasattr(request, name)] + [
        request.options.loudness]


def text_of(request: Txt2Img) -> str:
    return write(request, SAMPLERS[0], seed=1, subseed=1, model_name="m", model_hash=None)


def api() -> dict[str, Any]:
    plain, painted = (body.model_json_schema()["properties"] for body in (Txt2ImgBody, Img2ImgBody))
    sent = {"init_images": [encode(PICTURE)], "mask": encode(MASK), "wobble": 1.5, "mirror_mask": True,
            "override_settings": {"loudness": "loud"}}
    told = {"init_images": [encode(PICTURE)], "mask": encode(MASK), "infotext": text_of(changed())}
    return {"schema": [plain["wobble"]["default"], plain["wobble"]["type"], painted["mirror_mask"]["type"],
                       "mirror_mask" in plain],
            "sent": new(Img2ImgBody.model_validate(sent).request(Options(), max_pixels=10**6)),
            "from a text": new(Img2ImgBody.model_validate(told).request(Options(), max_pixels=10**6))}


def changed() -> Inpaint:
    values: dict[str, Any] = {"wobble": 1.5, "mirrored": True, "init_images": (PICTURE,), "mask": MASK}
    return Inpaint(**values, options=Options().replaced({"loudness": "loud"}))


def text() -> dict[str, Any]:
    text, plain = text_of(changed()), text_of(Txt2Img())
    back, usual = to_changes(parse(text)), to_changes(parse(plain))
    return {"pairs": text.split("CPU, ")[1].split(", Version")[0], "plain": "Wobble" in plain or "Loudness" in plain,
            "back": [back.fields["wobble"], back.fields["mirrored"], back.options["loudness"]],
            "usual": [usual.fields["wobble"], usual.fields["mirrored"], usual.options["loudness"]],
            "unsupported": [*back.unsupported, *usual.unsupported]}


def flags() -> Any:
    PICTURE.save(EMPTY / "p.png")
    image = str(EMPTY / "p.png")
    given = cli._parser().parse_args(["inpaint", "--image", image, "--mask", image, "--wobble", "1.5", "--mirrored",
                                      "--set", "loudness=loud"])
    return new(cli.to_request(given, Options()))


def plot() -> dict[str, Any]:
    request: Txt2Img = changed()
    for label, written in (("Wobble", "0.25"), ("Mirrored", "False"), ("Loudness", "soft")):
        axis = find_axis(label, img2img=True)
        (value,) = axis.read(written)
        assert axis.apply is not None
        request = axis.apply(request, value, [value], ())
    return {"request": new(request), "last": [[axis.label for axis in axes(img2img=flag)][-3:]
                                             for flag in (False, True)]}


def page() -> dict[str, Any]:
    write_checkpoint(EMPTY, "first")
    engine = fake_engine(Settings(data_dir=EMPTY, ckpt_dir=EMPTY))
    queue = JobQueue(engine, Saver(EMPTY))
    with gr.Blocks():
        header, _ = Header.build(engine, queue)
        panels = {name: tab.build(header, Panel(name, engine.settings), gr.BrowserState("")).panel
                  for name, tab in (("txt2img", txt2img), ("inpaint", inpaint))}
    queue.close()
    panel = panels["inpaint"]
    widgets = panel.widgets
    slider, box, radio = widgets["wobble"], widgets["mirrored"], widgets["loudness"]
    values = {name: widget.value for name, widget in widgets.items()}
    updates, note = paste(text_of(changed()), panel, engine, locked=False)
    pasted = values | {name: update["value"] for name, update in zip(widgets, updates, strict=True)
                       if "value" in update}
    picture = MaskData(PICTURE, MASK)
    return {"slider": [slider.label, slider.minimum, slider.maximum, slider.step, slider.value, slider.explained],
            "box": [box.label, box.value], "radio": [radio.label, [value for value, _ in radio.choices], radio.value],
            "txt2img": [name in panels["txt2img"].widgets for name in ("wobble", "mirrored", "loudness")],
            "request": new(request_panel.to_inpaint(values, picture, engine.options)),
            "left out": "Not taken over" in note,
            "pasted": new(request_panel.to_inpaint(pasted, picture, engine.options))}


def refusal() -> str:
    try:
        Txt2Img(wobble=2.5)
    except InvalidInput as error:
        return error.message
    return ""


print(json.dumps({"api": api(), "text": text(), "flags": flags(), "plot": plot(), "page": page(),
                  "refusal": refusal()}))
