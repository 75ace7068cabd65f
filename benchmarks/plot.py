"""Draw the CPU time of work against the size of the library, from ``run.py --json``, as plain SVG."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WIDE, _HIGH, _GAP = 340, 270, 170
_LEFT, _TOP = 64, 56
_STYLE = """
    rect { fill: #ffffff }
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-weight: 600 }
    .grid { stroke: #d0d7de }
    .line { fill: none; stroke-width: 2.5 }
    .a { stroke: #0072b2 } .b { stroke: #b35900 } .c { stroke: #007a5a } .d { stroke: #a8326e }
    @media (prefers-color-scheme: dark) {
        rect { fill: #0d1117 }
        text { fill: #e6edf3 }
        .grid { stroke: #30363d }
        .a { stroke: #56b4e9 } .b { stroke: #f0a04b } .c { stroke: #3fc79a } .d { stroke: #ee88bb }
    }
"""


@dataclass(frozen=True)
class Line:
    """One measure: its label, the row of the table, and which size of the run was varied for it."""

    label: str
    row: str
    size: str = "rows"


_PANELS: Sequence[tuple[str, float, Sequence[Line]]] = (
    (
        "CPU time of one asset, in microseconds",
        1e6,
        (Line("ingest", "grow"), Line("rebuild", "rebuild", "tiny")),
    ),
    (
        "CPU time of one question, in milliseconds",
        1e3,
        (
            Line("page", "page"),
            Line("search", "search"),
            Line("facets", "facets: all"),
            Line("facets of a type", "facets: type"),
        ),
    ),
)


def main() -> None:
    documents = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if not documents:
        sys.exit("usage: plot.py RESULT.json... > plot.svg")
    print(draw(documents))


def draw(documents: Sequence[dict[str, Any]]) -> str:
    """Return the drawing: a panel for work done by asset, and one for questions."""
    wide, high = _LEFT + len(_PANELS) * (_WIDE + _GAP), _TOP + _HIGH + 56
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img">',
        "<title>Cost against the number of assets in the library</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{wide}" height="{high}"/>',
    ]
    for at, (title, factor, wanted) in enumerate(_PANELS):
        series = [(line.label, points(documents, line, factor)) for line in wanted]
        lines += _panel(_LEFT + at * (_WIDE + _GAP), title, [each for each in series if each[1]])
    return "\n".join([*lines, "</svg>"])


def points(documents: Sequence[dict[str, Any]], line: Line, factor: float) -> list[tuple[int, float]]:
    """Return (assets in the library, CPU time) in order of the first: wall time would show the neighbours."""
    found = {
        document[line.size]: row["cpu_each_s"] * factor
        for document in documents
        for row in document["results"]
        if row["name"] == line.row
    }
    return sorted(found.items())


def _panel(left: int, title: str, series: Sequence[tuple[str, list[tuple[int, float]]]]) -> Iterator[str]:
    """Draw one pair of logarithmic axes: powers of ten have the same distance on both."""
    sizes, costs = ([point[axis] for _, line in series for point in line] or [1, 10] for axis in (0, 1))
    first, last = _decades(sizes)
    low, top = _decades(costs)

    def across(size: float) -> float:
        return left + _WIDE * (math.log10(size) - first) / (last - first)

    def down(cost: float) -> float:
        return _TOP + _HIGH * (top - math.log10(cost)) / (top - low)

    yield f'<text x="{left}" y="{_TOP - 28}" class="title">{title}</text>'
    for power in range(low, top + 1):
        y = down(10**power)
        yield f'<path class="grid" d="M{left} {y:.1f}h{_WIDE}"/>'
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,g}</text>'
    for power in range(first, last + 1):
        x = across(10**power)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}v{_HIGH}"/>'
        yield f'<text x="{x:.1f}" y="{_TOP + _HIGH + 20}" text-anchor="middle">{10**power:,}</text>'
    middle, below = left + _WIDE / 2, _TOP + _HIGH + 42
    yield f'<text x="{middle}" y="{below}" text-anchor="middle">assets in the library</text>'
    label_y = _apart([down(line[-1][1]) for _, line in series])
    for letter, y, (label, line) in zip("abcd", label_y, series, strict=False):
        places = [(across(size), down(cost)) for size, cost in line]
        path = "L".join(f"{x:.1f} {y_of:.1f}" for x, y_of in places)
        yield f'<path class="line {letter}" d="M{path}"/>'
        for x, y_of in places:
            yield f'<circle class="line {letter}" cx="{x:.1f}" cy="{y_of:.1f}" r="2"/>'
        yield f'<text x="{places[-1][0] + 8:.1f}" y="{y + 4:.1f}">{label} {_short(line[-1][1])}</text>'


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten that values lie between."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _apart(heights: Sequence[float], least: float = 16) -> list[float]:
    """Return heights moved down as far as labels at them would touch."""
    moved, last = dict.fromkeys(range(len(heights)), 0.0), -math.inf
    for at in sorted(moved, key=heights.__getitem__):
        moved[at] = last = max(heights[at], last + least)
    return list(moved.values())


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


if __name__ == "__main__":
    main()
