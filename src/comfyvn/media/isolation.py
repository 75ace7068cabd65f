"""Decoding in processes of their own, with limits on time and memory.

A decoder that crashes, hangs or eats memory costs one preview. The workers (`comfyvn.media.worker`) are
started when they are needed and used for many files. They end when nothing was asked for a minute, when this
process ends, and when it is killed.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from comfyvn.media.process import Lost, NoWorker, WorkerProcess
from comfyvn.media.worker import BY_DESCRIPTOR, Job, Made, make

__all__ = ["WORKERS", "Workers"]

log = logging.getLogger(__name__)

_JOBS_OF_ONE: Final = 2_000


class Workers:
    """Worker processes, as many as there are callers at once; any thread may call."""

    def __init__(self, *, by_descriptor: bool = BY_DESCRIPTOR, jobs_of_one: int = _JOBS_OF_ONE) -> None:
        self._by_descriptor = by_descriptor
        self._jobs_of_one = jobs_of_one
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._has_worked = self._has_warned = self._is_hopeless = False

    def make(self, file: BinaryIO, path: Path, job: Job) -> Made:
        """Make the preview of a file and tell its facts; any failure of a decoder is in the answer.

        What might be an earlier file's doing, or somebody else's, is tried once more in a fresh worker. Where
        no worker can be started the work is done here, without the limits.

        Args:
            file: a real file, open for reading; its position may change.
            path: where it lies; what is read is the open file, never another one that came there since.
            job: what is wanted, and what it may cost.

        Raises:
            SourceChanged: another file lies at the path now, where open files can't be handed over.
        """
        for is_last in (False, True):
            worker = self._take(is_fresh=is_last)
            if worker is None:
                break
            try:
                made = worker.do(file, path, job)
            except Lost as lost:
                self._drop(worker)
                if lost.is_read and (is_last or not lost.is_doubtful):
                    return lost.made
            except BaseException:
                self._drop(worker)
                raise
            else:
                if not made.is_out_of_memory:
                    self._give_back(worker)
                    return made
                self._drop(worker)
                if is_last or worker.jobs == 1:
                    return replace(made, failure=f"it needs more than {_size(job.memory_bytes)} of memory")
        return make(file, job)

    def has_idle(self) -> bool:
        """Tell whether a worker is there that does nothing."""
        return bool(self._idle)

    def close(self) -> None:
        """End every worker at once."""
        with self._lock:
            workers, self._idle = list(self._all), []
        for worker in workers:
            self._drop(worker)

    # -- inside ---------------------------------------------------------------------------------------

    def _leave_to_parent(self) -> None:
        """In a forked child: the workers are the parent's, and have to notice when that one ends."""
        workers = self._all
        self._lock, self._idle, self._all = threading.Lock(), [], set()
        for worker in workers:
            worker.leave()

    def _take(self, *, is_fresh: bool) -> WorkerProcess | None:
        """Return a worker that is alive, None when none can be started."""
        while not is_fresh:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                break
            if worker.is_alive():
                return worker
            self._drop(worker)
        return None if self._is_hopeless else self._start()

    def _start(self) -> WorkerProcess | None:
        try:
            worker = WorkerProcess(by_descriptor=self._by_descriptor)
        except NoWorker as error:
            told = "no worker process can be started (%s): previews are made in this one, without limits"
            log.log(logging.DEBUG if self._has_warned else logging.WARNING, told, error)
            self._has_warned = True
            self._is_hopeless = not self._has_worked  # once it has worked, it is a matter of the moment
            return None
        with self._lock:
            self._all.add(worker)
            self._has_worked = True
        return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        if worker.jobs >= self._jobs_of_one:  # what decoders leak stays bounded
            self._drop(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def _drop(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()


def _size(size_bytes: int) -> str:
    unit, name = (1 << 30, "GiB") if size_bytes >= 1 << 30 else (1 << 20, "MiB")
    return f"{size_bytes / unit:g} {name}"


WORKERS: Final = Workers()
atexit.register(WORKERS.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS._leave_to_parent)
