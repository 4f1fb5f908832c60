"""Interleaved runs and their medians; every figure here is a ratio of two of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Row:
    """One line of the table: ours against theirs, in `unit`; less is better. `target` is the ratio we want."""

    what: str
    ours: float
    theirs: float
    against: str
    unit: str
    target: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def interleaved(runs: Mapping[str, Callable[[], list[float]]], rounds: int) -> dict[str, list[float]]:
    """A B A B ...: what slows the machine for a while slows all of them. Each run gives one or more figures."""
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            figures[name] += run()
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in figures.items()}


def child(module: str, *arguments: object) -> Any:
    """The value of the last line, which is JSON, that `python -m module` prints: a process of its own for what would
    disturb another's time or memory."""
    told = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=PROJECT, check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told.splitlines()[-1])
