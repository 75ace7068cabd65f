"""Results as a table: for a terminal, or as Markdown for a page: ``table.py RESULT.json...``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_SIZES = ("files", "tiny", "tagged", "rows")

Row = dict[str, Any]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: table.py RESULT.json...")
    print(as_markdown([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))


def as_text(document: dict[str, Any]) -> str:
    """Return columns under each other, below a line on the machine and one on the sizes."""
    results = document["results"]
    wide = max([len(row["name"]) for row in results], default=4) + 1
    head = (
        f"{'name':{wide}}{'ours':>10}{'bare':>10}{'x wall':>8}{'x CPU':>8}{'goal':>8}"
        f"{'p50 ms':>9}{'p95 ms':>9}{'goal':>8}{'a second':>20}{'MB':>6}{'bare':>6}"
    )
    return "\n".join([*_headings(document), "", head, *(_line(row, wide) for row in results)])


def as_markdown(documents: list[dict[str, Any]]) -> str:
    """Return the rows of all documents as one Markdown table."""
    columns = ["name", "ours", "bare", "wall", "CPU", "goal", "p50, p95", "goal", "a second", "MB, bare"]
    rows = [_cells(row) for document in documents for row in document["results"]]
    table = [columns, ["---"] * len(columns), *rows]
    told = [line for document in documents for line in _headings(document)]
    return "\n".join([*dict.fromkeys(told), "", *(f"| {' | '.join(cells)} |" for cells in table)])


def _headings(document: dict[str, Any]) -> list[str]:
    machine = document["machine"]
    facts = [f"{key} {value}" for key, value in machine.items() if key not in ("date", "cores", "memory_gb")]
    sizes = ", ".join(f"{document[name]:,} {name}" for name in _SIZES)
    return [
        f"{machine['date']}, {machine['cores']} cores, {machine['memory_gb']} GB; {', '.join(facts)}",
        f"{sizes}; {document['repeat']} runs of each side",
    ]


def _line(row: Row, wide: int) -> str:
    goal, goal_ms = (f"<={row[name]:g}" if row[name] is not None else "" for name in ("goal", "goal_ms"))
    each = f"{row['p50_ms']:9.2f}{row['p95_ms']:9.2f}" if row["is_question"] else f"{'':18}"
    return (
        f"{row['name']:{wide}}{_ours(row):>10}{_bare(row):>10}{row['ratio_wall']:8.2f}{row['ratio_cpu']:8.2f}"
        f"{goal:>8}{each}{goal_ms:>8}{row['per_s']:12,.1f} {row['unit']:7}"
        f"{row['peak_rss_mb']:6.0f}{row['bare_peak_rss_mb']:6.0f}"
    )


def _cells(row: Row) -> list[str]:
    return [
        f"`{row['name']}`",
        _ours(row),
        _bare(row),
        f"{row['ratio_wall']:.2f} x",
        f"{row['ratio_cpu']:.2f} x",
        f"{row['goal']:g} x" if row["goal"] is not None else "",
        f"{row['p50_ms']:.2f}, {row['p95_ms']:.2f} ms" if row["is_question"] else "",
        f"{row['goal_ms']:g} ms" if row["goal_ms"] is not None else "",
        f"{row['per_s']:,.0f} {row['unit']}",
        f"{row['peak_rss_mb']:.0f}, {row['bare_peak_rss_mb']:.0f}",
    ]


def _ours(row: Row) -> str:
    return _time(row["each_s"] if row["is_question"] else row["ours_s"])


def _bare(row: Row) -> str:
    return _time(row["bare_each_s"] if row["is_question"] else row["bare_s"])


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 0.1 else f"{seconds * 1_000:.2f} ms"


if __name__ == "__main__":
    main()
