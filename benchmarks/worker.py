"""One measured run in a process of its own, so that its peak memory is its own: prints one JSON object."""

from __future__ import annotations

import json
import resource
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from cases import CASES
from measuring import Job, Part, Sizes

_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 1024


def main() -> None:
    name, side, art, home, mark, sizes = sys.argv[1:]
    job = Job(Path(art), Path(home), mark, Sizes(**json.loads(sizes)))
    case = CASES[name]
    if side == "prepare":
        case.prepare(job)
        print("{}")
        return
    count = getattr(case, side)(job)
    parts = {part: _figures(counted) for part, counted in job.watch.parts.items()}
    if "" not in parts:
        parts = {"": _figures(_total(list(job.watch.parts.values()))), **parts}
    parts[""]["count"] = count
    print(json.dumps({"parts": parts, "rss_mb": round(_peak_rss_mb(), 1)}))


def _figures(part: Part) -> dict[str, float]:
    cuts = statistics.quantiles(part.laps_s, n=20, method="inclusive") if len(part.laps_s) > 1 else [0.0] * 19
    return {
        "wall_s": sum(part.laps_s),
        "cpu_s": part.cpu_s,
        "count": part.count or len(part.laps_s),
        "p50_ms": cuts[9] * 1_000,
        "p95_ms": cuts[18] * 1_000,
    }


def _total(parts: Sequence[Part]) -> Part:
    laps_s = [lap_s for part in parts for lap_s in part.laps_s]
    return Part(sum(part.cpu_s for part in parts), sum(part.count for part in parts), laps_s)


def _peak_rss_mb() -> float:
    """Return the most memory of this process and of the largest of its workers."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / _UNITS_PER_MB
    return _own_peak_rss_mb() + workers


def _own_peak_rss_mb() -> float:
    try:  # ru_maxrss would be the parent's where that was larger when it forked
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS_PER_MB


if __name__ == "__main__":
    main()
