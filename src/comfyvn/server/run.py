"""Running the server: uvicorn with our limits."""

from __future__ import annotations

import socket

import uvicorn

from comfyvn.server.app import create_app
from comfyvn.studio.core import AssetRegistry

__all__ = ["listen", "make_server"]


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    opened = socket.socket(found[0], found[1])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(found[4])
    return opened


def make_server(registry: AssetRegistry) -> uvicorn.Server:
    """Return a server for a registry, to be run on a socket of `listen`."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(registry),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )
