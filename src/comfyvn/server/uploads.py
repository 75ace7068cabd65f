"""Uploading: multipart forms, read straight into files of the library's own staging area.

The files are staged on the library's volume while they arrive, and then registered like any other: hashed,
stamped, placed. That copies them once more, since the marker is spliced in on the way. Whatever ends an
upload early (the client, a limit, an error), its staged files are thrown away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from comfyvn.config import Config
from comfyvn.errors import (
    ComfyVNError,
    ExtraMissing,
    InvalidAssetType,
    InvalidBody,
    InvalidMetadata,
    InvalidRequest,
    PathConflict,
    SourceUnreadable,
    TooBusy,
    TooLarge,
    TooSlow,
    UnsafePath,
    WrongBodyType,
)
from comfyvn.server.access import may_write, visitor_of
from comfyvn.server.answers import json_answer, problem_body, scrub
from comfyvn.server.changes import asset_answer
from comfyvn.server.description import problems
from comfyvn.server.places import destination, origin_of
from comfyvn.server.questions import parse_json
from comfyvn.server.schemas import UploadAnswer
from comfyvn.server.state import State, here
from comfyvn.storage import LocalStorage, Staged, safe_name
from comfyvn.studio.core import AssetRecord, AssetRegistry

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartParser

__all__ = ["MOST_FILES", "router"]

_silence = logging.getLogger(f"{__name__}.parser")
_silence.setLevel(logging.CRITICAL)
router = APIRouter(dependencies=[Depends(may_write)])
_FIELDS: Final = frozenset({"asset_type", "dest_path", "metadata", "license", "provenance", "keep_known"})
_FILES: Final = frozenset({"file", "files"})
MOST_FILES: Final = 100
"""How many files one upload may hold."""
_MOST_HEADERS: Final = 16
_HEADER_BYTES: Final = 8_192
_BATCH_BYTES: Final = 256 << 10
_PATIENCE_S: Final = 2.0
_DRAINED_BYTES: Final = 1 << 20
_ESCAPED: Final = (("%22", '"'), ("%0D", "\r"), ("%0d", "\r"), ("%0A", "\n"), ("%0a", "\n"))
"""What browsers write for these three in a file name, and nothing else."""
_SCHEMA: Final = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {
            "description": "One file; the part may be repeated.",
            "type": "string",
            "contentMediaType": "application/octet-stream",
        },
        "asset_type": {"type": "string", "default": "generic"},
        "dest_path": {"type": "string", "description": "A file or a folder, relative to the assets folder."},
        "metadata": {"type": "string", "contentMediaType": "application/json"},
        "license": {"type": "string"},
        "provenance": {"type": "string", "contentMediaType": "application/json"},
        "keep_known": {
            "type": "string",
            "enum": ["true", "false"],
            "default": "false",
            "description": "A file whose content is known already keeps its tags, licence and metadata.",
        },
    },
}


@dataclass(slots=True)
class _Sent:
    """A file that came in, under the name that the client gave it."""

    name: str
    staged: Staged


class _Header(NamedTuple):
    name: bytes
    value: bytes


@dataclass(slots=True)
class _Form:
    """What has come in of a form; its files are thrown away at the end, registered or not."""

    storage: LocalStorage
    config: Config
    stack: ExitStack
    fields: dict[str, str] = field(default_factory=dict)
    files: list[_Sent] = field(default_factory=list)
    is_read: bool = False
    is_whole: bool = False
    file_bytes: int = 0
    field_bytes: int = 0


class _Part:
    """Takes the callbacks of the parser, part by part."""

    def __init__(self, form: _Form) -> None:
        self._form = form
        self._headers: list[_Header] = []
        self._name, self._value = bytearray(), bytearray()
        self._field: str | None = None
        self._text = bytearray()
        self._file: _Sent | None = None

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Return the callbacks by the parser's names for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers.clear()
        self._field, self._file = None, None
        self._text.clear()

    def _end_header(self) -> None:
        self._headers.append(_Header(bytes(self._name).lower(), bytes(self._value)))
        self._name.clear()
        self._value.clear()

    def _open(self) -> None:
        """Find out what this part is, and make room for it."""
        from python_multipart.multipart import parse_options_header

        stated = next((value for name, value in self._headers if name == b"content-disposition"), b"")
        kind, options = parse_options_header(stated)
        name = options.get(b"name", b"").decode(errors="replace")
        if kind != b"form-data" or not name:
            raise InvalidBody(why="a part of the form has no name")
        if b"filename" in options:
            self._open_file(name, options[b"filename"])
        else:
            self._open_field(name)

    def _open_file(self, name: str, filename: bytes) -> None:
        form = self._form
        if name not in _FILES:
            raise InvalidRequest(why=f"the form has a file under {name!r:.80}; files go under 'file'")
        if len(form.files) >= MOST_FILES:
            raise InvalidRequest(why=f"more than {MOST_FILES} files in one upload")
        self._file = _Sent(_file_name(filename), form.stack.enter_context(form.storage.stage()))
        form.files.append(self._file)

    def _open_field(self, name: str) -> None:
        if name in _FILES:
            raise InvalidRequest(why=f"{name}: this must be a file, with a filename")
        if name not in _FIELDS:
            raise InvalidRequest(why=f"{name!r:.80}: there is no such field; there are {sorted(_FIELDS)}")
        if name in self._form.fields:
            raise InvalidRequest(why=f"{name}: this field is there twice")
        self._field = name

    def _take(self, data: bytes, start: int, end: int) -> None:
        form, size = self._form, end - start
        if self._file is not None:
            form.file_bytes += size
            _check_size(form.file_bytes, form.config)
            with form.storage.writing():
                _write(self._file.staged, memoryview(data)[start:end])
            return
        form.field_bytes += size
        if form.field_bytes > form.config.request_bytes:
            limit = form.config.request_bytes
            raise TooLarge(what="What is said of the files", limit=limit, setting="request_bytes")
        self._text += data[start:end]

    def _end(self) -> None:
        if self._field is None:
            return
        try:
            self._form.fields[self._field] = self._text.decode()
        except UnicodeDecodeError as error:
            raise InvalidBody(why=f"{self._field} is not UTF-8") from error

    def _finish(self) -> None:
        self._form.is_whole = True


@router.post(
    "/assets/upload",
    response_model=UploadAnswer,
    responses=problems(
        ExtraMissing,
        InvalidAssetType,
        InvalidBody,
        InvalidMetadata,
        InvalidRequest,
        PathConflict,
        SourceUnreadable,
        TooBusy,
        TooLarge,
        TooSlow,
        UnsafePath,
        WrongBodyType,
    ),
    openapi_extra={
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _SCHEMA}}}
    },
)
async def upload_assets(request: Request) -> Response:
    """Upload one file or several, and register them.

    The answer to one file is its ``asset``, that to several ``items``, each with an ``asset`` or an
    ``error``; ``ok`` then says whether all of them came in. What the form says holds for each of its files;
    with ``keep_known`` not for one whose content is known already.
    """
    state = here(request)
    with ExitStack() as stack:
        form = _Form(state.registry.library.storage, state.config, stack)
        try:
            _check_size(_announced(request) - _besides(state.config), state.config)
            async with _place(state, _sender(request)):
                parser = _parser(request, form)
                await _read(request, state, parser, form)
                return await state.run(_register, state, form)
        except ComfyVNError as error:
            if not (form.is_read or isinstance(error, TooSlow)):
                await _drain(request)
            raise


@asynccontextmanager
async def _place(state: State, sender: str) -> AsyncIterator[None]:
    """Hold one of the places for uploads; wait a moment for one. One sender gets half of them.

    Raises:
        TooBusy: all are taken, or his are.
    """
    most = state.config.uploads_at_once
    half = (most + 1) // 2
    share = state.upload_shares.get(sender)
    if share is None:
        share = state.upload_shares[sender] = asyncio.Semaphore(half)
    why = f"There are {half} uploads of yours at once already, half of what uploads_at_once allows."
    async with AsyncExitStack() as held:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await held.enter_async_context(share)
                why = f"There are {most} uploads at once already (setting uploads_at_once)."
                await held.enter_async_context(state.uploads)
        except TimeoutError as error:
            raise TooBusy(why=why) from error
        yield


def _sender(request: Request) -> str:
    """Return whose uploads are counted together: those of a token, or else of an address."""
    name = visitor_of(request).name
    return f"token {name}" if name else f"address {request.client.host if request.client else ''}"


def _parser(request: Request, form: _Form) -> MultipartParser:
    """Return the parser of the form that a request announces.

    Raises:
        ExtraMissing: the package that parses forms is not installed.
        WrongBodyType: it announces none.
    """
    try:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header
    except ImportError as error:
        raise ExtraMissing(what="An upload", package="python-multipart", extra="server") from error
    stated = request.headers.get("content-type", "")
    kind, options = parse_options_header(stated.encode("latin-1"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        found = stated[:80] or "without a Content-Type"
        raise WrongBodyType(wanted="multipart/form-data with a boundary", found=found)
    callbacks: Any = _Part(form).callbacks()
    try:
        parser = MultipartParser(
            options[b"boundary"], callbacks, max_header_count=_MOST_HEADERS, max_header_size=_HEADER_BYTES
        )
    except FormParserError as error:
        raise InvalidBody(why=str(error)) from error
    parser.logger = _silence  # it would log each mistake of a client; the answer tells of it
    return parser


async def _read(request: Request, state: State, parser: MultipartParser, form: _Form) -> None:
    """Read the body to its end; what has come in goes to the disk in a thread, and is not held."""
    stream, batch, size = request.stream(), bytearray(), 0
    while True:
        chunk = await anext(stream, None)
        form.is_read = chunk is None
        size += len(chunk or b"")
        _check_size(size - _besides(state.config), state.config)
        batch += chunk or b""
        if batch and (chunk is None or len(batch) >= _BATCH_BYTES):
            await state.run(_parse, parser, bytes(batch))
            batch.clear()
        if chunk is None:
            break
    if not form.is_whole:
        raise InvalidBody(why="the form ends too early: its last boundary is missing")


def _parse(parser: MultipartParser, data: bytes) -> None:
    from python_multipart.exceptions import FormParserError

    try:
        parser.write(data)
    except FormParserError as error:
        raise InvalidBody(why=f"this is no form: {error}") from error


async def _drain(request: Request) -> None:
    """Read a little more of what was refused: a client that is still sending would not see the answer."""
    size = 0
    with suppress(TimeoutError):  # TooSlow is one
        async with asyncio.timeout(_PATIENCE_S):
            while size < _DRAINED_BYTES:
                message = await request.receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                size += len(message.get("body", b""))


def _announced(request: Request) -> int:
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 19 else 0


def _besides(config: Config) -> int:
    """Return how much of a body may be something else than files: fields, headers, boundaries."""
    return config.request_bytes + MOST_FILES * 2 * _HEADER_BYTES


def _check_size(size_bytes: int, config: Config) -> None:
    if size_bytes > config.upload_bytes:
        raise TooLarge(what="The upload", limit=config.upload_bytes, setting="upload_bytes")


def _write(staged: Staged, rest: memoryview) -> None:
    while rest:
        rest = rest[staged.file.write(rest) :]


def _file_name(stated: bytes) -> str:
    """Return the last part of the name that a client gave a file: what it is called, never where it goes."""
    name = stated.decode(errors="replace")
    for escaped, char in _ESCAPED:
        name = name.replace(escaped, char)
    name = name.replace("\\", "/").rstrip("/").rpartition("/")[2].replace("\0", "")
    return name if name.strip(". ") else "upload"


# -- registering ------------------------------------------------------------------------------------------


def _register(state: State, form: _Form) -> Response:
    """Register the files of a form."""
    if not form.files:
        raise InvalidRequest(why="file: the form has no file")
    options = _Options.of(form.fields, state.config)
    operation = state.registry.new_operation()
    if len(form.files) == 1:
        record = _register_one(state.registry, form.files[0], options, operation)
        return asset_answer(record, {"operation": operation})
    _check_folder(state.registry, options)
    items = [_try_one(state, sent, options, operation) for sent in form.files]
    come_in = ["asset" in item for item in items]
    return json_answer({"ok": all(come_in), "operation": operation if any(come_in) else None, "items": items})


def _check_folder(registry: AssetRegistry, options: _Options) -> None:
    """Refuse one file's name for several files.

    Raises:
        InvalidRequest: ``dest_path`` is no folder.
    """
    one, other = (destination(registry, "x", options.dest_path, name) for name in ("one", "other"))
    if one == other:
        raise InvalidRequest(why="dest_path names a file, but the form has several; end it with a slash")


@dataclass(frozen=True, slots=True)
class _Options:
    asset_type: str
    dest_path: str | None
    metadata: dict[str, Any] | None
    license: str | None
    provenance: dict[str, Any] | None
    keep_known: bool

    @classmethod
    def of(cls, fields: dict[str, str], config: Config) -> _Options:
        """Read the fields of a form; an empty one is like none, as browsers send it."""
        return cls(
            asset_type=fields.get("asset_type", "").strip() or "generic",
            dest_path=fields.get("dest_path", "").strip() or None,
            metadata=_object("metadata", fields, config),
            license=fields.get("license") or None,
            provenance=_object("provenance", fields, config),
            keep_known=_flag("keep_known", fields),
        )


def _flag(name: str, fields: dict[str, str]) -> bool:
    value = fields.get(name, "").strip() or "false"
    if value not in ("true", "false"):
        raise InvalidRequest(why=f"{name}: this must be true or false")
    return value == "true"


def _object(name: str, fields: dict[str, str], config: Config) -> dict[str, Any] | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    value = parse_json(text, config.request_nesting, name)
    if not isinstance(value, dict):
        raise InvalidBody(why=f"{name} must be a JSON object")
    return value


def _register_one(registry: AssetRegistry, sent: _Sent, options: _Options, operation: int) -> AssetRecord:
    return registry.register_open_file(
        sent.staged.file,
        safe_name(sent.name),
        options.asset_type,
        dest_relative=destination(registry, options.asset_type, options.dest_path, sent.name),
        metadata=options.metadata,
        provenance=origin_of(options.provenance, options.metadata, "api.upload"),
        license_tag=options.license,
        operation=operation,
        keep_known=options.keep_known,
    )


def _try_one(state: State, sent: _Sent, options: _Options, operation: int) -> dict[str, Any]:
    try:
        record = _register_one(state.registry, sent, options, operation)
    except ComfyVNError as error:
        return {"name": sent.name, "error": problem_body(type(error), scrub(str(error), state.config))}
    return {"name": sent.name, "asset": record}
