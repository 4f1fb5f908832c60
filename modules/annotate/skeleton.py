"""People as stick figures, in the points, lines and colours of OpenPose (Cao et al. 2019), as control networks want
them."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from modules.annotate.preprocessor import Pixels

Point = tuple[float, float]
"""(x, y) in pixels."""

LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0),
         (0, 14), (14, 16), (0, 15), (15, 17))
"""Pairs of points: 0 nose, 1 neck; from 2 right shoulder, elbow, wrist; from 5 the left ones; from 8 right hip, knee,
ankle; from 11 the left ones; 14 and 15 right and left eye, 16 and 17 right and left ear."""
FINGERS = tuple((0 if joint == 1 else finger + joint - 1, finger + joint) for finger in (0, 4, 8, 12, 16)
                for joint in (1, 2, 3, 4))
"""Pairs of a hand's points: 0 wrist, then four of each finger, from the thumb's root."""
COLOURS = tuple(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / 18, 1, 1)) for number in range(18))
"""Of the points and limbs, round the colour circle."""
SHADE, HALF_WIDTH, DOT = 0.6, 4, 4
"""Of a limb's colour what is drawn; half the width of a limb, and the radius of a point, in pixels."""


@dataclass(frozen=True)
class Person:
    """One person: 18 points of the body, and 21 of each hand. None is what is not seen."""

    body: tuple[Point | None, ...]
    right_hand: tuple[Point, ...] | None = None
    left_hand: tuple[Point, ...] | None = None


@dataclass(frozen=True)
class People:
    """Those in a picture of `size` (width, height)."""

    size: tuple[int, int]
    persons: tuple[Person, ...] = ()


def drawn(people: People) -> Pixels:
    """The stick figures on black."""
    width, height = people.size
    canvas = np.zeros((height, width, 3), np.uint8)
    for person in people.persons:
        _draw_body(canvas, person.body)
    for person in people.persons:
        for hand in (person.left_hand, person.right_hand):
            if hand is not None:
                _draw_hand(canvas, hand)
    return canvas


def as_openpose(people: People) -> dict[str, Any]:
    """OpenPose's JSON: of each person's points x, y in pixels and 1, or three zeros for what is not seen."""
    def numbers(points: Sequence[Point | None] | None) -> list[float] | None:
        return None if points is None else [value for point in points
                                            for value in ((0.0, 0.0, 0.0) if point is None else (*point, 1.0))]

    return {"people": [{"pose_keypoints_2d": numbers(person.body), "face_keypoints_2d": None,
                        "hand_left_keypoints_2d": numbers(person.left_hand),
                        "hand_right_keypoints_2d": numbers(person.right_hand)} for person in people.persons],
            "canvas_height": people.size[1], "canvas_width": people.size[0]}


def _draw_body(canvas: Pixels, body: Sequence[Point | None]) -> None:
    for (first, second), colour in zip(LIMBS, COLOURS, strict=False):  # the last colour is for a point alone
        one, other = body[first], body[second]
        if one is not None and other is not None:
            middle = round((one[0] + other[0]) / 2), round((one[1] + other[1]) / 2)
            half = round(math.dist(one, other) / 2)
            angle = round(math.degrees(math.atan2(one[1] - other[1], one[0] - other[0])))
            outline = np.array(cv2.ellipse2Poly(middle, (half, HALF_WIDTH), angle, 0, 360, 1))
            cv2.fillConvexPoly(canvas, outline, [int(part * SHADE) for part in colour])
    for point, colour in zip(body, COLOURS, strict=True):
        if point is not None:
            cv2.circle(canvas, (round(point[0]), round(point[1])), DOT, colour, -1)


def _draw_hand(canvas: Pixels, hand: Sequence[Point]) -> None:
    points = [(round(x), round(y)) for x, y in hand]
    for number, (first, second) in enumerate(FINGERS):
        colour = [round(255 * part) for part in colorsys.hsv_to_rgb(number / len(FINGERS), 1, 1)]
        cv2.line(canvas, points[first], points[second], colour, 2)
    for point in points:
        cv2.circle(canvas, point, DOT, (0, 0, 255), -1)
