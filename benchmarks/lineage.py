"""What came from what: the same questions in a large library and, as the bare side, in a small one.

The rows are those of `rows`, in families of 60: the first 21 came one from another, as versions of a drawing
do, and each of the others from any of these. Of these others every twentieth came from the very first row as
well (a reference that everybody draws after), every tenth from any older row, and every thirtieth edge waits
for somebody's word.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import rows
from cases_rows import Filter, Filters, questions
from measuring import BASE_ROWS, Job, once

from comfyvn.model import Asset, Parent, normalise_parents
from comfyvn.studio.core import AssetRegistry

_FAMILY, _LINE = 60, 21
_HUB_EVERY, _OLDER_EVERY, _LIKELY_EVERY = 20, 10, 30
_ASKED = 50


def _uid(number: int) -> str:
    return rows.digest_of(number)[:16]


def _dress(number: int, asset: Asset) -> Asset:
    """Give a row its parents."""
    place, dice = number % _FAMILY, Random(number)
    if place == 0:
        return asset
    if place < _LINE:
        parents = [Parent(_uid(number - 1), "edit")]
    else:
        certainty: Any = "likely" if number % _LIKELY_EVERY == 0 else "certain"
        parents = [Parent(_uid(number - place + dice.randrange(_LINE)), "variant", certainty, "similar")]
        parents += [Parent(_uid(0), "img2img")] if number % _HUB_EVERY == 0 else []
        parents += [Parent(_uid(dice.randrange(number)), "composite")] if number % _OLDER_EVERY == 1 else []
    return replace(asset, facts=replace(asset.facts, parents=normalise_parents(parents)))


def _library(job: Job, count: int | None = None) -> Path:
    count = count or job.sizes.rows
    return once(job.art / f"lineage-{count}-{job.mark}", lambda home: rows.fill(home, count, _dress))


def _prepare(job: Job) -> None:
    _library(job)
    _library(job, BASE_ROWS)


def _filters(_job: Job, registry: AssetRegistry) -> Filters:
    families = registry.count_assets() // _FAMILY
    first = [_uid(_FAMILY * family) for family in Random(7).sample(range(1, families), _ASKED)]
    last = [_uid(_FAMILY * family + _LINE - 1) for family in Random(8).sample(range(1, families), _ASKED)]
    middle = [_uid(_FAMILY * family + _LINE // 2) for family in Random(9).sample(range(1, families), _ASKED)]
    return {
        "both ways": [{"uid": uid} for uid in middle],
        "20 levels up": [{"uid": uid, "direction": "ancestors"} for uid in last],
        "20 levels down": [{"uid": uid, "direction": "descendants"} for uid in first],
        "of a hub": [{"uid": _uid(0)}],
        "filter": [{"descends_from": uid, "limit": 50} for uid in first],
        "facets": [{"descends_from": uid} for uid in first],
        "proposals": [{"limit": 50}],
    }


def _answer(registry: AssetRegistry, asked: Filter) -> object:
    if "uid" in asked:
        return registry.lineage(**asked)
    if "descends_from" not in asked:
        return registry.proposed_parents(**asked)
    return registry.list_assets(**asked) if "limit" in asked else registry.facets(**asked)


CASES = {
    "lineage": questions(
        _filters,
        _answer,
        {"of a hub": None, "facets": 100.0, "other": 5.0},
        make_library=_library,
        prepare=_prepare,
    )
}
