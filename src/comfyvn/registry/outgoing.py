"""Requests that go out: one POST to a host that may be reached, and to no other.

What a webhook's name means is asked once; the addresses are checked, and the connection is made to a checked
address itself. A name that means something else a moment later (DNS rebinding) leads nowhere.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from comfyvn.errors import InvalidWebhook

__all__ = ["Answer", "Post", "check_url"]

Resolve = Callable[..., Sequence[tuple[Any, Any, int, str, Any]]]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS: Final = {"http": 80, "https": 443}
_LENGTH: Final = 2_000
_READ_BYTES: Final = 4_096
_ERROR_LENGTH: Final = 200
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA: Final = frozenset({ipaddress.IPv4Address("168.63.129.16")})
"""Addresses at which clouds tell a machine its secrets, as far as they are no private ones anyway."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a POST: the status that was answered, or why there was none."""

    status: int | None
    error: str | None

    @property
    def is_success(self) -> bool:
        """Whether the receiver has it: any 2xx; a redirection is none."""
        return self.status is not None and 200 <= self.status < 300


def check_url(url: str, hosts: Sequence[str], *, resolve: Resolve = socket.getaddrinfo) -> None:
    """Refuse an address to which nothing may be sent. A name that can't be resolved now is fine.

    Raises:
        InvalidWebhook: no such address is allowed, or it is none.
    """
    parts = _split(url)
    try:
        _addresses(parts, hosts, resolve)
    except _Refused as error:
        raise InvalidWebhook(url=_shown(parts), why=str(error)) from error
    except OSError:
        return


class Post:
    """One POST.

    Args:
        url: where to.
        hosts: the setting ``webhook_hosts``: names, or names and ports, that may be reached although they
            are private.
        timeout_s: how long all of it may take.
        resolve: asks what a name means.
    """

    def __init__(
        self,
        url: str,
        hosts: Sequence[str],
        *,
        timeout_s: float = 10.0,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self._url = url
        self._hosts = hosts
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_aborted = False

    def send(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send it and return what was answered; never raises for what a network does."""
        timer = threading.Timer(self._timeout_s, self.abort)  # a receiver may send a byte every nine seconds
        timer.daemon = True
        timer.start()
        try:
            return Answer(self._send(body, headers), None)
        except (OSError, http.client.HTTPException, InvalidWebhook, ValueError) as error:
            why = f"no answer within {self._timeout_s:g} s" if self._is_aborted else _why(error)
            return Answer(None, why[:_ERROR_LENGTH])
        finally:
            timer.cancel()

    def abort(self) -> None:
        """End it now, from another thread."""
        with self._lock:
            self._is_aborted = True
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _send(self, body: bytes, headers: Mapping[str, str]) -> int:
        parts = _split(self._url)
        host, port = _host_of(parts), _port_of(parts)
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        connection.auto_open = 0  # it would ask again what the name means
        with closing(connection), closing(self._connect(parts)) as plain:
            connection.sock = plain
            if parts.scheme == "https":
                connection.sock = self._hold(_tls().wrap_socket(plain, server_hostname=host))
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": _named(host, port, parts), **headers}.items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            with suppress(OSError, http.client.HTTPException):  # the status is known
                answer.read(_READ_BYTES)
            answer.close()
            return answer.status

    def _connect(self, parts: SplitResult) -> socket.socket:
        """Connect to one of the checked addresses."""
        deadline = time.monotonic() + self._timeout_s
        failure: OSError = OSError("its name leads to no address")
        for family, address in _addresses(parts, self._hosts, self._resolve):
            opened = socket.socket(family, socket.SOCK_STREAM)
            try:
                self._hold(opened).settimeout(max(deadline - time.monotonic(), 0.001))
                opened.connect(address)
            except OSError as error:
                opened.close()
                failure = error
            else:
                return opened
        raise failure

    def _hold(self, opened: socket.socket) -> socket.socket:
        """Remember what is to be ended by `abort`."""
        with self._lock:
            self._socket = opened
            if self._is_aborted:
                opened.close()
                raise TimeoutError
        return opened


class _Refused(ValueError):
    """Nothing may be sent there."""


def _split(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        InvalidWebhook: it is none of ours.
    """
    try:
        if len(url) > _LENGTH or not url.isascii() or not url.isprintable() or " " in url:
            why = f"an address has at most {_LENGTH:,} characters, all of them ASCII, and no spaces"
            raise _Refused(why)
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise _Refused("an address begins with http:// or https:// and names a host")
        if parts.username is not None or parts.password is not None:
            raise _Refused("an address must not hold a name or password")
        if parts.fragment:
            raise _Refused("an address must not end in #...")
        if parts.port == 0:
            raise _Refused("there is no port 0")
    except ValueError as error:
        shown = url if url.isprintable() and "@" not in url else "This address"
        raise InvalidWebhook(url=shown.partition("?")[0][:80], why=str(error)) from error
    return parts


def _host_of(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".").lower()


def _port_of(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _shown(parts: SplitResult) -> str:
    return f"{parts.scheme}://{_named(_host_of(parts), _port_of(parts), parts)}{parts.path}"[:_LENGTH]


def _named(host: str, port: int, parts: SplitResult) -> str:
    """Return host and port as the header ``Host`` has them."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"


def _addresses(parts: SplitResult, hosts: Sequence[str], resolve: Resolve) -> list[tuple[int, Any]]:
    """Return the addresses of a host, each allowed.

    Raises:
        _Refused: nothing may be sent there.
        OSError: the name leads nowhere.
    """
    host, port = _host_of(parts), _port_of(parts)
    is_named = _is_listed(host, port, hosts)
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("its name is no name of a host") from error
    if not is_named and not all(_is_public(str(each[4][0])) for each in found):
        why = (
            f"its address is not a public one; list {host} in the setting webhook_hosts if it may be reached"
        )
        raise _Refused(why)
    return [(each[0], each[4]) for each in found if each[0] in (socket.AF_INET, socket.AF_INET6)]


def _is_listed(host: str, port: int, hosts: Sequence[str]) -> bool:
    shown = f"[{host}]" if ":" in host else host
    names = {host, shown, f"{shown}:{port}"}
    return any(each.strip().rstrip(".").lower() in names for each in hosts)


def _is_public(text: str) -> bool:
    """Tell an address of the public internet, whatever form it hides in.

    >>> _is_public("1.1.1.1"), _is_public("::ffff:127.0.0.1"), _is_public("fe80::1%eth0")
    (True, False, False)
    """
    try:
        address: _Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = _inside(address)
    if inner is not None:
        return _is_public(str(inner))
    is_odd = address.is_multicast or address.is_reserved or address in _METADATA
    return address.is_global and not is_odd


def _inside(address: _Address) -> _Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _why(error: Exception) -> str:
    """Say in words what went wrong, without what a receiver answered."""
    if isinstance(error, InvalidWebhook):
        return str(error.fields["why"])
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection could be made: {error.reason or 'unknown reason'}"
    if isinstance(error, socket.gaierror):
        return "its name leads to no address"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, http.client.HTTPException):
        return "what it answered is no HTTP"
    if isinstance(error, OSError):
        return error.strerror or "the connection was lost"
    return str(error)
