"""A real server on a real socket: in a thread of the test's process, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from comfyvn.server.access_log import AccessLog
from comfyvn.server.run import Server, listen, make_server
from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S

COMFYVN = str(Path(sys.executable).with_name("comfyvn"))
_TLS: Final = ssl.create_default_context()
"""Each client would read the system's certificates anew, which no test needs."""
_LOOK_S: Final = 0.005


@contextmanager
def serve(
    registry: AssetRegistry,
    *,
    is_exposed: bool = False,
    host: str = "127.0.0.1",
    token: str | None = None,
    access_log: AccessLog | None = None,
) -> Iterator[httpx.Client]:
    """Serve a registry and give a client whose addresses are relative to it."""
    with running(registry, is_exposed=is_exposed, host=host, access_log=access_log) as (_, address):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=address, timeout=TIMEOUT_S, trust_env=False, headers=headers, verify=_TLS
        ) as client:
            yield client


@contextmanager
def running(
    registry: AssetRegistry,
    *,
    is_exposed: bool = False,
    host: str = "127.0.0.1",
    access_log: AccessLog | None = None,
) -> Iterator[tuple[Server, str]]:
    """Serve a registry and give the server and its address."""
    opened = listen(host, 0)
    port = opened.getsockname()[1]
    server = make_server(registry, is_exposed=is_exposed, access_log=access_log)
    server.main_loop = partial(_look_often, server)  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.005)
        yield server, f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        opened.close()
        assert not thread.is_alive(), "the server did not stop"


async def _look_often(server: Server) -> None:
    """Do what uvicorn does till the end, which it would see up to a tenth of a second later."""
    turn = 0
    while not await server.on_tick(turn):
        turn += 1
        until = time.monotonic() + 0.1
        while time.monotonic() < until and not server.should_exit:
            await asyncio.sleep(_LOOK_S)


class Process:
    """A running `comfyvn serve`."""

    def __init__(self, process: subprocess.Popen[str], address: str, said: list[str]) -> None:
        self.process = process
        self.address = address
        self._said = said

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def end(self, number: signal.Signals, *, times: int = 1) -> tuple[int, str, str]:
        """Send a signal and return the exit code, stdout, and all that it said on stderr."""
        for _ in range(times):
            self.process.send_signal(number)
            time.sleep(0.05)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, "".join(self._said) + err


@contextmanager
def serve_process(*arguments: str, **environ: str) -> Iterator[Process]:
    """Run `comfyvn serve` on the project of the current folder, on a free port."""
    command = [COMFYVN, "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environ},
    ) as process:
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(3)]  # where it is, who may come in, how it ends
            found = re.search(r"http://\S+", said[0])
            assert found is not None, said
            yield Process(process, found[0], said)
        finally:
            watchdog.cancel()
            if process.poll() is None:
                process.kill()


def converse(
    address: tuple[str, int],
    *parts: bytes,
    limit_s: float = 10.0,
    ends: bool = False,
    must_close: bool = False,
) -> bytes:
    """Send bytes as they are and return what comes back till the server closes or says nothing more.

    Args:
        address: host and port.
        parts: sent one after the other.
        limit_s: how long to wait for more of the answer.
        ends: say that nothing more will be sent.
        must_close: fail if the server does not close.
    """
    with socket.create_connection(address, timeout=limit_s) as connection:
        answer = bytearray()
        try:
            for part in parts:
                connection.sendall(part)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65_536):
                answer += chunk
        except TimeoutError:
            assert not must_close, f"the server leaves it open after {bytes(answer)!r}"
        except ConnectionError:
            pass
        return bytes(answer)


def drip(connection: socket.socket, byte: bytes) -> bytes:
    """Send one byte after the other till there is an answer, and return all of it."""
    answer, deadline = b"", time.monotonic() + TIMEOUT_S
    connection.settimeout(0.05)
    while not answer and time.monotonic() < deadline:
        with suppress(TimeoutError):
            connection.sendall(byte)
            answer = connection.recv(65_536)
    connection.settimeout(0.5)
    with suppress(ConnectionError, TimeoutError):  # it closes with bytes of ours unread, or waits for more
        while part := connection.recv(65_536):
            answer += part
    return answer
