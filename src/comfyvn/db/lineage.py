"""The lineage as SQL: which assets came of which, up and down, and what waits for somebody's word.

Edges join uids, not rows: a parent may be unknown here, and its edges stay when it is removed. A walk goes
level by level, each by one query along an index, and looks at no asset twice: circles end it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from comfyvn.model import Asset, Certainty, LinkKind, Parent

__all__ = ["DESCENDANTS", "PARENTS", "Edge", "LineNode", "Lines", "Proposal", "Walked", "Way", "parents_of"]

Way = Literal["ancestors", "descendants"]

_LARGEST: Final = 2**63 - 1
_LISTED: Final = "IN (SELECT value FROM json_each(?))"
PARENTS: Final = (
    "(SELECT json_group_array(json_array(l.parent_uid, l.kind, l.certainty, l.found))"
    " FROM asset_lineage l INDEXED BY ix_asset_lineage_child"
    " WHERE l.project_id = a.project_id AND l.child_uid = a.uid)"
)
"""The parents of the asset in the row ``a``, for `parents_of`."""
DESCENDANTS: Final = (
    "(WITH RECURSIVE line (uid) AS (SELECT l.child_uid"
    " FROM asset_lineage l INDEXED BY ix_asset_lineage_parent"
    " WHERE l.project_id = ? AND l.parent_uid = ? AND l.certainty = 'certain'"
    " UNION SELECT l.child_uid FROM line CROSS JOIN asset_lineage l INDEXED BY ix_asset_lineage_parent"
    " ON l.project_id = ? AND l.parent_uid = line.uid AND l.certainty = 'certain')"
    " SELECT a.id FROM line CROSS JOIN assets_registry a ON a.project_id = ? AND a.uid = line.uid"
    " WHERE line.uid != ?)"
)
"""The ids of all that certainly came of an asset; the values are project, uid, project, project, uid."""
# by name: where half of an index would do, SQLite may choose one that every edge of the project is in
_OF_CHILDREN: Final = (
    "FROM json_each(?) f CROSS JOIN asset_lineage l INDEXED BY ix_asset_lineage_child"
    " ON l.project_id = ? AND l.child_uid = f.value"
)
_OF_PARENTS: Final = (
    "FROM json_each(?) f CROSS JOIN asset_lineage l INDEXED BY ix_asset_lineage_parent"
    " ON l.project_id = ? AND l.parent_uid = f.value"
)
_STEPS: Final[Mapping[Way, str]] = {
    "ancestors": f"SELECT l.parent_uid, l.child_uid {_OF_CHILDREN}",
    "descendants": f"SELECT l.child_uid, l.parent_uid {_OF_PARENTS}",
}
_EDGES: Final = f"SELECT l.child_uid, l.parent_uid, l.kind, l.certainty, l.found {_OF_CHILDREN}"
_NOT_REJECTED: Final = " AND l.certainty IN ('certain', 'likely')"
_INSERT: Final = (
    "INSERT INTO asset_lineage (project_id, child_uid, parent_uid, kind, certainty, found)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (project_id, child_uid, parent_uid, kind)"
    " DO UPDATE SET certainty = excluded.certainty, found = excluded.found"
)
_DELETE: Final = (
    "DELETE FROM asset_lineage WHERE project_id = ? AND child_uid = ? AND parent_uid = ? AND kind = ?"
)


class Edge(NamedTuple):
    """One edge: ``child_uid`` came of ``parent_uid``."""

    child_uid: str
    parent_uid: str
    kind: LinkKind
    certainty: Certainty
    found: str


class LineNode(NamedTuple):
    """What a lineage shows of an asset that is in the library."""

    id: int
    uid: str
    type: str
    key: str
    is_missing: bool


class Proposal(NamedTuple):
    """An edge that waits for somebody's word; ``parent_key`` is None where the parent is unknown."""

    id: int
    child_uid: str
    child_key: str
    parent_uid: str
    parent_key: str | None
    kind: LinkKind
    found: str


@dataclass(frozen=True, slots=True)
class Walked:
    """How far from its start each uid of a walk lies (1 for parents or children), nearest first.

    ``is_cut``: there are more that were not looked at.
    """

    depths: Mapping[str, int]
    is_cut: bool


class Lines:
    """The edges of one project, as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection, project_id: str) -> None:
        self._connection = connection
        self._project_id = project_id

    # -- looking --------------------------------------------------------------------------------------

    def walk(self, uid: str, way: Way, *, depth: int, limit: int, with_rejected: bool = False) -> Walked:
        """Return what an asset came of, or what came of it, but itself.

        Args:
            uid: the asset, known or not.
            way: up or down.
            depth: so many levels.
            limit: so many assets.
            with_rejected: along edges that somebody rejected, too.
        """
        depths: dict[str, int] = {}
        seen, level = {uid}, [uid]
        for number in range(1, depth + 1):
            following: dict[str, None] = {}
            for found, _ in self._step(level, way, with_rejected=with_rejected):
                if found in seen or found in following:
                    continue
                if len(depths) + len(following) >= limit:
                    return Walked({**depths, **dict.fromkeys(following, number)}, is_cut=True)
                following[found] = None
            level = list(following)
            seen.update(level)
            depths |= dict.fromkeys(level, number)
            if not level:
                return Walked(depths, is_cut=False)
        beyond = (found for found, _ in self._step(level, way, with_rejected=with_rejected))
        return Walked(depths, is_cut=any(found not in seen for found in beyond))

    def way_up(self, uid: str, ancestor: str) -> list[str] | None:
        """Return the uids on a shortest way from an asset to one that it came of, both of them included.

        Returns:
            None if it did not come of that.
        """
        came_from: dict[str, str] = {uid: uid}
        level = [uid]
        while level:
            if ancestor in came_from:
                way = [ancestor]
                while way[-1] != uid:
                    way.append(came_from[way[-1]])
                return way[::-1]
            following: dict[str, str] = {}
            for parent, child in self._step(level, "ancestors", with_rejected=False):
                if parent not in came_from:
                    following.setdefault(parent, child)
            came_from |= following
            level = list(following)
        return None

    def edges_among(self, uids: Iterable[str], limit: int, *, with_rejected: bool) -> list[Edge]:
        """Return the edges whose both ends are among some uids, at most so many."""
        listed = json.dumps(list(uids))
        # the plus: one look into the list for each edge, not one into the index for each child and parent
        query = f"{_EDGES} WHERE +l.parent_uid {_LISTED}{'' if with_rejected else _NOT_REJECTED} LIMIT ?"
        return list(
            map(Edge._make, self._connection.execute(query, (listed, self._project_id, listed, limit)))
        )

    def nodes(self, uids: Iterable[str]) -> dict[str, LineNode]:
        """Return what is known of some assets, by uid."""
        query = (
            "SELECT a.id, a.uid, a.type, a.path_full, a.missing_since IS NOT NULL FROM json_each(?) f"
            " CROSS JOIN assets_registry a ON a.project_id = ? AND a.uid = f.value"
        )
        found = self._connection.execute(query, (json.dumps(list(uids)), self._project_id))
        return {row[1]: LineNode._make((*row[:-1], bool(row[-1]))) for row in found}

    def proposals(self, limit: int, before_id: int | None, child_uid: str | None) -> list[Proposal]:
        """Return the edges that wait for somebody's word, newest first.

        Args:
            limit: at most so many.
            before_id: only those with a smaller id: the last one of the page before.
            child_uid: only those of one asset.
        """
        asked = {
            "l.project_id = ?": self._project_id,
            "l.certainty = 'likely' AND l.id < ?": _LARGEST if before_id is None else before_id,
            **({} if child_uid is None else {f"l.child_uid {_LISTED}": json.dumps([child_uid])}),
        }
        query = (
            "SELECT l.id, l.child_uid, c.path_full, l.parent_uid, p.path_full, l.kind, l.found"
            " FROM asset_lineage l INDEXED BY ix_asset_lineage_likely"
            " JOIN assets_registry c ON c.project_id = l.project_id AND c.uid = l.child_uid"
            " LEFT JOIN assets_registry p ON p.project_id = l.project_id AND p.uid = l.parent_uid"
            f" WHERE {' AND '.join(asked)} ORDER BY l.id DESC LIMIT ?"
        )
        return list(map(Proposal._make, self._connection.execute(query, (*asked.values(), limit))))

    def is_named(self, uid: str) -> bool:
        """Tell whether any asset came, or may have come, of one."""
        query = f"SELECT 1 {_OF_PARENTS} LIMIT 1"
        return self._connection.execute(query, (json.dumps([uid]), self._project_id)).fetchone() is not None

    # -- changing -------------------------------------------------------------------------------------

    def add(self, assets: Iterable[Asset]) -> None:
        """Record the parents of new assets."""
        self._insert(edge for asset in assets for edge in _edges_of(asset))

    def replace(self, assets: Sequence[Asset]) -> None:
        """Bring what is recorded of some assets' parents in step with their facts."""
        listed = json.dumps([asset.uid for asset in assets])
        before = set(map(Edge._make, self._connection.execute(_EDGES, (listed, self._project_id))))
        now = {edge for asset in assets for edge in _edges_of(asset)}
        if before == now:
            return
        gone = {edge[:3] for edge in before} - {edge[:3] for edge in now}
        self._connection.executemany(_DELETE, [(self._project_id, *edge) for edge in sorted(gone)])
        self._insert(sorted(now - before))

    def forget(self, uid: str) -> None:
        """Drop the parents of an asset that is removed; its children keep naming it."""
        query = "DELETE FROM asset_lineage WHERE project_id = ? AND child_uid = ?"
        self._connection.execute(query, (self._project_id, uid))

    # -- inside ---------------------------------------------------------------------------------------

    def _step(self, uids: Sequence[str], way: Way, *, with_rejected: bool) -> Iterator[tuple[str, str]]:
        """Yield the uids one step on from some, each with the one that it was reached from."""
        query = _STEPS[way] + ("" if with_rejected else _NOT_REJECTED)
        yield from self._connection.execute(query, (json.dumps(uids), self._project_id))

    def _insert(self, edges: Iterable[Edge]) -> None:
        rows = [(self._project_id, *edge) for edge in edges]
        if rows:
            self._connection.executemany(_INSERT, rows)


def parents_of(told: str) -> tuple[Parent, ...]:
    """Return parents from what `PARENTS` selects."""
    if told == "[]":
        return ()
    rows: list[Any] = orjson.loads(told)
    return tuple(Parent(*row) for row in sorted(rows))


def _edges_of(asset: Asset) -> Iterator[Edge]:
    for each in asset.facts.parents:
        yield Edge(asset.uid, each.uid, each.kind, each.certainty, each.found)
