"""Killed in the middle, and several at once: nothing reported is lost, nothing is overwritten or doubled."""

import hashlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn import media
from comfyvn.errors import PathConflict
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.registration import Registrar

REGISTER_AND_REPORT = """
import json, sys
from comfyvn.studio.core import AssetRegistry
how, *sources = json.loads(sys.stdin.read())
registry = AssetRegistry()
print("open", flush=True)
if how == "many":
    items = [{"source_path": source, "asset_type": "characters"} for source in sources]
    for result in registry.register_many(items):
        print(json.dumps([result["source"], result["asset"], result["error"]]), flush=True)
else:
    for source in sources:
        print(json.dumps([source, registry.register_file(source, "characters"), None]), flush=True)
registry.close()
print("done", flush=True)
"""


def start(how: str, sources: list[Path]) -> subprocess.Popen[str]:
    """Start a process that registers files and prints each answer as it comes."""
    process = subprocess.Popen(
        [sys.executable, "-c", REGISTER_AND_REPORT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([how, *map(str, sources)]))
    process.stdin.close()
    process.stdin = None
    return process


def answers(output: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (source, record) of every answer that was printed whole."""
    lines = [
        line for line in output.splitlines(keepends=True) if line.startswith("[") and line.endswith("\n")
    ]
    parsed = [json.loads(line) for line in lines]
    assert [error for _, _, error in parsed if error] == []
    return [(source, asset) for source, asset, _ in parsed]


def stripped(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as file:
        media.strip(file, sink)
    return sink.getvalue()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def picture(path: Path, seed: int) -> Path:
    """Make a picture of some 100 kB: writing it takes long enough to be killed in the middle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = random.Random(seed).randbytes(190 * 190 * 3)
    Image.frombytes("RGB", (190, 190), noise).save(path, compress_level=1)
    return path


def check_agreement(project: Path, registry: AssetRegistry, sources: list[Path]) -> None:
    """Check that ledger, files, sidecars and mirrors say the same, and hold every source exactly once."""
    entries = {entry["hash"]: entry for entry in registry.list_assets()}
    assert len(entries) == registry.count_assets()
    wanted = {sha256(source): source for source in sources}
    assert entries.keys() == wanted.keys()
    mirrors = [json.loads(path.read_text("utf-8")) for path in (project / "assets/_meta").rglob("*.json")]
    assert len({entry["path"].casefold() for entry in entries.values()}) == len(entries)
    for digest, entry in entries.items():
        assert stripped(project / "assets" / entry["path"]) == wanted[digest].read_bytes()
        with Image.open(project / "assets" / entry["path"]) as image:
            assert json.loads(image.text["comfyvn_provenance"])["uid"] == entry["uid"]
        record = registry.get_asset(entry["uid"])
        written = json.loads((project / "assets" / entry["sidecar"]).read_text("utf-8"))
        assert record is not None
        same = ("uid", "path", "hash", "bytes", "type", "version", "tags", "license", "preview")
        assert {key: written[key] for key in same} == {key: record[key] for key in same}  # type: ignore[literal-required]
        assert written["meta"] == {key: value for key, value in record["meta"].items() if key != "media"}
        rows = [written["provenance"], *written["provenance"].pop("history", [])]
        assert rows == registry.list_provenance(entry["uid"])
        assert [mirror["uid"] for mirror in mirrors].count(entry["uid"]) == 1
    assets = project / "assets/characters"
    kept = [path.name for path in assets.iterdir() if not path.name.endswith(".asset.json")]
    assert sorted(kept) == sorted(entry["path"].rpartition("/")[2] for entry in entries.values())
    assert len(list(assets.iterdir())) == 2 * len(kept)
    assert len(mirrors) == len(entries)
    with closing(sqlite3.connect(project / "comfyvn/data/comfyvn.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- killed ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
@pytest.mark.parametrize("how", ["one by one", "many"])
def test_a_killed_process_loses_nothing_that_it_reported(project: Path, tmp_path: Path, how: str) -> None:
    """After a crash, registered files would be gone, or lie there twice under two names."""
    sources = [picture(tmp_path / "art" / f"{number}.png", number) for number in range(40)]
    theirs = project / "assets/characters/39.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"a file of the user that nobody registered")
    moments = random.Random(7)
    reported: dict[str, dict[str, Any]] = {}
    killed = 0

    for _ in range(7):
        process = start(how, sources)
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for _ in range(moments.randrange(0, 9) if how == "one by one" else 0):
            lines += [process.stdout.readline()]
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        rest, errors = process.communicate()
        assert "Traceback" not in errors
        killed += process.returncode == -signal.SIGKILL
        reported.update(answers("".join(lines) + rest))

    with AssetRegistry() as registry:
        for source, asset in reported.items():
            record = registry.get_asset(asset["uid"])
            assert record is not None
            assert (record["path"], record["hash"]) == (asset["path"], sha256(Path(source)))
            assert stripped(project / "assets" / record["path"]) == Path(source).read_bytes()
    process = start(how, sources)
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    final = dict(answers(output))
    with AssetRegistry() as registry:
        assert killed >= 5
        assert theirs.read_bytes() == b"a file of the user that nobody registered"
        theirs.unlink()
        check_agreement(project, registry, sources)
        assert all(final[source]["uid"] == asset["uid"] for source, asset in reported.items())
        paths = [final[str(source)]["path"] for source in sources]
        assert paths[:39] == [f"characters/{number}.png" for number in range(39)]
        assert paths[39] == f"characters/39-{sha256(sources[39])[:8]}.png"
        assert all(registry.resolve_thumbnail_path(asset["uid"]) for asset in final.values())
    staging = project / "assets/.comfyvn/staging"
    for left in staging.iterdir():  # one whose sweeping was killed too is left alone while it is young
        os.utime(left, (0, 0))
    with AssetRegistry() as registry:
        registry.register_file(sources[0], "characters", metadata={"tags": ["swept"]})
    assert list(staging.iterdir()) == []


# -- several processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["one by one", "many"])
def test_six_processes_on_a_fresh_project_register_everything_exactly_once(
    project: Path, tmp_path: Path, how: str
) -> None:
    """They would crash each other on the new database, overwrite each other's files, or double assets."""
    same = [picture(tmp_path / "same" / f"{number}.png", number) for number in range(10)]
    own = {
        worker: [picture(tmp_path / f"own{worker}/mara.png", 100 + worker)]
        + [picture(tmp_path / f"own{worker}/{number}.png", 200 + 10 * worker + number) for number in range(2)]
        for worker in range(6)
    }
    processes = []
    for worker in range(6):
        files = [*same, *own[worker]]
        random.Random(worker).shuffle(files)
        processes.append(start(how, files))

    outputs = [process.communicate() for process in processes]

    assert [
        (process.returncode, errors) for process, (_, errors) in zip(processes, outputs, strict=True)
    ] == [(0, "")] * 6
    sources = [*same, *(path for files in own.values() for path in files)]
    told: dict[str, set[str]] = {}
    for output, _ in outputs:
        found = answers(output)
        assert len(found) == 13
        for source, asset in found:
            told.setdefault(source, set()).add(asset["uid"])
    assert all(uids == {sha256(Path(source))[:16]} for source, uids in told.items())
    with AssetRegistry() as registry:
        for source in sources:  # a preview that one process was about to make is made now
            registry.register_file(source, "characters")
        registry.wait_for_thumbnails()
        check_agreement(project, registry, sources)
        assert len(registry.list_assets()) == 28
        assert all(registry.resolve_thumbnail_path(entry["uid"]) for entry in registry.list_assets())
    staging = project / "assets/.comfyvn/staging"
    assert list(staging.iterdir()) == []


def test_processes_that_change_one_asset_lose_no_update(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Of two tags added at once, one would vanish."""
    uid = registry.register_file(make_png(), "characters")["uid"]
    code = (
        "import sys\n"
        "from comfyvn.studio.core import AssetRegistry\n"
        "registry = AssetRegistry()\n"
        "for number in range(12):\n"
        "    registry.bulk_update_tags([sys.argv[1]], add_tags=[f'{sys.argv[2]}-{number}'])\n"
        "registry.close()\n"
    )

    processes = [
        subprocess.Popen([sys.executable, "-c", code, uid, str(worker)], stderr=subprocess.PIPE, text=True)
        for worker in range(4)
    ]
    errors = [process.communicate()[1] for process in processes]

    wanted = {f"{worker}-{number}" for worker in range(4) for number in range(12)}
    record = registry.get_asset(uid)
    assert record is not None
    assert errors == [""] * 4
    assert set(record["tags"]) == wanted
    assert registry.read_sidecar(uid)["tags"] == record["tags"]
    mirror = json.loads((project / "assets/_meta/characters/mara.json").read_text("utf-8"))
    assert mirror["tags"] == record["tags"]


# -- several threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("registries", [1, 8], ids=["one registry", "a registry each"])
def test_threads_that_register_one_file_make_one_asset(
    project: Path,
    open_registry: Callable[..., AssetRegistry],
    tmp_path: Path,
    registries: int,
) -> None:
    """They would crash each other, or the file lie there under eight names."""
    source = picture(tmp_path / "art/mara.png", 1)
    opened = [open_registry() for _ in range(registries)]
    ready = threading.Barrier(8)

    def register(worker: int) -> dict[str, Any]:
        ready.wait()
        return dict(
            opened[worker % registries].register_file(
                source,
                "characters",
                metadata={"tags": [f"worker {worker}"]},
                provenance={"source": f"worker {worker}"},
            )
        )

    with ThreadPoolExecutor(8) as pool:
        infos = list(pool.map(register, range(8)))
    opened[0].wait_for_thumbnails()

    registry = opened[0]
    assert len({info["id"] for info in infos}) == 1
    assert [info["duplicate"] for info in infos].count(False) == 1
    uid = infos[0]["uid"]
    assert set(registry.get_asset(uid)["tags"]) == {f"worker {worker}" for worker in range(8)}  # type: ignore[index]
    assert {row["source"] for row in registry.list_provenance(uid)} == {f"worker {n}" for n in range(8)}
    check_agreement(project, registry, [source])


def test_threads_that_register_files_of_one_name_keep_them_all(
    project: Path, registry: AssetRegistry, tmp_path: Path
) -> None:
    """The slowest thread would overwrite the files of the others."""
    sources = [
        picture(tmp_path / f"{number}/{name}", number)
        for number, name in enumerate(["mara.png", "MARA.png"] * 8)
    ]
    ready = threading.Barrier(8)

    def register(worker: int) -> list[dict[str, Any]]:
        ready.wait()
        return [dict(registry.register_file(source, "characters")) for source in sources[worker::8]]

    with ThreadPoolExecutor(8) as pool:
        infos = [info for made in pool.map(register, range(8)) for info in made]
    registry.wait_for_thumbnails()

    assert len({info["path"].casefold() for info in infos}) == 16
    check_agreement(project, registry, sources)


def test_threads_that_change_register_and_remove_leave_all_in_step(
    project: Path, registry: AssetRegistry, tmp_path: Path
) -> None:
    """An asset that is removed while it is changed would leave a sidecar without an asset."""
    sources = [picture(tmp_path / f"{number}.png", number) for number in range(6)]
    failures: list[BaseException] = []

    def churn(worker: int) -> None:
        chance = random.Random(worker)
        try:
            for _ in range(25):
                source = chance.choice(sources)
                uid = sha256(source)[:16]
                if chance.random() < 0.5:
                    with suppress(PathConflict):  # removed by another thread while it was registered
                        registry.register_file(source, "characters", metadata={"tags": [f"w{worker}"]})
                elif chance.random() < 0.5:
                    registry.bulk_update_tags([uid], add_tags=[f"bulk {worker}"])
                else:
                    registry.remove_asset(uid, delete_files=chance.random() < 0.5)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the report of the test
            failures.append(error)

    threads = [threading.Thread(target=churn, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry.wait_for_thumbnails()

    assert failures == []
    for source in sources:
        registry.register_file(source, "characters")
    registry.wait_for_thumbnails()
    entries = registry.list_assets()
    assert {entry["hash"] for entry in entries} == {sha256(source) for source in sources}
    for entry in entries:
        assert (
            stripped(project / "assets" / entry["path"])
            == sources[int(Path(entry["path"]).name[0])].read_bytes()
        )
        assert registry.read_sidecar(entry["uid"])["tags"] == entry["tags"]


def test_the_previews_of_a_process_that_forks_are_made(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A worker process of a web server would wait for ever for threads that it has not got."""
    registry.register_file(make_png("first.png", seed=1), "x")
    registry.wait_for_thumbnails()
    source, code = make_png("second.png", seed=2), 1

    child = os.fork() if hasattr(os, "fork") else pytest.skip("this system can't fork")
    if child == 0:  # pragma: no cover - runs in the child
        try:
            with AssetRegistry() as own:
                info = own.register_file(source, "x")
                is_done = own.wait_for_thumbnails(30)
                code = 0 if is_done and own.resolve_thumbnail_path(info["uid"]) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert registry.count_assets() == 2


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_folder_that_becomes_a_link_costs_its_own_files_only(
    registry: AssetRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a batch was registered, but nobody was told, and later files were not looked at."""
    outside, place = tmp_path / "outside", registry.ASSETS_ROOT / "swapped"
    outside.mkdir()
    items = []
    for number in range(4):
        source = tmp_path / f"line {number}.txt"
        source.write_text(f"line {number}", "utf-8")
        items.append({"source_path": source, "asset_type": "swapped" if number == 2 else "kept"})
    record = Registrar._record_batch

    def swap_and_record(self: Registrar, *arguments: Any) -> Any:
        if place.is_dir() and not place.is_symlink():
            place.rename(tmp_path / "away")
            place.symlink_to(outside, target_is_directory=True)
        return record(self, *arguments)

    monkeypatch.setattr(Registrar, "_record_batch", swap_and_record)
    results = list(registry.register_many(items))

    assert [each["status"] for each in results] == ["registered", "registered", "failed", "registered"]
    assert list(outside.iterdir()) == []
    assert registry.count_assets() == 3
