"""The lineage: of which assets an asset came, and what came of it; linked, confirmed and rejected.

An edge is a fact of the child, in its sidecar and its history like a tag. What is decided here is decided
inside the write transaction that acts on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, TypedDict

from comfyvn.db import Reader
from comfyvn.db.lineage import Edge, LineNode, Way
from comfyvn.errors import AssetNotFound, InvalidFilter, LineageCircle, LinkNotFound
from comfyvn.model import (
    Asset,
    Certainty,
    LinkKind,
    Parent,
    link_kind,
    normalise_parents,
)
from comfyvn.studio.core.library import Library

__all__ = [
    "Direction",
    "Lineage",
    "LineageEdge",
    "LineageNode",
    "LineageRecord",
    "ProposedParent",
]

Direction = Literal["both", "ancestors", "descendants"]
_MOST_NODES: Final = 10_000
_MOST_EDGES: Final = 40_000
_SHOWN_ENDS: Final = 4
_WAYS: Final[tuple[tuple[Way, int], ...]] = (("ancestors", -1), ("descendants", 1))


class LineageNode(TypedDict):
    """An asset of a lineage. ``depth`` is 0 for the one asked about, -2 for a grandparent, 1 for a child.

    ``is_known`` is False where the library has no such asset: it never had it, or has it no more. Then
    ``id``, ``path`` and ``type`` are None. ``is_missing``: its file is gone.
    """

    id: int | None
    uid: str
    path: str | None
    type: str | None
    depth: int
    is_known: bool
    is_missing: bool


class LineageEdge(TypedDict):
    """``child`` came of ``parent`` (uids); `comfyvn.model.Parent` says what the rest means."""

    child: str
    parent: str
    kind: LinkKind
    certainty: Certainty
    found: str


class LineageRecord(TypedDict):
    """What an asset came of, and what came of it.

    ``nodes`` begins with the asset itself, then the ancestors and the descendants, nearest first; ``edges``
    are all between them. ``truncated``: there is more, beyond the depth or the 10,000 nodes.
    """

    uid: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool


class ProposedParent(TypedDict):
    """An edge that waits for somebody's word. ``parent_path`` is None where the library has no such asset."""

    id: int
    child: str
    child_path: str
    parent: str
    parent_path: str | None
    kind: LinkKind
    found: str


class Lineage:
    """The lineage of the assets of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    # -- looking --------------------------------------------------------------------------------------

    def show(self, uid: str, direction: Direction, depth: int, *, with_rejected: bool) -> LineageRecord:
        """Return an asset's lineage; see `AssetRegistry.lineage`."""
        if direction not in ("both", "ancestors", "descendants"):
            why = f"there is no direction {direction!r:.40}; there are both, ancestors and descendants"
            raise InvalidFilter(why=why)
        depths, is_cut = {uid: 0}, False
        with self._library.read() as rows:
            if rows.listed(uid) is None and not rows.lines.is_named(uid):
                raise AssetNotFound(uid=uid, project=self._library.ledger.project_id)
            for way, sign in _WAYS:
                if direction not in ("both", way):
                    continue
                limit = _MOST_NODES - len(depths)
                walked = rows.lines.walk(uid, way, depth=depth, limit=limit, with_rejected=with_rejected)
                depths = {**{each: sign * number for each, number in walked.depths.items()}, **depths}
                is_cut = is_cut or walked.is_cut
            ordered = sorted(depths.items(), key=lambda each: (each[1] > 0, abs(each[1])))
            uids = [each for each, _ in ordered]
            edges = rows.lines.edges_among(uids, _MOST_EDGES + 1, with_rejected=with_rejected)
            known = rows.lines.nodes(uids)
        return LineageRecord(
            uid=uid,
            nodes=[_node(each, number, known.get(each)) for each, number in ordered],
            edges=[_edge(each) for each in edges[:_MOST_EDGES]],
            truncated=is_cut or len(edges) > _MOST_EDGES,
        )

    def proposed(self, limit: int, cursor: int | None, uid: str | None) -> list[ProposedParent]:
        """Return what waits for somebody's word; see `AssetRegistry.proposed_parents`."""
        with self._library.read() as rows:
            found = rows.lines.proposals(limit, cursor, uid)
        return [
            ProposedParent(
                id=each.id,
                child=each.child_uid,
                child_path=each.child_key,
                parent=each.parent_uid,
                parent_path=each.parent_key,
                kind=each.kind,
                found=each.found,
            )
            for each in found
        ]

    # -- changing -------------------------------------------------------------------------------------

    def link(self, child: str, parent: str, kind: str, operation: int | None) -> list[LineageEdge]:
        """Note that an asset came of another one; see `AssetRegistry.link`."""
        wanted = Parent(parent, link_kind(kind))

        def edit(rows: Reader, asset: Asset) -> Sequence[Parent]:
            if rows.listed(parent) is None:
                raise AssetNotFound(uid=parent, project=self._library.ledger.project_id)
            if _find(asset, parent, wanted.kind, ("certain",)):
                return asset.facts.parents
            self._refuse_circle(rows, child, parent)
            return [wanted, *asset.facts.parents]

        return self._change(child, edit, operation)

    def unlink(self, child: str, parent: str, kind: str | None, operation: int | None) -> list[LineageEdge]:
        """Forget that an asset came of another one; see `AssetRegistry.unlink`."""
        wanted = None if kind is None else link_kind(kind)

        def edit(rows: Reader, asset: Asset) -> Sequence[Parent]:
            gone = _named(asset, parent, wanted)
            return [each for each in asset.facts.parents if each not in gone]

        return self._change(child, edit, operation)

    def judge(
        self, child: str, parent: str, kind: str | None, certainty: Certainty, operation: int | None
    ) -> list[LineageEdge]:
        """Confirm or reject that an asset came of another one; see `AssetRegistry.confirm_parent`."""
        wanted = None if kind is None else link_kind(kind)

        def edit(rows: Reader, asset: Asset) -> Sequence[Parent]:
            meant = _named(asset, parent, wanted)
            if wanted is None:  # where something waits for a word, that is meant
                meant = _find(asset, parent, None, ("likely",)) or meant
            judged = [replace(each, certainty=certainty) for each in meant]
            if certainty == "certain" and judged != meant:
                self._refuse_circle(rows, child, parent)
            return [*judged, *asset.facts.parents]

        return self._change(child, edit, operation)

    # -- inside ---------------------------------------------------------------------------------------

    def _change(
        self, child: str, edit: Callable[[Reader, Asset], Sequence[Parent]], operation: int | None
    ) -> list[LineageEdge]:
        """Give an asset other parents; of those that ``edit`` gives twice the first counts."""
        with self._library.transaction(operation) as change:
            asset = change.rows.asset(child)
            if asset is None:
                raise AssetNotFound(uid=child, project=self._library.ledger.project_id)
            wanted = replace(asset.facts, parents=normalise_parents(edit(change.rows, asset)))
            changed = self._library.change_one(change, asset, wanted, is_as_read=True)
        return [
            _edge(Edge(child, each.uid, each.kind, each.certainty, each.found))
            for each in changed.facts.parents
        ]

    def _refuse_circle(self, rows: Reader, child: str, parent: str) -> None:
        """Raise LineageCircle if the parent came of the child."""
        way = rows.lines.way_up(parent, child)
        if way is None:
            return
        ends = way if len(way) <= 2 * _SHOWN_ENDS else [*way[:_SHOWN_ENDS], *way[-_SHOWN_ENDS:]]
        known = rows.lines.nodes(ends)
        names = [known[uid].key if uid in known else uid for uid in ends]
        if len(ends) < len(way):
            names.insert(_SHOWN_ENDS, "...")
        raise LineageCircle(child=names[-1], parent=names[0], way=" from ".join(names))


def _named(asset: Asset, parent: str, kind: LinkKind | None) -> list[Parent]:
    """Return the edges to a parent, of one kind or of all.

    Raises:
        LinkNotFound: there is none.
    """
    found = _find(asset, parent, kind)
    if not found:
        raise LinkNotFound(child=asset.key, parent=parent, how=f" by {kind}" if kind else "")
    return found


def _find(
    asset: Asset, parent: str, kind: LinkKind | None, certainties: Sequence[Certainty] = ()
) -> list[Parent]:
    return [
        each
        for each in asset.facts.parents
        if each.uid == parent
        and kind in (None, each.kind)
        and (not certainties or each.certainty in certainties)
    ]


def _node(uid: str, depth: int, known: LineNode | None) -> LineageNode:
    return LineageNode(
        id=known.id if known else None,
        uid=uid,
        path=known.key if known else None,
        type=known.type if known else None,
        depth=depth,
        is_known=known is not None,
        is_missing=known is not None and known.is_missing,
    )


def _edge(edge: Edge) -> LineageEdge:
    return LineageEdge(
        child=edge.child_uid,
        parent=edge.parent_uid,
        kind=edge.kind,
        certainty=edge.certainty,
        found=edge.found,
    )
