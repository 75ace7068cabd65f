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
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cases import CASES
from measuring import BASE_ROWS, Case, Sizes, mark_of_tables, nothing
from table import as_text

HERE = Path(__file__).resolve().parent
_LIBRARIES = ("comfyvn", "sqlalchemy", "pillow", "numpy", "av", "click")

Run = dict[str, Any]


def main() -> int:
    wanted = _parse()
    names = [name for name in CASES if _is_wanted(name, wanted.names)]
    sizes = Sizes(wanted.files, wanted.tiny, wanted.tagged, wanted.rows)
    prefix = "comfyvn-bench-"
    # All of a run is deleted at its very end: on ext4 making files is slow for some time after many were
    # deleted, and the next case would pay for it.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=wanted.keep, ignore_cleanup_errors=True) as folder:
        work, results, broken = Path(folder), [], []
        runner = Runner(work, (wanted.keep or work) / "art", sizes, wanted.limit)
        for name in names:
            try:
                results += _measure(name, runner, wanted.repeat)
            except subprocess.SubprocessError as error:
                _say(f"{name}: {error}")
                broken.append(name)
    document = {"machine": describe_machine(), **asdict(sizes), "repeat": wanted.repeat, "results": results}
    print(json.dumps(document, indent=2) if wanted.json else as_text(document))
    if broken:
        _say(f"not measured, see above: {', '.join(broken)}")
    return 1 if broken else 0


def _parse() -> argparse.Namespace:
    names = list(dict.fromkeys(name.partition(":")[0] for name in CASES))
    parser = argparse.ArgumentParser(description="Measure comfyvn against the bare work on the same files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure [all]: {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep generated files there, and use them again"
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each side, in turns [3]")
    parser.add_argument("--limit", type=int, default=3600, help="seconds that one run may take [3600]")
    for name, what in (
        ("files", "files of the mixed library"),
        ("tiny", "tiny files"),
        ("tagged", "assets that are tagged"),
        ("rows", f"rows of the ledger that is compared with one of {BASE_ROWS:,}"),
    ):
        default = getattr(Sizes, name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} [{default:,}]")
    wanted = parser.parse_args()
    for name in wanted.names:
        if not any(_is_wanted(case, [name]) for case in CASES):
            parser.error(f"no benchmark is called {name!r}; there are {', '.join(names)}")
    if min(wanted.files, wanted.tiny, wanted.tagged, wanted.repeat) < 1 or wanted.rows < 1_000:
        parser.error("sizes and --repeat must be 1 or more, --rows 1,000 or more")
    if wanted.keep is not None:
        wanted.keep.mkdir(parents=True, exist_ok=True)
        wanted.keep = wanted.keep.resolve()
    return wanted


def _is_wanted(case: str, names: Sequence[str]) -> bool:
    """Tell whether a case is called for: by its name, by what stands before the colon, or as one of all."""
    return not names or case in names or case.partition(":")[0] in names


class Runner:
    """Runs one side of a case in a process of its own."""

    def __init__(self, work: Path, art: Path, sizes: Sizes, limit_s: int) -> None:
        self._work, self._art, self._sizes, self._limit_s = work, art, sizes, limit_s
        self._mark = mark_of_tables(work / "empty")
        self._prepared: list[object] = [nothing]

    def prepare(self, name: str) -> None:
        """Make what a case needs, unless another case made just that."""
        wanted = CASES[name].prepare
        if wanted not in self._prepared:
            _say(f"{name}: preparing ...")
            self.run(name, "prepare")
            self._prepared.append(wanted)

    def run(self, name: str, side: str) -> Run:
        home = Path(tempfile.mkdtemp(prefix=f"{name.replace(':', '-')}-{side}-", dir=self._work))
        arguments = [name, side, str(self._art), str(home), self._mark, json.dumps(asdict(self._sizes))]
        done = subprocess.run(
            [sys.executable, str(HERE / "worker.py"), *arguments],
            env={**self._environment(), **CASES[name].environment},
            cwd=home,
            stdout=subprocess.PIPE,
            check=True,
            timeout=self._limit_s,
            text=True,
        )
        run: Run = json.loads(done.stdout)
        return run

    def _environment(self) -> dict[str, str]:
        """Return an environment without settings of comfyvn, in which Python keeps bytecode elsewhere."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COMFYVN_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**kept, "PYTHONPYCACHEPREFIX": str(self._work / "bytecode")}


def _measure(name: str, runner: Runner, repeat: int) -> list[dict[str, Any]]:
    """Run both sides in turns; which one is first changes from turn to turn."""
    runner.prepare(name)
    runs: dict[str, list[Run]] = {"ours": [], "bare": []}
    for turn in range(repeat):
        for side in ("bare", "ours") if turn % 2 == 0 else ("ours", "bare"):
            _say(f"{name}: {side}, run {turn + 1} of {repeat} ...")
            runs[side].append(runner.run(name, side))
    return [summarise(name, part, runs["ours"], runs["bare"]) for part in runs["ours"][0]["parts"]]


def summarise(name: str, part: str, ours: Sequence[Run], bare: Sequence[Run]) -> dict[str, Any]:
    """Return medians; a ratio is the median of the ratios of runs made one right after the other."""
    case = CASES[name]
    ours_of, bare_of = ([run["parts"][part] for run in runs] for runs in (ours, bare))
    return {
        "name": f"{name}: {part}" if part else name,
        "unit": case.unit,
        "count": ours_of[0]["count"],
        "ours_s": _median(run["wall_s"] for run in ours_of),
        "bare_s": _median(run["wall_s"] for run in bare_of),
        "ours_cpu_s": _median(run["cpu_s"] for run in ours_of),
        "bare_cpu_s": _median(run["cpu_s"] for run in bare_of),
        "ratio_wall": _ratio(ours_of, bare_of, "wall_s"),
        "ratio_cpu": _ratio(ours_of, bare_of, "cpu_s"),
        "goal": None if part and case.goal_ms else case.goal,
        "is_question": bool(case.goal_ms),
        "each_s": _median(run["wall_s"] / run["count"] for run in ours_of),
        "cpu_each_s": _median(run["cpu_s"] / run["count"] for run in ours_of),
        "bare_each_s": _median(run["wall_s"] / run["count"] for run in bare_of),
        "p50_ms": _median(run["p50_ms"] for run in ours_of),
        "p95_ms": _median(run["p95_ms"] for run in ours_of),
        "goal_ms": _goal_ms(case, part),
        "per_s": _median(run["count"] / run["wall_s"] for run in ours_of),
        "peak_rss_mb": max(run["rss_mb"] for run in ours),
        "bare_peak_rss_mb": max(run["rss_mb"] for run in bare),
        "runs": {"ours": ours_of, "bare": bare_of},
    }


def _goal_ms(case: Case, part: str) -> float | None:
    return case.goal_ms.get(part, case.goal_ms.get("other")) if part else None


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 7)


def _ratio(ours: Sequence[Run], bare: Sequence[Run], key: str) -> float:
    return _median(
        (one[key] / one["count"]) / max(other[key] / other["count"], 1e-9)
        for one, other in zip(ours, bare, strict=True)
    )


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
