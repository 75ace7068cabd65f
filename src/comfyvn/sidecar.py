"""The sidecar: one JSON file beside each asset, the truth for what people wrote about it.

Pure: builds, reads and merges values; no disk. Format: ``docs/sidecar.md``; UTF-8 JSON, two-space indent,
keys in a fixed order, final newline, so that it diffs and merges well in git.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import orjson

from comfyvn.errors import InvalidAssetType, InvalidMetadata, InvalidSidecar
from comfyvn.model import (
    MAX_VERSION,
    MOST_PARENTS,
    Asset,
    Facts,
    Limits,
    Parent,
    Provenance,
    Version,
    canonical_json,
    fold,
    normalise_license,
    normalise_parents,
    normalise_tags,
    normalise_type,
    parse_facts,
    parse_parents,
    preview_names,
)

__all__ = [
    "SCHEMA",
    "SUFFIX",
    "Merged",
    "Sidecar",
    "build",
    "describe_meta",
    "describe_preview",
    "describe_provenance",
    "describe_shown",
    "describe_version",
    "dumps",
    "edges",
    "facts_of",
    "is_same",
    "load",
    "merge",
    "names",
    "parse",
    "parse_strict",
]

SCHEMA: Final = 1
SUFFIX: Final = ".asset.json"

_OWN_KEYS: Final = frozenset(
    {
        *("schema", "id", "uid", "project", "type", "path", "hash", "bytes", "version", "tags", "license"),
        *("origin", "created_at", "updated_at", "meta", "preview", "links", "provenance", "asset_id"),
        *("versions", "lineage"),
    }
)
_ABSENT: Final = object()
_FRAME_NESTING: Final = 4
"""How deep a row's inputs lie: the sidecar, ``provenance``, ``history``, the row."""
_FAST_NESTING: Final = 100  # orjson refuses more than 254
_PLAIN_TYPES: Final = frozenset({str, int, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})
_LINEAGE_KEY: Final = re.compile(r'"lineage"\s*:\s*')
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_UID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""What older releases wrote too (``legacy_7``); nothing that means a folder, since previews are named so."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says, checked. ``payload`` is the whole object; the rest are its parts, None if absent.

    ``provenance`` and ``versions`` are newest first. ``asset_id`` is the ledger's id of the asset, which
    survives a rebuild. ``warning`` says what of ``lineage`` is not understood, where it stands, and what to
    do; it is kept word for word, among the ``extra`` of the facts, and has no effect.
    """

    payload: Mapping[str, Any]
    facts: Facts
    uid: str | None
    project: str | None
    type: str | None
    key: str | None
    digest: str | None
    size_bytes: int | None
    version: int
    asset_id: int | None
    created_at: str | None
    updated_at: str | None
    provenance: tuple[Provenance, ...]
    versions: tuple[Version, ...]
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome of a three-way merge: the facts, and our values that gave way to the file's."""

    facts: Facts
    lost: Mapping[str, Any]


def build(asset: Asset, suffix: str = SUFFIX) -> dict[str, Any]:
    """Build the sidecar of an asset, in the order in which its keys are written.

    ``id`` is the uid, as tools of older releases expect; the ledger's number is ``provenance.asset_id``, or
    ``asset_id`` where there is no provenance.

    Args:
        asset: with all of its provenance.
        suffix: of sidecar names.
    """
    facts = asset.facts
    preview, is_versioned = describe_preview(asset), len(asset.versions) > 1
    lineage = [*(each.describe() for each in facts.parents), *_strange(facts)]
    return {
        "schema": SCHEMA,
        "id": asset.uid,
        "uid": asset.uid,
        "project": asset.project_id,
        "type": asset.type,
        "path": asset.key,
        "hash": asset.digest,
        "bytes": asset.size_bytes,
        "version": asset.version,
        "tags": list(facts.tags),
        "license": facts.license,
        "origin": facts.origin,
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "meta": _meta(asset, preview, with_media=False),
        "preview": preview,
        "links": _links(asset, preview, suffix),
        "provenance": _describe_history(asset),
        **({} if asset.provenance else {"asset_id": asset.id}),
        **({"versions": [describe_version(each) for each in asset.versions]} if is_versioned else {}),
        **{name: value for name, value in facts.extra.items() if name != "lineage"},
        **({"lineage": lineage} if lineage else {}),
    }


def dumps(payload: Mapping[str, Any]) -> bytes:
    """Return a sidecar's bytes.

    >>> dumps({"uid": "3f", "tags": ["夏"]}).decode()
    '{\\n  "uid": "3f",\\n  "tags": [\\n    "夏"\\n  ]\\n}\\n'
    """
    fast = _dump_fast(payload, _FAST_NESTING)
    return fast or (json.dumps(payload, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def names(data: bytes, asset: Asset) -> bool:
    """Tell whether a sidecar names an asset as ours do, without parsing it: False if only that would tell."""
    at_top = f'\n  "uid": {_quoted(asset.uid)},\n  "project": {_quoted(asset.project_id)},\n'
    return at_top.encode(errors="replace") in data


def describe_preview(asset: Asset) -> dict[str, Any] | None:
    """Return the preview object of records and sidecars: where it lies, or why there is none.

    The names are known before the files are made. Whether they are made yet is the ledger's knowledge, not
    the sidecar's: a sidecar would change, and differ in git, for nothing that a person did.
    """
    preview = asset.preview
    if preview.kind is None:
        return None
    if preview.state == "failed" or preview.path is None:
        return {"kind": preview.kind, "state": "failed", "reason": preview.reason}
    folder = preview.path.rpartition("/")[0]
    names = preview_names(asset.uid, preview.kind)
    paths = {size: f"{folder}/{name}" if folder else name for size, name in names.items()}
    if preview.kind == "waveform":
        return {"kind": "waveform", "path": paths["waveform"], "recipe": preview.recipe}
    moving = {"animation": paths.pop("animation")} if preview.kind == "animation" else {}
    return {
        "kind": preview.kind,
        "paths": paths,
        "default": paths["256"],
        **moving,
        "recipe": preview.recipe,
    }


def describe_meta(asset: Asset, *, with_media: bool = False) -> dict[str, Any]:
    """Return the metadata object as older tools expect it: tags, licence, version and previews inside.

    Args:
        asset: the asset.
        with_media: add what the file tells about itself, unless the user has a key of that name. Sidecars are
            without: anybody can read that from the file, and they would change for nothing that a person did.
    """
    return _meta(asset, describe_preview(asset), with_media=with_media)


def describe_shown(
    asset: Asset, suffix: str = SUFFIX
) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
    """Return the metadata with what the file tells, the preview and the links, as records show them."""
    preview = describe_preview(asset)
    return _meta(asset, preview, with_media=True), preview, _links(asset, preview, suffix)


def _meta(asset: Asset, preview: dict[str, Any] | None, *, with_media: bool) -> dict[str, Any]:
    meta = asset.facts.as_meta(asset.version)
    if with_media and asset.media:
        meta.setdefault("media", dict(asset.media))
    if preview is not None:
        meta["preview"] = preview
        if "paths" in preview:
            meta["thumbnails"] = dict(preview["paths"])
    return meta


def _links(asset: Asset, preview: dict[str, Any] | None, suffix: str) -> dict[str, Any]:
    """Return the relative paths of all that belongs to an asset."""
    links: dict[str, Any] = {"file": asset.key, "sidecar": asset.key + suffix}
    if preview is None:
        return links
    if "paths" in preview:
        links["thumbnail"] = preview["default"]
        links["thumbnails"] = dict(preview["paths"])
        if "animation" in preview:
            links["animation"] = preview["animation"]
    elif "path" in preview:
        links["preview"] = preview["path"]
    return links


def describe_provenance(row: Provenance, *, with_inputs: bool = True) -> dict[str, Any]:
    """Return one provenance row as records and sidecars show it."""
    shown: dict[str, Any] = {
        "id": row.id,
        "asset_id": row.asset_id,
        "asset_uid": row.asset_uid,
        "source": row.source,
        "workflow_hash": row.workflow_hash,
        "commit_hash": row.commit_hash,
        "user_id": row.user_id,
        "created_at": row.created_at,
    }
    if with_inputs:
        shown["inputs"] = dict(row.inputs)
        shown["c2pa_like"] = dict(row.c2pa_like)
    return shown


def describe_version(version: Version) -> dict[str, Any]:
    """Return one version as exports and sidecars show it."""
    return {
        "version": version.version,
        "hash": version.digest,
        "bytes": version.size_bytes,
        "created_at": version.created_at,
        "provenance_id": version.provenance_id,
    }


def parse(data: bytes, path: str, limits: Limits = Limits(), base: Facts | None = None) -> Sidecar:
    """Read a sidecar of this release or an older one.

    Args:
        data: the file's bytes; a UTF-8 byte order mark is fine.
        path: for messages.
        limits: how much metadata an asset may have.
        base: what we last wrote, if known. It tells which of two places that hold the same fact (``tags``
            and ``meta.tags``) was edited. A sidecar that we wrote has a uid. An edit that is not understood
            is refused as a whole then: nothing is lost, since the ledger has what was there before. Without
            it, what is understood of ``lineage`` counts.

    Raises:
        InvalidSidecar: not UTF-8, not JSON, not an object, a key twice, a value that could not be written
            again, or one of a wrong type.
    """
    payload = load(data, path, limits)
    try:
        facts = facts_of(payload, limits, base)
    except InvalidMetadata as error:
        _fail(path, data, str(error.fields["why"]))
    uid = payload.get("uid") or payload.get("id")
    if not uid and base is not None:  # of a known asset we wrote it, with the uid
        _fail(path, data, "it has no uid any more; was it cut short? Put the uid back, or delete it")
    if isinstance(uid, str) and uid and not _UID.fullmatch(uid):
        _fail(path, data, f"uid may hold letters, digits, _ and -, at most 64; it is {uid!r:.80}")
    history = tuple(_parse_history(payload.get("provenance"), str(uid or "")))
    strange = facts.extra.get("lineage")
    return Sidecar(
        payload=payload,
        facts=facts,
        uid=uid if isinstance(uid, str) and uid else None,
        project=_text(payload.get("project")),
        type=_type(payload.get("type")),
        key=_text(payload.get("path")),
        digest=_digest(payload.get("hash")),
        size_bytes=_whole(payload.get("bytes"), least=0),
        version=min(_whole(payload.get("version")) or 1, MAX_VERSION),
        asset_id=next((row.asset_id for row in history if row.asset_id), _whole(payload.get("asset_id"))),
        created_at=_text(payload.get("created_at")),
        updated_at=_text(payload.get("updated_at")),
        provenance=history,
        versions=_parse_versions(payload.get("versions")),
        warning=_warning(data, payload["lineage"], strange) if strange else None,
    )


def facts_of(payload: Mapping[str, Any], limits: Limits = Limits(), base: Facts | None = None) -> Facts:
    """Return what people wrote, from a sidecar's object; see `parse`.

    Raises:
        InvalidMetadata: a value of a wrong type, or beyond a limit.
    """
    meta = payload.get("meta")
    if meta is None:
        meta = {}
    if not isinstance(meta, Mapping):
        raise InvalidMetadata(why=f"meta must be an object, not {type(meta).__name__}")
    tags = _pick(payload, meta, "tags", base and base.tags, lambda value: normalise_tags(value, limits))
    stated = _pick(payload, meta, "license", base and base.license, normalise_license)
    origin = _pick(payload, meta, "origin", base and base.origin, lambda value: value)
    rest = parse_facts({**meta, "tags": tags, "license": stated, "origin": origin, "version": 1}, limits)
    extra = {name: value for name, value in payload.items() if name not in _OWN_KEYS}
    parents, strange = _lineage(payload.get("lineage"))
    if strange and base is not None:
        known = {canonical_json(each) for each in _strange(base)}
        new = next((each for each in strange if canonical_json(each) not in known), _ABSENT)
        if new is not _ABSENT:
            raise InvalidMetadata(why=_why_no_parent(new))
    if strange:
        extra["lineage"] = strange
    return Facts(rest.tags, rest.license, rest.origin, rest.meta, extra, parents)


def _strange(facts: Facts) -> list[Any]:
    """Return the entries of an asset's lineage that are not understood; for older releases it was any key."""
    kept = facts.extra.get("lineage", [])
    return kept if isinstance(kept, list) else [kept]


def _lineage(value: Any) -> tuple[tuple[Parent, ...], list[Any]]:
    """Return the parents that a sidecar names, and word for word what of its list is none.

    What is no list counts as a list of that. Parents beyond the limit are not understood either.
    """
    entries = value if isinstance(value, list) else [] if value is None else [value]
    with suppress(InvalidMetadata):
        return parse_parents(entries), []
    found: dict[tuple[str, str], Parent] = {}
    strange: list[Any] = []
    for entry in entries:
        try:
            [parent] = parse_parents([entry])
        except InvalidMetadata:
            strange.append(entry)
            continue
        name = (parent.uid, parent.kind)
        if name in found or len(found) < MOST_PARENTS:
            found.setdefault(name, parent)
        else:
            strange.append(entry)
    return normalise_parents(found.values()), strange


def _why_no_parent(entry: Any) -> str:
    """Return what is wrong with an entry of the lineage that `_lineage` did not understand."""
    try:
        parse_parents([entry])
    except InvalidMetadata as error:
        return str(error.fields["why"])
    return f"lineage has more than {MOST_PARENTS:,} parents"


def _warning(data: bytes, lineage: Any, strange: list[Any]) -> str:
    """Return what is said of entries of the lineage that are not understood: of the first, and how many."""
    entries = lineage if isinstance(lineage, list) else [lineage]
    line, column = _line_and_column(data, _place_of_entry(data, lineage, entries.index(strange[0])))
    more = f" (and so {len(strange) - 1:,} more)" if len(strange) > 1 else ""
    return (
        f"line {line}, column {column}: {_why_no_parent(strange[0])}{more}. It has no effect and is kept as"
        " it is; mend it or take it out, then run `comfyvn rebuild`"
    )


def _place_of_entry(data: bytes, lineage: Any, number: int) -> int:
    """Return where in a sidecar's bytes the entry with an index stands in the lineage."""
    text, decode = data.decode("utf-8-sig"), json.JSONDecoder().raw_decode
    for found in _LINEAGE_KEY.finditer(text):
        at = found.end()
        with suppress(ValueError):  # it stood in a text
            if decode(text, at)[0] != lineage:
                continue
            after = at + 1
            for _ in range(number + 1 if isinstance(lineage, list) else 0):
                at = after
                while text[at] in " \t\r\n,":
                    at += 1
                after = decode(text, at)[1]
            return len(data) - len(text[at:].encode())
    return 0  # its name is spelled with escapes


def merge(base: Facts, theirs: Facts, ours: Facts, limits: Limits = Limits()) -> Merged:
    """Merge a hand-edited sidecar with a change of ours.

    Args:
        base: what we last wrote.
        theirs: what the file says now.
        ours: what we are about to write.
        limits: how many tags the outcome may have.

    Returns:
        Tags are merged one by one, and so are parents. Any other field that both sides changed takes the
        file's value; ours goes to ``lost`` under the field's name (``license``, ``meta.artist``). What both
        say of one parent is such a field (``lineage.3f1a0c22b7d94e10.edit``).
    """
    if theirs is base and ours.meta is base.meta and ours.extra is base.extra:
        return Merged(ours, {})
    lost: dict[str, Any] = {}

    def choose(name: str, old: Any, file: Any, new: Any) -> Any:
        if _is_same(file, old) or _is_same(file, new):
            return new
        if not _is_same(new, old):
            lost[name] = None if new is _ABSENT else new
        return file

    def choose_each(
        prefix: str, old: Mapping[str, Any], file: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Any:
        if file is old and new is old:
            return new
        names = [*file, *(name for name in new if name not in file)]
        chosen = {
            name: choose(prefix + name, *(side.get(name, _ABSENT) for side in (old, file, new)))
            for name in names
        }
        return {name: value for name, value in chosen.items() if value is not _ABSENT}

    facts = Facts(
        tags=_merge_tags(base.tags, theirs.tags, ours.tags, limits),
        license=choose("license", base.license, theirs.license, ours.license),
        origin=choose("origin", base.origin, theirs.origin, ours.origin),
        meta=choose_each("meta.", base.meta, theirs.meta, ours.meta),
        extra=choose_each("", base.extra, theirs.extra, ours.extra),
        parents=_parents(choose_each("lineage.", *(edges(side) for side in (base, theirs, ours)))),
    )
    return Merged(facts, lost)


def edges(facts: Facts) -> dict[str, Any]:
    """Return what is said of each parent, by its uid and kind."""
    return {f"{each.uid}.{each.kind}": each.describe() for each in facts.parents}


def _parents(said: Mapping[str, Any]) -> tuple[Parent, ...]:
    """Return parents from what `edges` gives."""
    return parse_parents(list(said.values()))


def is_same(one: Facts, other: Facts) -> bool:
    """Tell whether two assets' facts are the same JSON; for Python alone, 1 and true would be equal."""
    return one == other and all(
        _is_same(mine, theirs) for mine, theirs in ((one.meta, other.meta), (one.extra, other.extra))
    )


def _is_same(one: Any, other: Any) -> bool:
    """Compare as JSON does, for which 1, 1.0 and true are three values and key order is none."""
    if one is other:
        return True
    if one is _ABSENT or other is _ABSENT or one != other:
        return False
    if isinstance(one, str) or (not one and isinstance(one, dict)):
        return True
    return canonical_json(one) == canonical_json(other)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _dump_fast(payload: object, nesting: int) -> bytes | None:
    """Return what `dumps` does by a faster way; None where the two might write it differently."""
    if type(payload) is dict and _is_plain(payload, min(nesting, _FAST_NESTING)):
        with suppress(TypeError):  # an integer beyond 64 bits, half a character
            return orjson.dumps(payload, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return None


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether all in a container is of types, and floats of sizes, that orjson writes as json does.

    The others: of small and large floats the exponents differ, and NaN becomes null, which json refuses.
    """
    if depth <= 0:
        return False
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind in _PLAIN_TYPES:
            continue
        if kind is float:
            if item and not 1e-4 <= abs(item) < 1e16:
                return False
        elif kind not in _CONTAINERS or not _is_plain(item, depth - 1):
            return False
    return True


def _merge_tags(
    base: tuple[str, ...], theirs: tuple[str, ...], ours: tuple[str, ...], limits: Limits
) -> tuple[str, ...]:
    if theirs == base:
        return ours
    before, now = {fold(tag) for tag in base}, {fold(tag) for tag in ours}
    kept = [tag for tag in theirs if fold(tag) in now or fold(tag) not in before]
    return normalise_tags([*kept, *(tag for tag in ours if fold(tag) not in before)], limits)


def _describe_history(asset: Asset) -> dict[str, Any] | None:
    if asset.provenance is None:
        return None
    newest = describe_provenance(asset.provenance)
    older = [describe_provenance(row) for row in asset.provenance_history]
    return {**newest, "history": older} if older else newest


def load(data: bytes, path: str, limits: Limits = Limits()) -> dict[str, Any]:
    """Return the strict JSON object that some bytes hold: what `dumps` wrote, or anything else.

    Raises:
        InvalidSidecar: they hold none.
    """
    nesting = limits.metadata_nesting + _FRAME_NESTING
    with suppress(ValueError):
        found = orjson.loads(data)
        # what comes out as it went in has no doubled key, no half character and no number that is too large
        if _dump_fast(found, nesting) == data:
            return cast(dict[str, Any], found)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InvalidSidecar(path=path, line=line, column=column, why="it is not UTF-8 text") from error
    try:
        payload = parse_strict(text, nesting)
    except json.JSONDecodeError as error:
        raise InvalidSidecar(path=path, line=error.lineno, column=error.colno, why=error.msg) from error
    except RecursionError as error:
        raise InvalidSidecar(path=path, line=1, column=1, why="it is nested too deeply") from error
    except ValueError as error:
        _fail(path, data, str(error))
    if not isinstance(payload, dict):
        raise InvalidSidecar(path=path, line=1, column=1, why="it must be a JSON object, {...}")
    return payload


def parse_strict(text: str, nesting: int) -> Any:
    """Parse JSON and refuse what we could not write again: NaN, a key twice, half characters, 1e999.

    Args:
        text: the JSON.
        nesting: how deep it may be nested.

    Raises:
        ValueError: it is no such JSON; `json.JSONDecodeError` where that has a place.
        RecursionError: it is nested deeper than Python can follow.
    """
    payload = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    _check_strict(payload, nesting)
    return payload


def _fail(path: str, data: bytes, why: str) -> NoReturn:
    """Refuse a sidecar whose JSON is fine but whose content is not; point at the key that ``why`` names."""
    words = [word.strip("'\"").rpartition(".")[2] for word in why.replace(",", " ").split()]
    at = next((at for word in words if (at := data.find(f'"{word}"'.encode())) >= 0), 0)
    line, column = _line_and_column(data, at)
    raise InvalidSidecar(path=path, line=line, column=column, why=why)


def _line_and_column(data: bytes, at: int) -> tuple[int, int]:
    return data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r:.80} stands twice")
        found[name] = value
    return found


def _check_strict(value: Any, depth: int) -> None:
    """Refuse what JSON's grammar lets pass but we could not write again: half characters, 1e999, mazes."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError(f"a text has a lone surrogate (half a character): {value!r:.80}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is too large")
    elif isinstance(value, (dict, list)):
        if depth <= 0:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            for name in value:
                _check_strict(name, 0)
        for item in value.values() if isinstance(value, dict) else value:
            _check_strict(item, depth - 1)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _pick(payload: Mapping[str, Any], meta: Mapping[str, Any], name: str, base: Any, read: Any) -> Any:
    """Return a fact that stands at the top or inside ``meta``: the one that was edited, else the top one."""
    top, inner = payload.get(name, _ABSENT), meta.get(name, _ABSENT)
    if top is _ABSENT:
        return None if inner is _ABSENT else read(inner)
    value = read(top)
    if inner is _ABSENT or base is None or value != base:
        return value
    return read(inner)


def _parse_history(value: object, uid: str) -> list[Provenance]:
    """Return the provenance rows that a sidecar carries, newest first; what is no row is left out."""
    if not isinstance(value, Mapping):
        return []
    older = value.get("history")
    rows = [value, *(older if isinstance(older, list) else [])]
    told = [row for row in rows if isinstance(row, Mapping) and (row.get("id") or row.get("source"))]
    return [_parse_row(row, uid) for row in told]


def _parse_row(row: Mapping[str, Any], uid: str) -> Provenance:
    inputs, c2pa_like = row.get("inputs"), row.get("c2pa_like")
    return Provenance(
        id=_whole(row.get("id")) or 0,
        asset_id=_whole(row.get("asset_id")) or 0,
        asset_uid=_text(row.get("asset_uid")) or uid,
        source=_text(row.get("source")) or "unspecified",
        workflow_hash=_text(row.get("workflow_hash")),
        commit_hash=_text(row.get("commit_hash")),
        inputs=inputs if isinstance(inputs, dict) else {},
        c2pa_like=c2pa_like if isinstance(c2pa_like, dict) else {},
        user_id=_text(row.get("user_id")),
        created_at=_text(row.get("created_at")) or "",
    )


def _type(value: object) -> str | None:
    try:
        return normalise_type(value)
    except InvalidAssetType:
        return None


def _parse_versions(value: object) -> tuple[Version, ...]:
    """Return the versions that a sidecar carries, newest first; what is no version is left out."""
    found: dict[int, Version] = {}
    for row in value if isinstance(value, list) else ():
        if isinstance(row, Mapping) and (digest := _digest(row.get("hash"))) is not None:
            number, size_bytes = _whole(row.get("version"), least=0), _whole(row.get("bytes"), least=0)
            if number is not None and number <= 2 * MAX_VERSION:  # content may have changed since
                created_at, row_id = _text(row.get("created_at")), _whole(row.get("provenance_id"))
                found.setdefault(number, Version(number, digest, size_bytes or 0, created_at or "", row_id))
    return tuple(sorted(found.values(), key=lambda each: -each.version))


def _digest(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and _SHA256.fullmatch(value) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object, least: int = 1) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63
    return value if is_whole and isinstance(value, int) else None
