"""Facets in a process that stays: counted from the terms in memory, and never other than what is there."""

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from comfyvn.db import columns, facets
from comfyvn.model import PROBLEMS, AssetFilter, fold
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from support import run_all

DB = Path("comfyvn/data/comfyvn.db")
TIMEOUT_S = 60
TYPES = ("characters", "backgrounds", "voices")
LICENCES = (None, "MIT", "mit", "CC0-1.0")
TAGS = ("Mara", "mara", "night", "smile", "夏", "draft")
TEXTS = (None, "harbour", "夏祭", "ha", "nobody", ["dusk", "line"], ["ha", "du"], ["夏", "line1", "祭り"])


class Shelf:
    """A library of small text files, and what can be done to it."""

    def __init__(self, registry: AssetRegistry, seed: int) -> None:
        self.registry = registry
        self.dice = Random(seed)
        self.removed: list[str] = []
        self.made = 0

    def register(self, count: int = 1) -> None:
        for _ in range(count):
            self.made += 1
            path = Path(f"../art/line{self.made}.txt")
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"line {self.made}\n")
            metadata = {"tags": self.tags(), "license": self.licence(), "note": self.note()}
            self.registry.register_file(path, self.dice.choice(TYPES), metadata=metadata)

    def tag(self) -> None:
        uids = [self.uid() for _ in range(self.dice.randint(1, 3))]
        self.registry.bulk_update_tags(uids, add_tags=self.tags(), remove_tags=self.tags())

    def describe(self) -> None:
        meta = {"tags": self.tags(), "license": self.licence(), "note": self.note()}
        self.registry.update_asset_meta(self.uid(), meta)

    def remove(self) -> None:
        self.removed.append(self.uid())
        self.registry.remove_asset(self.removed[-1], delete_files=True)

    def restore(self) -> None:
        if self.removed:
            self.registry.restore_asset(self.removed.pop(self.dice.randrange(len(self.removed))))

    def undo(self) -> None:
        operations = self.registry.operations(limit=5)
        self.registry.undo(self.dice.choice(operations)["operation"])
        known = {each["uid"] for each in self.registry.list_assets()}
        self.removed = [uid for uid in self.removed if uid not in known]

    def lose(self) -> None:
        path = self.registry.resolve_path(self.uid())
        if path is not None:
            path.unlink(missing_ok=True)
        rebuild(self.registry, allow_missing=True)

    def move(self) -> None:
        path = self.registry.resolve_path(self.uid())
        if path is not None and path.exists():
            folder = path.parent.parent / self.dice.choice(TYPES)
            folder.mkdir(exist_ok=True)
            if not (folder / path.name).exists():
                path.rename(folder / path.name)
        rebuild(self.registry, allow_missing=True)

    def edit_by_hand(self) -> None:
        path = self.registry.sidecar_path(self.uid())
        if path is not None and path.exists():
            path.write_text(path.read_text().replace('"night"', '"smile"'))
        rebuild(self.registry, allow_missing=True)

    def uid(self) -> str:
        return str(self.dice.choice(self.registry.list_assets())["uid"])

    def tags(self) -> list[str]:
        return self.dice.sample(TAGS, self.dice.randint(0, 3))

    def licence(self) -> str | None:
        return self.dice.choice(LICENCES)

    def note(self) -> str:
        return self.dice.choice(("harbour at dusk", "夏祭り", "plain"))

    def wish(self) -> dict[str, Any]:
        wish: dict[str, Any] = {
            "asset_type": self.dice.choice((None, *TYPES)),
            "license": self.dice.choice((None, None, "", "MIT", "CC0-1.0")),
            "tags": self.dice.choice((None, None, "mara", "night", ["smile", "夏"])),
            "text": self.dice.choice(TEXTS),
            "not_types": self.dice.choice((None, None, None, "voices", ["characters", "cg"])),
            "not_tags": self.dice.choice((None, None, None, "mara", ["draft", "nobody"])),
            "not_licenses": self.dice.choice((None, None, None, "", ["MIT", "CC0-1.0"])),
            "problems": self.dice.choice((None, None, "no-tags", ["missing", "no-license"], list(PROBLEMS))),
            "uid": self.dice.choice((None, None, None, None, self.uid()[:4])),
        }
        if self.dice.random() < 0.3:
            wish["asset_type"] = self.dice.sample(TYPES, 2)
            wish["license"] = self.dice.choice((["MIT", ""], ["CC0-1.0", "nobody"]))
        return {name: value for name, value in wish.items() if value is not None}


STEPS = (
    *(Shelf.register, Shelf.register, Shelf.tag, Shelf.tag, Shelf.describe, Shelf.remove, Shelf.restore),
    *(Shelf.undo, Shelf.lose, Shelf.move, Shelf.edit_by_hand),
)


def expected(registry: AssetRegistry, wanted: dict[str, Any]) -> dict[str, Any]:
    """Count what a look at every asset finds, each group without its own condition."""

    def found(*left_out: str) -> list[dict[str, Any]]:
        conditions = {name: value for name, value in wanted.items() if name not in left_out}
        return [dict(entry) for entry in registry.iter_assets(**conditions)]

    tags = (
        name
        for entry in found("tags", "not_tags")
        for name in {fold(tag) for tag in entry["meta"].get("tags", ())} or {""}
    )
    licences = (fold(entry["meta"].get("license") or "") for entry in found("license", "not_licenses"))
    wrong = {name: {entry["uid"] for entry in registry.iter_assets(problems=name)} for name in PROBLEMS}
    others = found("problems")
    return {
        "total": len(found()),
        "types": Counter(entry["type"] for entry in found("asset_type", "not_types")),
        "licenses": Counter(licences),
        "tags": Counter(tags),
        "problems": {name: sum(entry["uid"] in uids for entry in others) for name, uids in wrong.items()},
    }


def told(registry: AssetRegistry, wanted: dict[str, Any]) -> dict[str, Any]:
    answer = registry.facets(**wanted)
    for group in (answer["types"], answer["licenses"], answer["tags"]):
        assert [each["count"] for each in group] == sorted((each["count"] for each in group), reverse=True)
    return {
        "total": answer["total"],
        "types": {each["value"]: each["count"] for each in answer["types"]},
        "licenses": {fold(each["value"] or ""): each["count"] for each in answer["licenses"]},
        "tags": {fold(each["value"] or ""): each["count"] for each in answer["tags"]},
        "problems": {each["value"]: each["count"] for each in answer["problems"]},
    }


@pytest.fixture
def is_remembered(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Tell whether the last question under a filter was answered from memory."""
    counters: list[str] = []
    for name in ("_SqlCounter", "_MemoryCounter"):
        real = getattr(facets, name)

        def build(*arguments: Any, real: Any = real) -> Any:
            counters.append(real.__name__)
            return real(*arguments)

        monkeypatch.setattr(facets, name, build)
    return lambda: counters[-1] == "_MemoryCounter"


@pytest.fixture
def shelf(registry: AssetRegistry, is_remembered: Callable[[], bool]) -> Shelf:
    """Twenty assets whose terms are in memory."""
    shelf = Shelf(registry, 1)
    shelf.register(20)
    for kind in (*TYPES, *TYPES):
        registry.facets(asset_type=kind)
    assert is_remembered()
    return shelf


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_facets_in_memory_say_what_is_there_whatever_happens(
    registry: AssetRegistry,
    open_registry: Callable[..., AssetRegistry],
    is_remembered: Callable[[], bool],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """A change that is missed would make every count after it wrong, until the program ends."""
    monkeypatch.setattr(facets, "_SOON_WALKED", 0)
    monkeypatch.setattr(columns, "_PAGE", 5)
    both = (registry, open_registry())  # one changes what the other counts, as another process does
    shelf = Shelf(registry, seed)
    shelf.register(12)
    answers = 0

    for _ in range(40):
        shelf.registry = shelf.dice.choice(both)
        if registry.count_assets() > 5:
            shelf.dice.choice(STEPS)(shelf)
        else:
            shelf.register(3)
        for wish in (shelf.wish() for _ in range(3)):
            wanted = expected(registry, wish)
            assert told(registry, wish) == wanted, wish
            assert registry.count_assets(**wish) == wanted["total"], wish
            answers += is_remembered()

    assert answers > 30


def test_a_selection_is_counted_from_memory_as_from_the_ledger(
    shelf: Shelf, open_registry: Callable[..., AssetRegistry], is_remembered: Callable[[], bool]
) -> None:
    """The tags of the selected assets would be those of others, or of those that are removed."""
    other = open_registry(project_id="other", assets_root="other-assets")
    Shelf(other, 2).register(3)
    strangers = [each["id"] for each in other.list_assets()]
    gone = shelf.registry.list_assets(limit=1)[0]["id"]
    shelf.registry.remove_asset(shelf.registry.list_assets(limit=1)[0]["uid"])
    for count in (0, 1, 5, 19):
        records = shelf.registry.list_assets()[:count]
        ids = [each["id"] for each in records]

        remembered = shelf.registry.facets_among([*ids, *ids, gone, *strangers])
        assert is_remembered()
        counted = open_registry().facets_among([*ids, gone, *strangers])

        assert remembered == counted
        assert (remembered["total"], remembered["missing"]) == (count, 4)
        assert {each["value"]: each["count"] for each in remembered["types"]} == Counter(
            record["type"] for record in records
        )
        assert {fold(each["value"] or ""): each["count"] for each in remembered["tags"]} == Counter(
            name for record in records for name in {fold(tag) for tag in record["tags"]} or {""}
        )


def test_a_single_question_does_not_read_the_terms_of_all_assets(
    registry: AssetRegistry, is_remembered: Callable[[], bool]
) -> None:
    """A command that asks once would pay for a process that stays."""
    Shelf(registry, 1).register(20)

    registry.facets(tags="mara", asset_type="voices")

    assert not is_remembered()


def test_what_another_process_changes_is_counted(shelf: Shelf, is_remembered: Callable[[], bool]) -> None:
    """A gallery would show counts of the time when it was opened."""
    uid = shelf.uid()

    command = [sys.executable, "-m", "comfyvn", "tag", uid, "--add", "newcomer"]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)

    assert told(shelf.registry, {"tags": "newcomer"}) == expected(shelf.registry, {"tags": "newcomer"})
    assert shelf.registry.facets(tags="newcomer")["total"] == 1
    assert is_remembered()


def test_a_reader_of_the_past_is_not_told_of_the_present(shelf: Shelf) -> None:
    """The groups of one answer would be counted at two moments."""
    ledger, wanted = shelf.registry.library.ledger, AssetFilter(types=("characters",), texts=("harbour",))
    with ledger.read() as rows:
        before = rows.facets(wanted, 100)
        shelf.register(10)
        with ledger.read() as others:
            after = others.facets(wanted, 100)

        again = rows.facets(wanted, 100)

    assert again == before != after


def test_an_older_copy_put_back_into_the_ledger_is_noticed(shelf: Shelf) -> None:
    """Counts of assets that the ledger does not know any more would go on."""
    with closing(sqlite3.connect(DB)) as ledger, closing(sqlite3.connect("old.db")) as copy:
        ledger.backup(copy)
    shelf.register(5)
    newest = shelf.registry.journal_position()
    told(shelf.registry, {"tags": "mara"})

    with closing(sqlite3.connect(DB)) as ledger, closing(sqlite3.connect("old.db")) as copy:
        copy.backup(ledger)
    for _ in range(3):
        assert told(shelf.registry, {"tags": "mara"}) == expected(shelf.registry, {"tags": "mara"})
    while shelf.registry.journal_position() < newest:  # as far as it had been, with other rows
        shelf.tag()

    for kind in TYPES:
        assert told(shelf.registry, {"asset_type": kind}) == expected(shelf.registry, {"asset_type": kind})


def test_too_many_changes_are_not_followed_one_by_one(
    shelf: Shelf, is_remembered: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a large ingest a question would read the journal of all of it."""
    monkeypatch.setattr(facets, "_MOST_CHANGES", 4)
    shelf.register(5)

    answers = []
    for kind in (*TYPES, *TYPES):
        assert told(shelf.registry, {"asset_type": kind}) == expected(shelf.registry, {"asset_type": kind})
        answers.append(is_remembered())

    assert not answers[0]
    assert answers[-1]


def test_a_library_of_too_many_terms_is_counted_in_the_ledger(
    shelf: Shelf, is_remembered: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terms of ten million assets would fill the memory."""
    monkeypatch.setattr(facets, "_MOST_LINKS", 10)
    shelf.register()

    for kind in (*TYPES, *TYPES):
        assert told(shelf.registry, {"asset_type": kind}) == expected(shelf.registry, {"asset_type": kind})
        assert not is_remembered()


def test_texts_that_change_without_the_journal_are_found(shelf: Shelf) -> None:
    """What a file tells of itself comes later than the file: who looked for it before would never find it."""
    wanted = {"text": "theme song"}
    assert told(shelf.registry, wanted)["total"] == 0
    ledger = shelf.registry.library.ledger

    with ledger.write() as rows:
        (asset,) = rows.find(AssetFilter(), limit=1)
        rows.set_previews([replace(asset, media={"tags": {"title": "Theme Song"}})])

    assert told(shelf.registry, wanted) == expected(shelf.registry, wanted)
    assert told(shelf.registry, wanted)["total"] == 1


def test_facts_are_asked_with_and_without_terms(shelf: Shelf) -> None:
    """A condition on facts would be dropped, or asked of the wrong assets."""
    ledger = shelf.registry.library.ledger
    with ledger.write() as rows:
        found = rows.find(AssetFilter())
        rows.set_previews([replace(asset, media={"width": at}) for at, asset in enumerate(found)])

    for conditions in (
        {},
        {"asset_type": "voices"},
        {"asset_type": "voices", "tags": "mara"},
        {"text": "夏"},
    ):
        wanted = {**conditions, "where": "width>=7"}
        assert told(shelf.registry, wanted) == expected(shelf.registry, wanted)


def test_two_projects_of_one_ledger_are_counted_apart(
    shelf: Shelf, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A text that both have would be counted twice."""
    other = open_registry(project_id="other", assets_root="other-assets")
    Shelf(other, 2).register(15)

    for registry in (shelf.registry, other, shelf.registry, other, other):
        for wanted in ({"text": "harbour"}, {"text": "ha", "tags": "mara"}, {"asset_type": "voices"}):
            assert told(registry, wanted) == expected(registry, wanted)


def test_a_damaged_ledger_is_still_counted(
    registry: AssetRegistry, is_remembered: Callable[[], bool]
) -> None:
    """An asset that lost its type would shift the types of all that come behind it."""
    Shelf(registry, 1).register(20)
    with closing(sqlite3.connect(DB)) as connection:
        broken = "SELECT min(asset_id) FROM asset_codes"
        connection.execute(f"UPDATE asset_codes SET codes = '' WHERE asset_id = ({broken})")
        connection.commit()

    for _ in range(3):
        for kind in TYPES:
            found = told(registry, {"asset_type": kind})
            assert found["types"] == expected(registry, {"asset_type": kind})["types"]
            assert not is_remembered()


def test_many_threads_ask_while_others_change(shelf: Shelf) -> None:
    """One would be answered with what another had half put together."""
    registry, is_over = shelf.registry, threading.Event()

    def ask(kind: str) -> None:
        while not is_over.is_set():
            answer = registry.facets(asset_type=kind, text="line")
            of_types = {each["value"]: each["count"] for each in answer["types"]}
            assert answer["total"] == of_types.get(kind, 0)

    def change() -> None:
        try:
            for _ in range(10):
                shelf.register()
                shelf.tag()
        finally:
            is_over.set()

    run_all(change, *(partial(ask, kind) for kind in TYPES))

    for kind in TYPES:
        assert told(registry, {"asset_type": kind}) == expected(registry, {"asset_type": kind})
