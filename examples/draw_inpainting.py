"""Draws the pictures of docs/how-inpainting-works.md: python -m examples.draw_inpainting [FOLDER]

All of them come from the program and its default checkpoint. The photograph is one that the checkpoint has drawn.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from safetensors.numpy import load_file

from modules.engine.engine import Engine
from modules.gallery.steps import Steps
from modules.request import Inpaint, Txt2Img
from modules.request.job_context import NullJob
from modules.request.options import Options
from modules.request.request import SoftInpainting
from modules.settings import Settings

SIDE = 192
"""Pixels of one picture in a row."""
GAP = 8
SIZE = 256
EXACT = Options(small_mask="off")


class Folder(NullJob):
    """A job that records into a folder."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self._folder = folder

    def recording(self) -> Path:
        self.files.append(self._folder / f"{len(self.files)}.safetensors")
        return self.files[-1]


class Drawing:
    """Makes pictures and rows of pictures. `out` is where the rows go, `temporary` where steps are recorded."""

    def __init__(self, out: Path, temporary: Path) -> None:
        self.out, self._job = out, Folder(temporary)
        self._engine = Engine(Settings())
        self.photo = self.make(Txt2Img(prompt="a red apple on a blue background", seed=4, width=SIZE, height=SIZE,
                                       steps=20, cfg_scale=3.0, options=EXACT))
        self.mask = Image.new("L", self.photo.size)
        ImageDraw.Draw(self.mask).ellipse((20, 28, 236, 232), fill=255)
        self.request = Inpaint(prompt="a big yellow star on a blue background", seed=1, width=SIZE, height=SIZE,
                               steps=20, cfg_scale=3.0, denoising_strength=1.0, init_images=(self.photo,),
                               mask=self.mask, mask_blur_x=0, mask_blur_y=0, options=EXACT)

    def make(self, request: Txt2Img) -> Image.Image:
        """The picture of a request."""
        return self._engine.generate(request, self._job).images[0].image

    def record(self, request: Txt2Img) -> tuple[Image.Image, Steps]:
        """The picture of a request, and its steps."""
        made = self.make(replace(request, record_steps=True))
        return made, Steps(self._job.files[-1])

    def go_on(self, steps: Steps, after: int) -> Image.Image:
        """The picture of the recorded `steps` which goes on after so many calls with another prompt."""
        return self.make(replace(self.request, replayed=steps.path, go_on_after=after,
                                 then_prompt="a big green heart on a blue background"))

    def row(self, name: str, pictures: Sequence[Image.Image]) -> None:
        """Save pictures side by side; several rows if there are more than six."""
        across = min(len(pictures), 6)
        down = -(-len(pictures) // across)
        sheet = Image.new("RGB", (across * (SIDE + GAP) - GAP, down * (SIDE + GAP) - GAP), "white")
        for place, picture in enumerate(pictures):
            large = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST if picture.width < 64
                                                  else Image.Resampling.LANCZOS)
            sheet.paste(large, (place % across * (SIDE + GAP), place // across * (SIDE + GAP)))
        self.out.mkdir(parents=True, exist_ok=True)
        sheet.save(self.out / f"{name}.png", optimize=True)


def plot(curves: Sequence[tuple[str, Sequence[float]]], colours: Sequence[str]) -> Image.Image:
    """Curves from 0 to 1 over the steps, the first at the left."""
    picture = Image.new("RGB", (SIDE * 3, SIDE * 3), "white")
    pen, margin = ImageDraw.Draw(picture), 30
    pen.rectangle((margin, margin, SIDE * 3 - margin, SIDE * 3 - margin), outline="#999999")
    for (name, values), colour in zip(curves, colours, strict=True):
        width = SIDE * 3 - 2 * margin
        points = [(margin + n / (len(values) - 1) * width, SIDE * 3 - margin - one * width)
                  for n, one in enumerate(values)]
        pen.line(points, fill=colour, width=5)
        x, y = points[len(points) // 4]
        pen.text((x + 8, y - 30), name, fill=colour, font_size=24)
    return picture


def spread(steps: Steps, names: Sequence[str], count: int = 6) -> list[Image.Image]:
    """For each name a row of `count` pictures from the first to the last call."""
    last = len(steps.about["calls"]) - 1
    return [steps.picture(round(n * last / (count - 1)), name) for name in names for n in range(count)]


def main(out: Path) -> None:
    """Draw all of them."""
    with tempfile.TemporaryDirectory() as temporary:
        draw = Drawing(out, Path(temporary))
        made, steps = draw.record(draw.request)
        about = steps.about
        kept = load_file(steps.path)
        paint = Image.fromarray((kept["paint"][0, 0] * 255).astype(np.uint8))
        clean = steps.picture(len(about["calls"]) - 1, "original")
        draw.row("1-task", [draw.photo, draw.mask, made])
        draw.row("2-latent", [draw.photo, clean, draw.mask, paint])
        draw.row("3-noise", spread(steps, ["original"]))
        draw.row("4-guess", spread(steps, ["x", "x0"]))
        draw.row("5-blend", spread(steps, ["current", "original", "x"]))
        draw.row("6-guidance", spread(steps, ["guidance"]))
        calls = about["calls"]
        draw.row("7-levels", [plot([("signal", [one["signal"] for one in calls]),
                                    ("noise", [one["noise"] for one in calls])], ["#2563eb", "#dc2626"])])
        strengths = (0.3, 0.5, 0.7, 0.9)
        draw.row("8-strength", [draw.make(replace(draw.request, denoising_strength=one)) for one in strengths])
        black, hole = Image.new("RGB", draw.photo.size), Image.new("L", draw.photo.size)
        ImageDraw.Draw(hole).rectangle((64, 64, 191, 191), fill=255)
        dark = replace(draw.request, prompt="a red apple on a white background", init_images=(black,), mask=hole)
        draw.row("9-loops", [hole, *(draw.make(replace(dark, options=EXACT.replaced({"ddim_loop": one})))
                                     for one in ("classic", "webui-1.10"))])
        soft = draw.mask.filter(ImageFilter.GaussianBlur(24))
        softly = draw.make(replace(draw.request, mask=soft, soft=SoftInpainting()))
        draw.row("10-soft", [soft, draw.make(replace(draw.request, mask=soft)), softly])
        draw.row("11-what-if", [made, *(draw.go_on(steps, after) for after in (15, 10, 3))])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/inpainting"))
