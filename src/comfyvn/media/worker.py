"""The worker process: makes previews and tells facts of one file after another, and may die of any of them.

`comfyvn.media.isolation` starts it and talks to it. What a decoder prints goes to the standard error output,
which the other side reads; the messages go over descriptors of their own. A message is the length of its
header (four bytes), the header (JSON) and the bytes whose ``sizes`` the header tells.

No sandbox: decoders can do what the user can. It keeps their crashes, hang-ups and memory apart.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NoReturn

from comfyvn import __version__
from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import PreviewLimits, Rendered, probe, render
from comfyvn.model import PreviewKind

__all__ = ["BY_DESCRIPTOR", "Channel", "Garbled", "Job", "Made", "greeting", "main", "make"]

log = logging.getLogger(__name__)

BY_DESCRIPTOR: Final = hasattr(socket, "send_fds")
"""Whether an open file can be handed over; where it can't (Windows), the worker opens it by its path."""
_HEADER_BYTES: Final = 2 << 20
_FACTS_BYTES: Final = 128 << 10
_BODY_BYTES: Final = 64 << 20
_REASON_LIMIT: Final = 500
_GRACE_S: Final = 2.0
_NICENESS: Final = 5


class Garbled(Exception):
    """What came over the channel is not one of our messages."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted of one file, and what it may cost.

    ``name``: for formats that can't be told by their content. ``kind`` None: facts only, or, with
    ``wants_pixels``, nothing but the hash of the pixels, as the fact ``pixels``. ``time_s`` and
    ``memory_bytes`` are the limits that keep a broken decoder off; the memory counts the whole process.
    """

    name: str
    kind: PreviewKind | None
    limits: PreviewLimits = field(default_factory=PreviewLimits)
    time_s: float = 20.0
    memory_bytes: int = 1 << 30
    wants_pixels: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a job: ``files`` of the preview, ``facts`` of the file (also where the preview failed),
    ``failure``: why there is no preview, in one sentence."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None
    is_out_of_memory: bool = False


class Channel:
    """Messages between the two processes, over a descriptor to read from and one to write to.

    One socket in both places can hand over open files too. It owns the descriptors.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._socket = socket.socket(fileno=reading) if reading == writing else None
        if self._socket is not None:
            self._socket.setblocking(True)  # whatever the host's default is

    def send(self, header: Mapping[str, Any], bodies: Sequence[bytes] = ()) -> None:
        """Send one message.

        Raises:
            OSError: the other side is gone.
        """
        told = json.dumps({**header, "sizes": [len(body) for body in bodies]}).encode()
        for data in (len(told).to_bytes(4, "big") + told, *bodies):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._writing, rest) :]

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        """Wait for the next message.

        Raises:
            EOFError, OSError: the other side is gone.
            Garbled: what came is no message, or longer than any of ours.
        """
        length = int.from_bytes(self._read(4), "big")
        if length > _HEADER_BYTES:
            raise Garbled
        told = self._read(length)
        try:
            header = json.loads(told)
            sizes = header["sizes"]
            is_sound = all(type(size) is int and size >= 0 for size in sizes) and sum(sizes) <= _BODY_BYTES
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise Garbled from error
        if not is_sound:
            raise Garbled
        return header, [self._read(size) for size in sizes]

    def send_file(self, number: int) -> None:
        """Hand an open file over; only between sockets."""
        assert self._socket is not None
        socket.send_fds(self._socket, [b"f"], [number])

    def receive_file(self) -> int:
        """Take an open file; the caller closes it."""
        assert self._socket is not None
        data, numbers, _, _ = socket.recv_fds(self._socket, 1, 1)
        if not numbers:
            raise Garbled if data else EOFError
        os.set_inheritable(numbers[0], False)
        return numbers[0]

    def hang_up(self) -> None:
        """End all talk, whoever else holds the other side; whoever waits for a message is woken."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both descriptors."""
        if self._socket is not None:
            self._socket.close()
            return
        os.close(self._reading)
        os.close(self._writing)

    def _read(self, length: int) -> bytes:
        parts = []
        while length > 0:
            part = os.read(self._reading, min(length, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def greeting() -> dict[str, Any]:
    """Return what both sides have to agree on before they work together."""
    return {"comfyvn": __version__, "python": sys.version}


def make(
    file: BinaryIO, job: Job, on_facts: Callable[[Mapping[str, Any]], None] = lambda facts: None
) -> Made:
    """Make the preview of a file and tell its facts, in this process; any failure is in the answer.

    Args:
        file: seekable.
        job: what is wanted; its limits of time and memory are not looked at here.
        on_facts: gets the facts before the preview is begun.
    """
    facts = {} if job.wants_pixels else _facts(file, job.name)
    on_facts(facts)
    if job.kind is None and not job.wants_pixels:
        return Made(facts=facts)
    try:
        if job.kind is None:
            return Made(facts=_pixels(file, job))
        file.seek(0)
        rendered = _checked(render(file, job.kind, job.limits, name=job.name))
    except PreviewFailed as error:
        return Made({}, facts, _sentence(error), is_out_of_memory=_is_for_want_of_memory(error))
    except Exception as error:  # a stranger's code, where nobody else stopped it
        log.exception("the format of %s failed", job.name)
        return Made({}, facts, f"its format failed on it ({type(error).__name__})")
    return Made(rendered.files, facts | _as_json(rendered.facts))


def main() -> NoReturn:
    """Do one job after another until the other side hangs up."""
    channel = _take_over(sys.argv[1] == "pipes")
    _settle_down()
    code = 0
    try:
        channel.send(greeting())
        while True:
            _serve(channel)
    except (EOFError, BrokenPipeError, ConnectionError):
        pass  # the other side ended, or was killed
    except BaseException:  # what a decoder raised to end its program
        log.exception("this worker ends")
        code = 1
    logging.shutdown()
    os._exit(code)  # threads that a decoder left behind hold nobody up


# -- inside the worker ------------------------------------------------------------------------------------


def _take_over(is_by_pipes: bool) -> Channel:
    """Keep the descriptors that we were started with to ourselves; what is printed is for people."""
    reading = os.dup(0)
    writing = os.dup(1) if is_by_pipes else reading
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return Channel(reading, writing)


def _settle_down() -> None:
    """Stand back behind the user's own programs, leave no core dumps, and show where a crash was."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started us
    if sys.platform != "win32":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        with suppress(OSError):
            os.nice(_NICENESS)


def _serve(channel: Channel) -> None:
    """Do one job."""
    header, _ = channel.receive()
    number = channel.receive_file() if header["path"] is None else None
    limits = PreviewLimits(**header["job"].pop("limits"))
    job = Job(**header["job"], limits=limits)
    channel.send({})  # from here on, whatever happens is this file's doing
    # Who started us ends us when the time is up; this is for the case that it was killed meanwhile.
    faulthandler.dump_traceback_later(job.time_s + _GRACE_S, exit=True)
    _limit_memory(job.memory_bytes)
    try:
        if number is None:
            number = _open(header["path"], header["identity"])
    except OSError:
        channel.send({"is_gone": True})
    else:
        with os.fdopen(number, "rb", buffering=0) as file:
            made = make(file, job, lambda facts: channel.send({"facts": facts}))
        told = {"names": list(made.files), "facts": made.facts, "failure": made.failure}
        channel.send({**told, "is_out_of_memory": made.is_out_of_memory}, list(made.files.values()))
    faulthandler.cancel_dump_traceback_later()


def _open(path: str, identity: list[int]) -> int:
    """Open a file by its path, if it is the one that was meant."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    status = os.fstat(number)
    if [status.st_dev, status.st_ino] != identity:
        os.close(number)
        raise FileNotFoundError(errno.ENOENT, "another file lies there now")
    return number


def _limit_memory(size_bytes: int) -> None:
    """Limit what this process may allocate. Only Linux counts it in a way that can be limited."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


# -- what a file tells --------------------------------------------------------------------------------------


def _checked(rendered: object) -> Rendered:
    """Return what a format made, if it is a preview: it may be a stranger's."""
    if not isinstance(rendered, Rendered) or not isinstance(rendered.files, Mapping):
        raise PreviewFailed(why="the format made something that is no preview")
    if not all(isinstance(data, bytes) for data in rendered.files.values()):
        raise PreviewFailed(why="the format made something that is no preview")
    if sum(map(len, rendered.files.values())) > _BODY_BYTES:
        raise PreviewFailed(why="the format made a preview that is far too large")
    return rendered


def _facts(file: BinaryIO, name: str) -> dict[str, Any]:
    try:
        return _as_json(probe(file, name=name))
    except OSError:  # the preview says so
        return {}
    except Exception:  # a stranger's code, where nobody else stopped it
        log.exception("the format of %s failed to tell facts", name)
        return {}


def _pixels(file: BinaryIO, job: Job) -> dict[str, Any]:
    from comfyvn.media.fingerprint import pixels

    digest = pixels(file, job.name, job.limits)
    return {} if digest is None else {"pixels": digest}


def _sentence(error: PreviewFailed) -> str:
    """Return why there is no preview, as it can be recorded: a stranger's format may say anything."""
    why = str(error.fields["why"]).encode("utf-8", "replace").decode()
    return why if len(why) <= _REASON_LIMIT else why[: _REASON_LIMIT - 1] + "…"


def _as_json(facts: object) -> dict[str, Any]:
    """Return facts as they can be recorded; what is no JSON, or too much of it, is left out."""
    if not isinstance(facts, Mapping):
        return {}
    with suppress(TypeError, ValueError, RecursionError):
        told = json.dumps(facts, ensure_ascii=False, allow_nan=False).encode()
        if len(told) <= _FACTS_BYTES and isinstance(facts.get("tags", {}), Mapping):
            return dict(json.loads(told))
    kept: dict[str, Any] = {}
    left = _FACTS_BYTES
    for name, value in facts.items():
        try:
            told = json.dumps({name: value}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            log.warning("a media format tells a fact %r that is no JSON value", name)
            continue
        if name == "tags" and not isinstance(value, Mapping):
            log.warning("a media format tells tags that are no object")
        elif len(told) <= left:
            left -= len(told)
            kept.update(json.loads(told))
    return kept


def _is_for_want_of_memory(error: BaseException | None) -> bool:
    """Tell whether a failure began with a refused allocation."""
    for _ in range(20):
        if error is None:
            return False
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        error = error.__cause__ or error.__context__
    return False
