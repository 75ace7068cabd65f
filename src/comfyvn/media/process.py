"""One worker process, seen from the process that started it: its start, its jobs, its end."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

from comfyvn.errors import SourceChanged
from comfyvn.media.worker import Channel, Garbled, Job, Made, greeting

__all__ = ["Lost", "NoWorker", "WorkerProcess"]

log = logging.getLogger(__name__)

_START_S: Final = 60.0
_IDLE_S: Final = 60.0
_TICK_S: Final = 0.25
_END_S: Final = 5.0
_HEARD_BYTES: Final = 4_000
_BOOT: Final = """import json, sys
sys.path[:] = json.loads(sys.argv[2])
from comfyvn.media.worker import main
main()"""
"""The worker looks for modules where we do, whatever put them there; ``-P`` keeps the current folder out,
where a stranger's project may have a ``numpy.py``."""
_FLAGS: Final = {
    "isolated": "-I",
    "ignore_environment": "-E",
    "no_user_site": "-s",
    "no_site": "-S",
    "dont_write_bytecode": "-B",
}
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""NumPy's libraries reserve memory for each core of the machine, and never use it here."""
_KEPT_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"}
"""glibc gives large blocks back to the system as soon as they are free, and has the pages of the next one
zeroed anew: with sound that takes longer than the arithmetic."""
_NT_ERRORS: Final = 0xC0000000
_FROM_OUTSIDE: Final = frozenset({"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"})


class NoWorker(Exception):
    """A worker could not be started."""


class Lost(Exception):
    """A worker was lost in the midst of a job.

    ``made``: the answer, if the file is to blame. ``is_read``: the worker had begun with it.
    ``is_doubtful``: it may have been another's doing.
    """

    def __init__(self, made: Made, *, is_read: bool, is_doubtful: bool) -> None:
        super().__init__(made.failure)
        self.made, self.is_read, self.is_doubtful = made, is_read, is_doubtful


class WorkerProcess:
    """One worker process. A single thread at a time uses it."""

    def __init__(self, *, by_descriptor: bool) -> None:
        self.jobs = 0
        self._heard = b""
        self._is_late = False
        self._has_ended = threading.Event()
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + _START_S
        self._process, self._channel = _spawn(by_descriptor)
        self._by_descriptor = by_descriptor
        self._threads = [
            threading.Thread(target=target, name="comfyvn-worker", daemon=True)
            for target in (self._listen, self._watch)
        ]
        try:
            for thread in self._threads:
                thread.start()
            hello, _ = self._channel.receive()
        except (EOFError, OSError, Garbled, RuntimeError) as error:  # Runtime: no more threads can be had
            self.end()
            last = self._heard.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise NoWorker(last[0]) from error
        if {**greeting(), "sizes": []} != hello:
            self.end()
            raise NoWorker("it is another Python, or comfyvn was updated meanwhile")

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process.poll() is None

    def do(self, file: BinaryIO, path: Path, job: Job) -> Made:
        """Have one job done.

        Raises:
            Lost: it crashed, was killed, or took too long; it is of no use any more.
            SourceChanged: another file lies at the path now.
        """
        self.jobs += 1
        is_read, facts = False, {}
        try:
            self._set_deadline(_START_S)
            self._hand_over(file, path, job)
            self._channel.receive()
            is_read = True
            self._set_deadline(job.time_s)
            told, _ = self._channel.receive()
            if "is_gone" in told:
                raise SourceChanged(path=job.name)
            facts = _mapping(told["facts"])
            made = _made(*self._channel.receive())
            self._set_deadline(_IDLE_S)
            return made
        except SourceChanged:
            raise
        except (EOFError, OSError, Garbled, LookupError, TypeError, ValueError) as error:
            why, is_doubtful = self._why(error, job)
            lost = Lost(Made({}, facts, why), is_read=is_read, is_doubtful=is_doubtful or not is_read)
            raise lost from error

    def end(self) -> None:
        """End the process, whatever it does, and close everything of it."""
        self._kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._has_ended.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_END_S)
        self._close()

    def leave(self) -> None:
        """Close what a forked child has of its parent's worker."""
        self._process.returncode = 0  # not our child
        self._close()

    # -- inside ---------------------------------------------------------------------------------------

    def _hand_over(self, file: BinaryIO, path: Path, job: Job) -> None:
        if self._by_descriptor:
            self._channel.send({"job": asdict(job), "path": None})
            self._channel.send_file(file.fileno())
            return
        status = os.fstat(file.fileno())
        identity = [status.st_dev, status.st_ino]
        self._channel.send({"job": asdict(job), "path": str(path), "identity": identity})

    def _set_deadline(self, seconds: float) -> None:
        with self._lock:
            self._deadline = time.monotonic() + seconds

    def _watch(self) -> None:
        """Kill the process when its time is up: whoever waits for its answer is woken by that."""
        while not self._has_ended.wait(_TICK_S):
            with self._lock:  # or a job that was just begun would be blamed
                if time.monotonic() > self._deadline:
                    self._is_late = True
                    self._kill()
                    self._channel.hang_up()  # a child of its own group that a decoder started may hold it
                    return

    def _kill(self) -> None:
        if sys.platform == "win32":
            self._process.kill()
        elif self._process.returncode is None:  # once it is waited for, its number may be another's
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)  # and whatever a decoder has started

    def _why(self, error: Exception, job: Job) -> tuple[str, bool]:
        """Say why it was lost, and whether that may have been another's doing."""
        code = None
        if isinstance(error, (EOFError, OSError)):  # it hung up, so it is about to end
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(_END_S)
        if self._is_late:
            return f"it took longer than {job.time_s:g} s", False
        name = None if code is None else _signal_name(code)
        if name in _FROM_OUTSIDE:
            return f"the process that decoded it was killed (signal {name}), perhaps for want of memory", True
        return _explain(code, name), self.jobs > 1

    def _listen(self) -> None:
        """Log what the decoders print, so that the pipe is never full."""
        assert self._process.stderr is not None
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):
            while heard := self._process.stderr.read(1 << 16):
                self._heard = (self._heard + heard)[-_HEARD_BYTES:]
                text = heard[:_HEARD_BYTES].decode("utf-8", "replace")
                log.debug("preview worker %d: %s", self._process.pid, text.rstrip())
            self._process.wait(_END_S)  # it may have been ended for being idle: no zombie is left
        self._has_ended.set()

    def _close(self) -> None:
        self._channel.close()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _spawn(by_descriptor: bool) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start a worker process, and return it with our end of the channel."""
    command = [_python(), *_flags(), "-c", _BOOT, "socket" if by_descriptor else "pipes", _module_path()]
    ours, theirs = socket.socketpair() if by_descriptor else (None, None)
    try:
        process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE if theirs is None else theirs.fileno(),
            stdout=subprocess.PIPE if theirs is None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**_KEPT_MEMORY, **os.environ, **_ONE_THREAD},
            cwd=Path(command[0]).parent,  # the current folder could not be moved or unmounted
            start_new_session=True,  # Ctrl-C is for us alone
            creationflags=_creation_flags(),
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        if ours is not None:
            ours.close()
        raise NoWorker(str(error)) from error
    finally:
        if theirs is not None:
            theirs.close()
    if ours is not None:
        return process, Channel(*[ours.detach()] * 2)
    assert process.stdin is not None
    assert process.stdout is not None
    return process, Channel(_own(process.stdout), _own(process.stdin))


def _own(pipe: Any) -> int:
    """Take the descriptor out of a pipe object that would close it again."""
    number = os.dup(pipe.fileno())
    pipe.close()
    return number


def _python() -> str:
    """Return the Python to start; a program that has one built in would start itself again.

    Raises:
        NoWorker: it is such a program.
    """
    path = sys.executable or ""
    if getattr(sys, "frozen", False) or not Path(path).stem.lower().startswith(("python", "pypy")):
        raise NoWorker(f"this program is not Python itself but {Path(path).name or 'one without a name'}")
    return str(Path(path).absolute())


def _flags() -> list[str]:
    """Return the options that make the worker's Python like ours."""
    chosen = [flag for name, flag in _FLAGS.items() if getattr(sys.flags, name)]
    return ["-P", *chosen, *(f"-W{option}" for option in sys.warnoptions)]


def _module_path() -> str:
    return json.dumps([str(Path(folder).absolute()) for folder in sys.path if isinstance(folder, str)])


def _creation_flags() -> int:
    """Return what keeps a worker from opening a window, and behind other programs, on Windows."""
    names = ("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
    return sum(int(getattr(subprocess, name, 0)) for name in names)


def _made(told: dict[str, Any], bodies: list[bytes]) -> Made:
    failure = told["failure"]
    return Made(
        dict(zip(told["names"], bodies, strict=True)),
        _mapping(told["facts"]),
        None if failure is None else str(failure),
        told["is_out_of_memory"] is True,
    )


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Garbled
    return value


def _explain(code: int | None, signal_name: str | None) -> str:
    if code is None:
        return "the decoder disturbed the process that it ran in"
    if signal_name is not None:
        return f"the decoder crashed (signal {signal_name})"
    if code >= _NT_ERRORS:
        return f"the decoder crashed ({code:#x})"
    return f"the decoder ended the process that it ran in (exit code {code})"


def _signal_name(code: int) -> str | None:
    """Return the name of the signal that ended a process, None when it ended by itself."""
    try:
        return signal.Signals(-code).name if code < 0 else None
    except ValueError:
        return str(-code)
