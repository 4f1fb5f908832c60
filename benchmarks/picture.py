"""The figures as a bar chart, written by hand as SVG: no plotting library is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.timing import Row

WIDTH, LINE, TOP, LEFT, RIGHT = 980, 34, 64, 480, 80
FULL = 2.0  # the ratio at the right end of the scale; longer bars are cut there

COLOURS = ("#0969da", "#bf8700", "#2da44e", "#8250df")
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


def lines(points: Mapping[str, Sequence[tuple[float, float]]], heading: str, unit: str, below: str) -> str:
    """An SVG: a line for each name through its (x, y) on scales from 0; y in `unit`, x in the words of `below`."""
    wide, high, right = 520, 260, max(x for line in points.values() for x, _ in line)
    top = max(100.0, *(y for line in points.values() for _, y in line))

    def at(x: float, y: float) -> str:
        return f"{80 + x / right * wide:.1f},{TOP + high * (1 - y / top):.1f}"

    drawn = []
    for row, ((name, line), colour) in enumerate(zip(points.items(), COLOURS, strict=False)):
        dots = "".join(f'<circle cx="{at(x, y).split(",")[0]}" cy="{at(x, y).split(",")[1]}" r="4" fill="{colour}"/>'
                       for x, y in line)
        path = " ".join(at(x, y) for x, y in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
                     f'<rect x="{110 + wide}" y="{TOP + 24 * row}" width="14" height="4" fill="{colour}"/>'
                     f'<text x="{132 + wide}" y="{TOP + 6 + 24 * row}">{escape(name)}</text>')
    marks = []
    for value in range(0, int(top) + 1, 20):
        level = TOP + high * (1 - value / top)
        marks.append(f'<text class="small" x="28" y="{level + 4:.1f}">{value} {escape(unit)}</text>'
                     f'<line class="one" x1="76" x2="{80 + wide}" y1="{level:.1f}" y2="{level:.1f}" opacity="0.3"/>')
    for x in sorted({x for line in points.values() for x, _ in line}):
        place = at(x, 0).split(",")[0]
        marks.append(f'<text class="small" text-anchor="middle" x="{place}" y="{TOP + high + 18}">{x:g}</text>')
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide + 240} {TOP + high + 56}" width="{wide + 240}" '
        f'height="{TOP + high + 56}">', STYLE, f'<rect class="paper" width="{wide + 240}" height="{TOP + high + 56}"/>',
        f'<text x="16" y="24">{escape(heading)}</text>', *marks, *drawn,
        f'<text class="small" x="80" y="{TOP + high + 42}">{escape(below)}</text>', "</svg>", ""])


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
