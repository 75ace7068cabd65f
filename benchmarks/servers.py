"""Servers in processes of their own, and a client that costs little: raw sockets that are kept open.

As a program (``servers.py library HOME``, ``trivial``, ``files FOLDER``, ``uploads FOLDER``) it serves on
a free port of the loopback address, prints that, and tells its CPU time and memory for each line it reads.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from measuring import open_registry

CONNECTIONS = 8
_START_S = 60.0
_TIMEOUT_S = 120.0
_PATIENCE_S = 0.02


class Server:
    """A server that runs, seen from outside."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def cpu_s(self) -> float:
        """Return the CPU time that it has used."""
        return float(self._tell()["cpu_s"])

    def rss_mb(self) -> float:
        """Return the memory that it has now; where the system can't tell, the most that it ever had."""
        return float(self._tell()["rss_mb"])

    def _tell(self) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told: dict[str, float] = json.loads(self._process.stdout.readline())
        return told


@contextmanager
def running(kind: str, *arguments: object) -> Iterator[Server]:
    """Run one of the servers of this module; it is gone at the end."""
    command = [sys.executable, str(Path(__file__).resolve()), kind, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(process, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.communicate(timeout=_START_S)


class Client:
    """Some connections on which requests go out in turns, one answer behind on each: the server never waits.

    Requests that are refused as too many (503) are sent again after a moment.
    """

    def __init__(self, port: int, connections: int = CONNECTIONS) -> None:
        self._links = [_Link(port) for _ in range(connections)]

    def close(self) -> None:
        for link in self._links:
            link.close()

    def ask(self, requests: Sequence[bytes], on_answer: Callable[[bytes], object] | None = None) -> int:
        """Send all requests and read all answers; return how many bytes the bodies had together."""
        waiting, received = list(reversed(requests)), 0
        under_way = deque((link, _send(link, waiting.pop())) for link in self._links[: len(requests)])
        while under_way:
            link, request = under_way.popleft()
            status, body = link.receive(is_kept=on_answer is not None)
            if status == 503:
                time.sleep(_PATIENCE_S)
                waiting.append(request)
            else:
                assert 200 <= status < 300, (status, request[:200], body)
                received += len(body) if on_answer is not None else int(body)
                if on_answer is not None:
                    on_answer(body)
            if waiting:
                under_way.append((link, _send(link, waiting.pop())))
        return received


class _Link:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._space = bytearray(1 << 18)

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self, *, is_kept: bool) -> tuple[int, bytes]:
        """Return the status and the body, or the number of its bytes as text when it is not kept."""
        head = b""
        while (end := head.find(b"\r\n\r\n")) < 0:
            head += self._more()
        at = head.lower().index(b"\r\ncontent-length:") + 17
        size = int(head[at : head.index(b"\r", at)])
        status, parts, left = int(head[9:12]), [head[end + 4 :]], size - (len(head) - end - 4)
        while left > 0:
            count = self._socket.recv_into(self._space, min(left, len(self._space)))
            assert count, "the server closed the connection"
            left -= count
            if is_kept:
                parts.append(bytes(self._space[:count]))
        return status, b"".join(parts) if is_kept or status >= 300 else str(size).encode()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 16)
        assert data, "the server closed the connection"
        return data


def _send(link: _Link, request: bytes) -> bytes:
    link.send(request)
    return request


def request(path: str, body: bytes = b"", *, method: str = "", kind: str = "application/json") -> bytes:
    """Return the bytes of a request."""
    about = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n" if body else ""
    verb = method or ("POST" if body else "GET")
    return f"{verb} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{about}\r\n".encode() + body


# -- the servers ------------------------------------------------------------------------------------------


def main() -> None:
    kind, *arguments = sys.argv[1:]
    # with the protocol named: else asyncio does not switch Nagle's algorithm off, and answers wait for 40 ms
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.bind(("127.0.0.1", 0))
    opened.listen(CONNECTIONS * 4)
    print(opened.getsockname()[1], flush=True)
    threading.Thread(target=_tell, daemon=True).start()
    with ExitStack() as stack:
        _SERVERS[kind](stack, *arguments).run([opened])


def _library(stack: ExitStack, home: str) -> Any:
    from comfyvn.server.run import make_server

    return make_server(stack.enter_context(open_registry(Path(home))))


def _trivial(_stack: ExitStack) -> Any:
    """Serve one route that answers a small constant the way FastAPI does it."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.api_route("/trivial", methods=["GET", "POST"])
    async def answer() -> dict[str, bool]:
        return {"ok": True}

    return _plain(app)


def _files(_stack: ExitStack, folder: str) -> Any:
    from starlette.staticfiles import StaticFiles

    return _plain(StaticFiles(directory=folder))


def _uploads(_stack: ExitStack, folder: str) -> Any:
    """Serve one route that writes what comes to a file, synced, the way Starlette and FastAPI do it."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def take(request: Any) -> Any:
        async with request.form() as form:
            sent = form["file"]
            await run_in_threadpool(_keep, Path(folder) / Path(sent.filename).name, await sent.read())
        return JSONResponse({"ok": True})

    return _plain(Starlette(routes=[Route("/upload", take, methods=["POST"])]))


def _keep(path: Path, data: bytes) -> None:
    with path.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _plain(app: Any) -> Any:
    import uvicorn

    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))


_SERVERS: dict[str, Callable[..., Any]] = {
    "library": _library,
    "trivial": _trivial,
    "files": _files,
    "uploads": _uploads,
}


def _tell() -> None:
    for _ in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        told = {"cpu_s": used.ru_utime + used.ru_stime, "rss_mb": _rss_mb(used.ru_maxrss)}
        print(json.dumps(told), flush=True)


def _rss_mb(most: int) -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return most / 2**20


@contextmanager
def client_of(server: Server, connections: int = CONNECTIONS) -> Iterator[Client]:
    """Give a client of a server."""
    with closing(Client(server.port, connections)) as client:
        yield client


if __name__ == "__main__":
    main()
