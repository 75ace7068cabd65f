"""The terms of assets as arrays, in memory: masks and counts instead of a walk through the ledger.

NumPy takes longer to load than all else that a list needs: this module is imported where it is used.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from comfyvn.db.terms import CODE_BITS, CODE_LENGTH, CODE_ZERO, TermKind

__all__ = [
    "KIND_NUMBERS",
    "Counts",
    "LayeredColumns",
    "Mask",
    "TermColumns",
    "decode_codes",
    "parse_ids",
    "term_kinds",
]

Counts = NDArray[np.int64]
"""How many assets have each term, by term id."""
Mask = NDArray[np.bool_]
KIND_NUMBERS: Final[dict[TermKind, int]] = {
    "tag": 0,
    "type": 1,
    "license": 2,
    "model": 3,
    "lora": 4,
    "sampler": 5,
    "tool": 6,
}

_PAGE: Final = 2_500  # with a thousand tags each they take 80 MB
_LAYERED: Final = 8  # an eighth of the assets may lie above, and is copied at each change
_SEPARATOR: Final = "/"  # comes right before the first digit of a code
_CODES: Final = (
    f"SELECT group_concat(x.id, ' '), group_concat(t.codes, '{_SEPARATOR}'), max(x.id) FROM"
    " (SELECT id FROM assets_registry INDEXED BY ix_assets_registry_project WHERE project_id = ? AND {})"
    " x CROSS JOIN asset_codes t ON t.asset_id = x.id"
)


@dataclass(frozen=True, slots=True)
class TermColumns:
    """The terms of some assets of a project, as they were at one moment.

    ``ids`` grow (int64); ``types`` and ``licenses`` hold the id of one term for each of them (int32).
    ``tags`` holds the tags and all other terms of all of them (int32), ``holders`` the place in ``ids`` of
    who has each (int32).
    A million assets with three tags each take 40 MB.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int32]
    licenses: NDArray[np.int32]
    tags: NDArray[np.int32]
    holders: NDArray[np.int32]

    @classmethod
    def load(
        cls, connection: sqlite3.Connection, project_id: str, only: NDArray[np.int64] | None = None
    ) -> TermColumns | None:
        """Read the terms of a project's assets, or of some of them; a million take half a second.

        None is returned when an asset has not exactly one type and one licence: the ledger is damaged.
        """
        kinds = term_kinds(connection, project_id)
        parts: list[tuple[NDArray[Any], ...]] = [_page("", "", kinds, 0)]
        count = 0
        for ids, codes in _pages(connection, project_id, only):
            parts.append(_page(ids, codes, kinds, count))
            count += len(parts[-1][0])
        columns = cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        return columns if len(columns.ids) == len(columns.types) == len(columns.licenses) else None

    def having(self, term_id: int) -> Mask:
        """Return which of the assets have a term."""
        mask: Mask = (self.types == term_id) | (self.licenses == term_id)
        mask[self.holders[self.tags == term_id]] = True
        return mask

    def among(self, ids: NDArray[np.int64]) -> Mask:
        """Return which of the assets are among some ids; those of others are passed over."""
        mask = np.zeros(len(self.ids), dtype=np.bool_)
        places = np.searchsorted(self.ids, ids)
        is_within = places < len(self.ids)
        places, ids = places[is_within], ids[is_within]
        mask[places[self.ids[places] == ids]] = True
        return mask

    def counts(self, kind: TermKind, mask: Mask) -> Counts:
        """Count the terms of a kind of the assets in a mask; of a kind other than type and licence together
        with all others of those kinds."""
        if kind not in ("type", "license"):
            return np.bincount(self.tags[mask[self.holders]])
        return np.bincount((self.types if kind == "type" else self.licenses)[mask])

    def with_changed(self, ids: NDArray[np.int64], now: TermColumns) -> TermColumns:
        """Return these columns with what is now of some assets that changed, came or went."""
        keep = ~self.among(ids)
        held = keep[self.holders]
        every = np.concatenate((self.ids[keep], now.ids))
        order = np.argsort(every, kind="stable")
        places = np.empty(len(every), dtype=np.int32)
        places[order] = np.arange(len(every), dtype=np.int32)
        kept = np.cumsum(keep, dtype=np.int32) - np.int32(1)
        moved = now.holders + np.int32(len(every) - len(now.ids))
        return TermColumns(
            every[order],
            np.concatenate((self.types[keep], now.types))[order],
            np.concatenate((self.licenses[keep], now.licenses))[order],
            np.concatenate((self.tags[held], now.tags)),
            places[np.concatenate((kept[self.holders[held]], moved))],
        )


@dataclass(frozen=True, slots=True)
class LayeredColumns:
    """Columns of which some assets are covered by newer ones: to put those in place would copy all of them.

    A mask holds the assets below and behind them those above; ``uncovered`` tells which of those below count.
    """

    below: TermColumns
    above: TermColumns
    uncovered: Mask

    @classmethod
    def load(cls, connection: sqlite3.Connection, project_id: str) -> LayeredColumns | None:
        """Read the terms of all assets of a project; see `TermColumns.load`."""
        columns = TermColumns.load(connection, project_id)
        return None if columns is None else cls._of(columns)

    @property
    def link_count(self) -> int:
        """How many terms of assets are held."""
        return sum(len(each.tags) + 2 * len(each.ids) for each in (self.below, self.above))

    def everything(self) -> Mask:
        """Return a mask of all assets, which the caller may change."""
        return np.concatenate((self.uncovered, np.ones(len(self.above.ids), dtype=np.bool_)))

    def among(self, ids: NDArray[np.int64]) -> Mask:
        """Return which of the assets are among some ids; those of others are passed over."""
        return np.concatenate((self.below.among(ids) & self.uncovered, self.above.among(ids)))

    def having(self, term_id: int) -> Mask:
        """Return which have a term, those that are covered included."""
        return np.concatenate((self.below.having(term_id), self.above.having(term_id)))

    def counts(self, kind: TermKind, mask: Mask) -> Counts:
        """Count the terms of a kind of the assets in a mask."""
        edge = len(self.below.ids)
        fewer, more = sorted(
            (self.below.counts(kind, mask[:edge]), self.above.counts(kind, mask[edge:])), key=len
        )
        more[: len(fewer)] += fewer
        return more

    def with_changed(self, ids: NDArray[np.int64], now: TermColumns) -> LayeredColumns:
        """Return these columns with what is now of some assets that changed, came or went."""
        above = self.above.with_changed(ids, now)
        uncovered = self.uncovered & ~self.below.among(ids)
        if len(above.ids) * _LAYERED <= len(self.below.ids):
            return LayeredColumns(self.below, above, uncovered)
        covered = np.concatenate((self.below.ids[~uncovered], above.ids))
        return self._of(self.below.with_changed(covered, above))

    @classmethod
    def _of(cls, columns: TermColumns) -> LayeredColumns:
        no_id, no_term = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int32)
        nothing = TermColumns(no_id, no_term, no_term, no_term, no_term)
        return cls(columns, nothing, np.ones(len(columns.ids), dtype=np.bool_))


def decode_codes(codes: str) -> NDArray[np.int32]:
    """Return the term ids of codes without separators."""
    digits = np.frombuffer(codes.encode(), dtype=np.uint8).reshape(-1, CODE_LENGTH)
    found = np.zeros(len(digits), dtype=np.int32)
    for column in range(CODE_LENGTH):
        found = (found << CODE_BITS) | (digits[:, column] - np.uint8(CODE_ZERO))
    return found


def parse_ids(text: str | None) -> NDArray[np.int64]:
    """Return ids that stand in a text, with spaces between them: as rows they take four times as long."""
    return np.fromstring(text, dtype=np.int64, sep=" ") if text else np.zeros(0, dtype=np.int64)


def term_kinds(connection: sqlite3.Connection, project_id: str) -> NDArray[np.uint8]:
    """Return the kind of each term as a number, up to the last that is no tag, and one for all behind it."""
    query = "SELECT group_concat(id, ' ') FROM asset_terms WHERE project_id = ? AND kind = ?"
    kinds = np.zeros(1, dtype=np.uint8)
    for kind, number in KIND_NUMBERS.items():
        if kind != "tag":
            ids = parse_ids(connection.execute(query, (project_id, kind)).fetchone()[0])
            kinds = np.pad(kinds, (0, max(0, int(ids.max(initial=0)) + 2 - len(kinds))))
            kinds[ids] = number
    return kinds


def _pages(
    connection: sqlite3.Connection, project_id: str, only: NDArray[np.int64] | None
) -> Iterator[tuple[str, str]]:
    """Yield ids and codes of assets in the order of their ids, of some thousands at a time."""
    if only is not None:
        query = _CODES.format("id IN (SELECT value FROM json_each(?)) ORDER BY id")
        wanted = np.sort(only).tolist()
        for at in range(0, len(wanted), _PAGE):
            listed = json.dumps(wanted[at : at + _PAGE])
            ids, codes, _ = connection.execute(query, (project_id, listed)).fetchone()
            if ids is not None:
                yield ids, codes
        return
    query = _CODES.format("id > ? ORDER BY id LIMIT ?")
    after_id: int | None = -1
    while after_id is not None:
        ids, codes, after_id = connection.execute(query, (project_id, after_id, _PAGE)).fetchone()
        if ids is not None:
            yield ids, codes


def _page(ids: str, codes: str, kinds: NDArray[np.uint8], before: int) -> tuple[NDArray[Any], ...]:
    """Return the columns of some assets, as `TermColumns` has them; ``before``: how many come before them."""
    signs = np.frombuffer((codes + _SEPARATOR).encode(), dtype=np.uint8)
    ends = np.flatnonzero(signs == ord(_SEPARATOR))
    numbers = parse_ids(ids)
    sizes = (np.diff(ends, prepend=-1) - 1)[: len(numbers)] // CODE_LENGTH
    holders = np.repeat(np.arange(before, before + len(numbers), dtype=np.int32), sizes)
    terms = decode_codes(codes.replace(_SEPARATOR, ""))
    told = kinds.take(terms, mode="clip")
    types, licenses = (terms[told == KIND_NUMBERS[kind]] for kind in ("type", "license"))
    is_other = ~np.isin(told, [KIND_NUMBERS[kind] for kind in ("type", "license")])
    return numbers, types, licenses, terms[is_other], holders[is_other]
