"""One measured run in a process of its own, so that its peak memory is its own: prints one JSON object."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from cases import CASES, Job, Watch

_UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 1024


def main() -> None:
    name, side, art, home, rows = sys.argv[1:]
    job = Job(Path(art), Path(home), int(rows), Watch())
    count = getattr(CASES[name], side)(job)
    print(
        json.dumps(
            {"wall_s": job.watch.wall_s, "cpu_s": job.watch.cpu_s, "count": count, "rss_mb": _peak_rss_mb()}
        )
    )


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
