"""Work that takes longer than a request: one piece at a time, with progress, and a way to stop it.

Jobs live in the memory of the server. One that is cut off by its end has lost nothing: whatever it does, it
may be killed at any point and done again.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from comfyvn.errors import ComfyVNError, JobNotFound, JobRunning
from comfyvn.model import utc_now

__all__ = ["Job", "JobState", "Jobs"]

JobState = Literal["running", "cancelling", "done", "failed", "cancelled"]
_log = logging.getLogger(__name__)
_KEPT: Final = 50
_PATIENCE_S: Final = 1.5


class _CancelledError(Exception):
    """Somebody asked the job to end."""


class Job:
    """One piece of work.

    ``done`` of ``total`` things are done; the total is an estimate till the end. ``report`` is what it found
    and did, ``error`` what stopped it.
    """

    def __init__(self, kind: str, options: Mapping[str, Any], total: int, closing: threading.Event) -> None:
        self.id = secrets.token_hex(6)
        self.kind = kind
        self.options = dict(options)
        self.state: JobState = "running"
        self.done = 0
        self.total = total
        self.started_at = utc_now()
        self.ended_at: str | None = None
        self.report: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._closing = closing

    def advance(self, count: int = 1) -> None:
        """Count what is done; a safe point, at which the job ends if somebody asked for that."""
        self.done += count
        self.total = max(self.total, self.done)
        if self.state == "cancelling" or self._closing.is_set():
            raise _CancelledError

    def cancel(self) -> None:
        """Ask the job to end at its next safe point; one that has ended stays as it is."""
        if self.state == "running":
            self.state = "cancelling"

    def run(self, work: Callable[[Job], dict[str, Any]]) -> None:
        """Do the work in this thread, and note how it ended."""
        try:
            self.report = work(self)
            self.done = self.total = max(self.done, self.total)
            self._end("done")
        except _CancelledError:
            self._end("cancelled")
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for the end of this job
            self.error = error
            if not isinstance(error, ComfyVNError):
                _log.exception("the job %s (%s) failed", self.id, self.kind)
            self._end("failed")

    def _end(self, state: JobState) -> None:
        self.ended_at = utc_now()
        self.state = state
        self.ended.set()


class Jobs:
    """The jobs of one library: one at work, and what became of the last 50."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(
        self, kind: str, options: Mapping[str, Any], total: int, work: Callable[[Job], dict[str, Any]]
    ) -> Job:
        """Start a job in a thread of its own; who acts goes with it.

        Args:
            kind: what it is called.
            options: what it was asked for, to be shown.
            total: how many things there are about to do.
            work: does it, calls `Job.advance` now and then, and returns its report.

        Raises:
            JobRunning: another one is at work.
        """
        with self._guard:
            for other in self._jobs.values():
                if not other.ended.is_set():
                    raise JobRunning(job=other.id, kind=other.kind)
            job = Job(kind, options, total, self._closing)
            self._jobs[job.id] = job
            while len(self._jobs) > _KEPT:
                del self._jobs[next(iter(self._jobs))]
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(job.run, work), name=f"comfyvn-{kind}", daemon=True)
        self._thread.start()
        return job

    def all(self) -> list[Job]:
        """Return the jobs, newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            JobNotFound: there is none of that id, or it was long ago.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise JobNotFound(job=f"{job_id:.40}")
        return job

    async def wait(self, job: Job) -> None:
        """Wait for the end of a job without holding a thread."""
        pause_s = 0.005
        while not job.ended.is_set():
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.25)

    def close(self) -> None:
        """Have the job at work end at its next safe point, and wait a moment for that.

        One that reads a very large file then ends with the process: it may be killed at any point.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
