"""The access log: one line of JSON a request, written in a thread so that nobody waits for it."""

from __future__ import annotations

import json
import queue
import threading
from contextlib import suppress
from typing import Any, Final, TextIO

__all__ = ["AccessLog"]

_WAITING: Final = 10_000


class AccessLog:
    """Writes lines to a stream; where nobody reads that stream, lines are left out, and counted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._write, name="comfyvn-access-log", daemon=True)
        self._thread.start()

    def note(self, line: dict[str, Any]) -> None:
        """Have one line written."""
        if self._left_out:
            line = {**line, "left_out_before": self._left_out}
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._left_out += 1
        else:
            self._left_out = 0

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is waiting, unless that takes too long."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                # nothing but ASCII: a terminal would obey some of what else a path may hold
                self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
                if self._waiting.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # nobody reads it any more
                return
