"""Killed before each step of each operation: one rebuild brings back the old state or the new one, whole."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from comfyvn.config import load
from comfyvn.model import Facts, canonical_json
from faults import OPERATIONS, Killer, Operation, build_library, copy_library
from support import State, check_library, contents_of, open_library, settle

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")

States = Mapping[str, State]
REGISTRATIONS = ("the first registration", "register a picture", "register many")
IDLE = ("fsync", "BEGIN", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "SAVEPOINT", "RELEASE")
"""Steps after which the disk is as it was: a statement shows with its COMMIT only."""
NO_FACTS = canonical_json([Facts().as_meta(1), {}, []])


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    killer = Killer()
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that operations are tried on."""
    home = tmp_path_factory.mktemp("library") / "home"
    build_library(home)
    return home


class Trial:
    """One operation, with copies of the project in which it finds what it is about."""

    def __init__(self, name: str, library: Path, folder: Path, killer: Killer) -> None:
        self.name, self.operation, self.killer = name, OPERATIONS[name], killer
        self.template = folder / "template"
        if self.operation.is_new:
            copy_library(library / "art", self.template / "art")
        else:
            copy_library(library, self.template)
        self.operation.arrange(self.template)
        self.contents = contents_of(load({"home": str(self.template)}).assets_root)
        self.whole = self.copy("whole")
        self.steps = killer.run(name, self.whole).steps

    def copy(self, name: str) -> Path:
        """Copy the project as it is before the operation."""
        return copy_library(self.template, self.template.with_name(name))

    def deaths(self) -> list[int]:
        """Return the numbers of steps before which to die.

        With ``COMFYVN_TEST_KILLS=all`` that is every one; else those that find the disk in another state than
        the step before. What lies in staging is part of it for one operation: the others treat it likewise.
        """
        if os.environ.get("COMFYVN_TEST_KILLS") == "all":
            return list(range(len(self.steps)))
        return [at for at in range(len(self.steps)) if at == 0 or self._shows(self.steps[at - 1])]

    def _shows(self, step: str) -> bool:
        what, *paths = step.split()
        is_staging = what != "report" and all("/staging" in path or "/" not in path for path in paths)
        return not step.startswith(IDLE) and (self.name == "register a picture" or not is_staging)

    def do_again(self, home: Path) -> States:
        """Do the operation, rebuild, and return the assets."""
        with open_library(home) as registry:
            self.operation.run(registry, home, lambda uids: None)
        return settle(home)

    def check(self, home: Path) -> None:
        """Check all that has to be true of the library, whatever happened."""
        check_library(home, contents=self.contents, strangers=self.operation.strangers)


@pytest.fixture
def trial(library: Path, killer: Killer, tmp_path: Path) -> Callable[[str], Trial]:
    """Try an operation."""
    return lambda name: Trial(name, library, tmp_path / name.replace(" ", "-"), killer)


def check_states(operation: Operation, now: States, old: States, new: States, done: set[str]) -> None:
    """Check that each asset is as it was, or as it was to be; and that, if it was reported."""
    for uid in {*now, *old, *new}:
        state, before, after = now.get(uid), old.get(uid), new.get(uid)
        is_undone = uid not in done and state == before
        is_between = uid not in done and operation.is_adopting and is_adopted(state, before, after)
        assert state == after or is_undone or is_between, (
            f"{uid} is\n  {state}\nand neither as it was,\n  {before}\nnor as it was to be,\n  {after}"
        )


def is_adopted(state: State | None, before: State | None, after: State | None) -> bool:
    """Tell an asset whose file came in, but not what was said about it."""
    facts = NO_FACTS if before is None else before.facts
    return state is not None and after is not None and has_file_of(state, after) and state.facts == facts


def has_file_of(state: State, other: State) -> bool:
    """Tell whether two states differ in nothing but what was said of the file."""
    return replace(state, facts="", provenance=()) == replace(other, facts="", provenance=())


def check_complete(now: States, new: States) -> None:
    """Check that each asset is as it was to be; registering something twice may say so twice."""
    assert now.keys() == new.keys()
    for uid, state in now.items():
        assert has_file_of(state, new[uid])
        assert state.facts == new[uid].facts
        assert set(new[uid].provenance) <= set(state.provenance)


def die_and_mend(trial: Trial, step: int, old: States, new: States) -> None:
    """Die before a step, rebuild, check; where that brought the old state back, do it again, check."""
    home = trial.copy(str(step))
    death = trial.killer.run(trial.name, home, step)
    now = settle(home)
    check_states(trial.operation, now, old, new, death.done)
    if not trial.operation.is_unmendable:
        trial.check(home)
    if now != new or trial.operation.is_unmendable:
        check_complete(trial.do_again(home), new)
        trial.check(home)
    shutil.rmtree(home)


def die_and_go_on(trial: Trial, step: int, old: States, new: States) -> None:
    """Die before a step, and do it again, as users do who know nothing of rebuilds."""
    home = trial.copy(str(step))
    trial.killer.run(trial.name, home, step)
    check_complete(trial.do_again(home), new)
    trial.check(home)
    shutil.rmtree(home)


def try_all(trial: Trial, one: Callable[[Trial, int, States, States], None]) -> list[str]:
    """Die before every step worth it; return what was wrong after which of them."""
    old, new = settle(trial.copy("untouched")), settle(trial.whole)
    trial.check(trial.whole)
    problems = []
    for step in trial.deaths():
        try:
            one(trial, step, old, new)
        except Exception as error:  # noqa: BLE001 - one line for each step tells more than the first of them
            problems.append(
                f"killed before step {step}, {trial.steps[step]}: {type(error).__name__}: {error}"
            )
    return problems


@pytest.mark.parametrize("name", OPERATIONS)
def test_after_a_kill_before_any_step_one_rebuild_puts_the_library_right(
    name: str, trial: Callable[[str], Trial], record_property: Callable[[str, object], None]
) -> None:
    """A power cut or a crash would lose tags or files, mix two states, or leave rubbish for ever."""
    tried = trial(name)

    problems = try_all(tried, die_and_mend)
    kills = len(tried.deaths())
    record_property("kills", kills)
    print(f"{name}: {kills} kills at {len(tried.steps)} steps")

    assert problems == []
    assert kills >= 2, "nothing was killed, so nothing was tried"


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_after_a_kill_before_any_step_the_same_registration_completes_it(
    name: str, trial: Callable[[str], Trial]
) -> None:
    """What the killed run left behind would force a second name, or make a second asset of one file."""
    tried = trial(name)

    problems = try_all(tried, die_and_go_on)

    assert problems == []


def test_a_run_kills_at_least_a_hundred_times(trial: Callable[[str], Trial]) -> None:
    """If nothing was killed any more, all of this would pass without proving anything."""
    kills: dict[str, int] = {}
    for name in OPERATIONS:
        if sum(kills.values()) < 100:
            kills[name] = len(trial(name).deaths())

    print(f"{sum(kills.values())} kills in {len(kills)} operations")
    assert sum(kills.values()) >= 100
