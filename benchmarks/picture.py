"""The figures as a bar chart, written by hand as SVG: no plotting library is needed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.timing import Row

WIDTH, LINE, TOP, LEFT, RIGHT = 980, 34, 64, 480, 80
FULL = 2.0  # the ratio at the right end of the scale; longer bars are cut there

STYLE = """<style>
text { font: 13px sans-serif; fill: #1f2328 } .small { font-size: 11px; fill: #57606a }
.good { fill: #2da44e } .bad { fill: #cf222e } .plain { fill: #6e7781 }
.one { stroke: #57606a; stroke-width: 1 } .target { stroke: #bf8700; stroke-width: 3 }
rect.paper { fill: #ffffff }
</style>"""


def draw(rows: Sequence[Row], heading: str) -> str:
    """An SVG: one bar a row, the line at 1 is equality, the yellow mark is the target."""
    height = TOP + LINE * len(rows) + 16
    bottom = height - 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        STYLE, f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text x="16" y="24">Ours divided by theirs: shorter is better</text>'
        f'<text x="16" y="42" class="small">{escape(heading)}</text>',
        *(_bar(row, TOP + LINE * k) for k, row in enumerate(rows)),
        f'<line class="one" x1="{_x(1):.1f}" x2="{_x(1):.1f}" y1="{TOP - 8}" y2="{bottom}"/>',
        f'<text class="small" x="{_x(1) - 3:.1f}" y="{TOP - 12}">1</text>', "</svg>", ""]
    return "\n".join(parts)


def curve(values: Sequence[float], heading: str, unit: str, below: str) -> str:
    """An SVG: one line through `values` from left to right on a scale from 0; `below` says what they are."""
    wide, high = WIDTH - 140, 220
    top = max(values) * 1.1
    points = " ".join(f"{80 + k * wide / max(len(values) - 1, 1):.1f},{TOP + high * (1 - value / top):.1f}"
                      for k, value in enumerate(values))
    marks = "".join(f'<line class="one" x1="76" x2="{80 + wide}" y1="{y:.1f}" y2="{y:.1f}" opacity="0.3"/>'
                    f'<text class="small" x="16" y="{y + 4:.1f}">{top * share:.0f} {escape(unit)}</text>'
                    for share in (0, 0.25, 0.5, 0.75, 1) for y in [TOP + high * (1 - share)])
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TOP + high + 40}" width="{WIDTH}" '
        f'height="{TOP + high + 40}">', STYLE, f'<rect class="paper" width="{WIDTH}" height="{TOP + high + 40}"/>',
        f'<text x="16" y="24">{escape(heading)}</text>', marks,
        f'<polyline points="{points}" fill="none" stroke="#0969da" stroke-width="2"/>',
        f'<text class="small" x="80" y="{TOP + high + 24}">{escape(below)}</text>', "</svg>", ""])


def _x(ratio: float) -> float:
    return LEFT + min(ratio, FULL) / FULL * (WIDTH - LEFT - RIGHT)


def _bar(row: Row, y: int) -> str:
    kind = "plain" if row.target is None else "good" if row.ratio <= row.target else "bad"
    mark = "" if row.target is None else (
        f'<line class="target" x1="{_x(row.target):.1f}" x2="{_x(row.target):.1f}" y1="{y}" y2="{y + 22}"/>')
    return (f'<text x="16" y="{y + 10}">{escape(row.what)}</text>'
            f'<text x="16" y="{y + 24}" class="small">against {escape(row.against)}</text>'
            f'<rect class="{kind}" x="{LEFT}" y="{y + 2}" width="{max(_x(row.ratio) - LEFT, 1):.1f}" height="18"/>'
            f'{mark}<text x="{_x(row.ratio) + 8:.1f}" y="{y + 16}">{row.ratio:.3g}</text>')
