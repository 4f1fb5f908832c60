"""Where people's joints are, told by MediaPipe's landmark networks (BlazePose, Bazarevsky et al. 2020; hands, Zhang et
al. 2020) through OpenCV: the files pose_landmark_full.tflite and hand_landmark_full.tflite; for hands a smaller one is
included.

Such a network looks at an upright square around one person, or one hand. From what it finds there follows a better
square, at which it looks again. The first squares are the whole picture and what lies around and below each face.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from modules.annotate.preprocessor import Pixels
from modules.annotate.skeleton import People, Person, Point
from modules.imaging import haar, included
from modules.imaging.landmarks import (
    SURE,
    Array,
    Look,
    Square,
    brought_back,
    follow_hand,
    landmark_network,
    upright_square,
)

POSE_SIDE = 256
"""Pixels of the square that the network looks at."""
HAND_FILE = "hand_landmark_full.tflite"
BODY = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
"""OpenPose's points as BlazePose numbers them; it has no neck."""
SHOULDERS, CENTRE, CIRCLE = (11, 12), 33, 34
"""BlazePose's numbers: both shoulders; the middle of the hips, and a point above it on the circle round the person."""
HANDS = ((16, 18, 20), (15, 17, 19))
"""Its numbers of the right and the left wrist, little finger and index finger."""
SEEN = 0.5
LOOKS = 4
"""How often the network looks at the same person."""
AROUND, FIRST_HAND = 1.25, 5.4
"""The square's side by the circle round a person, and by the length from a wrist to the fingers' roots."""
FACES_BELOW, FACES_HIGH = 2.5, 8.0
"""A person's middle lies so many faces below the face, and so many faces high is the square."""
SAME = 0.12
"""Two persons are one where their points differ by less than this share of the square, on average."""
MOST = 20


@dataclass(frozen=True)
class Found:
    """What the network saw: points (n, 2) in the picture, how visible each is, 0 to 1, and the square."""

    points: Array
    visible: Array
    square: Square


def load_poses(path: Path, device: str) -> Callable[[Pixels], People]:
    """The network in `path`. Raises CheckpointError."""
    return partial(people_in, look=landmark_network(path, 5), hand=None)


def load_poses_and_hands(path: Path, device: str) -> Callable[[Pixels], People]:
    """The network in `path`, and that for hands beside it, or the smaller included one. Raises CheckpointError."""
    beside = path.with_name(HAND_FILE)
    hands = beside if beside.is_file() else included.HANDS
    return partial(people_in, look=landmark_network(path, 5), hand=landmark_network(hands, 3))


def people_in(picture: Pixels, look: Look, hand: Look | None,
              starts: Callable[[Pixels], Sequence[Square]] | None = None) -> People:
    """The people in a picture (H, W, 3), with their hands if there is a network for these. `starts` are the squares to
    begin with."""
    height, width = picture.shape[:2]
    found: list[Found] = []
    for start in (starts or first_squares)(picture):
        one = _follow(picture, start, look)
        if one is not None and not any(_is_same(one, other) for other in found) and len(found) < MOST:
            found.append(one)
    return People((width, height), tuple(Person(_body(one, (width, height)), *_hands(picture, one, hand))
                                         for one in found))


def first_squares(picture: Pixels) -> list[Square]:
    """The whole picture, and what lies around and below each face."""
    height, width = picture.shape[:2]
    squares = [Square(width / 2, height / 2, max(width, height))]
    for left, top, right, bottom in haar.detector("frontalface_default")(Image.fromarray(picture)):
        face = bottom - top
        squares.append(Square((left + right) / 2, (top + bottom) / 2 + FACES_BELOW * face, FACES_HIGH * face))
    return squares


def _follow(picture: Pixels, square: Square, look: Look) -> Found | None:
    """The person in a square, looked at again in the square that follows. None where there is none."""
    found = None
    for _ in range(LOOKS):
        upright, back = square.cut(picture, POSE_SIDE)
        landmarks, sure = look(upright)
        if sure < SURE or not np.isfinite(landmarks).all():
            return None
        points = brought_back(landmarks, back)
        found = Found(points, np.asarray(1 / (1 + np.exp(-landmarks[:, 3])), np.float32), square)
        middle, edge = points[CENTRE], points[CIRCLE]
        reach = math.dist(middle, edge)
        if reach < 1:
            return None
        square = Square(float(middle[0]), float(middle[1]), 2 * AROUND * reach,
                        math.atan2(float(edge[0] - middle[0]), float(middle[1] - edge[1])))
    return found


def _is_same(one: Found, other: Found) -> bool:
    body = [number for number in BODY if number is not None]
    apart = np.linalg.norm(one.points[body] - other.points[body], axis=1).mean()
    return bool(apart < SAME * max(one.square.side, other.square.side))


def _body(found: Found, size: tuple[int, int]) -> tuple[Point | None, ...]:
    def point(number: int) -> Point | None:
        x, y = map(float, found.points[number])
        return (x, y) if found.visible[number] >= SEEN and 0 <= x < size[0] and 0 <= y < size[1] else None

    left, right = map(point, SHOULDERS)
    neck = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2) if left and right else None
    return tuple(neck if number is None else point(number) for number in BODY)


def _hands(picture: Pixels, found: Found, look: Look | None) -> list[tuple[Point, ...] | None]:
    """The points of the right and of the left hand."""
    hands: list[tuple[Point, ...] | None] = []
    for wrist, little, index in HANDS:
        start = found.points[wrist]
        roots = (2 * found.points[index] + found.points[little]) / 3
        square = upright_square(start, roots, FIRST_HAND * math.dist(start, roots), roots)
        looks = look is not None and found.visible[wrist] >= SEEN
        hand = follow_hand(picture, square, look) if look and looks else None
        hands.append(None if hand is None else tuple((float(x), float(y)) for x, y in hand[0]))
    return hands
