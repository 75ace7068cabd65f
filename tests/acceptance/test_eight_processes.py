"""Eight processes at work on one library: no lock error comes out, no update is lost, all agrees at the end.

``COMFYVN_TEST_STRESS_S`` says for how many seconds (CI: 10). ``pytest -s`` shows the figures.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from comfyvn.errors import AssetNotFound, ComfyVNError, OperationNotFound, PathConflict, RestoreRefused
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from invariants import SUFFIX, content
from support import check_library, contents_of, open_library

SECONDS: Final = float(os.environ.get("COMFYVN_TEST_STRESS_S", "10"))
WORKERS: Final = 8
ALLOWED: Final = {
    "AssetNotFound": "another process removed it first",
    "OperationNotFound": "the operation found nothing left to change, so the journal has no row of it",
    "RestoreRefused": "another process brought it back, or registered its content again, first",
    "PathConflict": "another process removed the asset while its content was registered",
}

pytestmark = pytest.mark.timeout(SECONDS * 3 + 240)


class Worker:
    """One process: does what users do, at random, and remembers what it was told is done."""

    def __init__(self, registry: AssetRegistry, number: int, plan: dict[str, Any]) -> None:
        self.registry = registry
        self.number = number
        self.kept, self.loose, self.same = plan["kept"], plan["loose"], plan["same"]
        self.own = plan["own"][number]
        self.art = Path(plan["art"]) / f"own{number}"
        self.chance = random.Random(number)
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.tags: dict[str, list[str]] = {uid: [] for uid in self.kept}
        self.by_hand: list[str] = []
        self.operations: list[int] = []

    def work(self, until: float) -> None:
        jobs: dict[Callable[[], None], int] = {
            self.register_same: 20,
            self.register_own: 10,
            self.tag: 30,
            self.untag: 10,
            self.tag_and_undo: 8,
            self.edit_by_hand: 12,
            self.edit_loose: 8,
            self.remove: 12,
            self.restore: 12,
            self.undo: 8,
            self.ensure: 8,
            self.look: 20,
            self.rebuild: 1,
        }
        while time.time() < until:
            job = self.chance.choices(list(jobs), list(jobs.values()))[0]
            try:
                job()
            except (AssetNotFound, OperationNotFound, PathConflict, RestoreRefused) as error:
                self.refused[f"{job.__name__}: {type(error).__name__}"] += 1
            else:
                self.done[job.__name__] += 1

    def next(self) -> str:
        return f"{self.number}-{self.done.total()}-{self.refused.total()}"

    def register_same(self) -> None:
        self.registry.register_file(
            self.chance.choice(self.same), "shared", provenance={"source": f"worker {self.number}"}
        )

    def register_own(self) -> None:
        self.art.mkdir(parents=True, exist_ok=True)
        path = self.art / "mara.png"  # all workers have files of this name
        path.write_bytes(content(20_000 + self.number * 5_000 + self.done.total(), ".png"))
        self.registry.register_file(path, "own", metadata={"tags": [f"of {self.number}"]})

    def tag(self) -> None:
        uid, tag = self.chance.choice(self.kept), f"t{self.next()}"
        self.registry.bulk_update_tags([uid], add_tags=[tag])
        self.tags[uid].append(tag)

    def untag(self) -> None:
        uid = self.chance.choice(self.kept)
        if self.tags[uid]:
            tag = self.chance.choice(self.tags[uid])
            self.registry.bulk_update_tags([uid], remove_tags=[tag])
            self.tags[uid].remove(tag)

    def tag_and_undo(self) -> None:
        uids, tag = self.chance.sample(self.kept, 2), f"u{self.next()}"
        operation = self.registry.new_operation()
        self.registry.bulk_update_tags(uids, add_tags=[tag], operation=operation)
        report = self.registry.undo(operation)  # refused where another process was in between
        for uid in uids:
            if uid not in report["undone"]:
                self.tags[uid].append(tag)

    def edit_by_hand(self) -> None:
        """Add a tag in the sidecar of an asset whose facts nobody else changes, as an editor saves it."""
        path = self.registry.sidecar_path(self.own)
        assert path is not None
        payload = json.loads(path.read_bytes())
        tag = f"h{self.next()}"
        payload["tags"] = [*payload["tags"], tag]
        beside = self.art.with_suffix(".json")
        beside.write_text(json.dumps(payload, indent=4), "utf-8")
        beside.replace(path)
        self.by_hand.append(tag)

    def edit_loose(self) -> None:
        operation = self.registry.new_operation()
        self.registry.bulk_update_tags(self.chance.sample(self.loose, 3), add_tags=["x"], operation=operation)
        self.operations.append(operation)

    def remove(self) -> None:
        operation = self.registry.new_operation()
        uid, delete_files = self.chance.choice(self.loose), self.chance.random() < 0.7
        if self.registry.remove_asset(uid, delete_files=delete_files, operation=operation):
            self.operations.append(operation)

    def restore(self) -> None:
        self.registry.restore_asset(self.chance.choice(self.loose))

    def undo(self) -> None:
        if self.operations:
            self.registry.undo(self.operations.pop(self.chance.randrange(len(self.operations))))

    def ensure(self) -> None:
        uid = self.chance.choice([*self.kept, *self.loose, self.own])
        self.registry.ensure_sidecar(uid, overwrite=self.chance.random() < 0.5)

    def look(self) -> None:
        found = self.registry.list_assets(limit=50)
        assert all(record["uid"] for record in found)
        self.registry.get_asset(self.chance.choice(self.loose))

    def rebuild(self) -> None:
        rebuild(self.registry, allow_missing=True, verify=self.chance.random() < 0.2)


def main(home: Path, number: int, until: float) -> None:
    """Be one of the processes; print what was done as JSON."""
    plan = json.loads((home / "plan.json").read_text("utf-8"))
    with open_library(home) as registry:
        worker = Worker(registry, number, plan)
        try:
            worker.work(until)
        except ComfyVNError as error:
            traceback.print_exc()
            worker.refused[f"{type(error).__name__}: {error}"] += 1
    told = {"done": worker.done, "refused": worker.refused, "tags": worker.tags, "hand": worker.by_hand}
    print(json.dumps(told))


@pytest.fixture
def plan(project: Path, tmp_path: Path) -> dict[str, Any]:
    """A library with assets that nobody removes, some that everybody removes, and one of each worker."""
    art = tmp_path / "art"
    art.mkdir()

    def register(registry: AssetRegistry, name: str, number: int, kind: str) -> str:
        path = art / name
        path.write_bytes(content(number, path.suffix))
        return registry.register_file(path, kind)["uid"]

    with open_library(project) as registry:
        kept = [register(registry, f"kept{at}.png", 100 + at, "kept") for at in range(5)]
        same = [
            register(registry, f"same{at}{'.png' if at % 2 else '.wav'}", 200 + at, "shared")
            for at in range(8)
        ]
        own = [register(registry, f"hand{at}.txt", 300 + at, "hand") for at in range(WORKERS)]
    files = [str(art / f"same{at}{'.png' if at % 2 else '.wav'}") for at in range(8)]
    plan = {"kept": kept, "loose": same, "same": files, "own": own, "art": str(art)}
    (project / "plan.json").write_text(json.dumps(plan), "utf-8")
    return plan


def test_eight_processes_lose_nothing_and_meet_no_lock(project: Path, plan: dict[str, Any]) -> None:
    """Makers who run two tools at once would see lock errors, or lose tags and files."""
    until = time.time() + SECONDS
    tests = str(Path(__file__).parents[1])
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(project), str(number), str(until)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": tests},
        )
        for number in range(WORKERS)
    ]

    outputs = [process.communicate(timeout=SECONDS * 2 + 120) for process in processes]

    errors = "".join(error for _, error in outputs)
    assert [process.returncode for process in processes] == [0] * WORKERS, errors
    assert "Traceback" not in errors, errors
    assert "locked" not in errors, errors
    told = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    done, refused = (sum((Counter(each[name]) for each in told), Counter()) for name in ("done", "refused"))
    print(f"\n{SECONDS:g} s, {done.total()} operations: {dict(done)}\nrefused: {dict(refused)}")
    assert {each.rpartition(" ")[2] for each in refused} <= set(ALLOWED), refused
    before = contents_of(project / "assets")
    with open_library(project) as registry:
        report = rebuild(registry, allow_missing=True)
        registry.wait_for_thumbnails()
        assert report.conflicts == report.failed == []
        for uid in plan["kept"]:
            wanted = sorted(tag for each in told for tag in each["tags"][uid])
            assert sorted(registry.get_asset(uid)["tags"]) == wanted  # type: ignore[index]
        for uid, each in zip(plan["own"], told, strict=True):
            assert set(registry.get_asset(uid)["tags"]) == set(each["hand"])  # type: ignore[index]
        known = {asset["hash"] for asset in registry.list_assets()}
        assert {asset["type"] for asset in registry.list_assets()} >= {"kept", "hand", "own"}
        assert len(known) == registry.count_assets()
    strangers = {each["path"] for each in [*report.duplicates, *report.skipped]}
    check_library(project, contents=before, strangers=strangers | {f"{key}{SUFFIX}" for key in strangers})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
