"""What the server counts of its own work, as Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final

__all__ = ["Meters", "gauge"]

_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_Key = tuple[str, str]


class Meters:
    """Counters of requests by route: bounded by the routes that there are, not by what is asked for."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._slots: dict[_Key, list[int]] = {}
        self._seconds: dict[_Key, float] = {}
        self._bytes = 0
        self.running: Counter[str] = Counter()
        """How many requests of a kind go on at this moment: ``stream``, ``upload``, ``other``."""

    def note(self, method: str, route: str | None, status: int, seconds: float, size_bytes: int) -> None:
        """Count one answer.

        Args:
            method: of the request.
            route: the template of the route that answered, None if there was none.
            status: of the answer.
            seconds: from the first byte of the request's head to the last of the answer.
            size_bytes: the body of the answer.
        """
        key = (method if method in _METHODS else "other", route or "none")
        self._answers[(*key, status // 100)] += 1
        slots = self._slots.get(key)
        if slots is None:
            slots = self._slots[key] = [0] * (len(_BOUNDS_S) + 1)
        slots[bisect_left(_BOUNDS_S, seconds)] += 1
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        self._bytes += size_bytes

    def lines(self) -> Iterator[str]:
        """Yield the lines of what was counted."""
        yield from _head("comfyvn_requests_total", "counter", "Requests answered.")
        for (method, route, family), count in sorted(self._answers.items()):
            yield f'comfyvn_requests_total{{{_labels(method, route)},status="{family}xx"}} {count}'
        yield from _head("comfyvn_request_duration_seconds", "histogram", "How long answers took.")
        for (method, route), slots in sorted(self._slots.items()):
            yield from self._histogram(method, route, slots)
        yield from _head("comfyvn_response_bytes_total", "counter", "Bodies of answers, in bytes.")
        yield f"comfyvn_response_bytes_total {self._bytes}"
        yield from gauge("comfyvn_open_streams", "Event streams and sockets.", self.running["stream"])
        yield from gauge("comfyvn_uploads_running", "Uploads that go on.", self.running["upload"])
        yield from gauge("comfyvn_requests_running", "All that goes on.", self.running.total())

    def _histogram(self, method: str, route: str, slots: list[int]) -> Iterator[str]:
        name, labels, count = "comfyvn_request_duration_seconds", _labels(method, route), 0
        for bound, found in zip([*map(str, _BOUNDS_S), "+Inf"], slots, strict=True):
            count += found
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_sum{{{labels}}} {self._seconds[method, route]:.6f}"
        yield f"{name}_count{{{labels}}} {count}"


def gauge(name: str, text: str, value: int) -> Iterator[str]:
    """Yield the lines of one number that goes up and down."""
    yield from _head(name, "gauge", text)
    yield f"{name} {value}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(method: str, route: str) -> str:
    return f'method="{method}",route="{route}"'
