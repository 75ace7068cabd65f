"""Facets: how many assets match a filter, and how many of them have each type, licence, tag and problem.

The ledger counts a third of a million assets in a tenth of a second, and a question may need that three
times. A process that has asked so often that it would have paid keeps the terms of all assets in memory.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary

from comfyvn.db.filters import Filters, Search, Term
from comfyvn.db.news import PlaceRow, last_place, place_at
from comfyvn.db.terms import KINDS, TermKind
from comfyvn.model import PROBLEMS, AssetFilter, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comfyvn.db.columns import Counts, LayeredColumns, Mask

__all__ = ["FacetCounts", "Facets", "TermMemory"]

_CODES_CHUNK: Final = 50_000
_MOST_LINKS: Final = 8_000_000  # they take 80 MB, and twice as much for a moment when some are replaced
_MOST_CHANGES: Final = 10_000
_PART_OF_ALL: Final = 4  # reading all terms takes as long as counting all assets; who asks twice asks on
_SOON_WALKED: Final = 5_000  # so many are looked at in the ledger before a million are in memory
_MASKS: Final = 12
_NOTHING: Final = Search()
_FEW: Final[tuple[TermKind, ...]] = ("type", "license")
"""Kinds whose terms are all told; of the others the most frequent."""

_State = tuple[int, int]
_Masks = WeakKeyDictionary[sqlite3.Connection, tuple[_State, dict[Search, "Mask"]]]
"""What was looked for in columns by each connection, with what the ledger was then to it."""


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """How many assets match, and how many of them have each type, licence ("" for none) and tag, most first;
    also each model, LoRA, sampler and tool that made them, where that is known.

    ``untagged`` is how many have no tag; ``problems`` are in the order of `PROBLEMS`, those of no asset too.
    Each group is counted under the other conditions, without its own choice.
    """

    total: int
    types: tuple[tuple[str, int], ...]
    licenses: tuple[tuple[str, int], ...]
    tags: tuple[tuple[str, int], ...]
    untagged: int
    problems: tuple[tuple[Problem, int], ...] = ()
    models: tuple[tuple[str, int], ...] = ()
    loras: tuple[tuple[str, int], ...] = ()
    samplers: tuple[tuple[str, int], ...] = ()
    tools: tuple[tuple[str, int], ...] = ()


class TermMemory:
    """The terms of all assets of a project, kept in memory by a process that asks for them often.

    They are read once a good part of the assets was counted without them. From then on the journal tells
    which assets to read again: every change of an asset's terms is a row of it in the same transaction. A
    reader gets them as its own transaction sees them, or not at all.
    """

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id
        self._lock = threading.Lock()
        self._kept: tuple[PlaceRow | None, LayeredColumns, _Masks] | None = None
        self._counted = 0

    def note(self, counted: int) -> None:
        """Note that so many assets were counted without these terms."""
        self._counted += counted

    def recall(self, connection: sqlite3.Connection) -> tuple[LayeredColumns, dict[Search, Mask]] | None:
        """Return the terms as a connection's transaction sees them, None where they are not worth their cost.

        With them come masks that were made of them in this state of the ledger, to look up or to add. While
        one thread brings the terms up to date, others go without; so does a process that was forked then.
        """
        newest = last_place(connection)
        kept = self._kept
        if kept is None or kept[0] != newest:
            if not self._lock.acquire(blocking=False):
                return None
            try:
                columns = self._followed(connection, newest) or self._loaded(connection)
                if columns is None:
                    return None
                kept = self._kept = newest, columns, WeakKeyDictionary()
            finally:
                self._lock.release()
        return kept[1], _masks(kept[2], connection)

    def _followed(self, connection: sqlite3.Connection, newest: PlaceRow | None) -> LayeredColumns | None:
        """Return the columns that are kept with what the journal says changed since; None if it can't say."""
        at, columns, _ = self._kept or (None, None, None)
        if at is None or columns is None or newest is None:
            return None
        if columns.link_count > _MOST_LINKS:
            self._kept = None
            return None
        if newest.seq - at.seq > _MOST_CHANGES or place_at(connection, at.seq) != at:
            return None
        from comfyvn.db.columns import TermColumns, parse_ids

        query = "SELECT DISTINCT asset_id FROM asset_journal WHERE +project_id = ? AND seq > ?"
        query = f"SELECT group_concat(asset_id, ' ') FROM ({query})"
        ids = parse_ids(connection.execute(query, (self._project_id, at.seq)).fetchone()[0])
        now = TermColumns.load(connection, self._project_id, ids)
        return None if now is None else columns.with_changed(ids, now)

    def _loaded(self, connection: sqlite3.Connection) -> LayeredColumns | None:
        query = "SELECT coalesce(sum(count), 0) FROM asset_terms WHERE project_id = ?"
        if self._counted * _PART_OF_ALL < Filters(connection, self._project_id).total():
            return None
        self._counted = 0
        if connection.execute(query, (self._project_id,)).fetchone()[0] > _MOST_LINKS:
            return None
        from comfyvn.db.columns import LayeredColumns

        return LayeredColumns.load(connection, self._project_id)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Names with their counts, most first; ``unnamed``: how many have no tag, where names are tags."""

    names: tuple[tuple[str, int], ...] = ()
    unnamed: int = 0


class _Counter(Protocol):
    def counts(self, search: Search, kind: TermKind) -> Counts: ...

    def counts_among(self, ids: Sequence[int]) -> Mapping[TermKind, Counts]: ...

    def total(self, search: Search) -> int: ...


class Facets:
    """Counts what matches a filter in one project, as one connection's transaction sees it.

    Args:
        connection: in a transaction.
        filters: of the project.
        memory: its terms in memory, if the transaction changes nothing.
    """

    def __init__(
        self, connection: sqlite3.Connection, filters: Filters, memory: TermMemory | None = None
    ) -> None:
        self._connection = connection
        self._filters = filters
        self._memory = memory

    def count(self, wanted: AssetFilter, top_tags: int) -> FacetCounts:
        """Count the types, licences, the most frequent tags and the problems of what a filter finds."""
        searches = {kind: self._filters.search(wanted.without(kind)) for kind in KINDS}
        whole = self._filters.search(wanted)
        wrong = self._searches_of_problems(wanted)
        counter = self._counter({search for search in searches.values() if search} or {_NOTHING})
        groups = dict[TermKind, _Ranked]()
        for kind, search in searches.items():
            limit = -1 if kind in _FEW else top_tags
            if search is None:
                groups[kind] = _Ranked()
            elif search == _NOTHING:
                groups[kind] = self._most_frequent(kind, limit)
            else:
                groups[kind] = self._ranked(kind, limit, counter.counts(search, kind))
        return FacetCounts(
            total=_total(counter, whole),
            types=groups["type"].names,
            licenses=groups["license"].names,
            tags=groups["tag"].names,
            untagged=groups["tag"].unnamed,
            problems=tuple((name, _total(counter, search)) for name, search in wrong.items()),
            models=groups["model"].names,
            loras=groups["lora"].names,
            samplers=groups["sampler"].names,
            tools=groups["tool"].names,
        )

    def count_among(self, ids: Sequence[int], top_tags: int) -> FacetCounts:
        """Count types, licences and the most frequent tags of some assets; ids of no asset don't count."""
        counts = self._counter(set()).counts_among(ids)
        tags = self._ranked("tag", top_tags, counts["tag"])
        return FacetCounts(
            total=int(counts["type"].sum()),
            types=self._ranked("type", -1, counts["type"]).names,
            licenses=self._ranked("license", -1, counts["license"]).names,
            tags=tags.names,
            untagged=tags.unnamed,
            models=self._ranked("model", top_tags, counts["model"]).names,
            loras=self._ranked("lora", top_tags, counts["lora"]).names,
            samplers=self._ranked("sampler", top_tags, counts["sampler"]).names,
            tools=self._ranked("tool", top_tags, counts["tool"]).names,
        )

    def total(self, wanted: AssetFilter) -> int:
        """Count what a filter finds."""
        search = self._filters.search(wanted)
        if search is None:
            return 0
        is_short = search.uid or search.digest or (search.terms and search.terms[0].count < _SOON_WALKED)
        if search == _NOTHING or is_short:
            return self._filters.count(search)
        return self._counter({search}).total(search)

    def _searches_of_problems(self, wanted: AssetFilter) -> dict[Problem, Search | None]:
        others = wanted.without("problem")
        return {each: self._filters.search(replace(others, problems=(each,))) for each in PROBLEMS}

    def _counter(self, searches: set[Search]) -> _Counter:
        """Return who counts, for groups under some searches; all assets are counted without memory."""
        if self._memory is not None and searches != {_NOTHING}:
            recalled = self._memory.recall(self._connection)
            if recalled is not None:
                return _MemoryCounter(self._connection, self._filters, *recalled, searches)
        return _SqlCounter(self._connection, self._filters, self._memory)

    def _most_frequent(self, kind: TermKind, limit: int) -> _Ranked:
        """Return terms of a kind with their counts in the whole project, most first."""
        untagged = self._filters.untagged() if kind == "tag" else None
        query = (
            "SELECT name, count FROM asset_terms WHERE project_id = ? AND kind = ? AND count > 0 AND id != ?"
            " ORDER BY count DESC, fold LIMIT ?"
        )
        left_out = 0 if untagged is None else untagged.id
        found = self._connection.execute(query, (self._filters.project_id, kind, left_out, limit))
        return _Ranked(tuple(found), 0 if untagged is None else untagged.count)

    def _ranked(self, kind: TermKind, limit: int, counts: Counts) -> _Ranked:
        """Return the names of terms with their counts, most first."""
        import numpy as np

        untagged = self._filters.untagged() if kind == "tag" else None
        found, unnamed = np.flatnonzero(counts), 0
        if untagged is not None and untagged.id < len(counts):
            found, unnamed = found[found != untagged.id], int(counts[untagged.id])
        if 0 <= limit < len(found):
            least = np.partition(counts[found], -limit)[-limit]
            found = found[counts[found] >= least]
        query = (
            "SELECT id, name, fold FROM asset_terms"
            " WHERE project_id = ? AND kind = ? AND id IN (SELECT value FROM json_each(?))"
        )
        named = self._connection.execute(query, (self._filters.project_id, kind, json.dumps(found.tolist())))
        ranked = sorted((-int(counts[term_id]), folded, name) for term_id, name, folded in named)
        ranked = ranked if limit < 0 else ranked[:limit]
        return _Ranked(tuple((name, -count) for count, _, name in ranked), unnamed)


class _SqlCounter:
    """Counts from the codes of the assets that match, ever so many at a time."""

    def __init__(self, connection: sqlite3.Connection, filters: Filters, memory: TermMemory | None) -> None:
        self._connection = connection
        self._filters = filters
        self._memory = memory
        self._found: dict[Search, Mapping[TermKind, Counts]] = {}

    def counts(self, search: Search, kind: TermKind) -> Counts:
        """Count the terms of a kind of the assets of a search."""
        if search not in self._found:
            self._found[search] = self._by_kind(self._codes(search))
        return self._found[search][kind]

    def total(self, search: Search) -> int:
        """Return how many assets match; each has one type."""
        found = self._found.get(search)
        return self._filters.count(search) if found is None else int(found["type"].sum())

    def counts_among(self, ids: Sequence[int]) -> Mapping[TermKind, Counts]:
        """Count the terms of each kind of some assets."""
        return self._by_kind(self._codes_among(ids))

    def _by_kind(self, pages: Iterator[tuple[int, str]]) -> Mapping[TermKind, Counts]:
        import numpy as np

        from comfyvn.db.columns import KIND_NUMBERS, decode_codes, term_kinds

        total = np.zeros(1, dtype=np.int64)
        for number, codes in pages:
            counts = np.bincount(decode_codes(codes), minlength=len(total))
            counts[: len(total)] += total
            total = counts
            if self._memory is not None:
                self._memory.note(number)
        kinds = term_kinds(self._connection, self._filters.project_id).take(
            np.arange(len(total)), mode="clip"
        )
        return {kind: np.where(kinds == number, total, 0) for kind, number in KIND_NUMBERS.items()}

    def _codes(self, search: Search) -> Iterator[tuple[int, str]]:
        """Yield how many assets match, and the codes of all of their terms, ever so many at a time."""
        before_id = None
        while True:
            ids, values = self._filters.ids(search, before_id, _CODES_CHUNK, is_whole=True)
            query = f"SELECT count(*), min(x.id), group_concat(t.codes, '') FROM ({ids}) x"
            query += " CROSS JOIN asset_codes t ON t.asset_id = x.id"
            number, before_id, codes = self._connection.execute(query, values).fetchone()
            yield number, codes or ""
            if number < _CODES_CHUNK:
                return

    def _codes_among(self, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield the same of those of some assets that there are."""
        query = (
            "SELECT count(*), group_concat(t.codes, '') FROM (SELECT a.id FROM assets_registry a"
            " INDEXED BY ix_assets_registry_project WHERE a.project_id = ? AND a.id IN"
            " (SELECT value FROM json_each(?))) x CROSS JOIN asset_codes t ON t.asset_id = x.id"
        )
        for at in range(0, len(ids), _CODES_CHUNK):
            listed = json.dumps(list(ids[at : at + _CODES_CHUNK]))
            number, codes = self._connection.execute(query, (self._filters.project_id, listed)).fetchone()
            yield number, codes or ""


class _MemoryCounter:
    """Counts from the terms in memory; only what is no term is looked for in the ledger."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        filters: Filters,
        columns: LayeredColumns,
        masks: dict[Search, Mask],
        searches: set[Search],
    ) -> None:
        self._connection = connection
        self._filters = filters
        self._columns = columns
        self._masks = masks
        self._is_rest_apart = any(_is_rest_first(search) for search in searches)
        self._known: dict[Search, Mask] = {}
        self._kinds: NDArray[np.uint8] | None = None

    def counts(self, search: Search, kind: TermKind) -> Counts:
        """Count the terms of a kind of the assets of a search."""
        return self._of_kind(kind, self._columns.counts(kind, self._matching(search)))

    def counts_among(self, ids: Sequence[int]) -> Mapping[TermKind, Counts]:
        """Count the terms of each kind of some assets."""
        import numpy as np

        mask = self._columns.among(np.array(ids, dtype=np.int64))
        return {kind: self._of_kind(kind, self._columns.counts(kind, mask)) for kind in KINDS}

    def _of_kind(self, kind: TermKind, counts: Counts) -> Counts:
        """Return counts without those of other kinds, which lie in the same column."""
        if kind in _FEW:
            return counts
        import numpy as np

        from comfyvn.db.columns import KIND_NUMBERS, term_kinds

        if self._kinds is None:
            self._kinds = term_kinds(self._connection, self._filters.project_id)
        told = self._kinds.take(np.arange(len(counts)), mode="clip")
        return np.where(told == KIND_NUMBERS[kind], counts, 0)

    def total(self, search: Search) -> int:
        """Return how many assets match."""
        return int(self._matching(search).sum())

    def _matching(self, search: Search) -> Mask:
        if search not in self._known:
            if search.problems:
                others = self._matching(replace(search, problems=()))
                self._known[search] = others & self._having_any(search.problems)
            else:
                self._known[search] = self._fitting(search)
        return self._known[search]

    def _fitting(self, search: Search) -> Mask:
        """Return which assets match a search that asks for no problem."""
        mask = self._columns.everything() if search.rest == _NOTHING else self._rest(search).copy()
        for term in search.terms:
            mask &= self._columns.having(term.id)
        for group in search.groups:
            mask &= self._having_any(group)
        for term in search.excluded:
            mask &= ~self._columns.having(term.id)
        return mask

    def _having_any(self, group: Sequence[Problem | Term]) -> Mask:
        """Return which assets have any of some terms or problems."""
        masks = [
            self._columns.having(each.id)
            if isinstance(each, Term)
            else self._looked_up(Search(problems=(each,)))
            for each in group
        ]
        found = masks[0].copy()
        for mask in masks[1:]:
            found |= mask
        return found

    def _rest(self, search: Search) -> Mask:
        """Return which assets match what a search asks besides terms.

        That is asked without the terms, once for all groups and for the next questions, unless it is about
        facts alone and every group has terms, so that fewer facts are looked at.
        """
        return self._looked_up(search.rest if self._is_rest_apart else search)

    def _looked_up(self, search: Search) -> Mask:
        """Return which assets the ledger finds; from then on that is known."""
        from comfyvn.db.columns import parse_ids

        if search not in self._masks:
            ids, values = self._filters.ids(search, is_whole=True, is_mine=False)
            query = f"SELECT group_concat(id, ' ') FROM ({ids})"
            found = parse_ids(self._connection.execute(query, values).fetchone()[0])
            while len(self._masks) >= _MASKS:
                del self._masks[next(iter(self._masks))]
            self._masks[search] = self._columns.among(found)
        return self._masks[search]


def _is_rest_first(search: Search) -> bool:
    """Tell a search whose rest leads to few assets by itself, or of which no term does."""
    leads = search.texts or search.digest or search.uid or search.workflow or search.seed
    leads = leads or search.descends_from
    return bool(leads) or not (search.terms or search.groups)


def _total(counter: _Counter, search: Search | None) -> int:
    return 0 if search is None else counter.total(search)


def _masks(known: _Masks, connection: sqlite3.Connection) -> dict[Search, Mask]:
    """Return the masks that still hold: texts and facts may change without the journal.

    What SQLite says of commits of other connections is a number that means something to one connection only.
    Of its own it says nothing, but those changed rows.
    """
    state = (connection.execute("PRAGMA data_version").fetchone()[0], connection.total_changes)
    found = known.get(connection)
    if found is None or found[0] != state:
        found = known[connection] = state, {}
    return found[1]
