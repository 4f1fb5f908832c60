"""The drawing of a run's noise levels."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from modules.engine.engine import Engine
from modules.ui.controls.timetable import timetable_html


def test_a_column_for_each_level_says_its_numbers(engine: Engine) -> None:
    drawn = timetable_html(engine, "DDIM", "Automatic", 20, 0.75, "classic")
    svg = ElementTree.fromstring(drawn[:drawn.index("</svg>") + len("</svg>")])
    columns = [one for one in svg if one.get("class") == "tt-call"]
    titles = [column[0].text or "" for column in columns]
    assert [title.split(":")[0] for title in titles] == ["-"] * 5 + [str(n) for n in range(1, 16)]
    assert re.fullmatch(r"15: t 1, signal 0\.999, noise 0\.04\d, 27\.\d dB", titles[-1])
    assert "only the last 15 steps are left: 15 calls" in drawn
    for curve in (one for one in svg if one.tag == "polyline"):
        assert len((curve.get("points") or "").split()) == 20


def test_nothing_is_drawn_while_a_number_is_typed(engine: Engine) -> None:
    for steps in (None, 0, 10**6):
        assert timetable_html(engine, "DDIM", "Automatic", steps, None, "classic") == ""  # type: ignore[arg-type]
