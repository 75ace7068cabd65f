"""Fingerprints as SQL: by what a picture is known again, and which others look like it.

How a picture looks are 64 bits, kept in four bands of 16, each with an index. Two pictures that differ in at
most 7 bits differ in at most one bit of some band: all neighbours of up to that distance, and many beyond it,
are found by the 17 values that each band may have. A fingerprint is of one content, which its hash names.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Fingerprint", "Fingerprints", "Known"]

_BANDS: Final = tuple(f"band_{number}" for number in range(4))
_BAND_BITS: Final = 16
_LARGEST: Final = 2**63 - 1
_ROWS_OF_BAND: Final = 4_000
_FLIPS: Final = (0, *(1 << bit for bit in range(_BAND_BITS)))
_LISTED: Final = "IN (SELECT value FROM json_each(?))"
_IS_CURRENT: Final = "f.hash = a.hash AND f.recipe = ?"
_IS_PICTURE: Final = (
    "a.project_id = ? AND a.preview_kind = 'thumbnail' AND a.preview_state = 'ready'"
    " AND a.missing_since IS NULL"
)
_PUT: Final = (
    f"INSERT INTO asset_fingerprints (asset_id, project_id, hash, recipe, {', '.join(_BANDS)})"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (asset_id) DO UPDATE SET hash = excluded.hash,"
    " recipe = excluded.recipe, pixels = NULL, " + ", ".join(f"{band} = excluded.{band}" for band in _BANDS)
)
_NEAR: Final = " UNION ".join(
    f"SELECT * FROM (SELECT f.asset_id, {', '.join(_BANDS)} FROM asset_fingerprints f"
    f" WHERE f.project_id = ? AND f.{band} IN ({', '.join('?' * len(_FLIPS))}) LIMIT {_ROWS_OF_BAND})"
    for band in _BANDS
)
_KNOWN: Final = (
    "SELECT a.id, a.uid, a.path_full, a.hash, json_extract(a.media, '$.width'),"
    " json_extract(a.media, '$.height'),"
    " a.generation IS NOT NULL AND (coalesce(json_extract(a.generation, '$.hash'), a.hash) = a.hash"
    " OR EXISTS (SELECT 1 FROM asset_versions v WHERE v.asset_id = a.id AND v.version = 0"
    " AND v.hash = json_extract(a.generation, '$.hash'))),"
    " coalesce(json_extract(a.generation, '$.workflow_hash'), n.workflow_hash), a.seed,"
    " EXISTS (SELECT 1 FROM asset_lineage l WHERE l.project_id = a.project_id AND l.child_uid = a.uid"
    f" AND l.certainty = 'certain' AND l.found = 'marker'), f.pixels, {', '.join(_BANDS)}"
    " FROM asset_fingerprints f JOIN assets_registry a ON a.id = f.asset_id"
    " LEFT JOIN provenance n ON n.id = a.provenance_id"
)


class Fingerprint(NamedTuple):
    """How the content of an asset looks (`comfyvn.media.fingerprint.looks`), None where it is too plain."""

    asset_id: int
    digest: str
    looks: int | None


class Known(NamedTuple):
    """A picture with a fingerprint, and what decides of two whether one came of the other.

    Sizes in px, None where they are not known. ``has_facts``: what made its present content is known, by
    ``workflow_hash`` and ``seed``; ``is_marked``: its marker said of what it came.
    """

    id: int
    uid: str
    key: str
    digest: str
    width: int | None
    height: int | None
    has_facts: bool
    workflow_hash: str | None
    seed: str | None
    is_marked: bool
    pixels: str | None
    looks: int | None


class Fingerprints:
    """The fingerprints of one project, as one connection sees them."""

    def __init__(self, connection: sqlite3.Connection, project_id: str) -> None:
        self._connection = connection
        self._project_id = project_id

    # -- looking --------------------------------------------------------------------------------------

    def missing(self, recipe: int, after_id: int, limit: int) -> list[tuple[int, str, str]]:
        """Return id, uid and digest of pictures without a fingerprint of today, by id.

        Args:
            recipe: today's version of the way to make them.
            after_id: only assets with a larger id.
            limit: at most so many.
        """
        query = (
            "SELECT a.id, a.uid, a.hash FROM assets_registry a LEFT JOIN asset_fingerprints f"
            f" ON f.asset_id = a.id AND {_IS_CURRENT} WHERE {_IS_PICTURE} AND a.id > ?"
            " AND f.asset_id IS NULL ORDER BY a.id LIMIT ?"
        )
        return self._connection.execute(query, (recipe, self._project_id, after_id, limit)).fetchall()

    def page(self, recipe: int, after_id: int, limit: int) -> list[Known]:
        """Return pictures with a fingerprint of today that are not too plain, by id; see `missing`."""
        query = (
            f"{_KNOWN} WHERE f.project_id = ? AND f.asset_id > ? AND {_IS_CURRENT} AND {_IS_PICTURE}"
            " AND f.band_0 IS NOT NULL ORDER BY f.asset_id LIMIT ?"
        )
        values = (self._project_id, after_id, recipe, self._project_id, limit)
        return [_known(row) for row in self._connection.execute(query, values)]

    def of(self, recipe: int, ids: Iterable[int]) -> list[Known]:
        """Return those of some assets that have a fingerprint of today, by id."""
        query = f"{_KNOWN} WHERE f.asset_id {_LISTED} AND {_IS_CURRENT} AND {_IS_PICTURE} ORDER BY f.asset_id"
        rows = self._connection.execute(query, (json.dumps(list(ids)), recipe, self._project_id))
        return [_known(row) for row in rows]

    def near(self, looks: int, distance: int, limit: int) -> tuple[list[int], bool]:
        """Return the ids of assets that look alike, the nearest first, and whether there are more.

        Args:
            looks: 64 bits.
            distance: at most so many of them differ.
            limit: at most so many ids.
        """
        values: list[str | int] = []
        for number in range(len(_BANDS)):
            band = _band(looks, number)
            values += [self._project_id, *(band ^ flip for flip in _FLIPS)]
        rows = self._connection.execute(_NEAR, values).fetchall()
        found = sorted(
            (distance_of, asset_id)
            for asset_id, *bands in rows
            if (distance_of := (_joined(bands) ^ looks).bit_count()) <= distance
        )
        is_cut = len(rows) >= _ROWS_OF_BAND or len(found) > limit
        return [asset_id for _, asset_id in found[:limit]], is_cut

    # -- changing -------------------------------------------------------------------------------------

    def put(self, recipe: int, made: Sequence[Fingerprint]) -> None:
        """Record fingerprints; older ones of the same assets give way."""
        values = [
            (each.asset_id, self._project_id, each.digest, recipe, *_bands(each.looks)) for each in made
        ]
        self._connection.executemany(_PUT, values)

    def put_pixels(self, asset_id: int, digest: str, pixels: str) -> None:
        """Record the hash of an asset's pixels, if its fingerprint is of that content still."""
        query = "UPDATE asset_fingerprints SET pixels = ? WHERE asset_id = ? AND hash = ?"
        self._connection.execute(query, (pixels, asset_id, digest))


def _known(row: tuple[Any, ...]) -> Known:
    has_facts, workflow_hash, seed, is_marked, pixels = row[6:11]
    looks = None if row[11] is None else _joined(row[11:])
    told = (bool(has_facts), workflow_hash, seed, bool(is_marked), pixels, looks)
    return Known._make((*row[:6], *told))


def _band(looks: int, number: int) -> int:
    return looks >> (_BAND_BITS * number) & 0xFFFF


def _bands(looks: int | None) -> list[int | None]:
    return [None if looks is None else _band(looks, number) for number in range(len(_BANDS))]


def _joined(bands: Sequence[int]) -> int:
    return sum(band << (_BAND_BITS * number) for number, band in enumerate(bands))
