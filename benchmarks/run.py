"""Measure comfyvn against the bare work; see ``benchmarks/README.md``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kinds
import library

HERE = Path(__file__).resolve().parent
KINDS = tuple(f"kind:{name}" for name in kinds.names())
NAMES = ("register", "previews", "ingest", "list", "tags", "verify", "tiny", "help", "show", *KINDS)
_TINY = 2_000
_LIMIT_S = 300
_LIBRARIES = ("comfyvn", "sqlalchemy", "pillow", "numpy", "av", "click")

Run = dict[str, float]


def main() -> int:
    wanted = _parse()
    names = [name for name in NAMES if name in wanted.names] if wanted.names else list(NAMES)
    if "kinds" in wanted.names:
        names += [name for name in KINDS if name not in names]
    with tempfile.TemporaryDirectory(prefix="comfyvn-bench-", ignore_cleanup_errors=True) as folder:
        art = Path(folder) / "art"
        _say(f"making {wanted.files} pictures and voices, {_TINY} tiny files ...")
        for kind, paths in (
            ("mixed", library.make_mixed(art / "mixed", wanted.files)),
            ("tiny", library.make_tiny(art / "tiny", _TINY)),
        ):
            library.remember(art / kind, paths)
        if set(names) & set(KINDS):
            _say("making one file of each kind of medium ...")
            kinds.make(art / "kinds")
        results = [_measure(name, Path(folder), wanted.repeat, wanted.rows) for name in names]
        # The library files are deleted at the very end: on ext4 making files is slow for some time after many
        # were deleted, and the next case would pay for it.
    document = {
        "machine": describe_machine(),
        "files": wanted.files,
        "repeat": wanted.repeat,
        "results": results,
    }
    print(json.dumps(document, indent=2) if wanted.json else table(document))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure comfyvn against the bare work on the same files.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"what to measure, all by default (kinds: each kind:...): {', '.join(NAMES)}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--files", type=int, default=40, help="files of the mixed library [40]")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, in turns [3]")
    parser.add_argument(
        "--rows", type=int, default=10_000, help="rows of the larger ledger in `list` [10000]"
    )
    wanted = parser.parse_args()
    if unknown := sorted(set(wanted.names) - {*NAMES, "kinds"}):
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    if min(wanted.files, wanted.repeat) < 1 or wanted.rows < 1_000 or wanted.rows % 1_000:
        parser.error("--files and --repeat must be 1 or more, --rows a multiple of 1,000")
    return wanted


def _measure(name: str, folder: Path, repeat: int, rows: int) -> dict[str, Any]:
    """Run both sides in turns; which one is first changes from turn to turn."""
    runs: dict[str, list[Run]] = {"ours": [], "bare": []}
    for turn in range(repeat):
        for side in ("bare", "ours") if turn % 2 == 0 else ("ours", "bare"):
            _say(f"{name}: {side}, run {turn + 1} of {repeat} ...")
            runs[side].append(_run(name, side, folder, rows))
    return summarise(name, runs["ours"], runs["bare"])


def _run(name: str, side: str, folder: Path, rows: int) -> Run:
    home = Path(tempfile.mkdtemp(prefix=f"{name}-{side}-", dir=folder))
    command = [sys.executable, str(HERE / "worker.py"), name, side, str(folder / "art"), str(home), str(rows)]
    environment = _environment(folder)
    done = subprocess.run(
        command, env=environment, cwd=home, stdout=subprocess.PIPE, check=True, timeout=_LIMIT_S, text=True
    )
    run: Run = json.loads(done.stdout)
    return run


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment without settings of comfyvn, in which Python keeps its bytecode, elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COMFYVN_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def summarise(name: str, ours: Sequence[Run], bare: Sequence[Run]) -> dict[str, Any]:
    """Return medians; a ratio is the median of the ratios of runs made one right after the other."""
    from cases import CASES

    def median(runs: Sequence[Run], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    def ratio(key: str) -> float:
        return statistics.median(
            one[key] / max(other[key], 1e-6) for one, other in zip(ours, bare, strict=True)
        )

    return {
        "name": name,
        "unit": CASES[name].unit,
        "count": ours[0]["count"],
        "ours_s": round(median(ours, "wall_s"), 4),
        "bare_s": round(median(bare, "wall_s"), 4),
        "ours_cpu_s": round(median(ours, "cpu_s"), 4),
        "bare_cpu_s": round(median(bare, "cpu_s"), 4),
        "ratio_wall": round(ratio("wall_s"), 2),
        "ratio_cpu": round(ratio("cpu_s"), 2),
        "goal": CASES[name].goal,
        "per_s": round(statistics.median(run["count"] / run["wall_s"] for run in ours), 1),
        "peak_rss_mb": round(max(run["rss_mb"] for run in ours), 1),
        "bare_peak_rss_mb": round(max(run["rss_mb"] for run in bare), 1),
        "runs": {"ours": list(ours), "bare": list(bare)},
    }


def describe_machine() -> dict[str, Any]:
    """Return what a reader must know to compare figures, and nothing that names the machine."""
    pages = os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in os.sysconf_names else 0
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "memory_gb": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 1) if pages else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def table(document: dict[str, Any]) -> str:
    machine = document["machine"]
    facts = ", ".join(
        f"{key} {value}" for key, value in machine.items() if key not in ("date", "cores", "memory_gb")
    )
    lines = [
        f"{machine['date']}, {machine['cores']} cores, {machine['memory_gb']} GB; {facts}",
        "",
        f"{'name':18}{'ours s':>9}{'bare s':>9}{'x wall':>8}{'x CPU':>8}{'goal':>7}{'a second':>17}{'MB':>7}"
        f"{'bare':>7}",
    ]
    for each in document["results"]:
        goal = "" if each["goal"] is None else f"<={each['goal']}"
        lines.append(
            f"{each['name']:18}{each['ours_s']:9.3f}{each['bare_s']:9.3f}{each['ratio_wall']:8.2f}"
            f"{each['ratio_cpu']:8.2f}{goal:>7}{each['per_s']:10.1f} {each['unit']:6}"
            f"{each['peak_rss_mb']:7.0f}{each['bare_peak_rss_mb']:7.0f}"
        )
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
