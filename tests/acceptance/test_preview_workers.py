"""Decoders that crash, hang or eat memory: each costs one preview, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import troublesome
from support import TIMEOUT_S

INGEST = """
import json, sys
from pathlib import Path
from comfyvn.studio.core import AssetRegistry
files = sorted(Path(sys.argv[1]).iterdir())
with AssetRegistry(durability="off") as registry:
    items = [{"source_path": file, "asset_type": "x"} for file in files]
    results = list(registry.register_many(items))
    registry.wait_for_thumbnails()
    records = {}
    for file, result in zip(files, results, strict=True):
        record = registry.get_asset(result["asset"]["uid"])
        lost = [size for size in ("256", "512")
                if not (registry.THUMB_ROOT / f"{record['uid']}_{size}.webp").is_file()]
        state = record["preview_state"]
        records[file.name] = [result["status"], state, (record["preview"] or {}).get("reason"), lost]
    print(json.dumps(records), flush=True)
    if len(sys.argv) > 2:
        sys.stdin.read()
"""
HANGING = """
import sys
from comfyvn.studio.core import AssetRegistry
registry = AssetRegistry(durability="off")
registry.register_file(sys.argv[1], "x")
registry.wait_for_thumbnails()
"""
TIME_S = 3
REASONS = {
    "crash": "the decoder crashed (signal SIGSEGV)",
    "abort": "the decoder crashed (signal SIGABRT)",
    "hang": f"it took longer than {TIME_S} s",
    "hang-deaf": f"it took longer than {TIME_S} s",
    "eat": "it needs more than 400 MiB of memory",
    "exit": "the decoder ended the process that it ran in (exit code 3)",
    "fail": "the format trouble failed on it (RuntimeError)",
    "other-files": "the format made other files than such a preview has",
}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which the troublesome formats are installed, with limits that are soon reached."""
    site = troublesome.install(tmp_path / "site")
    troublesome.install(site, "LongTroubleFormat")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parent.parent)]),
        troublesome.LOG: str(tmp_path / "log"),
        "COMFYVN_PREVIEW_TIME_S": str(TIME_S),
        "COMFYVN_PREVIEW_MEMORY_BYTES": str(400 << 20),
    }


def fill(folder: Path) -> Path:
    """Make twenty files, with the troublesome ones in their midst."""
    folder.mkdir()
    for number in range(11):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(folder / f"{'az'[number % 2]}{number}.png")
    for what in (*REASONS, "shout"):
        (folder / f"m-{what}").write_bytes(troublesome.content(what))
    assert len(list(folder.iterdir())) == 20
    return folder


def workers_of(tmp_path: Path) -> set[int]:
    """Return the processes that made previews of troublesome files."""
    return {int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()}


def wait_till_gone(pids: set[int]) -> bool:
    """Wait till processes ended that are nobody's children any more."""
    until = time.monotonic() + TIMEOUT_S
    while pids and time.monotonic() < until:
        pids = {pid for pid in pids if _is_there(pid)}
        time.sleep(0.02)
    return not pids


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts memory so that it can be limited")
def test_an_ingest_with_broken_files_in_its_midst(tmp_path: Path, env: dict[str, str]) -> None:
    """One broken file would end the ingest, or hold it up for ever."""
    folder = fill(tmp_path / "art")

    done = subprocess.run(
        [sys.executable, "-c", INGEST, str(folder)],
        env=env,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=True,
    )

    found: dict[str, Any] = json.loads(done.stdout)
    bad = {f"m-{what}": ["registered", "failed", why, ["256", "512"]] for what, why in REASONS.items()}
    good = {name: ["registered", "ready", None, []] for name in found.keys() - bad.keys()}
    assert len(good) == 12
    assert found == {**bad, **good}
    assert "garbage" not in done.stderr
    assert wait_till_gone(workers_of(tmp_path))


def test_the_command_names_what_failed_and_goes_on(tmp_path: Path, env: dict[str, str]) -> None:
    """A user would not learn which file is broken, nor why."""
    folder = tmp_path / "art"
    folder.mkdir()
    for what in ("well", "crash", "quit"):
        (folder / what).write_bytes(troublesome.content(what))

    done = subprocess.run(
        [sys.executable, "-m", "comfyvn", "ingest", str(folder), "--type", "x", "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    told = json.loads(done.stdout)
    failed = {each["path"]: each["reason"] for each in told["failed_previews"]}
    assert failed == {
        "x/crash": "the decoder crashed (signal SIGSEGV)",
        "x/quit": "the decoder ended the process that it ran in (exit code 1)",
    }
    assert wait_till_gone(workers_of(tmp_path))


def test_a_sound_has_more_time_than_a_picture(tmp_path: Path, env: dict[str, str]) -> None:
    """A song of two hours would have no waveform on a slow machine."""
    folder = tmp_path / "art"
    folder.mkdir()
    (folder / "a.sound").write_bytes(troublesome.content("hang"))

    done = subprocess.run(
        [sys.executable, "-c", INGEST, str(folder)],
        env={**env, "COMFYVN_PREVIEW_TIME_S": "0.25"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )

    assert json.loads(done.stdout)["a.sound"][2] == "it took longer than 1.5 s"


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
def test_no_worker_outlives_a_program_that_is_killed(tmp_path: Path, env: dict[str, str]) -> None:
    """Every crash of the host program would leave processes behind."""
    folder = tmp_path / "art"
    folder.mkdir()
    for salt in "abcdef":
        (folder / salt).write_bytes(troublesome.content("well", salt))

    with subprocess.Popen(
        [sys.executable, "-c", INGEST, str(folder), "and wait"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        before = {pid for pid in workers_of(tmp_path) if _is_there(pid)}
        run.kill()

    assert before
    assert wait_till_gone(before)


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
@pytest.mark.parametrize("what", ["hang", "hang-deaf", "spin"])
def test_no_worker_that_hangs_outlives_a_program_that_is_killed(
    tmp_path: Path, env: dict[str, str], what: str
) -> None:
    """A decoder that never ends would burn a core till the machine is turned off."""
    (tmp_path / "a").write_bytes(troublesome.content(what))
    env["COMFYVN_PREVIEW_TIME_S"] = "1"

    with subprocess.Popen([sys.executable, "-c", HANGING, str(tmp_path / "a")], env=env) as run:
        until = time.monotonic() + TIMEOUT_S
        while not (tmp_path / "log").exists() and time.monotonic() < until:
            time.sleep(0.02)
        run.kill()

    assert wait_till_gone(workers_of(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts with a signal")
def test_ctrl_c_is_not_blamed_on_a_file(tmp_path: Path, env: dict[str, str]) -> None:
    """What was being made when a user interrupted would count as broken from then on."""
    folder = tmp_path / "art"
    folder.mkdir()
    (folder / "a").write_bytes(troublesome.content("nap"))
    command = [sys.executable, "-m", "comfyvn", "ingest", str(folder), "--type", "x", "--json"]

    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True) as run:
        until = time.monotonic() + TIMEOUT_S
        while not (tmp_path / "log").exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=TIMEOUT_S)

    assert json.loads(output)["failed_previews"] == []
    assert wait_till_gone(workers_of(tmp_path))
