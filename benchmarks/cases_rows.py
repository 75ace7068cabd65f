"""What is asked of the ledger: the same in a large library and, as the bare side, in a small one."""

from __future__ import annotations

import shutil
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import rows
from measuring import BASE_ROWS, Case, Job, once, open_registry, settle

from comfyvn.registry.ingest import Selection, ingest
from comfyvn.studio.core import AssetRegistry

_PAGE = 50
_WARMING, _FEWEST, _MOST, _LONG_ENOUGH_S = 3, 5, 200, 1.0
_FILTERS = 20
_GROWN_BY = 1_000

Filter = dict[str, Any]
Filters = dict[str, list[Filter]]


def library(job: Job, count: int | None = None) -> Path:
    """Return a project folder whose ledger has so many rows; made at the first call."""
    count = count or job.sizes.rows
    return once(job.art / f"rows-{count}-{job.mark}", lambda home: rows.fill(home, count))


def _ask(
    job: Job,
    count: int | None,
    make_filters: Callable[[Job, AssetRegistry], Filters],
    answer: Callable[[AssetRegistry, Filter], object],
    make_library: Callable[[Job, int | None], Path] = library,
) -> int:
    """Ask each part's questions again and again, up to 200 times or a second, and at least five times."""
    asked = 0
    with open_registry(make_library(job, count)) as registry:
        for part, wanted in make_filters(job, registry).items():
            for question in islice(cycle(wanted), _WARMING):
                answer(registry, question)
            end_s = time.perf_counter() + _LONG_ENOUGH_S
            for turn, question in enumerate(islice(cycle(wanted), _MOST)):
                if turn >= _FEWEST and time.perf_counter() > end_s:
                    break
                asked += 1
                with job.watch(part):
                    answer(registry, question)
    return asked


# -- pages ------------------------------------------------------------------------------------------------


def _page_filters(job: Job, registry: AssetRegistry) -> Filters:
    """Return filters that fill a page in the small library, too. Every other question is for a deep page."""
    small = library(job, BASE_ROWS)
    samples = rows.samples(small)
    dice = Random(3)
    dice.shuffle(samples)
    filters: Filters = {}
    with open_registry(small) as other:
        for part, make in _PAGES.items():
            possible = {str(made := make(sample)): made for sample in samples if len(sample.tags) >= 3}
            full = (each for each in possible.values() if len(_all_ids(other, each)) >= _PAGE)
            wanted = list(islice(full, _FILTERS))
            turns = ceil(_FILTERS / len(wanted))
            filters[part] = [page for each in wanted for page in _pages(registry, each, turns, dice)]
    return filters


def _pages(registry: AssetRegistry, wanted: Filter, turns: int, dice: Random) -> Iterator[Filter]:
    """Yield the first page and one from anywhere that is full, too, so many times."""
    ids = _all_ids(registry, wanted)
    for _ in range(turns if ids else 0):
        yield wanted
        yield {**wanted, "cursor": ids[dice.randrange(max(1, len(ids) - _PAGE))]}


def _all_ids(registry: AssetRegistry, wanted: Filter) -> array[int]:
    ids = array("q")
    for chunk in registry.iter_ids(**wanted):
        ids.extend(chunk)
    return ids


_PAGES: Mapping[str, Callable[[rows.Sample], Filter]] = {
    "all": lambda _sample: {},
    "type": lambda sample: {"asset_type": sample.type},
    "licence": lambda sample: {"license": sample.license},
    "one tag": lambda sample: {"tags": sample.tags[0]},
    "two tags": lambda sample: {"tags": sample.tags[:2]},
    "three tags": lambda sample: {"tags": sample.tags[:3]},
    "two types": lambda sample: {"asset_type": [sample.type, "script"]},
    "without a tag": lambda sample: {"not_tags": sample.tags[0]},
    "tag, type, licence": lambda sample: {
        "tags": sample.tags[0],
        "asset_type": sample.type,
        "license": sample.license,
    },
}


def _rare_filters(job: Job, _registry: AssetRegistry) -> Filters:
    """Return tags of any rows: most are borne together by few."""
    dice = Random(6)
    tagged = [sample.tags for sample in rows.samples(library(job, BASE_ROWS)) if len(sample.tags) >= 3]
    return {
        part: [{"tags": dice.sample(tags, count)} for tags in dice.sample(tagged, _MOST)]
        for count, part in enumerate(("one tag", "two tags", "three tags"), 1)
    }


def _page(registry: AssetRegistry, wanted: Filter) -> object:
    return registry.list_assets(limit=_PAGE, **wanted)


# -- search -----------------------------------------------------------------------------------------------

_TEXTS: Mapping[str, Sequence[Filter]] = {
    "frequent": [{"text": "harbour"}, {"text": "night"}],
    "rare": [{"text": word} for word in rows.RARE_WORDS],
    "Japanese": [{"text": "図書館"}, {"text": "ひまわり"}, {"text": "神社の階段"}],
    "part of a word": [{"text": "arbou"}, {"text": "eranda"}, {"text": "umme"}],
    "file number": [{"text": "_0000123"}, {"text": "0007654"}],
    "phrase": [{"text": "river tower market hallway"}, {"text": "dusk dawn snow"}],
    "with a type": [{"text": "harbour", "asset_type": "script"}, {"text": "夏祭り", "asset_type": "cg"}],
    "with a tag": [{"text": "harbour", "tags": "lantern13"}, {"text": "library", "tags": "night"}],
    "no match": [{"text": "zzqxj"}, {"text": "harbourforest"}],
}
_SHORT_TEXTS: Mapping[str, Sequence[Filter]] = {
    "one letter": [{"text": "a"}, {"text": "海"}, {"text": "ž"}],
    "two letters": [{"text": "ha"}, {"text": "教室"}, {"text": "qx"}],
}


def _search_filters(_job: Job, _registry: AssetRegistry) -> Filters:
    return {part: list(wanted) for part, wanted in _TEXTS.items()}


def _short_filters(_job: Job, _registry: AssetRegistry) -> Filters:
    return {part: list(wanted) for part, wanted in _SHORT_TEXTS.items()}


# -- facets -----------------------------------------------------------------------------------------------

_NEW_TEXTS = ("night", "arbou", "図書館", "umme", "library", "夏祭り", "eranda", "forest", "ha", "market")
"""More than are remembered: each is looked for anew whenever its turn comes."""


def _facet_filters(job: Job, _registry: AssetRegistry) -> Filters:
    dice = Random(4)
    samples = dice.sample(rows.samples(library(job, BASE_ROWS)), 50)
    return {
        "all": [{}],
        "type": [{"asset_type": sample.type} for sample in samples],
        "licence": [{"license": sample.license} for sample in samples],
        "tag": [{"tags": sample.tags[0]} for sample in samples if sample.tags],
        "without a tag": [{"not_tags": sample.tags[0]} for sample in samples if sample.tags],
        "tag and text": [{"tags": "harbour", "text": "night"}, {"tags": "lantern", "text": "夕焼け"}],
        "tag and new text": [{"tags": "harbour", "text": text} for text in _NEW_TEXTS],
    }


def _facets(registry: AssetRegistry, wanted: Filter) -> object:
    return registry.facets(**wanted)


# -- the index of a result --------------------------------------------------------------------------------


def _id_filters(_job: Job, _registry: AssetRegistry) -> Filters:
    return {
        "all": [{}],
        "type": [{"asset_type": "characters"}],
        "tag": [{"tags": "harbour"}],
        "by name": [{"sort": "name"}],
        "largest": [{"asset_type": "characters", "sort": "largest"}],
    }


def _ids(registry: AssetRegistry, wanted: Filter) -> object:
    return sum(len(chunk) for chunk in registry.iter_ids(**wanted))


# -- growing ----------------------------------------------------------------------------------------------


def _grow(job: Job, count: int | None = None) -> int:
    """Take in 1,000 tiny files where a library has many assets already."""
    source = job.tiny(_GROWN_BY)
    shutil.copytree(library(job, count), job.home, dirs_exist_ok=True)
    with open_registry(job.home, "batch") as registry:
        for _ in ingest(Selection([_warm_line(job)]), registry):
            pass
        settle()
        with job.watch():
            return sum(item.status == "registered" for item in ingest(Selection([source]), registry))


def _warm_line(job: Job) -> Path:
    path = job.home / "warm" / "line.txt"
    path.parent.mkdir()
    path.write_text("a first line\n")
    return path


# -- inside -----------------------------------------------------------------------------------------------


def _prepare(job: Job) -> None:
    library(job)
    library(job, BASE_ROWS)


def _prepare_growth(job: Job) -> None:
    job.tiny(_GROWN_BY)
    _prepare(job)


def questions(
    make_filters: Callable[[Job, AssetRegistry], Filters],
    answer: Callable[[AssetRegistry, Filter], object],
    goal_ms: Mapping[str, float | None],
    goal: float | None = None,
    *,
    make_library: Callable[[Job, int | None], Path] = library,
    prepare: Callable[[Job], object] = _prepare,
) -> Case:
    """Return the case of questions that are asked in a large library and in a small one."""
    ask = partial(_ask, make_filters=make_filters, answer=answer, make_library=make_library)
    return Case(
        partial(ask, count=None), partial(ask, count=BASE_ROWS), "asked", goal, goal_ms, prepare=prepare
    )


CASES = {
    "page": questions(_page_filters, _page, {"other": 1.0}, goal=1.5),
    "page:rare": questions(_rare_filters, _page, {"other": 1.0}),
    "search": questions(_search_filters, _page, {"other": 20.0}),
    "search:short": questions(_short_filters, _page, {"other": None}),
    "facets": questions(_facet_filters, _facets, {"all": 5.0, "other": 100.0}),
    "ids": questions(_id_filters, _ids, {"other": 1_000.0}),
    "grow": Case(_grow, partial(_grow, count=BASE_ROWS), goal=1.5, prepare=_prepare_growth),
}
