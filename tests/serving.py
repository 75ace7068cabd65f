"""A real server on a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from comfyvn.server.run import listen, make_server
from comfyvn.studio.core import AssetRegistry
from support import TIMEOUT_S


@contextmanager
def serve(registry: AssetRegistry) -> Iterator[httpx.Client]:
    """Serve a registry and give a client whose addresses are relative to it."""
    opened = listen("127.0.0.1", 0)
    port = opened.getsockname()[1]
    server = make_server(registry)
    thread = threading.Thread(target=server.run, args=([opened],), daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(TIMEOUT_S)
        opened.close()
        assert not thread.is_alive(), "the server did not stop"
