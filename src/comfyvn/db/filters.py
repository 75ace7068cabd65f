"""Filters as SQL: which assets of a project match, by the shortest way there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from comfyvn.db.terms import terms_wanted
from comfyvn.model import AssetFilter, FactCondition, fold

__all__ = ["Filters", "Search", "Term"]

_SCANNED_AT_ONCE: Final = 5  # texts that are looked at one after the other in the time of one found by index
_TRIGRAM: Final = 3
_MAX_TRIGRAMS: Final = 32

_HAS_TERM: Final = "EXISTS (SELECT 1 FROM asset_term_links t WHERE t.term_id = ? AND t.asset_id = {id})"
_HAS_TEXT: Final = "EXISTS (SELECT 1 FROM asset_text t WHERE t.asset_id = {id} AND instr(t.folded, ?) > 0)"
_IS_MINE: Final = (  # in the small index: the rows themselves are wide
    "EXISTS (SELECT 1 FROM assets_registry a INDEXED BY ix_assets_registry_project"
    " WHERE a.project_id = ? AND a.id = {id})"
)
_TELLS: Final = "EXISTS (SELECT 1 FROM assets_registry a WHERE a.id = {id}%s)"
_HAS_DIGEST: Final = (  # of content that came back the last version counts
    "x.project_id = ? AND x.hash = ? AND EXISTS (SELECT 1 FROM assets_registry a WHERE a.id = x.asset_id"
    " AND a.hash = x.hash) AND x.version ="
    " (SELECT max(v.version) FROM asset_versions v WHERE v.asset_id = x.asset_id AND v.hash = x.hash)"
)


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the ledger, and how many assets have it."""

    id: int
    count: int


@dataclass(frozen=True, slots=True)
class Search:
    """A filter taken apart: its terms, rarest first, and the rest of it."""

    terms: tuple[Term, ...] = ()
    digest: str | None = None
    text: str | None = None
    where: tuple[FactCondition, ...] = ()

    @property
    def has_only_terms(self) -> bool:
        """Whether nothing is asked but terms, or nothing at all."""
        return self.digest is None and self.text is None and not self.where


class Filters:
    """What matches a filter in one project, as one connection sees it."""

    def __init__(self, connection: sqlite3.Connection, project_id: str) -> None:
        self._connection = connection
        self.project_id = project_id

    def search(self, wanted: AssetFilter) -> Search | None:
        """Take a filter apart; None when one of its terms is unknown, so nothing can match."""
        terms = []
        query = "SELECT id, count FROM asset_terms WHERE project_id = ? AND kind = ? AND fold = ?"
        for kind, folded in terms_wanted(wanted):
            found = self._connection.execute(query, (self.project_id, kind, folded)).fetchone()
            if found is None or not found[1]:
                return None
            terms.append(Term(*found))
        terms.sort(key=lambda term: term.count)
        text = fold(wanted.text) if wanted.text else None
        return Search(tuple(terms), wanted.digest, text, wanted.where)

    def count(self, search: Search) -> int:
        """Return how many assets match."""
        if search.has_only_terms and len(search.terms) < 2:
            return search.terms[0].count if search.terms else self.total()
        ids, values = self.ids(search, is_whole=True)
        return int(self._one_value(f"SELECT count(*) FROM ({ids})", values))

    def total(self) -> int:
        """Return how many assets the project has: each has one type."""
        query = "SELECT coalesce(sum(count), 0) FROM asset_terms WHERE project_id = ? AND kind = 'type'"
        return int(self._one_value(query, (self.project_id,)))

    def ids(
        self,
        search: Search,
        before_id: int | None = None,
        limit: int | None = None,
        *,
        is_whole: bool = False,
        is_mine: bool = True,
    ) -> tuple[str, list[Any]]:
        """Return the query for the ids of a search (``id``), newest first, and its values.

        It walks the shortest list there is, newest first, and asks of each asset whether the rest holds.

        Args:
            search: what is searched.
            before_id: only smaller ids.
            limit: at most so many.
            is_whole: all of them are wanted, not a page.
            is_mine: False when the caller knows the project's ids, and passes over those of others.
        """
        terms, mine = list(search.terms), self.project_id
        asked: list[tuple[str, Sequence[Any]]] = []
        table, id_column = "assets_registry", "x.id"
        if search.digest is not None:
            table, id_column = "asset_versions", "x.asset_id"
            asked.append((_HAS_DIGEST, (mine, search.digest)))
        elif search.text is not None and self._is_rarer(search.text, terms, is_whole=is_whole):
            table, id_column = "asset_search", "x.rowid"
            asked.append(("asset_search MATCH ?", (_trigrams(search.text),)))
            if is_mine and not terms:
                asked.append((_IS_MINE, (mine,)))
        elif terms:
            table, id_column = "asset_term_links", "x.asset_id"
            asked.append(("x.term_id = ?", (terms.pop(0).id,)))
        elif search.text is not None:  # too short for the search index, or too frequent: a look at every text
            table, id_column = "asset_text", "x.asset_id"
            asked.append(("instr(x.folded, ?) > 0", (search.text,)))
            if is_mine:
                asked.append((_IS_MINE, (mine,)))
        else:
            asked.append(("x.project_id = ?", (mine,)))
        if before_id is not None:
            asked.append(("{id} < ?", (before_id,)))
        asked += [(_HAS_TERM, (term.id,)) for term in terms]
        is_exact = table == "asset_text" or (table == "asset_search" and len(search.text or "") == _TRIGRAM)
        if search.text is not None and not is_exact:
            asked.append((_HAS_TEXT, (search.text,)))
        if search.where:  # all of them at once: each row is read and its JSON parsed only once
            told = [_tells(condition) for condition in search.where]
            facts = "".join(f" AND {each}" for each, _ in told)
            asked.append((_TELLS % facts, [value for _, values in told for value in values]))
        conditions = " AND ".join(condition for condition, _ in asked).format(id=id_column)
        values = [value for _, given in asked for value in given]
        query = (
            f"SELECT {id_column} AS id FROM {table} x WHERE {conditions} ORDER BY {id_column} DESC LIMIT ?"
        )
        return query, [*values, -1 if limit is None else limit]

    def _is_rarer(self, text: str, terms: Sequence[Term], *, is_whole: bool) -> bool:
        """Tell whether the search index finds fewer assets for a text than there are to look at without it.

        That is the rarest of some terms, or, of a whole project whose texts lie side by side, one in five.
        """
        if len(text) < _TRIGRAM:
            return False
        if not terms and not is_whole:
            return True
        most = terms[0].count if terms else self.total() // _SCANNED_AT_ONCE
        query = "SELECT count(*) FROM (SELECT 1 FROM asset_search WHERE asset_search MATCH ? LIMIT ?)"
        return int(self._one_value(query, (_trigrams(text), most))) < most

    def _one_value(self, query: str, values: Sequence[Any]) -> Any:
        return self._connection.execute(query, values).fetchone()[0]


def _trigrams(text: str) -> str:
    """Return a query of the search index for texts that hold the trigrams of a text, quoted: none is syntax.

    What it finds is looked at again, so those that don't overlap are enough, and some 32 of a long text.
    """
    last = len(text) - _TRIGRAM
    starts = range(0, last + 1, max(_TRIGRAM, -(-last // _MAX_TRIGRAMS)))
    found = dict.fromkeys(text[at : at + _TRIGRAM] for at in (*starts, last))
    return " AND ".join('"' + each.replace('"', '""') + '"' for each in found)


def _tells(condition: FactCondition) -> tuple[str, list[Any]]:
    """Return the condition on a fact; text is compared ignoring case, numbers never with text."""
    path = "$." + ".".join(condition.path)
    kind = "json_type(a.media, ?)"
    if isinstance(condition.value, bool):
        return f"{kind} {condition.operator} ?", [path, "true" if condition.value else "false"]
    told = "json_extract(a.media, ?)"
    if isinstance(condition.value, str):
        lowered = "".join(char.lower() if char.isascii() else char for char in condition.value)  # as SQL does
        return f"{kind} = 'text' AND lower({told}) {condition.operator} ?", [path, path, lowered]
    numbers = f"{kind} IN ('integer', 'real') AND {told} {condition.operator} ?"
    return numbers, [path, path, condition.value]
