"""The inpaint tab's batch with masks by words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from modules.engine.engine import Engine
from modules.request import Img2Img, Inpaint
from modules.ui.canvas.canvas import MaskData
from modules.ui.controls.request_panel import Panel
from modules.ui.tabs.batch import Batch


def test_words_make_the_masks_of_pictures_without_a_file(engine: Engine, tmp_path: Path) -> None:
    pictures = [tmp_path / f"{name}.png" for name in ("a", "b")]
    for number, file in enumerate(pictures):
        Image.new("RGB", (40 + number, 30), (9, 90, 200)).save(file)
    (tmp_path / "masks").mkdir()
    own = Image.new("L", (40, 30))
    own.paste(255, (0, 0, 10, 10))
    own.save(tmp_path / "masks" / "a.png")
    asked: list[tuple[Path, tuple[int, int]]] = []

    def by_words(file: Path, image: Image.Image) -> Image.Image:
        asked.append((file, image.size))
        return Image.new("L", image.size, 255)

    def request_of(picture: MaskData) -> Img2Img:
        assert picture.image is not None
        assert picture.mask is not None
        return Inpaint(init_images=(picture.image,), mask=picture.mask)

    tasks = Batch(Panel("inpaint", engine.settings)).tasks(
        [str(file) for file in pictures], [str(tmp_path / "masks" / "a.png")], None, request_of, needs_mask=True,
        by_words=by_words)
    assert asked == [], "a network looks at a picture when its turn comes"
    made = [task.make_request() for task in tasks]
    assert asked == [(pictures[1], (41, 30))]
    masks = [np.asarray(one.mask) for one in made if isinstance(one, Inpaint)]
    assert np.array_equal(masks[0], np.asarray(own))
    assert masks[1].all()
    assert masks[1].shape == (30, 41)
