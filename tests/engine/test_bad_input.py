"""What looks at pictures, given pictures and files that nobody expects: an answer of the right size or one sentence,
and no code is run."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from describers import write_blip, write_tagger
from embedders import write_clip, write_sentences
from grounders import write_clipseg, write_dino, write_owlv2
from onnx_files import Output, write_onnx
from PIL import Image

from modules.engine.clicking import Clicking
from modules.engine.describing import Describers
from modules.engine.grounding import Grounding, NothingFound
from modules.errors import CheckpointError, UserError
from modules.gallery.history import History
from modules.gallery.index import Filter
from modules.imaging.click_mask import Click
from modules.imaging.detectors.registry import Detectors
from modules.imaging.subject import Subjects
from modules.settings import Settings
from tests.networks.test_segmenter import write_sam, write_sam2

Look = Callable[[Image.Image], Image.Image | None]
"""What an engine makes of a picture: a picture of its size, or something else that was checked."""


def picture(kind: str) -> Image.Image:
    noise = Image.effect_noise((40, 30), 90)
    return {"huge": lambda: noise.resize((4000, 3000)).convert("RGB"), "tiny": lambda: Image.new("RGB", (1, 1), "red"),
            "grey": lambda: noise, "bits": lambda: noise.convert("1"), "long": lambda: noise.resize((1500, 2)),
            "high": lambda: noise.resize((1, 900)).convert("RGB"), "plain": lambda: Image.new("RGB", (64, 64)),
            "transparent": lambda: Image.new("RGBA", (50, 40)), "palette": lambda: noise.convert("P"),
            "grey with alpha": lambda: noise.convert("LA")}[kind]()


def words(settings: Settings, write: Callable[[Path], Path]) -> Look:
    write(settings.models_dir / "grounding" / "tiny")
    grounding = Grounding(settings, Clicking(settings))
    return lambda image: grounding.mask((image.size, image.mode), lambda: image, "the dog, bench", 1e-6)


def clicks(settings: Settings, write: Callable[[Path], Path] | None) -> Look:
    if write:
        write(settings.models_dir / "sam" / "tiny")
    clicking = Clicking(settings)

    def look(image: Image.Image) -> Image.Image:
        key = image.size, image.mode
        clicking.mask(key, lambda: image, [Click(0, 0)], (0, 0, *image.size))
        return clicking.mask(key, lambda: image, [Click(image.width - 1, image.height - 1)])

    return look


def included(settings: Settings) -> Look:
    """The detectors and the subject without any file."""
    detectors, subjects = Detectors(), Subjects()

    def look(image: Image.Image) -> Image.Image:
        for name in ("Face", "Hand", "Person", "Eye"):
            for one in detectors.detector(name)(image, 0.1):
                assert 0 <= one.box[0] < one.box[2] <= image.width
                assert 0 <= one.box[1] < one.box[3] <= image.height
        return subjects.cut_out(image) and subjects.mask(image)

    return look


def subject(settings: Settings) -> Look:
    write_onnx(settings.models_dir / "subject" / "net.onnx", {"out": Output.of(np.eye(8)[None, None])})
    subjects = Subjects(settings.folders("subject networks"))
    return lambda image: subjects.cut_out(image) and subjects.mask(image)


def detector(settings: Settings) -> Look:
    folder = settings.models_dir / "adetailer"
    rows = [(32, 32, 1000, 1000, 0.9), (0, 0, 2, 2, 0.8), (64, 64, 5, 5, 0.7)] + [(0,) * 5] * 9
    write_onnx(folder / "face.onnx", {"output0": Output.of(np.array(rows).T[None])})
    detect = Detectors([folder]).detector("face.onnx")

    def look(image: Image.Image) -> None:
        for one in detect(image, 0.1):
            left, top, right, bottom = one.box
            assert 0 <= left < right <= image.width
            assert 0 <= top < bottom <= image.height

    return look


def described(settings: Settings) -> Look:
    write_tagger(settings.models_dir / "taggers")
    write_blip(settings.models_dir / "captioners" / "tiny")
    describers = Describers(settings)

    def look(image: Image.Image) -> None:
        for model in ("tiny", "wd14"):
            assert isinstance(describers.describe(image, model, 0.5, lambda: None), str)

    return look


ENGINES: dict[str, Callable[[Settings], Look]] = {
    "owlv2": lambda settings: words(settings, write_owlv2), "dino": lambda settings: words(settings, write_dino),
    "clipseg": lambda settings: words(settings, write_clipseg), "sam": lambda settings: clicks(settings, write_sam),
    "sam2": lambda settings: clicks(settings, write_sam2), "grabcut": lambda settings: clicks(settings, None),
    "subject": subject, "included": included, "detector": detector, "describers": described}


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_of_every_kind(settings: Settings, engine: str) -> None:
    look = ENGINES[engine](settings)
    for kind in ("huge", "tiny", "grey", "bits", "long", "high", "plain", "transparent", "palette", "grey with alpha"):
        image = picture(kind)
        before = image.tobytes()
        made = None
        with contextlib.suppress(NothingFound):
            made = look(image)
        assert made is None or made.size == image.size, kind
        assert image.tobytes() == before, kind


def test_broken_pictures_of_the_history_mean_nothing(settings: Settings) -> None:
    """They stand in the search by pictures, and do not stop it."""
    from modules.engine.meanings import Meanings

    write_clip(settings.models_dir / "embedders" / "clip")
    settings.outputs_dir.mkdir(parents=True)
    for name, size in (("a", (1, 1)), ("b", (2000, 3)), ("c", (30, 30))):
        Image.new("RGB", size, "red").save(settings.outputs_dir / f"{name}.png")
    history = History(settings.outputs_dir)
    history.reconcile()
    (settings.outputs_dir / "c.png").write_bytes((settings.outputs_dir / "c.png").read_bytes()[:40])
    meanings = Meanings(settings, history)
    meanings.find(Filter(words="a castle"))
    meanings.wait()
    assert sorted(one.path for one in meanings.find(Filter(words="a castle")).pictures) == ["a.png", "b.png", "c.png"]
    history.close()


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.place, "code was run")


FOLDERS: dict[str, tuple[Callable[[Path], Path], Callable[[Settings], Any]]] = {
    "grounding": (write_clipseg, lambda settings: words(settings, lambda folder: folder)(Image.new("RGB", (9, 9)))),
    "sam": (write_sam, lambda settings: clicks(settings, lambda folder: folder)(Image.new("RGB", (9, 9)))),
    "captioners": (write_blip, lambda settings: Describers(settings).describe(Image.new("RGB", (9, 9)), "tiny", 0.5,
                                                                              lambda: None))}


@pytest.mark.parametrize("kind", FOLDERS)
def test_pickles_and_code_of_a_folder_are_not_run(settings: Settings, tmp_path: Path, kind: str) -> None:
    write, look = FOLDERS[kind]
    folder, run = write(settings.models_dir / kind / "tiny"), tmp_path / "run"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(run)))
    (folder / "x.py").write_text(f"open({str(run)!r}, 'w').write('x')\nclass Y: pass\n")
    with pytest.raises(CheckpointError, match="tiny in models/"):
        look(settings)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = dict.fromkeys(("AutoConfig", "AutoModel", "AutoProcessor"), "x.Y")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="tiny in models/"):
        look(settings)
    assert not run.exists()


def test_pickles_and_code_of_an_embedder_are_not_run(tmp_path: Path) -> None:
    from modules.networks.embedder import Embedder

    folder, run = write_sentences(tmp_path / "tiny"), tmp_path / "run"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(run)))
    with pytest.raises(CheckpointError, match="tiny in models/embedders"):
        Embedder(folder)
    assert not run.exists()


def test_a_pickle_that_calls_itself_onnx_is_refused(settings: Settings, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for kind, name in (("adetailer", "face.onnx"), ("subject", "net.onnx"), ("taggers", "wd14.onnx")):
        file = settings.models_dir / kind / name
        file.parent.mkdir(parents=True)
        file.write_bytes(pickle.dumps(Evil(run)))
        (file.parent / "wd14.csv").write_text("tag_id,name,category,count\n1,a,0,1\n")
    image = Image.new("RGB", (9, 9))
    for look in (lambda: Detectors([settings.models_dir / "adetailer"]).detector("face.onnx")(image, 0.1),
                 lambda: Subjects(settings.folders("subject networks")).mask(image),
                 lambda: Describers(settings).describe(image, "wd14", 0.5, lambda: None)):
        with pytest.raises(UserError):
            look()
    assert not run.exists()


@pytest.mark.parametrize("name", ["images", "", "pixel values", "input:0", "x" * 300])
def test_inputs_of_any_name(settings: Settings, name: str) -> None:
    """A network's only input is known by its shape."""
    file = settings.models_dir / "adetailer" / "face.onnx"
    rows = [(32, 32, 20, 20, 0.9)] + [(0,) * 5] * 9
    write_onnx(file, {"output0": Output.of(np.array(rows).T[None])})
    data = file.read_bytes()
    assert data.count(b"images") == 2
    short = data.replace(b"images", name.encode()[:6].ljust(6, b"_"))
    file.write_bytes(short)
    (find,) = Detectors([file.parent]).detector("face.onnx")(Image.new("RGB", (64, 64)), 0.1)
    assert find.box == (22, 22, 42, 42)
