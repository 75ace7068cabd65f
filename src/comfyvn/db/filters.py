"""Filters as SQL: which assets of a project match, by the shortest way there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from comfyvn.db.lineage import DESCENDANTS
from comfyvn.db.terms import TermKind, fold_term
from comfyvn.model import MOST_STARS, AssetFilter, FactCondition, Problem, fold

__all__ = ["Filters", "Search", "Term"]

_SCANNED_AT_ONCE: Final = 5  # texts that are looked at one after the other in the time of one found by index
_MERGED: Final = 8  # sorted walks that are merged; of more, all is found first and then sorted
_TRIGRAM: Final = 3
_MAX_TRIGRAMS: Final = 32
_PREFIX: Final = 8  # of a workflow's hash; what is shorter is meant to be all of it

_HAS_TERM: Final = "EXISTS (SELECT 1 FROM asset_term_links t WHERE t.term_id = ? AND t.asset_id = {id})"
_HAS_ANY: Final = "EXISTS (SELECT 1 FROM asset_term_links t WHERE t.term_id IN (%s) AND t.asset_id = {id})"
_HAS_TEXTS: Final = "EXISTS (SELECT 1 FROM asset_text t WHERE t.asset_id = {id} AND %s)"
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
_OF_WORKFLOW: Final = (  # by uid: an asset that was removed and came back has another id
    "(SELECT DISTINCT a.id FROM provenance p INDEXED BY ix_provenance_workflow CROSS JOIN assets_registry a"
    " ON a.project_id = p.project_id AND a.uid = p.asset_uid WHERE p.project_id = ? AND p.workflow_hash %s)"
)
_HAS_WORKFLOW: Final = (
    "EXISTS (SELECT 1 FROM assets_registry a JOIN provenance p ON p.project_id = a.project_id"
    " AND p.asset_uid = a.uid WHERE a.id = {id} AND p.workflow_hash %s)"
)
_HAS_STARS: Final = (  # what is nested too deeply for SQLite has none, which is better than an error
    "CASE WHEN json_valid(a.meta) THEN json_type(a.meta, '$.rating') = 'integer'"
    " AND json_extract(a.meta, '$.rating') BETWEEN ? AND ? END"
)
_WRONG_ROWS: Final[dict[Problem, tuple[str, str]]] = {  # the index of such rows, and what is true of them
    "missing": ("ix_assets_registry_missing", "missing_since IS NOT NULL"),
    "no-sidecar": ("ix_assets_registry_no_sidecar", "sidecar_size IS NULL"),
    "no-thumbnail": ("ix_assets_registry_no_preview", "preview_state = 'failed'"),
}
_OVERRULED: Final = (
    "event = 'asset_meta_updated' AND instr({x}.after_json, '\"overruled\":') > 0"
    " AND CASE WHEN json_valid({x}.after_json) THEN json_type({x}.after_json, '$.overruled') = 'object' END"
    " AND NOT EXISTS (SELECT 1 FROM asset_journal l WHERE l.project_id = {x}.project_id AND l.uid = {x}.uid"
    " AND l.seq > {x}.seq AND l.event = 'asset_meta_updated')"
)


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the ledger, and how many assets have it."""

    id: int
    count: int


@dataclass(frozen=True, slots=True)
class Search:
    """A filter taken apart.

    ``terms`` must all be there, rarest first; of each of ``groups`` one, which excludes the others (an asset
    has one type, one licence, one sampler and one tool); of ``excluded`` none. Any of ``problems`` holds: a
    term, or what rows say. All of ``texts`` are found, none of which is part of another.
    """

    terms: tuple[Term, ...] = ()
    groups: tuple[tuple[Term, ...], ...] = ()
    excluded: tuple[Term, ...] = ()
    problems: tuple[Problem | Term, ...] = ()
    digest: str | None = None
    uid: str | None = None
    workflow: str | None = None
    descends_from: str | None = None
    texts: tuple[str, ...] = ()
    where: tuple[FactCondition, ...] = ()
    min_rating: int | None = None
    seed: str | None = None

    @property
    def has_only_terms(self) -> bool:
        """Whether nothing is asked but terms, or nothing at all."""
        return not self.problems and self.rest == _NOTHING

    @property
    def rest(self) -> Search:
        """What is asked besides terms and problems."""
        return Search(
            digest=self.digest,
            uid=self.uid,
            workflow=self.workflow,
            descends_from=self.descends_from,
            texts=self.texts,
            where=self.where,
            min_rating=self.min_rating,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class _Walk:
    """A way through assets by falling id: a table as ``x``, its column with their ids, and what is asked."""

    table: str
    id_column: str
    condition: str
    values: tuple[Any, ...]


_NOTHING: Final = Search()


class Filters:
    """What matches a filter in one project, as one connection sees it."""

    def __init__(self, connection: sqlite3.Connection, project_id: str) -> None:
        self._connection = connection
        self.project_id = project_id

    def search(self, wanted: AssetFilter) -> Search | None:
        """Take a filter apart; None when one of its terms is unknown, so nothing can match."""
        terms = [self._term("tag", fold_term(tag)) for tag in wanted.tags]
        terms += [self._term("model", fold_term(name)) for name in wanted.models]
        terms += [self._term("lora", fold_term(name)) for name in wanted.loras]
        groups = []
        chosen: tuple[tuple[TermKind, Sequence[str]], ...] = (
            ("type", wanted.types),
            ("license", _folded(wanted.licenses)),
            ("sampler", _folded(wanted.samplers)),
            ("tool", _folded(wanted.tools)),
        )
        for kind, names in chosen:
            found = self._terms(kind, names)
            if names and len(found) < 2:
                terms.append(found[0] if found else None)
            elif names:
                groups.append(found)
        problems = self._problems(wanted.problems)
        if wanted.problems and not problems:
            return None
        if len(problems) == 1 and isinstance(problems[0], Term):
            terms.append(problems[0])
            problems = ()
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return None
        known.sort(key=lambda term: term.count)
        return Search(
            terms=tuple(known),
            groups=tuple(sorted(groups, key=_total)),
            excluded=(
                *self._terms("tag", _folded(wanted.not_tags)),
                *self._terms("type", wanted.not_types),
                *self._terms("license", _folded(wanted.not_licenses)),
            ),
            problems=problems,
            digest=wanted.digest,
            uid=wanted.uid,
            workflow=wanted.workflow,
            descends_from=wanted.descends_from,
            texts=_outermost(fold(text) for text in wanted.texts),
            where=wanted.where,
            min_rating=wanted.min_rating,
            seed=wanted.seed,
        )

    def untagged(self) -> Term | None:
        """Return the term of those that have no tag; None where all have one."""
        return self._term("tag", "")

    def count(self, search: Search) -> int:
        """Return how many assets match."""
        if search.has_only_terms and len(search.terms) + len(search.groups) + len(search.excluded) < 2:
            if search.excluded:
                return self.total() - search.excluded[0].count
            counted = (*search.terms, *(term for group in search.groups for term in group))
            return _total(counted) if counted else self.total()
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
        walks, left = self._walks(search, is_whole=is_whole, is_mine=is_mine)
        asked = [] if before_id is None else [("{id} < ?", (before_id,))]
        asked += self._asked(left)
        parts, values = list[str](), list[Any]()
        for walk in walks:
            conditions = " AND ".join((walk.condition, *(condition for condition, _ in asked)))
            where = conditions.format(id=walk.id_column)
            parts.append(f"SELECT {walk.id_column} AS id FROM {walk.table} WHERE {where}")
            values += (*walk.values, *(value for _, given in asked for value in given))
        # an asset may have several problems, but not several types; what is sorted already is merged
        query = (" UNION " if left.problems != search.problems else " UNION ALL ").join(parts)
        order = "id" if len(parts) > 1 else walks[0].id_column
        return f"{query} ORDER BY {order} DESC LIMIT ?", [*values, -1 if limit is None else limit]

    def _walks(self, search: Search, *, is_whole: bool, is_mine: bool) -> tuple[list[_Walk], Search]:
        """Return the shortest way through all that may match, and what is left to ask there."""
        mine, terms, groups = self.project_id, search.terms, search.groups
        if search.digest is not None:
            values = (mine, search.digest)
            return [_Walk("asset_versions x", "x.asset_id", _HAS_DIGEST, values)], replace(
                search, digest=None
            )
        if search.uid is not None:
            condition = "x.project_id = ? AND x.uid BETWEEN ? AND ?"
            walk = _Walk("assets_registry x", "x.id", condition, (mine, *_bounds(search.uid)))
            return [walk], replace(search, uid=None)
        if search.seed is not None:
            table, condition = "assets_registry x INDEXED BY ix_assets_registry_seed", "x.seed = ?"
            walk = _Walk(table, "x.id", f"x.project_id = ? AND {condition}", (mine, search.seed))
            return [walk], replace(search, seed=None)
        if search.workflow is not None:
            how, hashes = _is_workflow(search.workflow)
            return [_Walk(f"{_OF_WORKFLOW % how} x", "x.id", "TRUE", (mine, *hashes))], replace(
                search, workflow=None
            )
        if search.descends_from is not None:
            walk = _Walk(f"{DESCENDANTS} x", "x.id", "TRUE", self._line(search.descends_from))
            return [walk], replace(search, descends_from=None)
        most = min((term.count for term in terms[:1]), default=None)
        if groups and (most is None or _total(groups[0]) < most):
            most = _total(groups[0])
        if self._are_rarer(search.texts, most, is_whole=is_whole):
            found = _Walk("asset_search x", "x.rowid", "asset_search MATCH ?", (_trigrams(search.texts),))
            is_known = bool(terms or groups or search.problems)
            walk = self._of_mine(found) if is_mine and not is_known else found
            left = tuple(text for text in search.texts if len(text) != _TRIGRAM)
            return [walk], replace(search, texts=left)
        if search.problems and (most is None or self._count_of(search.problems, most) < most):
            return [self._walk_of(each) for each in search.problems], replace(search, problems=())
        if terms and terms[0].count == most:
            return [self._walk_of(terms[0])], replace(search, terms=terms[1:])
        if groups:
            return self._walks_of(groups[0]), replace(search, groups=groups[1:])
        if search.texts:  # too short for the search index, or too frequent: a look at every text
            walk = _Walk("asset_text x", "x.asset_id", _holds("x", search.texts), search.texts)
            return [self._of_mine(walk) if is_mine else walk], replace(search, texts=())
        return [_Walk("assets_registry x", "x.id", "x.project_id = ?", (mine,))], search

    def _walk_of(self, problem: Problem | Term, x: str = "x") -> _Walk:
        """Return the way through all that have a term or a problem; ``x`` is the name of its table there."""
        if isinstance(problem, Term):
            return _Walk(f"asset_term_links {x}", f"{x}.asset_id", f"{x}.term_id = ?", (problem.id,))
        if problem in _WRONG_ROWS:
            index, condition = _WRONG_ROWS[problem]
            table, id_column = f"assets_registry {x} INDEXED BY {index}", f"{x}.id"
        else:
            index, condition = "ix_asset_journal_overruled", _OVERRULED.format(x=x)
            table, id_column = f"asset_journal {x} INDEXED BY {index}", f"{x}.asset_id"
        walk = _Walk(table, id_column, f"{x}.project_id = ? AND {x}.{condition}", (self.project_id,))
        return walk if problem in _WRONG_ROWS else self._of_mine(walk)

    def _walks_of(self, group: Sequence[Term]) -> list[_Walk]:
        if len(group) <= _MERGED:
            return [self._walk_of(term) for term in group]
        condition = f"x.term_id IN ({', '.join('?' * len(group))})"
        return [_Walk("asset_term_links x", "x.asset_id", condition, tuple(term.id for term in group))]

    def _of_mine(self, walk: _Walk) -> _Walk:
        """Return a way that passes over assets of other projects, and over removed ones."""
        condition, values = f"{walk.condition} AND {_IS_MINE}", (*walk.values, self.project_id)
        return replace(walk, condition=condition, values=values)

    def _asked(self, search: Search) -> list[tuple[str, tuple[Any, ...]]]:
        """Return conditions on an asset, ``{id}``, with their values."""
        asked: list[tuple[str, tuple[Any, ...]]] = [(_HAS_TERM, (term.id,)) for term in search.terms]
        asked += [_has_any(group) for group in search.groups]
        if search.excluded:
            condition, values = _has_any(search.excluded)
            asked.append((f"NOT {condition}", values))
        if search.problems:
            either = [self._has_problem(each) for each in search.problems]
            conditions = " OR ".join(condition for condition, _ in either)
            asked.append((f"({conditions})", tuple(value for _, values in either for value in values)))
        if search.texts:
            asked.append((_HAS_TEXTS % _holds("t", search.texts), search.texts))
        if told := _told(search):  # all of it at once: each row is read and its JSON parsed only once
            facts = "".join(f" AND {condition}" for condition, _ in told)
            asked.append((_TELLS % facts, tuple(value for _, values in told for value in values)))
        if search.workflow is not None:
            how, hashes = _is_workflow(search.workflow)
            asked.append((_HAS_WORKFLOW % how, hashes))
        if search.descends_from is not None:
            asked.append((f"{{id}} IN {DESCENDANTS}", self._line(search.descends_from)))
        return asked

    def _line(self, uid: str) -> tuple[str, ...]:
        """Return the values of `DESCENDANTS`."""
        return self.project_id, uid, self.project_id, self.project_id, uid

    def _has_problem(self, problem: Problem | Term) -> tuple[str, tuple[Any, ...]]:
        walk = self._walk_of(problem, "w")
        condition = walk.condition.format(id=walk.id_column)
        return (
            f"EXISTS (SELECT 1 FROM {walk.table} WHERE {condition} AND {walk.id_column} = {{id}})",
            walk.values,
        )

    def _count_of(self, problems: Iterable[Problem | Term], most: int) -> int:
        """Return how many assets have any of some problems, or more where they overlap, up to a number."""
        count = 0
        for each in problems:
            if isinstance(each, Term):
                count += each.count
            elif count < most:
                walk = self._walk_of(each)
                query = f"SELECT 1 FROM {walk.table} WHERE {walk.condition.format(id=walk.id_column)} LIMIT ?"
                count += int(self._one_value(f"SELECT count(*) FROM ({query})", (*walk.values, most - count)))
        return count

    def _are_rarer(self, texts: Sequence[str], most: int | None, *, is_whole: bool) -> bool:
        """Tell whether the search index finds fewer assets for texts than there are to look at without it.

        That is the ``most`` that other conditions leave, or, of a whole project whose texts lie side by side,
        one in five.
        """
        if not any(len(text) >= _TRIGRAM for text in texts):
            return False
        if most is None and not is_whole and all(len(text) >= _TRIGRAM for text in texts):
            return True  # nearly all that it finds matches, so a page is soon full
        most = self.total() // _SCANNED_AT_ONCE if most is None else most
        query = "SELECT count(*) FROM (SELECT 1 FROM asset_search WHERE asset_search MATCH ? LIMIT ?)"
        return int(self._one_value(query, (_trigrams(texts), most))) < most

    def _problems(self, wanted: Iterable[Problem]) -> tuple[Problem | Term, ...]:
        """Return problems with the terms that some of them are; those that no asset has are left out."""
        found: list[Problem | Term] = []
        for each in wanted:
            if each in ("no-license", "no-tags"):
                term = self._term("license" if each == "no-license" else "tag", "")
                found += [] if term is None else [term]
            else:
                found.append(each)
        return tuple(found)

    def _term(self, kind: TermKind, folded: str) -> Term | None:
        """Return a term; None when no asset has it."""
        query = "SELECT id, count FROM asset_terms WHERE project_id = ? AND kind = ? AND fold = ?"
        found = self._connection.execute(query, (self.project_id, kind, folded)).fetchone()
        return None if found is None or not found[1] else Term(*found)

    def _terms(self, kind: TermKind, folded: Iterable[str]) -> tuple[Term, ...]:
        """Return those of some terms that any asset has, each once."""
        return tuple(filter(None, (self._term(kind, each) for each in dict.fromkeys(folded))))

    def _one_value(self, query: str, values: Sequence[Any]) -> Any:
        return self._connection.execute(query, values).fetchone()[0]


def _folded(names: Iterable[str]) -> list[str]:
    return [fold_term(name.strip()) for name in names]


def _total(terms: Iterable[Term]) -> int:
    """Return how many assets have one of some terms that exclude each other."""
    return sum(term.count for term in terms)


def _has_any(terms: Sequence[Term]) -> tuple[str, tuple[Any, ...]]:
    values = tuple(term.id for term in terms)
    return (_HAS_TERM if len(terms) == 1 else _HAS_ANY % ", ".join("?" * len(terms))), values


def _bounds(prefix: str) -> tuple[str, str]:
    return prefix, f"{prefix}\U0010ffff"


def _is_workflow(wanted: str) -> tuple[str, tuple[str, ...]]:
    """Return the condition on a workflow's hash: all of it, or its first characters where they are enough."""
    return ("= ?", (wanted,)) if len(wanted) < _PREFIX else ("BETWEEN ? AND ?", _bounds(wanted))


def _told(search: Search) -> list[tuple[str, Sequence[Any]]]:
    """Return conditions on the row of an asset, as ``a``, with their values."""
    told: list[tuple[str, Sequence[Any]]] = [_tells(condition) for condition in search.where]
    if search.uid is not None:
        told.append(("a.uid BETWEEN ? AND ?", _bounds(search.uid)))
    if search.seed is not None:
        told.append(("a.seed = ?", (search.seed,)))
    if search.min_rating is not None:
        told.append((_HAS_STARS, (search.min_rating, MOST_STARS)))
    return told


def _outermost(texts: Iterable[str]) -> tuple[str, ...]:
    """Return texts in an order of their own, without those that are part of another."""
    found = sorted(set(texts))
    return tuple(text for text in found if not any(text in other for other in found if other != text))


def _holds(table: str, texts: Sequence[str]) -> str:
    return " AND ".join(f"instr({table}.folded, ?) > 0" for _ in texts)


def _trigrams(texts: Sequence[str]) -> str:
    """Return a query of the search index for what holds the trigrams of some texts, quoted: none is syntax.

    What it finds is looked at again, so those that don't overlap are enough, and some 32 of long texts. All
    texts are asked for at once: frequent ones that seldom stand together are told apart in the index.
    """
    indexed = [text for text in texts if len(text) >= _TRIGRAM]
    most = _MAX_TRIGRAMS // len(indexed)
    found = dict.fromkeys(each for text in indexed for each in _spread(text, most))
    return " AND ".join('"' + each.replace('"', '""') + '"' for each in found)


def _spread(text: str, number: int) -> list[str]:
    """Return some so many trigrams of a text, from its start to its end."""
    last = len(text) - _TRIGRAM
    starts = range(0, last + 1, max(_TRIGRAM, -(-last // number)))
    return [text[at : at + _TRIGRAM] for at in (*starts, last)]


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
