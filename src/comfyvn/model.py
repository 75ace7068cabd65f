"""The values that travel between the parts: assets, provenance, previews, filters; and their rules.

Nothing here touches a disk or a database. What people wrote about an asset (`Facts`) is normalised and
checked here and nowhere else, before anything is written.
"""

from __future__ import annotations

import json
import math
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypedDict, TypeGuard, cast, get_args

from comfyvn.errors import InvalidAssetType, InvalidFilter, InvalidMetadata

__all__ = [
    "CERTAINTIES",
    "EVERYTHING",
    "LINK_KINDS",
    "MAX_NAME_BYTES",
    "MAX_VERSION",
    "MOST_PARENTS",
    "MOST_STARS",
    "OWN_FOLDERS",
    "PROBLEMS",
    "SORTS",
    "THUMBNAIL_SIZES",
    "UNSPECIFIED",
    "Asset",
    "AssetFilter",
    "Certainty",
    "Conditions",
    "EmbeddedText",
    "FactCondition",
    "Facts",
    "FileStat",
    "Limits",
    "LinkKind",
    "Parent",
    "Preview",
    "PreviewKind",
    "PreviewState",
    "Problem",
    "Provenance",
    "ProvenanceClaim",
    "Sort",
    "Version",
    "canonical_json",
    "claimed_parents",
    "cut_name",
    "derive_workflow_hash",
    "facts_name",
    "fold",
    "generation_of",
    "id_floor",
    "is_seed",
    "link_kind",
    "marker_value",
    "merge_registered",
    "model_name",
    "normalise_license",
    "normalise_parents",
    "normalise_tags",
    "normalise_type",
    "numbered_key",
    "parse_facts",
    "parse_parents",
    "parse_provenance",
    "preview_names",
    "split_suffix",
    "uid_candidates",
    "unite_parents",
    "utc_now",
]

OWN_FOLDERS: Final = ("_meta", ".comfyvn")
"""Folders under the assets root that hold no assets: the mirrors, and what is ours."""
THUMBNAIL_SIZES: Final = (256, 512)
UNSPECIFIED: Final = "unspecified"
MAX_NAME_BYTES: Final = 200
"""The longest part of a key that we choose ourselves, in UTF-8."""
MAX_VERSION: Final = 1_000_000_000
"""The largest version that anybody may state; later changes of the content still fit into a database."""
DERIVED_KEYS: Final = frozenset({"preview", "thumbnails"})
"""Metadata keys that we fill in ourselves on every answer."""
_NOT_IN_A_NAME: Final = frozenset('/\\:<>"|?*')
_KEYS_WITH_A_MEANING: Final = frozenset({"tags", "license", "origin", "version", *DERIVED_KEYS})

_FACT_CONDITION: Final = re.compile(
    r"\s*(?P<path>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)\s*(?P<operator>[<>!]=|[<>=])(?P<value>[^<>=]*)"
)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)

PreviewKind = Literal["thumbnail", "waveform", "animation"]
PreviewState = Literal["none", "pending", "ready", "failed"]
LinkKind = Literal["img2img", "inpaint", "upscale", "composite", "edit", "variant", "frame-of", "manual"]
"""How an asset came of another one."""
LINK_KINDS: Final[tuple[LinkKind, ...]] = get_args(LinkKind)
Certainty = Literal["certain", "likely", "rejected"]
"""Whether an asset came of another one: ``likely`` waits for somebody's word; ``rejected`` was a no."""
CERTAINTIES: Final[tuple[Certainty, ...]] = get_args(Certainty)
Problem = Literal["no-license", "no-tags", "missing", "no-sidecar", "no-thumbnail", "conflict"]
"""What may be wrong with an asset, as the ledger knows it.

``missing``: its file is gone. ``no-sidecar``: none was written or read yet, as after an upgrade and before
the first rebuild; one that somebody deletes is noticed and written again by the next rebuild.
``no-thumbnail``: its preview can't be made. ``conflict``: the last change of its tags, licence or metadata
was overruled by an edit in its sidecar, and nothing was changed or undone since.
"""
PROBLEMS: Final[tuple[Problem, ...]] = get_args(Problem)
Sort = Literal["newest", "oldest", "name", "largest", "changed"]
"""In which order: by id, by path ignoring case, by size, or those first that were changed last."""
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
MOST_STARS: Final = 5
"""The best ``rating`` (a metadata key) that an asset can have; a whole number from 0."""

_encode_canonical: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode
_encode_ascii: Final = json.JSONEncoder(separators=(",", ":")).encode

_MODEL_SUFFIXES: Final = (".safetensors", ".sft", ".ckpt", ".gguf", ".pth", ".pt", ".bin")
_STATED_LISTS: Final = {"models": ("models", "model", "checkpoint"), "loras": ("loras", "lora")}
_SEED_DIGITS: Final = 20
_FILTER_VALUES: Final = 100
_UID_PREFIX: Final = re.compile("[0-9a-f]{4,64}")
_UID: Final = re.compile("[0-9A-Za-z_-]{1,64}")  # what older releases made as well
MOST_PARENTS: Final = 1_000
"""How many parents an asset may have."""
_FOUND: Final = re.compile("[a-z][a-z0-9-]{0,31}")
_OF_PARENT: Final = ("parent", "kind", "certainty", "found")
_WORKFLOW_CHARACTERS: Final = 1_000
_FILTER_FACTS: Final = 20
_FILTER_TEXTS: Final = 20
_TEXT_CHARACTERS: Final = 512
_ID_EPOCH_MS: Final = 1_735_689_600_000  # 2025-01-01T00:00:00Z
_ID_SEQUENCE_BITS: Final = 12


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper limits for what people may write about one asset; each is a setting of the same name."""

    metadata_bytes: int = 256_000
    metadata_nesting: int = 64
    metadata_values: int = 20_000
    tags_per_asset: int = 1_000
    tag_length: int = 200


@dataclass(frozen=True, slots=True)
class Parent:
    """An asset that another one came of: an edge of the lineage, which is a fact of the child.

    ``uid`` may be one that is not, or no longer, in the library. ``found`` is a word for how it was found:
    ``script``, ``hand``, ``graph-hash``, ``graph-name``, ``marker``, ``version``, ``pixels``, ``similar``, or
    that of a plug-in.
    """

    uid: str
    kind: LinkKind = "manual"
    certainty: Certainty = "certain"
    found: str = "hand"

    def describe(self) -> dict[str, str]:
        """Return it as sidecars and the journal show it."""
        return {"parent": self.uid, "kind": self.kind, "certainty": self.certainty, "found": self.found}


@dataclass(frozen=True, slots=True)
class Facts:
    """What people wrote about an asset: the part that no program can derive from the file.

    ``meta`` holds every metadata key but tags, license and origin; ``extra`` holds the top-level sidecar
    keys that we don't know, kept verbatim. ``parents`` are as `normalise_parents` gives them.
    """

    tags: tuple[str, ...] = ()
    license: str | None = None
    origin: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()

    def as_meta(self, version: int) -> dict[str, Any]:
        """Return the metadata object of old releases, in which tags, licence and version stand too."""
        origin = {} if self.origin is None else {"origin": self.origin}
        return {"tags": list(self.tags), "license": self.license, **origin, "version": version, **self.meta}


@dataclass(frozen=True, slots=True)
class ProvenanceClaim:
    """What a caller says of a file's origin, normalised, before it is recorded.

    ``is_hash_stated``: the workflow's hash is the caller's, and none that was derived.
    """

    source: str
    workflow_hash: str
    inputs: Mapping[str, Any]
    commit_hash: str | None = None
    user_id: str | None = None
    c2pa_like: Mapping[str, Any] = field(default_factory=dict)
    is_hash_stated: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """One row of the provenance ledger. ``created_at`` is UTC, ``YYYY-MM-DD HH:MM:SS``."""

    id: int
    asset_id: int
    asset_uid: str
    source: str
    workflow_hash: str | None
    commit_hash: str | None
    inputs: Mapping[str, Any]
    c2pa_like: Mapping[str, Any]
    user_id: str | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The state of an asset's preview. ``path`` names the first of its files (`preview_names`) in records."""

    kind: PreviewKind | None = None
    state: PreviewState = "none"
    reason: str | None = None
    recipe: int = 0
    path: str | None = None


@dataclass(frozen=True, slots=True)
class FileStat:
    """What tells a rescan that a file has not been touched. Size in bytes, modification time in ns."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class EmbeddedText:
    """A text inside a file, as its container holds it.

    ``place`` is the kind of container (``png:tEXt``, ``exif:UserComment``, ``xmp``, ``mp4:ilst``), ``name``
    the name that the text has there (``prompt``, ``parameters``, ``comment``).
    """

    place: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Version:
    """Content that an asset has or had; 0 is what it was before an older release stamped it.

    ``created_at`` is when the asset got this content, UTC; ``provenance_id`` the row that told of it.
    """

    version: int
    digest: str
    size_bytes: int
    created_at: str
    provenance_id: int | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """One registered asset, as the ledger knows it.

    ``key`` is the path under the assets root, ``/``-separated. ``digest`` is the SHA-256 of the content with
    our own marker left out and ``size_bytes`` the length of that content; the stored file may be longer by
    the marker (``file``). ``is_in_place`` says that the file is the user's and is never written to.
    ``versions`` are all that are known, newest first; () stands for the present one alone. ``media`` is what
    the file tells about itself (``docs/media.md``), empty till somebody has looked. ``generation`` is what
    the newest provenance that tells of it says of its making (`generation_of`).
    """

    id: int
    project_id: str
    uid: str
    type: str
    key: str
    digest: str
    size_bytes: int
    facts: Facts
    created_at: str
    updated_at: str
    version: int = 1
    preview: Preview = Preview()
    provenance: Provenance | None = None
    provenance_history: tuple[Provenance, ...] = ()
    versions: tuple[Version, ...] = ()
    mirror_key: str | None = None
    file: FileStat | None = None
    sidecar_file: FileStat | None = None
    is_in_place: bool = False
    missing_since: str | None = None
    media: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)

    def with_provenance(self, rows: Sequence[Provenance]) -> Asset:
        """Return the asset with these provenance rows, newest first, and no others."""
        newest = rows[0] if rows else None
        generation = generation_of(rows) or self.generation
        return replace(self, provenance=newest, provenance_history=tuple(rows[1:]), generation=generation)

    @property
    def all_provenance(self) -> tuple[Provenance, ...]:
        """All provenance rows that are loaded, newest first."""
        return (self.provenance, *self.provenance_history) if self.provenance else ()

    @property
    def all_versions(self) -> tuple[Version, ...]:
        """All known contents, newest first; the present one alone where nothing else is known."""
        if self.versions or not self.digest:
            return self.versions
        rows = self.all_provenance
        row = rows[-1].id if rows else None  # the oldest told of it; later ones say what else became of it
        return (Version(self.version, self.digest, self.size_bytes, self.created_at, row),)


@dataclass(frozen=True, slots=True)
class FactCondition:
    """A condition on one fact that a file tells about itself, such as ``width >= 1024``.

    ``path`` leads to the fact: ``("tags", "title")`` is ``title`` in ``tags``. An asset without the fact does
    not match, whatever the operator.
    """

    path: tuple[str, ...]
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    value: str | float | bool

    @classmethod
    def parse(cls, text: object) -> FactCondition:
        """Read a condition as people write it.

        >>> FactCondition.parse("width>=1024")
        FactCondition(path=('width',), operator='>=', value=1024.0)
        >>> FactCondition.parse("has_alpha = true").value
        True

        Raises:
            InvalidFilter: it is none.
        """
        found = _FACT_CONDITION.fullmatch(text) if isinstance(text, str) else None
        if found is None or len(found["value"]) > 512:
            why = f"{text!r:.80} is no condition on a fact of the file; write one such as 'width>=1024' or"
            raise InvalidFilter(why=f"{why} 'codec=opus'")
        path, operator, stated = tuple(found["path"].split(".")), found["operator"], found["value"].strip()
        value: str | float | bool = stated
        if stated.lower() in ("true", "false"):
            value = stated.lower() == "true"
        elif _NUMBER.fullmatch(stated):
            value = float(stated)
        if operator not in ("=", "!=") and not isinstance(value, float):
            raise InvalidFilter(why=f"{text!r:.80}: {operator} compares numbers, and {stated!r:.40} is none")
        return cls(path, cast('Literal["=", "!=", "<", "<=", ">", ">="]', operator), value)


class Conditions(TypedDict, total=False):
    """The conditions of a filter besides ``asset_type``, by the names that `AssetFilter.build` has."""

    hash_value: str | None
    tags: str | Iterable[str] | None
    text: str | Iterable[str] | None
    license: str | Iterable[str] | None
    where: str | Iterable[str] | None
    not_types: str | Iterable[str] | None
    not_tags: str | Iterable[str] | None
    not_licenses: str | Iterable[str] | None
    problems: str | Iterable[str] | None
    uid: str | None
    workflow: str | None
    descends_from: str | None
    min_rating: int | None
    models: str | Iterable[str] | None
    loras: str | Iterable[str] | None
    samplers: str | Iterable[str] | None
    tools: str | Iterable[str] | None
    seed: str | int | None


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Which assets are wanted; every condition given must hold.

    ``types`` and ``licenses``: any of them; a licence ignores case, ``""`` means "has none". ``tags``: all of
    them, ignoring case. ``texts``: all of them, each a substring of the path, of a top-level text in the
    metadata or of the file's own tags, ignoring case. ``where``: what the file tells about itself.
    ``not_types``, ``not_tags``, ``not_licenses``: none of them. ``problems``: any of them. ``uid``: how it
    begins. ``workflow``: the hash of any of its provenance rows, or how that begins (eight characters or
    more). ``descends_from``: the uid of an asset that it came of, by way of others or not; certain edges
    alone count. ``min_rating``: at least so many stars in the metadata key ``rating``. What made it, where
    that is known: all of ``models`` and ``loras`` (names without folder and suffix), any of ``samplers`` and
    ``tools``, ignoring case; the ``seed``, as digits.

    At most 100 values each, but 20 of ``texts`` and of ``where``: each one is looked up for every asset that
    the others let through.
    """

    types: tuple[str, ...] = ()
    digest: str | None = None
    tags: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    where: tuple[FactCondition, ...] = ()
    not_types: tuple[str, ...] = ()
    not_tags: tuple[str, ...] = ()
    not_licenses: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    uid: str | None = None
    workflow: str | None = None
    descends_from: str | None = None
    min_rating: int | None = None
    models: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    seed: str | None = None

    @classmethod
    def build(
        cls,
        *,
        asset_type: str | Iterable[str] | None = None,
        hash_value: str | None = None,
        tags: str | Iterable[str] | None = None,
        license: str | Iterable[str] | None = None,
        text: str | Iterable[str] | None = None,
        where: str | Iterable[str] | None = None,
        not_types: str | Iterable[str] | None = None,
        not_tags: str | Iterable[str] | None = None,
        not_licenses: str | Iterable[str] | None = None,
        problems: str | Iterable[str] | None = None,
        uid: str | None = None,
        workflow: str | None = None,
        descends_from: str | None = None,
        min_rating: int | None = None,
        models: str | Iterable[str] | None = None,
        loras: str | Iterable[str] | None = None,
        samplers: str | Iterable[str] | None = None,
        tools: str | Iterable[str] | None = None,
        seed: str | int | None = None,
    ) -> AssetFilter:
        """Build a filter from what a caller passed; ``where`` as `FactCondition.parse` takes it.

        Raises:
            InvalidFilter: a value has the wrong type or is too long, or there are too many.
        """
        line = ("descends_from", descends_from)
        for name, value in (("hash", hash_value), ("uid", uid), ("workflow", workflow), line):
            _checked_text(value, name)
        conditions = [where] if isinstance(where, str) else list(where or ())
        if len(conditions) > _FILTER_FACTS:
            raise InvalidFilter(why=f"{len(conditions)} conditions in where, the limit is {_FILTER_FACTS}")
        return cls(
            types=tuple(filter(None, _values(asset_type, "type"))),
            digest=hash_value.strip().lower() if hash_value else None,
            tags=_wanted_tags(tags),
            licenses=_values(license, "license"),
            texts=_wanted_texts(text),
            where=tuple(dict.fromkeys(FactCondition.parse(each) for each in conditions)),
            not_types=tuple(filter(None, _values(not_types, "not_types"))),
            not_tags=_wanted_tags(not_tags),
            not_licenses=_values(not_licenses, "not_licenses"),
            problems=_wanted_problems(problems),
            uid=_uid_prefix(uid) if uid else None,
            workflow=_workflow(workflow) if workflow else None,
            descends_from=_whole_uid(descends_from) if descends_from else None,
            min_rating=_stars(min_rating) or None,
            models=tuple(filter(None, map(model_name, _values(models, "model")))),
            loras=tuple(filter(None, map(model_name, _values(loras, "lora")))),
            samplers=tuple(filter(None, _values(samplers, "sampler"))),
            tools=tuple(filter(None, _values(tools, "tool"))),
            seed=_seed(seed),
        )

    def without(self, kind: str) -> AssetFilter:
        """Return the filter without its conditions on one kind of term, or on the problems."""
        if kind == "tag":
            return replace(self, tags=(), not_tags=())
        if kind == "problem":
            return replace(self, problems=())
        if kind == "type":
            return replace(self, types=(), not_types=())
        if kind in ("model", "lora"):
            return replace(self, models=()) if kind == "model" else replace(self, loras=())
        if kind in ("sampler", "tool"):
            return replace(self, samplers=()) if kind == "sampler" else replace(self, tools=())
        return replace(self, licenses=(), not_licenses=())


def utc_now() -> str:
    """Return the time as every ComfyVN table writes it: UTC, ``YYYY-MM-DD HH:MM:SS``."""
    return _utc_text(int(time.time()))


@lru_cache(4)
def _utc_text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def id_floor(at_s: float | None = None) -> int:
    """Return the smallest id that may be minted now: milliseconds since 2025 times 4096.

    >>> id_floor(1_735_689_600.001)
    4096
    """
    at_ms = int((time.time() if at_s is None else at_s) * 1000)
    return max(1, (at_ms - _ID_EPOCH_MS) << _ID_SEQUENCE_BITS)


def uid_candidates(digest: str) -> Iterable[str]:
    """Yield the uids that content may get, the normal one first; the longer ones serve when it is taken.

    >>> [len(uid) for uid in uid_candidates("ab" * 32)][:3]
    [16, 20, 24]
    """
    return (digest[:length] for length in range(16, len(digest) + 1, 4))


def fold(text: str) -> str:
    """Return the form under which texts that differ in case or Unicode form are one.

    >>> fold("Straße") == fold("STRASSE")
    True
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def numbered_key(key: str, mark: str) -> str:
    """Return the key with ``-mark`` before its suffix, for when the plain one is taken.

    >>> numbered_key("characters/mara.png", "3f1a0c22")
    'characters/mara-3f1a0c22.png'
    """
    folder, slash, name = key.rpartition("/")
    stem, suffix = split_suffix(name)
    stem = cut_name(stem, MAX_NAME_BYTES - len(suffix.encode()) - len(mark) - 1)
    return f"{folder}{slash}{stem}-{mark}{suffix}"


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file name's stem and suffix; a suffix of more than 32 bytes is part of the stem.

    >>> split_suffix("mara.smile.png")
    ('mara.smile', '.png')
    """
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix.encode()) > 32:
        return name, ""
    return stem, dot + suffix


def cut_name(text: str, size_bytes: int) -> str:
    """Return the beginning of a name: so many bytes of UTF-8, without a dot or space at its end."""
    return text.encode()[:size_bytes].decode(errors="ignore").rstrip(". ")


def canonical_json(value: object) -> str:
    """Return compact JSON with sorted keys: the same value always gives the same text."""
    return _encode_canonical(value)


def normalise_tags(value: object, limits: Limits = Limits()) -> tuple[str, ...]:
    """Return tags trimmed, in Unicode form NFC, unique ignoring case, the first spelling kept.

    Args:
        value: None, one tag, or any iterable of tags (a set is sorted).
        limits: how many and how long.

    Raises:
        InvalidMetadata: not text, a control character, too long or too many.

    >>> normalise_tags([" Mara ", "smile", "MARA"])
    ('Mara', 'smile')
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidMetadata(why=f"tags must be a list of texts, not {type(value).__name__}")
    items = sorted(value, key=str) if isinstance(value, AbstractSet) else list(value)
    kept: dict[str, str] = {}
    for item in items:
        if not isinstance(item, str):
            raise InvalidMetadata(why=f"a tag must be text, not {type(item).__name__} ({item!r:.80})")
        tag = item.strip() if _is_plain(item) else _checked_tag(item)
        if len(tag) > limits.tag_length:
            why = (
                f"the tag {item!r:.40} has {len(tag)} characters, the limit tag_length is {limits.tag_length}"
            )
            raise InvalidMetadata(why=why)
        if tag:
            kept.setdefault(fold(tag), tag)
    if len(kept) > limits.tags_per_asset:
        raise InvalidMetadata(why=f"{len(kept)} tags, the limit tags_per_asset is {limits.tags_per_asset}")
    return tuple(kept.values())


def _checked_tag(item: str) -> str:
    tag = unicodedata.normalize("NFC", item).strip()
    _check_text(tag, f"the tag {item!r:.80}")
    if _has_control(tag):
        raise InvalidMetadata(why=f"the tag {item!r:.80} has a control character")
    return tag


def normalise_license(value: object) -> str | None:
    """Return a licence as trimmed text, or None for None and "".

    Raises:
        InvalidMetadata: not text, or longer than 1,000 characters.
    """
    return _optional_text(value, "license")


def normalise_type(value: object) -> str:
    """Return an asset type as the one plain folder name that it is.

    Raises:
        InvalidAssetType: empty, a path, reserved, hidden, or with characters that no folder may have.
    """
    if not isinstance(value, str):
        raise InvalidAssetType(asset_type=value, why=f"it must be text, not {type(value).__name__}")
    name = unicodedata.normalize("NFC", value).strip()
    if not name:
        raise InvalidAssetType(asset_type=value, why="it is empty")
    if not _NOT_IN_A_NAME.isdisjoint(name):
        raise InvalidAssetType(asset_type=value, why="it holds a character that folder names can't have")
    if not name.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise InvalidAssetType(asset_type=value, why="it holds a control character")
    if name.startswith(".") or name.casefold() == "_meta" or name.endswith("."):
        raise InvalidAssetType(asset_type=value, why="that name is reserved")
    if len(name.encode()) > 100:
        raise InvalidAssetType(asset_type=value, why="it is longer than 100 bytes")
    return name


def parse_facts(metadata: object, limits: Limits = Limits(), license_tag: str | None = None) -> Facts:
    """Check metadata that a caller passed and take it apart; the caller's object is copied, never changed.

    Args:
        metadata: None or a mapping of text to JSON values. ``tags``, ``license`` and ``origin`` have a
            meaning of their own; ``version``, ``preview``, ``thumbnails`` and ``media`` as we answer them are
            left out.
        limits: how much of it.
        license_tag: serves where ``metadata`` has no licence.

    Raises:
        InvalidMetadata: not an object, not JSON, a wrong type, or beyond a limit.
    """
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, Mapping):
        raise InvalidMetadata(why=f"it must be an object (a dict), not {type(metadata).__name__}")
    # what we add ourselves must not count, or a sidecar of ours would be beyond the limit
    left_out = _KEYS_WITH_A_MEANING | ({"media"} if _is_ours(metadata.get("media")) else set())
    clean = _json_object(metadata, limits, "metadata", leave_out=left_out)
    for name in DERIVED_KEYS & metadata.keys():
        if not _is_derived(name, metadata[name]):
            raise InvalidMetadata(why=f"the key {name!r} is filled in by comfyvn; choose another name")
    parse_version(metadata.get("version", 1))
    tags = normalise_tags(metadata.get("tags"), limits)
    stated = normalise_license(metadata.get("license"))
    origin = _optional_text(metadata.get("origin"), "origin")
    return Facts(tags, stated or normalise_license(license_tag), origin, clean)


def parse_parents(value: object) -> tuple[Parent, ...]:
    """Check the edges that a sidecar tells of.

    Args:
        value: None, or a list of objects with ``parent`` and, where they are not as in `Parent`, ``kind``,
            ``certainty`` and ``found``.

    Raises:
        InvalidMetadata: it is something else, or there are too many.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidMetadata(why=f"lineage must be a list of objects, not {type(value).__name__}")
    return normalise_parents(_parse_parent(each) for each in value)


def claimed_parents(value: object) -> tuple[Parent, ...]:
    """Check the parents that a script names among the inputs of a registration.

    Args:
        value: None, or a list of uids or of objects with ``uid`` and ``kind``.

    Raises:
        InvalidMetadata: it is something else, or there are too many.

    >>> claimed_parents(["3f1a0c22b7d94e10"])[0].kind
    'manual'
    """
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise InvalidMetadata(why=f"inputs.parents must be a list of uids, not {type(value).__name__}")
    found = []
    for each in value:
        said = {"uid": each} if isinstance(each, str) else each
        if not isinstance(said, Mapping) or not said.keys() <= {"uid", "kind"}:
            why = f"inputs.parents has {each!r:.80}; write a uid, or an object with uid and kind"
            raise InvalidMetadata(why=why)
        uid = _parent_uid(said.get("uid"), "inputs.parents")
        found.append(Parent(uid, link_kind(said.get("kind", "manual")), found="script"))
    return normalise_parents(found)


def normalise_parents(parents: Iterable[Parent]) -> tuple[Parent, ...]:
    """Return parents each once for every kind, in the order of uids and kinds.

    Raises:
        InvalidMetadata: they are more than 1,000.
    """
    kept: dict[tuple[str, str], Parent] = {}
    for each in parents:
        kept.setdefault((each.uid, each.kind), each)
    if len(kept) > MOST_PARENTS:
        raise InvalidMetadata(why=f"lineage has {len(kept):,} parents, the limit is {MOST_PARENTS:,}")
    return tuple(kept[name] for name in sorted(kept))


def unite_parents(known: Iterable[Parent], new: Iterable[Parent]) -> tuple[Parent, ...]:
    """Return known parents with new ones added; what was ``likely`` is as certain as the new one says.

    What somebody rejected stays so, and what is settled by an edge of any kind is not proposed once more.

    Raises:
        InvalidMetadata: they are too many.
    """
    known = tuple(known)
    settled = {each.uid for each in known if each.certainty != "likely"}
    stated = {
        (each.uid, each.kind): each for each in new if each.certainty != "likely" or each.uid not in settled
    }
    kept = [stated.get((each.uid, each.kind), each) if each.certainty == "likely" else each for each in known]
    return normalise_parents([*kept, *stated.values()]) if stated else known


def link_kind(value: object, where: str = "") -> LinkKind:
    """Return how an asset came of another one; ``where`` begins what is said of a wrong value.

    Raises:
        InvalidMetadata: there is no such kind.
    """
    if value not in LINK_KINDS:
        raise InvalidMetadata(why=f"{where}kind must be one of {', '.join(LINK_KINDS)}, not {value!r:.40}")
    return value


def _parse_parent(value: object) -> Parent:
    if not isinstance(value, Mapping):
        raise InvalidMetadata(why=f"lineage must hold objects, not {type(value).__name__}")
    if unknown := [name for name in value if name not in _OF_PARENT]:
        why = f"lineage has an unknown key {unknown[0]!r:.40}; there are {', '.join(_OF_PARENT)}"
        raise InvalidMetadata(why=why)
    where = "lineage has a wrong entry: "
    uid, kind = _parent_uid(value.get("parent"), "lineage"), link_kind(value.get("kind", "manual"), where)
    certainty, found = value.get("certainty", "certain"), value.get("found", "hand")
    if certainty not in CERTAINTIES:
        why = f"{where}certainty must be one of {', '.join(CERTAINTIES)}, not {certainty!r:.40}"
        raise InvalidMetadata(why=why)
    if not isinstance(found, str) or _FOUND.fullmatch(found) is None:
        why = f"{where}found must be a short word such as hand or script, not {found!r:.40}"
        raise InvalidMetadata(why=why)
    return Parent(uid, kind, cast("Certainty", certainty), found)


def _parent_uid(value: object, where: str) -> str:
    if not isinstance(value, str) or _UID.fullmatch(value) is None:
        raise InvalidMetadata(why=f"{where} must name a parent by its uid, not {value!r:.80}")
    return value


def parse_version(value: object) -> int:
    """Return a content version.

    Raises:
        InvalidMetadata: not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_VERSION:
        raise InvalidMetadata(why=f"version must be a whole number of at least 1, not {value!r:.80}")
    return value


def merge_registered(known: Facts, new: Facts, *, license_given: bool, limits: Limits = Limits()) -> Facts:
    """Return the facts of an asset whose content was registered again.

    Tags are united ignoring case, the licence is replaced if one was given (an empty one clears it; else a
    new one serves where there is none), and other keys are replaced one by one.
    """
    return Facts(
        tags=normalise_tags((*known.tags, *new.tags), limits),
        license=new.license if license_given else known.license or new.license,
        origin=new.origin if new.origin is not None else known.origin,
        meta={**known.meta, **new.meta},
        extra=known.extra,
        parents=unite_parents(known.parents, new.parents),
    )


def parse_provenance(
    claim: object,
    metadata: Mapping[str, Any],
    *,
    user_id: str | None = None,
    commit_hash: str | None = None,
    limits: Limits = Limits(),
) -> ProvenanceClaim:
    """Normalise what a caller says of a file's origin.

    Args:
        claim: None or a mapping with ``source``, ``workflow_hash``, ``commit_hash``, ``inputs``, ``user_id``,
            ``c2pa_like``. Any other key is an input (a seed, a model) and is kept among the inputs.
        metadata: its ``source`` and ``user_id`` serve where the claim has none.
        user_id: serves where neither names a user.
        commit_hash: serves where the claim names none.
        limits: how much of it.

    Raises:
        InvalidMetadata: not an object, not JSON, a wrong type, or beyond a limit.
    """
    if claim is None:
        claim = {}
    if not isinstance(claim, Mapping):
        raise InvalidMetadata(why=f"provenance must be an object (a dict), not {type(claim).__name__}")
    clean = _json_object(claim, limits, "provenance")
    inputs = clean.pop("inputs", None) or {}
    c2pa_like = clean.pop("c2pa_like", None) or {}
    for name, value in (("inputs", inputs), ("c2pa_like", c2pa_like)):
        if not isinstance(value, dict):
            raise InvalidMetadata(why=f"provenance.{name} must be an object, not {type(value).__name__}")
    stated_source = _optional_text(clean.pop("source", None), "provenance.source")
    source = stated_source or _optional_text(metadata.get("source"), "source") or UNSPECIFIED
    workflow_hash = _optional_text(clean.pop("workflow_hash", None), "provenance.workflow_hash")
    commit = _optional_text(clean.pop("commit_hash", None), "provenance.commit_hash")
    user = _optional_text(clean.pop("user_id", None), "provenance.user_id")
    for recorded in ("id", "asset_id", "asset_uid", "created_at", "history"):
        clean.pop(recorded, None)  # a record of ours that is handed back: these are facts of the old row
    inputs = {**clean, **inputs}
    return ProvenanceClaim(
        source=source,
        workflow_hash=workflow_hash or derive_workflow_hash(source, inputs),
        inputs=inputs,
        commit_hash=commit or commit_hash,
        user_id=user or _optional_text(metadata.get("user_id"), "user_id") or user_id,
        c2pa_like=c2pa_like,
        is_hash_stated=workflow_hash is not None,
    )


def derive_workflow_hash(source: str, inputs: Mapping[str, Any]) -> str:
    """Return the workflow hash of a claim that states none: SHA-256 of the source and the sorted inputs.

    The asset's own uid and hash, which the record adds to the inputs, stay out: equal work, equal hash.
    """
    import hashlib  # loads OpenSSL, which nobody needs who only looks

    own = {name: value for name, value in inputs.items() if name not in ("asset_uid", "asset_hash")}
    return hashlib.sha256((source + canonical_json(own)).encode()).hexdigest()


def marker_value(claim: ProvenanceClaim, provenance_id: int, created_at: str, uid: str, digest: str) -> bytes:
    """Return the marker's JSON, ASCII only; its length does not depend on what ``digest`` holds."""
    value = {
        "provenance_id": provenance_id,
        "source": claim.source,
        "workflow_hash": claim.workflow_hash,
        "created_at": created_at,
        "uid": uid,
        "hash": digest,
    }
    return _encode_ascii(value).encode("ascii")


def is_seed(value: object) -> TypeGuard[str]:
    """Tell the digits of a seed of 64 bits, as facts have it.

    >>> is_seed("18446744073709551615"), is_seed("1e9"), is_seed(5)
    (True, False, False)
    """
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal()
    return is_digits and len(cast("str", value)) <= _SEED_DIGITS


def model_name(name: str) -> str:
    """Return a model's name without folder and suffix: one tool writes them, another does not.

    >>> model_name("SDXL/anima.safetensors"), model_name("anima")
    ('anima', 'anima')
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    suffix = next((each for each in _MODEL_SUFFIXES if last.casefold().endswith(each)), "")
    return last[: len(last) - len(suffix)].strip()[:MAX_NAME_BYTES]


def generation_of(rows: Iterable[Provenance]) -> dict[str, Any]:
    """Return what the newest of some provenance rows that tells of it says of the making of a file.

    That is the object under ``generation`` in its inputs (``docs/provenance.md``), without where its facts
    were read. Where no row of this content or a newer one has one, it is what a script stated among the
    inputs of one, such as ``seed`` and ``model``; {} where that is nothing. ``hash`` names the content that
    the row tells of, which need not be the present one. Sidecars may be edited: what is of the wrong type is
    left out.
    """
    stated: dict[str, Any] = {}
    for row in rows:
        told = row.inputs.get("generation")
        facts = told.get("facts") if isinstance(told, Mapping) else None
        if isinstance(told, Mapping) and isinstance(facts, Mapping):
            if stated and stated.get("hash") != row.inputs.get("asset_hash"):
                return stated  # of newer content than the file told of
            names = ("tool", "tool_version", "workflow_hash")
            texts = {name: told[name] for name in names if isinstance(told.get(name), str)}
            reader = {"reader": told["reader"]} if type(told.get("reader")) is int else {}
            return {**reader, **texts, **_content_of(row), "facts": dict(facts)}
        if not stated and (found := _stated_facts(row.inputs)):
            stated = {**_content_of(row), "facts": found}
    return stated


def _content_of(row: Provenance) -> dict[str, Any]:
    digest = row.inputs.get("asset_hash")
    return {"hash": digest} if isinstance(digest, str) else {}


def _stated_facts(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that a script states of the making of a file, as readers tell them."""
    facts: dict[str, Any] = {
        name: inputs[name]
        for name in ("prompt", "negative_prompt", "sampler")
        if isinstance(inputs.get(name), str) and inputs[name].strip()
    }
    seed = inputs.get("seed")
    if is_seed(text := str(seed) if type(seed) is int else seed):
        facts["seed"] = text
    for name, words in _STATED_LISTS.items():
        held = next((inputs[word] for word in words if inputs.get(word)), ())
        named = [held] if isinstance(held, str) else held if isinstance(held, (list, tuple)) else ()
        entries = [{"name": each} if isinstance(each, str) else each for each in named]
        entries = [
            dict(each) for each in entries if isinstance(each, Mapping) and isinstance(each.get("name"), str)
        ]
        if entries:
            facts[name] = entries
    return facts


EVERYTHING: Final = AssetFilter()
"""The filter that every asset matches."""


def preview_names(uid: str, kind: PreviewKind | None) -> dict[str, str]:
    """Return the file names of an asset's previews.

    ``{"256": ..., "512": ...}`` for a thumbnail, with ``"animation"`` besides for what moves, and
    ``{"waveform": ...}`` for sound.
    """
    if kind == "waveform":
        return {"waveform": f"{uid}.waveform.json"}
    names = {} if kind is None else {str(size): f"{uid}_{size}.webp" for size in THUMBNAIL_SIZES}
    return {**names, "animation": f"{uid}.anim.webp"} if kind == "animation" else names


def facts_name(uid: str) -> str:
    """Return the name of the file that has an asset's facts, in the preview cache."""
    return f"{uid}.facts.json"


def _checked_text(value: object, name: str) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidFilter(why=f"{name} must be text, not {type(value).__name__}")
    try:
        _check_text(value or "", name)
    except InvalidMetadata as error:
        raise InvalidFilter(why=str(error.fields["why"])) from error


def _values(value: object, name: str, most: int = _FILTER_VALUES) -> tuple[str, ...]:
    """Return the values of a condition, each once: one text, or any iterable of some."""
    if value is None or isinstance(value, str):
        value = () if value is None else (value,)
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidFilter(why=f"{name} must be text or a list of texts, not {type(value).__name__}")
    listed = list(value)
    for each in listed:
        if each is None:
            raise InvalidFilter(why=f"{name} must be a list of texts, and one of them is None")
        _checked_text(each, name)
    found = tuple(dict.fromkeys(listed))
    if len(found) > most:
        raise InvalidFilter(why=f"{len(found)} values of {name}, the limit is {most}")
    return found


def _wanted_texts(value: object) -> tuple[str, ...]:
    wanted = tuple(filter(None, _values(value, "text", _FILTER_TEXTS)))
    for each in wanted:
        if len(each) > _TEXT_CHARACTERS:
            why = f"the search text has {len(each)} characters, the limit is {_TEXT_CHARACTERS}"
            raise InvalidFilter(why=why)
    return wanted


def _wanted_tags(value: object) -> tuple[str, ...]:
    try:
        wanted = normalise_tags(value)
    except InvalidMetadata as error:
        raise InvalidFilter(why=str(error.fields["why"])) from error
    if len(wanted) > _FILTER_VALUES:
        raise InvalidFilter(why=f"{len(wanted)} tags, the limit is {_FILTER_VALUES}")
    return wanted


def _wanted_problems(value: object) -> tuple[Problem, ...]:
    wanted = _values(value, "problems")
    for each in wanted:
        if each not in PROBLEMS:
            raise InvalidFilter(why=f"there is no problem {each!r:.80}; there are {', '.join(PROBLEMS)}")
    return cast("tuple[Problem, ...]", wanted)


def _uid_prefix(value: str) -> str:
    wanted = value.strip().lower()
    if _UID_PREFIX.fullmatch(wanted) is None:
        raise InvalidFilter(
            why=f"uid must be four or more of its first hexadecimal digits, not {value!r:.80}"
        )
    return wanted


def _whole_uid(value: str) -> str:
    wanted = value.strip()
    if _UID.fullmatch(wanted) is None:
        raise InvalidFilter(why=f"descends_from must be the uid of an asset, not {value!r:.80}")
    return wanted


def _workflow(value: str) -> str:
    wanted = value.strip()
    if not wanted or len(wanted) > _WORKFLOW_CHARACTERS:
        raise InvalidFilter(why=f"workflow must have 1 to {_WORKFLOW_CHARACTERS:,} characters")
    return wanted


def _seed(value: object) -> str | None:
    if value is None or value == "":
        return None
    digits = str(value).strip()
    if isinstance(value, bool) or not (digits.isdecimal() and digits.isascii()):
        raise InvalidFilter(why=f"a seed is a whole number, not {value!r:.80}")
    return digits.lstrip("0") or "0"


def _stars(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_STARS:
        why = f"min_rating must be a whole number from 0 to {MOST_STARS}, not {value!r:.40}"
        raise InvalidFilter(why=why)
    return value


def _is_ours(media: object) -> bool:
    """Tell facts of a file, handed back as we answer them, from a user's key of the same name."""
    return isinstance(media, Mapping) and {"format", "stamped"} <= media.keys()


def _is_derived(name: str, value: object) -> bool:
    """Tell our own answer, handed back, from a user's key of the same name."""
    if value is None:
        return True
    if not isinstance(value, Mapping):
        return False
    return "kind" in value if name == "preview" else all(str(size).isdigit() for size in value)


def _optional_text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidMetadata(why=f"{name} must be text, not {type(value).__name__}")
    _check_text(value, name)
    text = value.strip()
    if _has_control(text):
        raise InvalidMetadata(why=f"{name} has a control character")
    if len(text) > 1_000:
        raise InvalidMetadata(why=f"{name} has {len(text)} characters, the limit is 1,000")
    return text or None


def _is_plain(text: str) -> bool:
    """Tell a text of ASCII letters, digits, signs and spaces: nothing to be refused or normalised."""
    return text.isascii() and text.isprintable()


def _has_control(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(char) == "Cc" for char in text)


def _check_text(text: str, name: str) -> None:
    if _is_plain(text):
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidMetadata(why=f"{name} has a lone surrogate (half a character)") from error
    if "\0" in text:
        raise InvalidMetadata(why=f"{name} has a NUL character")


def _json_object(
    value: Mapping[Any, Any], limits: Limits, name: str, leave_out: AbstractSet[str] = frozenset()
) -> dict[str, Any]:
    """Return a deep copy of a mapping as strict JSON, or say what in it is not."""
    budget = [limits.metadata_values]
    clean = {
        _json_key(key, name): _json_value(item, f"{name}.{key}", limits.metadata_nesting - 1, budget)
        for key, item in value.items()
        if key not in leave_out
    }
    size_bytes = len(canonical_json(clean).encode()) if clean else 0
    if size_bytes > limits.metadata_bytes:
        why = f"{name} takes {size_bytes:,} bytes, the limit metadata_bytes is {limits.metadata_bytes:,}"
        raise InvalidMetadata(why=why)
    return clean


def _json_value(value: object, name: str, depth: int, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise InvalidMetadata(why="it holds more values than the limit metadata_values allows")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _check_text(value, name)
        return str.__str__(value)  # plain str() of an enum's member is its name
    if isinstance(value, int):
        return _json_int(value, name)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidMetadata(why=f"{name} is {value}, which JSON can't hold")
        return float(value)
    if depth <= 0:
        raise InvalidMetadata(why=f"{name:.80} is nested deeper than the limit metadata_nesting allows")
    if isinstance(value, Mapping):
        return {
            _json_key(key, name): _json_value(item, f"{name}.{key}", depth - 1, budget)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_json_value(item, f"{name}[{at}]", depth - 1, budget) for at, item in enumerate(value)]
    raise InvalidMetadata(why=f"{name} is a {type(value).__name__}, which JSON can't hold")


def _json_int(value: int, name: str) -> int:
    if not -(2**63) <= value < 2**64:
        raise InvalidMetadata(why=f"{name} is a whole number of more than 64 bits; write it as text")
    return int(value)


def _json_key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise InvalidMetadata(why=f"a key of {name} is {key!r:.40}; keys must be text")
    _check_text(key, f"a key of {name}")
    return str.__str__(key)
