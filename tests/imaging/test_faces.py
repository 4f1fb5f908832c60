"""Faces are found on a photograph, cut as the networks know them, and laid back; and models by the names for them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import ASTRONAUT
from PIL import Image

from modules.errors import InvalidInput
from modules.imaging import haar
from modules.imaging.faces import SIDE, FaceRestorers, around, restored

RED = (255, 0, 0)


def restorers(folder: Path, *names: str, seen: list[Image.Image] | None = None) -> FaceRestorers:
    """Files of those names, whose networks make every face red."""
    for name in names:
        (folder / name).write_bytes(b"x")

    def red(face: Image.Image) -> Image.Image:
        if seen is not None:
            seen.append(face)
        return Image.new("RGB", face.size, RED)

    return FaceRestorers([folder], lambda path: red)


def test_the_face_of_a_photograph_lies_where_the_networks_expect_it(tmp_path: Path) -> None:
    photo = Image.open(ASTRONAUT).convert("RGB")
    seen: list[Image.Image] = []
    made = restorers(tmp_path, "GFPGANv1.4.pth", seen=seen).find("GFPGAN")(photo)
    (face,) = seen
    assert face.size == (SIDE, SIDE)
    classifier = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades, "haarcascade_eye.xml")))
    eyes = classifier.detectMultiScale(np.asarray(face.convert("L")), 1.05, 8, minSize=(60, 60))
    middles = sorted(((x + w / 2) / SIDE, (y + h / 2) / SIDE) for x, y, w, h in eyes)
    assert np.abs(np.array(middles) - [(0.38, 0.47), (0.62, 0.47)]).max() < 0.04
    changed = np.any(np.asarray(made) != np.asarray(photo), axis=2)
    rows, columns = np.nonzero(changed)
    assert 100 < len(rows) / 100 < 400  # a square of about 170 x 170
    assert np.array_equal(np.asarray(made)[110, 224], RED)
    assert (rows.max(), columns.max()) < (220, 320)


def test_a_picture_without_a_face_is_handed_back(tmp_path: Path) -> None:
    noise = Image.effect_noise((128, 96), 60).convert("RGB")
    assert restorers(tmp_path, "x.pth").find("x")(noise) is noise


def test_a_face_fades_in_and_changes_nothing_around_it() -> None:
    picture = Image.new("RGB", (400, 300))
    made = np.asarray(restored(picture, [(100, 100, 200, 200)], lambda face: Image.new("RGB", face.size, RED)), int)
    assert around((100, 100, 200, 200)) == (60, 55, 240, 235)
    row = made[145, :, 0]
    assert row[:61].max() == row[239:].max() == 0
    assert row[83:217].min() == 255
    assert np.all(np.diff(row[60:83]) > 0)
    assert made[:56].max() == made[234:].max() == 0
    assert made[..., 1:].max() == 0


def test_faces_at_the_edge_see_the_edge_go_on() -> None:
    picture = Image.new("RGB", (100, 100), (10, 20, 30))
    seen: list[Image.Image] = []

    def same(face: Image.Image) -> Image.Image:
        seen.append(face)
        return face

    boxes = [(0, 0, 40, 40), (70, 70, 110, 110)]
    assert restored(picture, boxes, same).tobytes() == picture.tobytes()
    assert [face.getextrema() for face in seen] == [((10, 10), (20, 20), (30, 30))] * 2


def test_models_by_their_names_and_webuis(tmp_path: Path) -> None:
    here = restorers(tmp_path, "RestoreFormer.ckpt", "RestoreFormer.pth", "GFPGANv1.3.pth", "GFPGANv1.4.safetensors",
                     "detection_Resnet50_Final.pth", "parsing_parsenet.pth", "codeformer-v0.1.0.pth")
    assert here.names() == ["codeformer-v0.1.0", "GFPGANv1.3", "GFPGANv1.4", "RestoreFormer"]
    for asked, meant in (("GFPGAN", "GFPGANv1.4"), ("gfpganV1.3", "GFPGANv1.3"), ("CodeFormer", "codeformer-v0.1.0"),
                         ("Automatic", "GFPGANv1.4")):
        assert here.full_name(asked) == meant
    with pytest.raises(InvalidInput, match="no model for it called 'Other'"):
        here.full_name("Other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="there is no model for it in models/GFPGAN"):
        restorers(tmp_path / "empty").full_name("Automatic")
    assert restorers(tmp_path / "empty", "x.pth").full_name("Automatic") == "x"


def test_without_opencvs_detectors_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(haar.cv2, "CascadeClassifier")
    with pytest.raises(InvalidInput, match=r"opencv-python-headless 4\.13"):
        restorers(tmp_path, "x.pth").find("x")
