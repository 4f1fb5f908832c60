"""Stick figures of people. In the place of MediaPipe's networks stand ones that see coloured dots, one for each
landmark: what is tested is where they are made to look, and what becomes of their answers."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from modules.annotate.preprocessor import Pixels, Values
from modules.annotate.registry import find
from modules.annotate.skeleton import COLOURS, LIMBS, People, Person, drawn
from modules.errors import CheckpointError, InvalidInput
from modules.imaging import included
from modules.imaging.landmarks import Array, Square, landmark_network
from modules.networks.annotators.annotators import Annotators
from modules.networks.annotators.pose import people_in

Points = dict[int, tuple[float, float]]

UPRIGHT: Points = {
    0: (0, -138), 2: (22, -158), 5: (-22, -158), 7: (44, -150), 8: (-44, -150), 11: (40, -100), 12: (-40, -100),
    13: (52, -50), 14: (-52, -50), 15: (56, 0), 16: (-56, 0), 17: (80, 28), 18: (-80, 28), 19: (32, 28), 20: (-32, 28),
    23: (20, 0), 24: (-20, 0), 25: (22, 105), 26: (-22, 105), 27: (22, 140), 28: (-22, 140), 33: (0, 0), 34: (0, -160)}
"""Where the landmarks of a person are, seen from the middle of the hips."""
OPENPOSE = {0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15, 8: 24, 9: 26, 10: 28, 11: 23, 12: 25, 13: 27, 14: 5, 15: 2,
            16: 8, 17: 7}
"""OpenPose's points but for the neck, and BlazePose's."""


def placed(points: Points, at: tuple[float, float], turn: float = 0.0, size: float = 1.0) -> Points:
    cos, sin = size * math.cos(turn), size * math.sin(turn)
    return {number: (at[0] + cos * x - sin * y, at[1] + sin * x + cos * y) for number, (x, y) in points.items()}


def colour(number: int, group: int) -> tuple[int, int, int]:
    return 40 + 30 * (number % 7), 40 + 30 * (number // 7), 60 + 60 * group


def scene(size: tuple[int, int], *groups: Points) -> Pixels:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for group, points in enumerate(groups):
        for number, (x, y) in points.items():
            cv2.circle(picture, (round(x * 16), round(y * 16)), 5 * 16, colour(number, group), -1, shift=4)
    return picture


class Seeing:
    """Answers as a landmark network that sees the dots of the groups; of several, the one nearest to the middle."""

    def __init__(self, count: int, numbers: int, groups: tuple[int, ...] = (0,), needed: int = 15) -> None:
        self.count, self.numbers, self.groups, self.needed = count, numbers, groups, needed
        self.answers: list[Array] = []

    def __call__(self, picture: Pixels) -> tuple[Array, float]:
        best: tuple[float, Array] | None = None
        for group in self.groups:
            answer = np.full((self.count, self.numbers), -9.0, np.float32)
            for number in range(self.count):
                ys, xs = np.nonzero(np.abs(picture.astype(int) - colour(number, group)).max(axis=2) < 4)
                if len(xs):
                    answer[number, :2] = np.median(xs), np.median(ys)
                    answer[number, 3:] = 9.0
            seen = answer[:, 0] > -9
            if seen.sum() >= self.needed:
                away = float(np.abs(answer[seen, :2].mean(axis=0) - picture.shape[0] / 2).max())
                best = min((best, (away, answer)), key=lambda one: one[0]) if best else (away, answer)
        if best is None:
            return np.zeros((self.count, self.numbers), np.float32), 0.01
        self.answers.append(best[1])
        return best[1], 0.99


def whole(picture: Pixels) -> list[Square]:
    return [Square(picture.shape[1] / 2, picture.shape[0] / 2, max(picture.shape[:2]))]


def assert_body(person: Person, points: Points) -> None:
    neck = tuple((points[11][axis] + points[12][axis]) / 2 for axis in (0, 1))
    expected = [neck if number == 1 else points[OPENPOSE[number]] for number in range(18)]
    for found, wanted in zip(person.body, expected, strict=True):
        assert found is not None
        assert math.dist(found, wanted) < 1.5


@pytest.mark.parametrize(("turn", "size"), [(0.0, 1.0), (0.5, 0.9), (-1.2, 0.7), (math.pi, 0.8)])
def test_a_person_is_looked_at_upright_and_as_large_as_the_network_wants(turn: float, size: float) -> None:
    points = placed(UPRIGHT, (300, 220), turn, size)
    look = Seeing(39, 5)
    people = people_in(scene((600, 440), points), look, None, whole)
    assert people.size == (600, 440)
    (person,) = people.persons
    assert_body(person, points)
    last = look.answers[-1]
    assert last[33, :2] == pytest.approx([128, 128], abs=1)
    assert last[34, :2] == pytest.approx([128, 128 - 128 / 1.25], abs=1)


def test_what_is_not_seen_is_left_out() -> None:
    points = placed(UPRIGHT, (150, 200))
    hidden = {number: point for number, point in points.items() if number not in (12, 27)}
    (person,) = people_in(scene((320, 320), hidden), Seeing(39, 5), None, whole).persons
    missing = {number for number, point in enumerate(person.body) if point is None}
    assert missing == {1, 2, 13, 10}, "the neck goes with a shoulder, and the feet are below the picture"


def test_each_person_counts_once_however_often_they_are_come_upon() -> None:
    left, right = placed(UPRIGHT, (150, 200)), placed(UPRIGHT, (420, 200), 0.2)
    picture = scene((600, 400), left, right)
    starts = [Square(300, 200, 600), Square(150, 200, 420), Square(430, 200, 420), Square(400, 190, 400)]
    people = people_in(picture, Seeing(39, 5, (0, 1)), None, lambda picture: starts)
    assert len(people.persons) == 2
    for person in people.persons:
        assert person.body[0] is not None
        assert_body(person, left if person.body[0][0] < 300 else right)
    assert people_in(np.zeros((64, 64, 3), np.uint8), Seeing(39, 5), None, whole).persons == ()


def test_hands_are_looked_at_from_the_wrist_upwards() -> None:
    points = placed(UPRIGHT, (300, 220))
    spread = {1 + 4 * finger + joint: (16.0 * finger - 32, -20.0 - 16 * joint) for finger in range(5)
              for joint in range(4)}
    right = placed(spread | {0: (0.0, -6.0)}, points[16], math.pi)  # it hangs from the wrist
    body = Seeing(39, 5, needed=12)
    look = Seeing(21, 3, (1,), needed=21)
    (person,) = people_in(scene((600, 440), points, right), body, look, whole).persons
    assert person.left_hand is None
    assert person.right_hand is not None
    for found, wanted in zip(person.right_hand, (right[number] for number in range(21)), strict=True):
        assert math.dist(found, wanted) < 2
    wrist, middle = look.answers[-1][0, :2], look.answers[-1][9, :2]
    assert abs(wrist[0] - middle[0]) < 4
    assert wrist[1] > middle[1]


def test_limbs_and_points_have_openposes_colours() -> None:
    body: list[tuple[float, float] | None] = [None] * 18
    body[2], body[3], body[17] = (20.0, 20.0), (60.0, 20.0), (90.0, 50.0)
    figure = drawn(People((100, 64), (Person(tuple(body)),)))
    assert figure.shape == (64, 100, 3)
    assert tuple(figure[20, 20]) == COLOURS[2] == (255, 170, 0)
    assert tuple(figure[20, 60]) == COLOURS[3] == (255, 255, 0)
    assert tuple(figure[50, 90]) == COLOURS[17] == (255, 0, 85)
    assert LIMBS[2] == (2, 3)
    assert tuple(figure[20, 40]) == tuple(int(0.6 * part) for part in COLOURS[2])
    assert figure[28:44].max() == 0
    assert drawn(People((8, 8))).max() == 0


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    annotators = Annotators([tmp_path])
    with pytest.raises(InvalidInput, match=r"openpose needs the file pose_landmark_full.tflite in .*mediapipe\."):
        annotators.control_map(find("openpose"), picture, Values(64))
    (tmp_path / "mediapipe").mkdir()
    (tmp_path / "mediapipe/pose_landmark_full.tflite").write_bytes(b"no network" * 100)
    with pytest.raises(CheckpointError, match=r"pose_landmark_full\.tflite"):
        annotators.control_map(find("openpose"), picture, Values(64))
    with pytest.raises(CheckpointError, match=r"pose_landmark_full\.tflite"):
        annotators.control_map(find("openpose_hand"), picture, Values(64))
    with pytest.raises(CheckpointError, match=r"pose_landmark_full\.tflite"):
        landmark_network(tmp_path / "mediapipe/pose_landmark_full.tflite", 5)
    with pytest.raises(CheckpointError, match="none of MediaPipe's landmark networks"):
        landmark_network(included.HANDS, 5)(np.zeros((224, 224, 3), np.uint8))
