"""Detectors on ONNX files whose answers are known, finds and masks against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import ASTRONAUT
from onnx_files import Output, write_onnx
from PIL import Image, ImageColor

from modules.errors import CheckpointError, InvalidInput
from modules.imaging.detectors import hands, persons
from modules.imaging.detectors.centerface import CHANNELS
from modules.imaging.detectors.drawing import COLOURS, drawn
from modules.imaging.detectors.find import MOST, Find
from modules.imaging.detectors.masks import chosen, masks_of
from modules.imaging.detectors.registry import Detectors
from modules.imaging.detectors.yolo import input_size
from modules.imaging.landmarks import HAND_LOOKS, Look
from modules.imaging.onnx_header import read_header
from modules.imaging.onnx_network import OnnxNetwork
from modules.request.detail import MERGES, DetailPass, prompts_of
from modules.request.options import AS_FOUND, BY_AREA, FROM_CENTRE, LEFT_TO_RIGHT

SIZE = (200, 100)
PICTURE = Image.new("RGB", SIZE, (255, 0, 0))
NAMES = {"names": "{0: 'face', 1: \"dog's hand\"}"}
ROWS = [(32, 32, 16, 8), (32.5, 32, 16, 8), (48, 40, 8, 8)]
"""Centre and size in pixels of an input of 64 x 64; the second overlaps the first."""
BOXES = [(75, 38, 125, 62), (138, 62, 162, 88)]
"""The first and the third in a picture of 200 x 100: it is scaled by 0.32, and lies 16 pixels from the top."""


def detectors(folder: Path) -> Detectors:
    return Detectors([folder])


def version_8(scores: list[tuple[float, float]]) -> Output:
    rows = [(*row, *shares) for row, shares in zip(ROWS, scores, strict=True)] + [(0,) * 6] * 9
    return Output.of(np.array(rows).T[None])


@pytest.mark.parametrize("output", [
    version_8([(0.9, 0.1), (0.8, 0.1), (0.2, 0.6)]),
    Output.of([[(*row, sure, *shares) for row, sure, shares in zip(
        ROWS, (1, 0.5, 0.75), ((0.9, 0.1), (0.9, 0.1), (0.2, 0.8)), strict=True)] + [(0,) * 7] * 9]),
    Output.of([[(24, 28, 40, 36, 0.9, 0), (44, 36, 52, 44, 0.6, 1), (0, 0, 0, 0, 0, 0)]])],
    ids=["version 8", "version 5", "without overlaps"])
def test_the_three_kinds_of_yolo(tmp_path: Path, output: Output) -> None:
    write_onnx(tmp_path / "face_yolo.onnx", {"output0": output}, metadata=NAMES)
    detect = detectors(tmp_path).detector("face_yolo.onnx")
    found = detect(PICTURE, 0.3)
    assert [(one.box, one.label) for one in found] == list(zip(BOXES, ("face", "dog's hand"), strict=True))
    assert [one.score for one in found] == pytest.approx([0.9, 0.6])
    assert [one.box for one in detect(PICTURE, 0.7)] == BOXES[:1]
    assert detect(PICTURE, 0.95) == []


@pytest.mark.parametrize("kind", ["version 8", "version 5", "without overlaps"])
@pytest.mark.parametrize("names", [NAMES, {}])
def test_networks_that_outline(tmp_path: Path, kind: str, names: dict[str, str]) -> None:
    """Two of three pictures of 16 x 16 cells, each for 4 x 4 pixels of the input: a disk, and the right half."""
    y, x = np.mgrid[:16, :16]
    disk = np.where((x - 7.5) ** 2 + (y - 7.5) ** 2 < 2**2, 6.0, -6.0)
    right = np.where(x >= 12, 8.0, -8.0)
    numbers = [(1, 0, 0), (1, 0, 0), (0, 1, 0)]
    if kind == "without overlaps":
        rows = [(24, 28, 40, 36, 0.9, 0, *numbers[0]), (44, 36, 52, 44, 0.6, 1, *numbers[2]), (0,) * 9]
        output = Output.of([rows])
    else:
        sure = [(0.9, 0.1), (0.8, 0.1), (0.0, 0.6)]
        middle = [() if kind == "version 8" else (1,)] * 3
        rows = [(*row, *more, *shares, *own)
                for row, more, shares, own in zip(ROWS, middle, sure, numbers, strict=True)]
        rows += [(0,) * len(rows[0])] * 12
        output = Output.of(np.array(rows).T[None] if kind == "version 8" else [rows])
    write_onnx(tmp_path / "person-seg.onnx", {"output0": output, "output1": Output.of([[disk, right, disk * 0 - 3]])},
               metadata=names)
    found = detectors(tmp_path).detector("person-seg.onnx")(PICTURE, 0.3)
    assert [one.box for one in found] == BOXES
    y, x = np.mgrid[:100, :200] + 0.5
    shapes = [((x * 0.32 / 4 - 8) ** 2 + ((y * 0.32 + 16) / 4 - 8) ** 2 < 2**2), x * 0.32 / 4 >= 12]
    masks = masks_of(found, DetailPass(dilate_erode=0), SIZE)
    assert len(masks) == 2
    for mask, shape, (left, top, right_edge, bottom) in zip(masks, shapes, BOXES, strict=True):
        expected = np.zeros((100, 200), bool)
        expected[top:bottom, left:right_edge] = shape[top:bottom, left:right_edge]
        ours = np.asarray(mask) > 0
        assert expected.any()
        assert (ours & expected).sum() / (ours | expected).sum() > 0.85
    (moved,) = masks_of(found[:1], DetailPass(dilate_erode=0, x_offset=30, y_offset=-5), SIZE)
    assert np.array_equal(np.roll(np.asarray(masks[0]), (5, 30), (0, 1)), np.asarray(moved))


def test_a_network_sees_rgb_on_grey(tmp_path: Path) -> None:
    """Its score is the mean of a channel: a wide picture covers half of the input, grey the rest."""
    weights = np.zeros((3, 5 * 8), np.float32)
    weights[0, 4 * 8] = 1
    write_onnx(tmp_path / "red.onnx", {"output0": Output.of([[[side] * 8 for side in (32, 32, 16, 8, 0)]], weights)})
    detect = detectors(tmp_path).detector("red.onnx")
    assert detect(PICTURE, 0)[0].score == pytest.approx((1 + 114 / 255) / 2, abs=1e-3)
    assert detect(Image.new("RGB", SIZE, (0, 255, 255)), 0)[0].score == pytest.approx(114 / 255 / 2, abs=1e-3)


def test_where_the_file_leaves_the_input_open(tmp_path: Path) -> None:
    write_onnx(tmp_path / "open.onnx", {"output0": version_8([(0.9, 0.1)] * 3)}, shape=(1, 3, 0, 0),
               metadata=NAMES | {"imgsz": "[64, 96]"})
    network = OnnxNetwork.__new__(OnnxNetwork)  # OpenCV does not read the rest of this file
    network.name, network.header = "open.onnx", read_header(tmp_path / "open.onnx")
    assert network.header.inputs == {"images": (1, 3, 0, 0)}
    assert input_size(network) == (96, 64)


def test_an_input_without_bounds_is_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path / "huge.onnx", {"output0": version_8([(0.9, 0.1)] * 3)}, shape=(1, 3, 100_000, 100_000))
    with pytest.raises(CheckpointError, match="does not take one RGB picture with the colours first of at most 4096"):
        detectors(tmp_path).detector("huge.onnx")


def test_centerface(tmp_path: Path) -> None:
    """Of a heat map of 16 x 16 cells of 4 pixels, at the cell (x 5, y 3), for a picture that is scaled to 64 x 64."""
    maps = [np.zeros((1, channels, 16, 16), np.float32) for channels in CHANNELS]
    maps[0][0, 0, 3, 5], maps[0][0, 0, 3, 6], maps[0][0, 0, 12, 12] = 0.9, 0.8, 0.4
    maps[1][0, :, 3, 5:7] = np.log([[4], [2]])  # 16 pixels tall, 8 wide
    maps[2][0, :, 3, 5:7] = [[0.25], [-0.5]]  # y, x
    write_onnx(tmp_path / "centerface.onnx", {str(537 + k): Output.of(one) for k, one in enumerate(maps)},
               shape=(1, 3, 64, 64))
    found = detectors(tmp_path).detector("centerface.onnx")(Image.new("RGB", (60, 64)), 0.3)
    # Its centre is at ((5 - 0.5 + 0.5) * 4, (3 + 0.25 + 0.5) * 4) = (20, 15) of the input, 60 / 64 of that in x.
    assert [(one.box, one.label) for one in found] == [((15, 7, 22, 23), "face")]
    assert found[0].score == pytest.approx(0.81)


def test_many_finds_are_bounded(tmp_path: Path) -> None:
    x, y = (one.reshape(-1) for one in np.meshgrid(np.arange(64), np.arange(64)))
    rows = np.stack([x, y, np.full(4096, 0.5), np.full(4096, 0.5), np.full(4096, 0.9)])
    write_onnx(tmp_path / "many.onnx", {"output0": Output.of(rows[None])})
    assert len(detectors(tmp_path).detector("many.onnx")(Image.new("RGB", (640, 640)), 0.3)) == MOST


def test_faces_hands_and_persons_everywhere_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Networks that see a face at each of 16384 places, a palm at each anchor, and 324 persons."""
    heat, sizes, others = np.full((1, 1, 128, 128), 0.9), np.full((1, 2, 128, 128), -1.0), np.zeros((1, 10, 128, 128))
    write_onnx(tmp_path / "centerface.onnx", {str(k): Output.of(one) for k, one in enumerate(
        (heat, sizes, others[:, :2], others))}, shape=(1, 3, 512, 512))
    picture = Image.new("RGB", (512, 512))
    assert len(detectors(tmp_path).detector("centerface.onnx")(picture, 0.3)) == MOST

    palms = np.zeros((1, 2016, 9, 2), np.float32)
    palms[..., 1, :], palms[..., 2, 1], palms[..., 4, 1] = 8, 4, -4
    answer = [palms.reshape(1, 2016, 18), np.full((1, 2016, 1), 5, np.float32)]
    looks = []

    def hand(_: Path, __: int) -> Look:
        return lambda square: (looks.append(0), (np.arange(63, dtype=np.float32).reshape(21, 3), 1.0))[1]

    monkeypatch.setattr(hands, "TfliteNetwork", lambda *_: lambda _: answer)
    monkeypatch.setattr(hands, "landmark_network", hand)
    hands.hands()(picture, 0.3)
    assert len(looks) == HAND_LOOKS * hands.MOST_PALMS

    y, x = np.mgrid[:252, :252] % 14
    monkeypatch.setattr(persons, "Foreground", lambda: lambda _: ((x < 12) & (y < 12)).astype(np.float32))
    assert len(persons.persons()(picture, 0.3)) == MOST


@pytest.mark.parametrize("size", [(1, 1), (3, 3000)])
def test_tiny_and_long_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    write_onnx(tmp_path / "face.onnx", {"output0": version_8([(0.9, 0.1)] * 3)})
    for one in detectors(tmp_path).detector("face.onnx")(Image.new("RGB", size), 0.1):
        assert 0 <= one.box[0] < one.box[2] <= size[0]
        assert 0 <= one.box[1] < one.box[3] <= size[1]


def test_haar_counts_hits() -> None:
    with Image.open(ASTRONAUT) as picture:
        assert len(Detectors().detector("Eye")(picture, 0.9)) == 2
        detect = Detectors().detector("Face in profile")
        assert len(detect(picture, 0.01)) > len(detect(picture, 0.3))
        assert all(one.score >= 0.1 for one in detect(picture, 0.1))
        assert detect(Image.new("RGB", (64, 64)), 0.1) == []


# --- what comes with the program

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data"
FENCE, MEN, BENCH, DOG = (f"{name}.png" for name in ("6458524847_2f4c361183_k", "alex-iby-G_Pk4D9rMLs", "bench2",
                                                     "overture-creations-5sI6fQgYIuo"))
FACES = {FENCE: [(350, 115)], MEN: [(218, 128), (321, 150)], BENCH: [(338, 118)], DOG: []}
HANDS = {FENCE: [(266, 195), (380, 342)], MEN: [(186, 285), (163, 287), (331, 285), (391, 254)],
         BENCH: [(320, 231), (277, 199)], DOG: []}
"""Their middles, in pixels, as a person sees them."""
PERSONS = {FENCE: [(334, 282)], MEN: [(242, 280)], BENCH: [(316, 265)]}
"""The two men touch: they are one."""
photographs = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs are not there")


def found_in(name: str, detector: str) -> list[Find]:
    with Image.open(PHOTOGRAPHS / name) as picture:
        return Detectors().detector(detector)(picture.convert("RGB"), 0.3)


def assert_places(found: list[Find], places: list[tuple[int, int]], near: int, sides: tuple[int, int]) -> None:
    """One box for each place: its middle is not farther than `near` from it, its sides are within `sides`."""
    assert len(found) == len(places), found
    for x, y in places:
        (box,) = [one.box for one in found if abs(one.box[0] + one.box[2] - 2 * x) <= 2 * near
                  and abs(one.box[1] + one.box[3] - 2 * y) <= 2 * near]
        assert all(sides[0] <= side <= sides[1] for side in (box[2] - box[0], box[3] - box[1])), box


@photographs
@pytest.mark.parametrize("name", FACES)
def test_all_faces_of_people_and_not_the_dogs(name: str) -> None:
    assert_places(found_in(name, "Face"), FACES[name], 8, (34, 75))


@photographs
@pytest.mark.parametrize("name", HANDS)
def test_all_hands(name: str) -> None:
    assert_places(found_in(name, "Hand"), HANDS[name], 8, (22, 90))


@photographs
@pytest.mark.parametrize("name", PERSONS)
def test_persons_and_their_outlines(name: str) -> None:
    found = found_in(name, "Person")
    assert_places(found, PERSONS[name], 10, (130, 470))
    with Image.open(PHOTOGRAPHS / name.replace(".png", "_mask.png")) as file:
        given = np.asarray(file.convert("L")) > 127
    (mask,) = masks_of(found, DetailPass(dilate_erode=0), (512, 512))
    ours = np.asarray(mask) > 0
    assert (ours & given).sum() >= 0.95 * ours.sum()


def test_the_astronaut_has_a_face_and_shows_no_hands() -> None:
    with Image.open(ASTRONAUT) as file:
        picture = file.convert("RGB")
    assert_places(Detectors().detector("Face")(picture, 0.3), [(226, 118)], 8, (70, 130))
    assert Detectors().detector("Hand")(picture, 0.3) == []
    (person,) = Detectors().detector("Person")(picture, 0.3)
    assert person.label == "person"
    assert person.area > 0.8 * 512 * 512


def test_a_network_takes_pictures_of_changing_shapes() -> None:
    detect, plain = Detectors().detector("Face"), Image.new("RGB", (300, 90), "grey")
    with Image.open(ASTRONAUT) as file:
        picture = file.convert("RGB")
    first = detect(picture, 0.3)
    assert detect(plain, 0.3) == []
    assert detect(picture, 0.3) == first
    wide = Image.new("RGB", (900, 512), "grey")
    wide.paste(picture, (200, 0))
    assert_places(detect(wide, 0.3), [(426, 118)], 8, (70, 130))


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (700, 2), (40, 40)])
@pytest.mark.parametrize("name", ["Face", "Hand", "Person"])
def test_unexpected_pictures(name: str, size: tuple[int, int]) -> None:
    for colour in ("black", "white"):
        for one in Detectors().detector(name)(Image.new("RGB", size, colour), 0.05):
            assert 0 <= one.box[0] < one.box[2] <= size[0]
            assert 0 <= one.box[1] < one.box[3] <= size[1]


# --- files

@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04" * 40, bytes(1000), b"\xff" * 1000])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "face.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^face.onnx is not an ONNX file, or it is cut off\.$"):
        detectors(tmp_path).detector("face.onnx")


def test_every_cut_of_a_file_is_refused_or_read(tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / "face.onnx", {"output0": version_8([(0.9, 0.1)] * 3)}, metadata=NAMES).read_bytes()
    assert read_header(tmp_path / "face.onnx").metadata == NAMES
    for length in range(0, len(whole) - 100, 37):
        (tmp_path / "face.onnx").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            detectors(tmp_path).detector("face.onnx")


def test_nodes_in_a_wrong_order_are_sorted(tmp_path: Path) -> None:
    write_onnx(tmp_path / "face.onnx", {"output0": version_8([(0.9, 0.1)] * 3)}, metadata=NAMES, backwards=True)
    assert detectors(tmp_path).detector("face.onnx")(PICTURE, 0.3)[0].box == BOXES[0]


def test_networks_of_another_kind_are_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path / "flat.onnx", {"out": Output.of([[1.0, 2.0]])})
    write_onnx(tmp_path / "grey.onnx", {"out": Output.of(np.zeros((1, 6, 20)))}, shape=(1, 3, 64))
    write_onnx(tmp_path / "nan.onnx", {"out": Output.of(np.full((1, 6, 20), np.nan))})
    with pytest.raises(CheckpointError, match="its answer has the shape 1 x 2"):
        detectors(tmp_path).detector("flat.onnx")(PICTURE, 0.3)
    with pytest.raises(CheckpointError, match="does not take one RGB picture"):
        detectors(tmp_path).detector("grey.onnx")
    with pytest.raises(CheckpointError, match="answers with what is no number"):
        detectors(tmp_path).detector("nan.onnx")(PICTURE, 0.3)
    with pytest.raises(CheckpointError, match="does not take an input of 1 x 7 x 64 x 64"):
        OnnxNetwork(tmp_path / "flat.onnx")(np.zeros((1, 7, 64, 64), np.float32))


def test_names_of_the_extension_mean_what_is_here(tmp_path: Path) -> None:
    here = detectors(tmp_path)
    assert here.find("face") == ("Face", "")
    for name, stands_in in (("face_yolov8n.pt", "Face"), ("mediapipe_face_mesh", "Face"), ("FACE_yolov9c.pt", "Face"),
                            ("centerface.onnx", "Face"), ("hand_yolov8n.pt", "Hand"), ("person_yolov8n.pt", "Person")):
        assert here.find(name)[0] == stands_in
        assert repr(name) in here.find(name)[1]
    for name in ("yolov8x-worldv2.pt", "../../etc/passwd", "None"):
        with pytest.raises(InvalidInput, match="There is no detector"):
            here.find(name)
    for name in ("hand_yolov8s.onnx", "centerface.onnx"):
        (tmp_path / name).write_bytes(b"")
    assert here.find("hand_yolov8n.pt")[0] == "hand_yolov8s.onnx"
    assert here.find("hand_yolov8s.pt") == ("hand_yolov8s.onnx", "")
    assert here.find("centerface") == ("centerface.onnx", "")
    assert here.find("face_yolov8n.pt")[0] == "Face"


# --- finds and masks

FINDS = [Find((10, 10, 20, 20), 0.9, "face"), Find((40, 10, 80, 30), 0.5, "hand"), Find((90, 40, 110, 60), 0.4, "face")]


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, [0, 1, 2]), ({"confidence": 0.45}, [0, 1]), ({"mask_k_largest": 2}, [1, 2]), ({"mask_k_largest": 1}, [1]),
    ({"mask_min_ratio": 0.01}, [1, 2]), ({"mask_max_ratio": 0.01}, [0]), ({"model_classes": " Face ,x"}, [0, 2])])
def test_which_finds_are_taken(changes: dict[str, float], expected: list[int]) -> None:
    assert chosen(FINDS, DetailPass(**changes), SIZE, AS_FOUND) == [FINDS[k] for k in expected]


@pytest.mark.parametrize(("order", "expected"), [
    (AS_FOUND, [2, 0, 1]), (LEFT_TO_RIGHT, [0, 1, 2]), (BY_AREA, [1, 2, 0]), (FROM_CENTRE, [2, 1, 0])])
def test_the_order(order: str, expected: list[int]) -> None:
    found = [FINDS[k] for k in (2, 0, 1)]
    assert chosen(found, DetailPass(), SIZE, order) == [FINDS[k] for k in expected]


def painted(mask: Image.Image) -> tuple[int, int, int, int] | None:
    pixels = np.asarray(mask)
    assert set(np.unique(pixels)) <= {0, 255}
    return mask.getbbox()


def test_masks_are_moved_then_grown() -> None:
    plain = DetailPass(dilate_erode=0)
    assert [painted(mask) for mask in masks_of(FINDS, plain, SIZE)] == [one.box for one in FINDS]
    (moved,) = masks_of(FINDS[:1], DetailPass(dilate_erode=0, x_offset=3, y_offset=2), SIZE)
    assert painted(moved) == (13, 8, 23, 18)
    (grown,) = masks_of(FINDS[:1], DetailPass(dilate_erode=5), SIZE)
    assert painted(grown) == (8, 8, 22, 22)
    (shrunk,) = masks_of(FINDS[:1], DetailPass(dilate_erode=-5), SIZE)
    assert painted(shrunk) == (12, 12, 18, 18)
    assert masks_of(FINDS[:1], DetailPass(dilate_erode=-50), SIZE) == []
    assert masks_of(FINDS[:1], DetailPass(dilate_erode=0, x_offset=-500), SIZE) == []


def test_merged_and_inverted() -> None:
    each = np.max([np.asarray(mask) for mask in masks_of(FINDS, DetailPass(), SIZE)], axis=0)
    (merged,) = masks_of(FINDS, DetailPass(mask_merge_invert=MERGES[1]), SIZE)
    (inverted,) = masks_of(FINDS, DetailPass(mask_merge_invert=MERGES[2]), SIZE)
    assert (np.asarray(merged) == each).all()
    assert (np.asarray(inverted) == 255 - each).all()
    assert masks_of([], DetailPass(mask_merge_invert=MERGES[2]), SIZE) == []


@pytest.mark.parametrize(("text", "expected"), [
    ("", ["own", "own", "own"]), ("a", ["a", "a", "a"]), ("a [SEP] [PROMPT], b", ["a", "own, b", "own, b"]),
    ("[SKIP][SEP]b", [None, "b", "b"]), ("a[SEP][skip]", ["a", None, None])])
def test_prompts_of_single_finds(text: str, expected: list[str | None]) -> None:
    assert prompts_of(text, "own", 3) == expected


def test_what_is_found_is_drawn() -> None:
    box, other = (20, 30, 60, 80), (100, 10, 150, 40)
    finds = [Find(box, 0.9, "face"), Find(other, 0.5)]
    masks = masks_of(finds, DetailPass(dilate_erode=9), SIZE)
    grey = Image.new("RGB", SIZE, (100, 100, 100))
    shown = np.asarray(drawn(grey, finds, masks, 0))
    plain = (shown == 100).all(axis=2)
    for left, top, right, bottom in (box, other):
        assert not plain[top - 4 : bottom + 4, left - 4 : right + 4].any()
        assert (shown[top, left + 5] == ImageColor.getrgb(COLOURS[0])).all()
    assert plain[90:, 70:].all()
    assert not np.array_equal(shown, np.asarray(drawn(grey, finds, masks, 1)))
    assert np.asarray(drawn(Image.new("L", (1, 1)), [Find((0, 0, 1, 1), 1.0)], [], 3)).shape == (1, 1, 3)
