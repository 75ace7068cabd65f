"""Examples for the description: answers of a server on the sample library, and problems with all their words.

``examples.json`` is written by ``tests/server/test_description.py``, which asks every route of a real server.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, Final

from comfyvn.errors import ComfyVNError
from comfyvn.server.answers import problem_body

__all__ = ["example_of_problem", "recorded"]

_FIELDS: Final[Mapping[str, Any]] = {
    "address": "0.0.0.0:8765",
    "allowed": "GET, HEAD",
    "child": "characters/mara/mara_happy.png",
    "how": "",
    "parent": "74447c55c74f2d7a",
    "asset_type": "a/b",
    "column": 7,
    "expected": 250,
    "found": 251,
    "host": "registry.example",
    "job": 1,
    "kind": "rebuild",
    "known": "asset_registered, asset_meta_updated, asset_removed, asset_sidecar_written",
    "limit": 1_000_000,
    "line": 3,
    "method": "PUT",
    "missing": 250,
    "name": "ci",
    "operation": 244586828541952,
    "origin": "https://pages.example",
    "package": "python-multipart",
    "path": "characters/mara/mara_happy.png",
    "percent": 20,
    "project": "default",
    "root": "my-vn",
    "scope": "assets.write",
    "scopes": "assets.read",
    "seconds": 30,
    "setting": "request_bytes",
    "size_bytes": 76_939,
    "total": 1_000,
    "uid": "74447c55c74f2d7a",
    "url": "https://hooks.example/comfyvn",
    "wanted": "application/json",
    "webhook": 3,
    "what": "The body",
}
_OWN_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ExtraMissing": {"what": "An upload", "extra": "server"},
    "FileMissing": {"why": "it is not in its place"},
    "InvalidAssetType": {"why": "it is no plain folder name"},
    "InvalidBody": {"why": "line 1, column 12: Expecting value"},
    "InvalidFilter": {"why": "limit must be a whole number of at least 1, not 0"},
    "InvalidMetadata": {"why": "tags must be a list of texts"},
    "InvalidRequest": {"why": "query.limit: Input should be greater than or equal to 1"},
    "InvalidSidecar": {"path": "characters/mara/mara_happy.png.asset.json", "why": "it is not JSON"},
    "InvalidWebhook": {"why": "10.0.0.7 is a private address; name it in the setting webhook_hosts"},
    "LibraryUnreachable": {"path": "assets", "why": "there is no such folder"},
    "LineageCircle": {
        "parent": "sketches/mara.png",
        "way": "sketches/mara.png from characters/mara/mara_happy.png",
    },
    "MalformedRequest": {"why": "it states two lengths"},
    "NoDesktop": {"why": "xdg-open is not installed"},
    "NothingThere": {"why": "There is nothing at this address."},
    "PathConflict": {"why": "another asset lies there"},
    "PreviewFailed": {"why": "the file is damaged"},
    "PreviewMissing": {"what": "waveform", "why": "its preview is a thumbnail"},
    "PreviewPending": {"what": "thumbnail"},
    "RegistryBusy": {"path": "comfyvn.db"},
    "RegistryUnusable": {"path": "comfyvn.db", "why": "this is no SQLite database"},
    "RequestRefused": {"why": "Only a program on the same machine may do this."},
    "RestoreRefused": {"why": "it is registered"},
    "ServerFault": {"request": "3f9c2a7d41b8"},
    "SourceUnreadable": {"why": "permission denied"},
    "StorageUnwritable": {"path": "assets", "why": "no space left on device"},
    "TooBusy": {"why": "Eight uploads are at work (setting uploads_at_once)."},
    "TooSlow": {"why": "Nothing came for 30 s (setting idle_time_s)."},
    "UnknownEvent": {"event": "asset_renamed"},
    "UnsafePath": {"path": "../mara.png", "why": "it leads out of the assets folder"},
    "UnsupportedMedia": {"why": "this format has no preview"},
    "WrongBodyType": {"found": "text/plain"},
}


def example_of_problem(kind: type[ComfyVNError]) -> dict[str, Any]:
    """Return what the server may answer for an error."""
    template = inspect.cleandoc(kind.__doc__ or "")
    names = [name for _, name, _, _ in Formatter().parse(template) if name]
    stated = {**_FIELDS, **_OWN_FIELDS.get(kind.__name__, {})}
    return problem_body(kind, str(kind(**{name: stated[name] for name in names})))


@functools.cache
def recorded() -> dict[str, Any]:
    """Return what was asked and answered, by the operation's id: ``request`` and ``answer``."""
    path = Path(__file__).with_name("examples.json")
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document
