"""A ledger of any number of rows without files: eight types, six licences, 2,000 tags, texts to search.

The rows go straight through the writer, so that a million take minutes and not hours. The same number gives
the same rows, and a smaller library is the beginning of a larger one.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from measuring import open_registry

from comfyvn.model import Asset, Facts, FileStat

_CHUNK = 500
_SAMPLES = 2_000
_TYPES = ("characters", "backgrounds", "voices", "cg", "sound", "music", "props", "script")
_LICENCES = ("CC-BY-4.0", None, "CC0-1.0", "proprietary", "CC-BY-SA-4.0", "MIT", "OFL-1.1")
_TAGS = 2_000
# Tags come together: of a character's or a place's three tags each of its pictures has most.
_SETS = 300
_TEXT = """harbour forest night mara smile rooftop school library garden station rain angry window summer
    winter train bridge kitchen festival lantern shrine beach cafe hallway market tower river snow dawn dusk
    夕焼け 図書館 教室 放課後 桜並木 夏祭り 海 夜空 神社の階段 雨の日 笑顔 泣き顔 制服 浴衣 ひまわり畑"""
_WORDS = tuple(_TEXT.split())
# One row in so many has a word that no other has.
_RARE_EVERY = 20_000
RARE_WORDS = ("chrysanthemum", "蜃気楼の塔")


@dataclass(frozen=True)
class Sample:
    """What is known of one row, to ask for it and for others like it."""

    id: int
    uid: str
    type: str
    license: str
    tags: list[str]


def fill(home: Path, rows: int, dress: Callable[[int, Asset], Asset] | None = None) -> None:
    """Fill the library of a project folder, and note samples of it in ``samples.json``.

    Args:
        home: the project folder.
        rows: how many.
        dress: gives an asset by its number what it has besides, such as a preview.
    """
    made = _Rows()
    samples: list[dict[str, Any]] = []
    step = max(1, rows // _SAMPLES)
    with open_registry(home, "off") as registry:
        ledger = registry.library.ledger
        for start in range(0, rows, _CHUNK):
            ids = ledger.reserve_ids(min(_CHUNK, rows - start))
            assets = [made.asset(start + at, asset_id) for at, asset_id in enumerate(ids)]
            if dress is not None:
                assets = [dress(start + at, asset) for at, asset in enumerate(assets)]
            with ledger.write() as writer:
                writer.insert(assets)
            samples += [_sample(asset) for at, asset in enumerate(assets) if (start + at) % step == 0]
    (home / "samples.json").write_text(json.dumps(samples))


def samples(home: Path) -> list[Sample]:
    """Return rows of a filled library, spread evenly over it, the oldest first."""
    return [Sample(**each) for each in json.loads((home / "samples.json").read_text())]


def digest_of(number: int) -> str:
    """Return the hash of a row's content; the uid is its beginning."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4


class _Rows:
    """Makes assets up: often the first of each list, seldom the last, as in a library of real people."""

    def __init__(self) -> None:
        self._dice = Random(5)
        self._tags = [f"{word}{turn or ''}" for turn in range(_TAGS // len(_WORDS) + 1) for word in _WORDS]
        sizes = (len(_TYPES), len(_LICENCES), len(_WORDS), _SETS, _TAGS)
        self._odds = {size: list(accumulate(1 / rank for rank in range(1, size + 1))) for size in sizes}
        self._sets = [[self._tag() for _ in range(3)] for _ in range(_SETS)]

    def asset(self, number: int, asset_id: int) -> Asset:
        digest = digest_of(number)
        kind = _TYPES[self._draw(len(_TYPES))]
        shared = [tag for tag in self._sets[self._draw(_SETS)] if self._dice.random() < 0.7]
        own = [self._tag() for _ in range(self._dice.randint(0, 2))]
        tags = dict.fromkeys((*shared, *own))
        title = " ".join(_WORDS[self._draw(len(_WORDS))] for _ in range(self._dice.randint(2, 5)))
        if number % _RARE_EVERY == _RARE_EVERY // 2:
            title += " " + RARE_WORDS[number // _RARE_EVERY % len(RARE_WORDS)]
        facts = Facts(tuple(tags), _LICENCES[self._draw(len(_LICENCES))], None, {"title": title})
        key = f"{kind}/{title.split()[0]}_{number:07}.png"
        at = "2026-01-01 00:00:00"
        asset = Asset(asset_id, "default", digest[:16], kind, key, digest, 1_000_000, facts, at, at)
        return replace(asset, sidecar_file=FileStat(400, 1, number))

    def _tag(self) -> str:
        return self._tags[self._draw(_TAGS)]

    def _draw(self, size: int) -> int:
        """Return a number below ``size``; number n comes 1 / (n + 1) times as often as the first (Zipf)."""
        odds = self._odds[size]
        return bisect(odds, self._dice.random() * odds[-1])


def _sample(asset: Asset) -> dict[str, Any]:
    facts = asset.facts
    return {
        "id": asset.id,
        "uid": asset.uid,
        "type": asset.type,
        "license": facts.license or "",
        "tags": list(facts.tags),
    }
