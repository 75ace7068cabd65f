"""The settings, in one table: default < ``comfyvn.toml`` < ``COMFYVN_*`` < argument.

The table is the dataclass `Config`: each field is one setting with its default, its environment variable
and its sentence of documentation. ``docs/settings.md`` and ``comfyvn doctor`` are made from it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from comfyvn.errors import InvalidSetting, InvalidSettingsFile
from comfyvn.model import Limits

__all__ = [
    "SECRETS",
    "SETTINGS_FILE",
    "Config",
    "Durability",
    "did_you_mean",
    "load",
    "settings_table",
]

Durability = Literal["full", "batch", "off"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
SETTINGS_FILE: Final = "comfyvn.toml"
SECRETS: Final = frozenset({"api_token"})
"""Settings whose values nobody prints."""
_LIMITS: Final = Limits()
_HOSTS: Final = frozenset({"allowed_hosts", "webhook_hosts"})
_WORDS: Final = {"true": True, "1": True, "yes": True, "on": True} | dict.fromkeys(
    ("false", "0", "no", "off"), False
)
_IMPORTERS: Final = "importers"
_ORIGIN: Final = re.compile(r"https?://[^/\s]+/?")


def _setting(
    doc: str,
    default: Any = None,
    *,
    shown: str | None = None,
    env: str | None = None,
    is_secret: bool = False,
) -> Any:
    """Declare a setting; ``shown`` describes a default that is computed, ``env`` an unusual variable."""
    metadata = {"doc": doc, "shown": shown, "env": env}
    return field(default=default, repr=not is_secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, resolved. Paths are absolute.

    ``importers`` are the tables ``[importers.NAME]`` of ``comfyvn.toml``, each for the import adapter of that
    name, which checks it; there may be some of adapters that are not installed here.
    """

    home: Path = _setting("The project folder; other relative paths start here.", shown="the current folder")
    assets_root: Path = _setting(
        "Where the assets lie.", shown="`assets/`, or `data/assets/` where only that exists"
    )
    thumbs_root: Path = _setting("The preview cache; safe to delete.", shown="`cache/thumbs/`")
    thumbs_rel: str = _setting(
        "The prefix under which records name previews; only the part behind the last `/` counts on reading.",
        "cache/thumbs",
    )
    db: Path = _setting("The ledger: an SQLite file.", shown="`comfyvn/data/comfyvn.db`")
    project: str = _setting("The project that assets belong to; several may share one ledger.", "default")
    user: str | None = _setting(
        "Who acts: recorded in provenance (`user_id`) and journal.",
        shown="the login name, in the journal only",
    )
    git_commit: str | None = _setting(
        "The commit recorded in provenance.", shown="the git commit of the project folder, if it has one"
    )
    durability: Durability = _setting(
        "What survives a power cut: `full` (all that was reported), `batch` (all batches that were reported; "
        "what `ingest` uses at least), `off` (tests only).",
        "full",
    )
    busy_timeout_s: float = _setting("How long to wait for another writer, in seconds.", 30.0)
    log_level: LogLevel = _setting("The least severe log message that is shown.", "WARNING")
    preview_workers: int = _setting("How many previews are made at once, each in a process of its own.", 2)
    ingest_workers: int = _setting("Threads that read, hash and copy during a bulk ingest.", 2)
    preview_pixels: int = _setting("The largest image that gets a preview, in pixels.", 64_000_000)
    preview_time_s: float = _setting(
        "How long the preview of a picture may take, in seconds; that of a sound, an animation or a film six "
        "times as long.",
        20.0,
    )
    preview_memory_bytes: int = _setting(
        "The memory that a process making previews may use, in bytes (Linux).", 1 << 30
    )
    metadata_bytes: int = _setting("Metadata of one asset, in bytes of JSON.", _LIMITS.metadata_bytes)
    metadata_nesting: int = _setting("How deep metadata may be nested.", _LIMITS.metadata_nesting)
    metadata_values: int = _setting("How many values the metadata may hold.", _LIMITS.metadata_values)
    tags_per_asset: int = _setting("Tags of one asset.", _LIMITS.tags_per_asset)
    tag_length: int = _setting("Length of a tag, in characters.", _LIMITS.tag_length)
    sidecar_bytes: int = _setting("The largest sidecar that is read, in bytes.", 8_000_000)
    archive_files: int = _setting("How many files an import may unpack from one archive.", 10_000)
    archive_bytes: int = _setting("How much an import may unpack from one archive, in bytes.", 8_000_000_000)
    server_host: str = _setting("The address on which `comfyvn serve` listens.", "127.0.0.1")
    server_port: int = _setting("The port on which `comfyvn serve` listens.", 8765)
    server_watch: bool = _setting(
        "Whether `comfyvn serve` takes in what changes in the assets folder; `comfyvn studio` does so unless "
        "told otherwise.",
        False,
        shown="`false`",
    )
    api_token: str | None = _setting(
        "A token that may do everything, as older set-ups have it; `comfyvn token create` makes better ones.",
        env="API_TOKEN",
        is_secret=True,
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "Names under which the server may be reached besides the loopback ones and its own addresses.", ()
    )
    allowed_origins: tuple[str, ...] = _setting(
        "Web pages of other servers that may use this one, such as `http://127.0.0.1:8188`.", ()
    )
    import_roots: tuple[Path, ...] = _setting(
        "Folders besides the assets folder from which `POST /assets/register` may read.", ()
    )
    upload_bytes: int = _setting(
        "The largest upload, all files of one request together, in bytes.", 512_000_000
    )
    uploads_at_once: int = _setting(
        "How many uploads may run at once, half of them of one sender; more are asked to come back.", 8
    )
    request_bytes: int = _setting("The largest JSON body of a request, in bytes.", 1_000_000)
    request_nesting: int = _setting("How deep the JSON body of a request may be nested.", 64)
    header_bytes: int = _setting("Headers of a request, its path and query among them, in bytes.", 32_768)
    request_time_s: float = _setting("How long a request may take to be answered, in seconds.", 60.0)
    idle_time_s: float = _setting(
        "How long the server waits for the next part of a request that has begun, in seconds.", 30.0
    )
    connections: int = _setting("How many connections may be open at once.", 1_000)
    page_size: int = _setting("The largest page of a list over HTTP.", 1_000)
    bulk_assets: int = _setting("How many assets one request may name.", 100_000)
    event_backlog: int = _setting(
        "How many missed events are sent after a reconnect; who missed more is told to start anew.", 10_000
    )
    event_streams: int = _setting("How many streams of events may be open at once.", 200)
    webhook_hosts: tuple[str, ...] = _setting(
        "Hosts to which webhooks may be sent besides public ones, with or without a port: private addresses "
        "must be named here.",
        (),
    )
    importers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, metadata={"internal": True})
    origins: Mapping[str, str] = field(default_factory=dict, metadata={"internal": True})

    def limits(self) -> Limits:
        """Return the limits of what people may write about one asset."""
        return Limits(
            metadata_bytes=self.metadata_bytes,
            metadata_nesting=self.metadata_nesting,
            metadata_values=self.metadata_values,
            tags_per_asset=self.tags_per_asset,
            tag_length=self.tag_length,
        )

    def why(self, name: str) -> str:
        """Tell where a value comes from: ``argument``, a variable's name, ``comfyvn.toml``, ``default``."""
        return self.origins.get(name, "default")


def settings_table() -> list[dict[str, str]]:
    """Return the documentation of every setting: name, variable, default and sentence, in table order."""
    return [
        {
            "name": item.name,
            "env": _variable(item),
            "default": item.metadata["shown"]
            or ("none" if item.default in (None, ()) else f"`{item.default}`"),
            "doc": item.metadata["doc"],
        }
        for item in _settings()
    ]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return, for a message, which of the known names a mistyped one is near to; empty where none is.

    >>> did_you_mean("Comfyu", ["a1111", "comfyui"]), did_you_mean("painter", ["a1111", "comfyui"])
    (' (did you mean comfyui?)', '')
    """
    from difflib import get_close_matches

    folded = {each.casefold(): each for each in sorted(known)}
    return "".join(
        f" (did you mean {folded[near]}?)" for near in get_close_matches(name.casefold(), folded, 1, 0.75)
    )


def load(arguments: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Resolve every setting.

    Args:
        arguments: what the caller stated; None values count as not stated. Relative paths start at the
            current folder.
        environ: the environment, ``os.environ`` by default. Relative paths start at the project folder.

    Raises:
        InvalidSetting: a value can't be what its setting needs, or ``comfyvn.toml`` has an unknown key.
    """
    environ = os.environ if environ is None else environ
    stated = {name: value for name, value in (arguments or {}).items() if value is not None}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    home = _find_home(stated, environ)
    from_file = _read_file(home / SETTINGS_FILE)
    kinds = _kinds()
    for item in _settings():
        origin, raw, base = _find(item, stated, environ, from_file, home)
        if origin is not None:
            values[item.name] = _convert(item.name, kinds[item.name], raw, origin, base)
            origins[item.name] = origin
    values["home"] = home
    values["importers"] = _importers(from_file)
    defaults = {
        "assets_root": _default_assets_root(home),
        "thumbs_root": home / "cache" / "thumbs",
        "db": home / "comfyvn" / "data" / "comfyvn.db",
    }
    return Config(**{**defaults, **values}, origins=origins)


def _settings() -> list[Field[Any]]:
    return [item for item in fields(Config) if "internal" not in item.metadata]


@functools.cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Config)


def _variable(item: Field[Any]) -> str:
    return item.metadata["env"] or f"COMFYVN_{item.name.upper()}"


def _find(
    item: Field[Any],
    stated: Mapping[str, Any],
    environ: Mapping[str, str],
    from_file: Mapping[str, Any],
    home: Path,
) -> tuple[str | None, Any, Path]:
    if item.name in stated:
        return "argument", stated[item.name], Path.cwd()
    variable = _variable(item)
    if environ.get(variable):
        return variable, environ[variable], home
    if item.name in from_file:
        return SETTINGS_FILE, from_file[item.name], home
    return None, None, home


def _find_home(stated: Mapping[str, Any], environ: Mapping[str, str]) -> Path:
    if "home" in stated:
        return Path(_convert("home", Path, stated["home"], "argument", Path.cwd()))
    if environ.get("COMFYVN_HOME"):
        return Path(_convert("home", Path, environ["COMFYVN_HOME"], "COMFYVN_HOME", Path.cwd()))
    return Path.cwd()


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingsFile(path=path, why=error) from error
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingsFile(path=path, why=error) from error
    known = {item.name for item in _settings()} - {"home"} | {_IMPORTERS}
    for name in values:
        if name not in known:
            why = f"there is no such setting{did_you_mean(name, known)}; there are {', '.join(sorted(known))}"
            raise InvalidSetting(name=name, value=values[name], origin=SETTINGS_FILE, why=why)
    return values


def _importers(from_file: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the tables of the import adapters.

    Raises:
        InvalidSetting: one is no table.
    """
    tables = from_file.get(_IMPORTERS, {})
    wrong = {"": tables} if not isinstance(tables, dict) else tables
    for name, table in wrong.items():
        if not isinstance(table, dict):
            why = f"it must be a table for an import adapter, such as [{_IMPORTERS}.folders]"
            shown = f"{_IMPORTERS}.{name}" if name else _IMPORTERS
            raise InvalidSetting(name=shown, value=table, origin=SETTINGS_FILE, why=why)
    return dict(tables)


def _convert(name: str, kind: Any, raw: Any, origin: str, base: Path) -> Any:
    """Turn a stated value into what the setting needs."""
    text = os.fspath(raw) if isinstance(raw, os.PathLike) else raw
    if kind is Path:
        return _to_path(name, text, origin, base)
    if kind in (Durability, LogLevel):
        found = next((word for word in get_args(kind) if str(text).lower() == word.lower()), None)
        if found is None:
            why = f"it must be one of {', '.join(get_args(kind))}"
            raise InvalidSetting(name=name, value=raw, origin=origin, why=why)
        return found
    if kind is bool:
        return _to_bool(name, text, origin)
    if kind in (int, float):
        return _to_number(name, kind, text, origin)
    if kind in (tuple[str, ...], tuple[Path, ...]):
        return _to_several(name, kind, raw, origin, base)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidSetting(name=name, value=raw, origin=origin, why="it must be text, not empty")
    return text.strip()


def _to_several(name: str, kind: Any, raw: Any, origin: str, base: Path) -> tuple[Any, ...]:
    """Take a list, or a text with commas between (paths: with what the system puts between paths)."""
    one = get_args(kind)[0]
    if isinstance(raw, str):
        raw = [part for part in raw.split(os.pathsep if one is Path else ",") if part.strip()]
    if not isinstance(raw, (list, tuple)):
        raise InvalidSetting(name=name, value=raw, origin=origin, why="it must be a list of texts")
    found = tuple(_convert(name, one, part, origin, base) for part in raw)
    for part in found:
        if name in _HOSTS and ("/" in part or any(map(str.isspace, part))):
            why = f"{part!r} must be a host, with or without a port, such as 'gpu.lan'"
            raise InvalidSetting(name=name, value=raw, origin=origin, why=why)
        if name == "allowed_origins" and not _ORIGIN.fullmatch(part):
            why = f"{part!r} must be an origin, such as 'http://127.0.0.1:8188'"
            raise InvalidSetting(name=name, value=raw, origin=origin, why=why)
    return found


def _to_path(name: str, raw: Any, origin: str, base: Path) -> Path:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise InvalidSetting(name=name, value=raw, origin=origin, why="it must be a path")
    if "://" in raw:
        why = "only SQLite files serve as ledger and only folders as storage in this release; give a path"
        raise InvalidSetting(name=name, value=raw, origin=origin, why=why)
    try:
        return (base / Path(raw).expanduser()).absolute()
    except RuntimeError as error:
        raise InvalidSetting(name=name, value=raw, origin=origin, why="there is no such user") from error


def _to_bool(name: str, raw: Any, origin: str) -> bool:
    found = _WORDS.get(str(raw).strip().lower())
    if found is None:
        raise InvalidSetting(name=name, value=raw, origin=origin, why="it must be true or false")
    return found


def _to_number(name: str, kind: type[int] | type[float], raw: Any, origin: str) -> int | float:
    try:
        number = kind(raw)
    except (TypeError, ValueError, OverflowError):
        number = kind(0)
    if isinstance(raw, bool) or not 0 < number < 1e15 or (isinstance(raw, float) and number != raw):
        what = "a whole number" if kind is int else "a number"
        raise InvalidSetting(name=name, value=raw, origin=origin, why=f"it must be {what} above 0")
    return number


def _default_assets_root(home: Path) -> Path:
    """Return ``assets/``; an old library that has only ``data/assets/`` keeps that."""
    candidates = (home / "assets", home / "data" / "assets")
    return next((path for path in candidates if path.is_dir()), candidates[0])
