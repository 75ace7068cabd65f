"""What several test modules do the same way."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from comfyvn import media, sidecar
from comfyvn.config import Durability
from comfyvn.model import Asset, canonical_json
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry

TIMEOUT_S = 60.0
PEAK_KIB = """
def peak_kib():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return 0
"""
"""For scripts that run in a process of their own: the most memory it had. ``ru_maxrss`` would be the parent's
where that was larger when it forked."""


def run_all(*jobs: Callable[[], object]) -> None:
    """Run jobs in threads of their own, started together; what one raises is raised here."""
    barrier, failed = threading.Barrier(len(jobs)), []

    def run(job: Callable[[], object]) -> None:
        try:
            barrier.wait(TIMEOUT_S)
            job()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if failed:
        raise failed[0]


# -- commands ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed on stdout, as JSON."""
        return json.loads(self.out)

    @property
    def operation(self) -> str:
        """The operation that it says can be undone."""
        found = re.search(r"^Undo with: comfyvn undo (\d+)$", self.out, re.MULTILINE)
        assert found is not None, self.out
        return found[1]


# -- a whole library ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What is true of one asset, without times and ids: what is equal in two runs of the same thing."""

    uid: str
    type: str
    path: str
    digest: str
    version: int
    facts: str
    provenance: tuple[str, ...]
    versions: tuple[str, ...]
    is_missing: bool


def open_library(home: Path, durability: Durability = "off") -> AssetRegistry:
    """Open the library of a project folder, whatever the current folder is."""
    with chdir(home):  # where settings start from
        return AssetRegistry(durability=durability)


def settle(home: Path) -> dict[str, State]:
    """Open a library, rebuild it once, wait for its previews, and return its assets."""
    with open_library(home) as registry:
        rebuild(registry, allow_missing=True)
        registry.wait_for_thumbnails()
        return states_of(registry)


def states_of(registry: AssetRegistry) -> dict[str, State]:
    """Return the state of every asset of a library, by uid."""
    return {asset.uid: _state(asset) for asset in _assets(registry)}


def check_library(
    home: Path,
    promised: Mapping[str, Collection[State | None]] = MappingProxyType({}),
    *,
    contents: Iterable[str] = (),
    strangers: Collection[str] = (),
    are_markers_own: bool = True,
    is_ledger_own: bool = True,
) -> None:
    """Check that a library that was rebuilt and left alone is whole, in step, and has lost nothing.

    Args:
        home: the project folder.
        promised: in which of some states each asset has to be; None among them allows that it is gone.
        contents: the hashes of files that have to be somewhere: in their place, or in the trash.
        strangers: keys of what the user put into the assets folder and no asset owns.
        are_markers_own: False where users saved files over others: such a file's marker names another asset.
        is_ledger_own: False where the database was lost: of what no asset has any more, nothing tells now
            whose mirror, preview or trash it is.

    Raises:
        AssertionError: what is wrong, and with which file.
    """
    _forget_the_dead(home)
    with open_library(home) as registry:
        storage = registry.library.storage
        storage.stage().discard()  # sweeps what killed runs left
        registry.library.thumbs.stage().discard()
        assets = {asset.uid: asset for asset in _assets(registry)}
        for uid, allowed in promised.items():
            now = _state(assets[uid]) if uid in assets else None
            assert now in allowed, f"{uid} is {now}\n  and not one of {allowed}"
        for asset in assets.values():
            _check_asset(registry, asset, are_markers_own=are_markers_own)
        lost = set(contents) - contents_of(registry.ASSETS_ROOT)
        assert lost == set(), f"these contents are nowhere any more: {lost}"
        _check_no_orphans(registry, assets, strangers)
        if is_ledger_own:
            _check_no_leavings(registry, assets)
        _check_tables(registry, assets)
        _check_quiet(registry, strangers)
    leavings = _own_leavings(home)
    assert leavings == [], f"left lying: {leavings}"


def _assets(registry: AssetRegistry) -> list[Asset]:
    uids = [asset.uid for asset in registry.library.ledger.iterate()]
    with registry.library.read() as rows:
        return list(rows.assets(uids))


def _state(asset: Asset) -> State:
    rows = [asset.provenance, *asset.provenance_history] if asset.provenance else []
    told = [canonical_json([row.source, row.workflow_hash, row.inputs, row.user_id]) for row in rows]
    return State(
        uid=asset.uid,
        type=asset.type,
        path=asset.key,
        digest=asset.digest,
        version=asset.version,
        facts=canonical_json(
            [
                asset.facts.as_meta(asset.version),
                asset.facts.extra,
                [each.describe() for each in asset.facts.parents],
            ]
        ),
        provenance=tuple(sorted(told)),
        versions=tuple(each.digest for each in asset.all_versions),
        is_missing=asset.missing_since is not None,
    )


def _check_asset(registry: AssetRegistry, asset: Asset, *, are_markers_own: bool) -> None:
    """Check that ledger, sidecar, mirror, file, marker and previews of one asset say the same."""
    library = registry.library
    wanted, key = sidecar.build(asset, library.sidecar_suffix), library.sidecar_key(asset.key)
    place = library.storage.path(key)
    if asset.missing_since is not None and not place.parent.is_dir():
        return  # nothing is made in a folder that vanished
    assert place.is_file(), f"{key} is gone"
    assert json.loads(place.read_text("utf-8")) == wanted, f"{key} differs from the ledger"
    assert library.storage.stat(key) == asset.sidecar_file, f"{key} is not remembered as it is"
    assert library.mirrors is not None
    assert asset.mirror_key is not None, f"{asset.key} has no mirror"
    mirror = library.mirrors.path(asset.mirror_key)
    assert mirror.is_file(), f"the mirror {asset.mirror_key} is gone"
    assert json.loads(mirror.read_text("utf-8")) == wanted, f"the mirror {asset.mirror_key} differs"
    assert asset.all_versions[0].digest == asset.digest, f"{asset.key} has a hash that is not its version's"
    if asset.missing_since is not None:
        assert library.storage.stat(asset.key) is None, f"{asset.key} counts as missing, but lies there"
        return
    assert library.storage.stat(asset.key) == asset.file, f"{asset.key} is not remembered as it is"
    with library.storage.open(asset.key) as source:
        reading = media.read(source.file, name=asset.key)
    assert reading.digest == asset.digest, f"{asset.key} does not hold what the ledger says"
    marker = json.loads(reading.marker or b"{}")
    is_own = not are_markers_own or marker.get("uid", asset.uid) == asset.uid
    assert is_own, f"the marker of {asset.key} names {marker['uid']}"
    if asset.preview.kind is not None:
        assert asset.preview.state == "ready", f"the preview of {asset.key} is {asset.preview}"
        lost = [path.name for path in library.preview_paths(asset) if not path.is_file()]
        assert lost == [], f"previews of {asset.key} are gone: {lost}"


def _check_no_orphans(
    registry: AssetRegistry, assets: Mapping[str, Asset], strangers: Collection[str]
) -> None:
    library = registry.library
    keys = {asset.key for asset in assets.values() if asset.missing_since is None}
    beside = {library.sidecar_key(asset.key) for asset in assets.values()}
    lying = {key for key, _ in library.storage.walk([])}
    assert lying - keys - beside <= set(strangers), f"orphans: {lying - keys - beside - set(strangers)}"


def _check_no_leavings(registry: AssetRegistry, assets: Mapping[str, Asset]) -> None:
    """Check that no mirror, preview or trash is left of what there is no asset of."""
    library = registry.library
    assert library.mirrors is not None
    mirrors = {key for key, _ in library.mirrors.walk([])} if library.mirrors.root.is_dir() else set()
    orphans = mirrors - {asset.mirror_key for asset in assets.values()}
    assert orphans == set(), f"mirrors without an asset: {orphans}"
    previews = {key for key, _ in library.thumbs.walk([])} if library.thumbs.root.is_dir() else set()
    orphans = {key for key in previews if re.split(r"[_.]", key)[0] not in assets}
    assert orphans == set(), f"previews without an asset: {orphans}"
    trash = library.config.assets_root / ".comfyvn/trash"
    with library.read() as rows:
        for path in trash.rglob("*") if trash.is_dir() else ():
            folder = path.relative_to(trash).parts[0]
            uid, operation = folder.split("-")[-2:]
            is_told = any(
                row.event == "asset_removed" for row in rows.rows_of(int(operation), [uid]).get(uid, [])
            )
            assert path.is_dir() or is_told, f"in the trash, but never removed: {path.relative_to(trash)}"


def _check_tables(registry: AssetRegistry, assets: Mapping[str, Asset]) -> None:
    """Check what lists and searches go by, and that SQLite finds its file sound."""
    for asset in assets.values():
        for tag in asset.facts.tags:
            named = {each["uid"] for each in registry.list_assets(tags=[tag])}
            assert asset.uid in named, f"a list by the tag {tag!r} misses {asset.key}"
        named = {each["uid"] for each in registry.list_assets(text=asset.key)}
        assert asset.uid in named, f"a search for {asset.key} misses it"
    with closing(sqlite3.connect(registry.db_path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for table in ("asset_text", "asset_term_links", "asset_versions"):
            query = f"SELECT count(*) FROM {table} WHERE asset_id NOT IN (SELECT id FROM assets_registry)"
            assert connection.execute(query).fetchone() == (0,), f"{table} has rows of no asset"
        query = "SELECT child_uid, parent_uid, kind, certainty, found FROM asset_lineage WHERE project_id = ?"
        lines = sorted(connection.execute(query, (registry.project_id,)))
        said = [
            (asset.uid, *each.describe().values())
            for asset in assets.values()
            for each in asset.facts.parents
        ]
        assert lines == sorted(said), "asset_lineage has other edges than the assets"


def _check_quiet(registry: AssetRegistry, strangers: Collection[str]) -> None:
    """Check that one more rebuild finds nothing to do."""
    position = registry.journal_position()
    report = rebuild(registry, allow_missing=True).as_dict()
    registry.wait_for_thumbnails()
    there = len([each for each in registry.list_assets() if each["missing_since"] is None])
    assert report["unchanged"] == there, f"{there} assets, and of these a rebuild found: {report}"
    for name, found in report.items():
        if isinstance(found, list):
            left = [each for each in found if isinstance(each, str) or each["path"] not in strangers]
            assert left == [], f"another rebuild found {name}: {left}"
    assert registry.journal_position() == position, "another rebuild wrote into the journal"


def contents_of(root: Path) -> set[str]:
    """Return the hashes of all users' files in an assets folder, those in the trash included."""
    hashes = set()
    for path in root.rglob("*"):
        own = path.relative_to(root).parts[:2]
        is_ours = own[0] == "_meta" or (own[0] == ".comfyvn" and own[1:] != ("trash",))
        if path.is_file() and not is_ours and not path.name.endswith(sidecar.SUFFIX):
            with path.open("rb") as file:
                hashes.add(media.read(file, name=path.name).digest)
    return hashes


def _forget_the_dead(home: Path) -> None:
    """Make the staging folders of killed runs old enough to be swept."""
    for folder in home.rglob(".comfyvn/staging/*"):
        os.utime(folder, (0, 0))


def _own_leavings(home: Path) -> list[Path]:
    """Return what lies in our corners and has no business there."""
    known = {"library.json", "staging", "trash", "quarantine"}
    odd = [path for path in home.rglob(".comfyvn/*") if path.name not in known]
    return odd + list(home.rglob(".comfyvn/staging/*"))
