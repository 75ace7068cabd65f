"""`comfyvn ingest --watch`: what a program saves is registered as soon as it is finished, and not before."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyvn.errors import ImportFailed
from comfyvn.registry.ingest import IngestItem, Selection
from comfyvn.registry.ingest_watch import watch_selection
from comfyvn.studio.core import AssetRegistry
from outputs import draw
from strange_importers import install
from support import TIMEOUT_S

COMFYVN = str(Path(sys.executable).with_name("comfyvn"))
MOMENT_S = 0.7
"""Longer than a finished file is waited for."""


class Watched:
    """What a watch has told so far."""

    def __init__(self) -> None:
        self.items: list[IngestItem] = []
        self.troubles: list[str] = []

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while not is_so():
            assert time.monotonic() < end_s, (self.items, self.troubles)
            time.sleep(0.01)

    def wait_for_file(self, name: str) -> IngestItem:
        self.wait_for(lambda: name in self.names())
        return next(item for item in self.items if item.file.endswith(name))

    def names(self) -> list[str]:
        return [Path(item.file).name for item in self.items]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


@pytest.fixture
def watching(registry: AssetRegistry) -> Callable[..., object]:
    """Watch folders in a thread for as long as a ``with`` lasts; it begins when the first file is told."""

    @contextmanager
    def watch(
        *folders: Path, first: bool = True, adapter: str = "comfyui", **more: object
    ) -> Iterator[Watched]:
        told, stop = Watched(), threading.Event()
        failed: list[BaseException] = []
        if first:
            draw(folders[0] / "first_00001_.png", 250)

        def run() -> None:
            try:
                watch_selection(
                    Selection(folders, adapter=adapter),
                    registry,
                    stop=stop,
                    on_item=told.items.append,
                    on_trouble=told.troubles.append,
                    **more,  # type: ignore[arg-type]
                )
            except BaseException as error:  # noqa: BLE001 - it is raised again below
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            if first:
                told.wait_for(lambda: bool(told.items or failed))
            yield told
        finally:
            stop.set()
            thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        if failed:
            raise failed[0]

    return watch


def test_a_picture_is_registered_soon_after_it_is_finished(
    watching: Callable[..., object], output: Path, registry: AssetRegistry
) -> None:
    """A maker would have to import by hand after every picture."""
    with watching(output) as told:  # type: ignore[attr-defined]
        draw(output / "characters" / "mara_00001_.png", 1)
        item = told.wait_for_file("mara_00001_.png")

    assert (item.status, item.path) == ("registered", "characters/mara_00001_.png")
    record = registry.get_asset(str(item.uid))
    assert record is not None
    assert record["tags"] == ["mara"]
    assert record["provenance"] is not None
    assert record["provenance"]["source"] == "comfyui"
    assert told.troubles == []


def test_a_folder_that_tells_nothing_of_changes_is_looked_at(
    watching: Callable[..., object], output: Path
) -> None:
    """Pictures on a network drive would never come in."""
    with watching(output, polling=True) as told:  # type: ignore[attr-defined]
        time.sleep(MOMENT_S)
        draw(output / "a_00001_.png", 1)
        item = told.wait_for_file("a_00001_.png")

    assert item.status == "registered"


def test_what_lies_there_already_is_taken_in_first(watching: Callable[..., object], output: Path) -> None:
    """Pictures that were made while nobody watched would be missing."""
    for number in range(5):
        draw(output / f"old_{number:05}_.png", number)

    with watching(output, first=False) as told:  # type: ignore[attr-defined]
        told.wait_for(lambda: len(told.items) == 5)

    assert {item.status for item in told.items} == {"registered"}


def test_a_picture_that_is_written_slowly_is_registered_once_and_whole(
    watching: Callable[..., object], output: Path, tmp_path: Path, registry: AssetRegistry
) -> None:
    """Half a picture would become an asset, and the whole one another."""
    content = draw(tmp_path / "slow.png", 1).read_bytes()
    path = output / "slow_00001_.png"

    with watching(output) as told:  # type: ignore[attr-defined]
        with path.open("wb") as file:
            file.write(content[:-20])
            file.flush()
            time.sleep(MOMENT_S)
            before = told.names()
            file.write(content[-20:])
        item = told.wait_for_file(path.name)

    assert path.name not in before
    assert told.names().count(path.name) == 1
    record = registry.get_asset(str(item.uid))
    assert record is not None
    assert record["bytes"] == len(content)


def test_a_file_that_was_half_written_at_the_start_is_waited_for(
    watching: Callable[..., object], output: Path, tmp_path: Path
) -> None:
    """The picture at work when the watch began would fail, or come in cut."""
    content = draw(tmp_path / "slow.png", 1).read_bytes()
    path = output / "slow_00001_.png"
    path.write_bytes(content[:-20])

    with watching(output) as told:  # type: ignore[attr-defined]
        time.sleep(MOMENT_S)
        before = told.names()
        path.write_bytes(content)
        item = told.wait_for_file(path.name)

    assert path.name not in before
    assert item.status == "registered"


def test_a_file_that_never_gets_its_end_is_told_with_its_reason(
    watching: Callable[..., object], output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash of ComfyUI would leave a file of which nobody ever hears."""
    monkeypatch.setattr("comfyvn.registry.ingest_watch._PATIENCE_S", 0.5)

    with watching(output) as told:  # type: ignore[attr-defined]
        (output / "cut_00001_.png").write_bytes(draw(output.parent / "x.png", 1).read_bytes()[:-1])
        item = told.wait_for_file("cut_00001_.png")

    assert item.status == "failed"
    assert "its end is missing" in str(item.reason)


def test_files_that_are_moved_in_come_in_alone_and_with_their_folder(
    watching: Callable[..., object], output: Path, tmp_path: Path
) -> None:
    """Nodes that write aside and rename would never be noticed."""
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "made" / "deep" / "b_00001_.png", 2)

    with watching(output) as told:  # type: ignore[attr-defined]
        (tmp_path / "a.png").rename(output / "a_00001_.png")
        (tmp_path / "made").rename(output / "characters")
        told.wait_for_file("a_00001_.png")
        item = told.wait_for_file("b_00001_.png")

    assert item.path == "characters/deep/b_00001_.png"


def test_previews_and_temporary_files_are_left_alone(
    watching: Callable[..., object], output: Path, registry: AssetRegistry
) -> None:
    """The library would fill with what nobody kept."""
    with watching(output) as told:  # type: ignore[attr-defined]
        draw(output / "ComfyUI_temp_abcde_00001_.png", 1)
        draw(output / ".hidden" / "a_00001_.png", 2)
        (output / "b_00001_.png.tmp").write_bytes(b"half")
        draw(output / "b_00001_.png", 3)
        told.wait_for_file("b_00001_.png")

    assert set(told.names()) <= {"first_00001_.png", "ComfyUI_temp_abcde_00001_.png", "b_00001_.png"}
    assert registry.count_assets() == 2


def test_a_picture_that_is_saved_over_is_another_asset(
    watching: Callable[..., object], output: Path, registry: AssetRegistry
) -> None:
    """The first picture would be lost, though it was registered."""
    with watching(output) as told:  # type: ignore[attr-defined]
        draw(output / "a.png", 1)
        first = told.wait_for_file("a.png")
        draw(output / "a.png", 2)
        told.wait_for(lambda: told.names().count("a.png") == 2)

    assert first.path == "images/a.png"
    assert registry.count_assets() == 3


def test_a_folder_that_goes_away_is_waited_for(
    watching: Callable[..., object], output: Path, tmp_path: Path
) -> None:
    """Emptying the output folder, or a drive that is unplugged, would end the watch."""
    with watching(output) as told:  # type: ignore[attr-defined]
        shutil.move(output, tmp_path / "away")
        told.wait_for(lambda: bool(told.troubles))
        output.mkdir()
        draw(output / "back_00001_.png", 1)
        item = told.wait_for_file("back_00001_.png")

    assert item.status == "registered"
    assert any("away" in trouble for trouble in told.troubles)


def test_a_library_that_is_away_is_told_once_and_the_file_tried_again(
    watching: Callable[..., object],
    output: Path,
    registry: AssetRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A picture that came while the drive was unplugged would be lost to the library."""
    monkeypatch.setattr("comfyvn.registry.ingest_watch._RETRY_S", 0.3)

    with watching(output) as told:  # type: ignore[attr-defined]
        shutil.move(registry.ASSETS_ROOT, tmp_path / "away")
        draw(output / "a_00001_.png", 1)
        told.wait_for(lambda: bool(told.troubles) or "a_00001_.png" in told.names())
        shutil.move(tmp_path / "away", registry.ASSETS_ROOT)
        told.wait_for(
            lambda: (
                ("registered", "a_00001_.png") in [(item.status, Path(item.file).name) for item in told.items]
            )
        )

    assert len(told.troubles) <= 1


@pytest.mark.parametrize(
    ("way", "polling"), [("dots", False), ("dots", True), ("relative", False), ("link", False)]
)
def test_a_folder_may_be_named_by_any_path_that_leads_there(
    way: str, polling: bool, watching: Callable[..., object], output: Path, project: Path
) -> None:
    """A watch would be deaf without a word: the system tells another path than the one that was typed."""
    (project / "near").mkdir()
    (project / "link").symlink_to(Path("..") / output.name, target_is_directory=True)
    folder = {"dots": Path("..") / output.name, "relative": Path("near"), "link": Path("link")}[way]

    with watching(folder, polling=polling) as told:  # type: ignore[attr-defined]
        time.sleep(MOMENT_S if polling else 0)
        draw(folder / "characters" / "mara_00001_.png", 1)
        item = told.wait_for_file("mara_00001_.png")

    assert (item.status, item.file) == ("registered", str(folder / "characters" / "mara_00001_.png"))


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a name be any bytes")
def test_a_name_that_is_no_text_costs_a_moment_and_nothing_is_read_again(
    watching: Callable[..., object], output: Path, registry: AssetRegistry
) -> None:
    """One file of a foreign disk would have the watch begin anew for ever, and read all that is there."""
    draw(output / "old_00001_.png", 1)
    strange = Path(os.fsdecode(os.fsencode(output) + b"/\xff\xfe_00001_.png"))

    with watching(output) as told:  # type: ignore[attr-defined]
        told.wait_for_file("old_00001_.png")
        strange.write_bytes(draw(output.parent / "x.png", 2).read_bytes())
        told.wait_for_file(strange.name)
        draw(output / "new_00001_.png", 3)
        told.wait_for_file("new_00001_.png")
        os.utime(strange, (1, 1))
        draw(output / "last_00001_.png", 4)
        told.wait_for_file("last_00001_.png")

    assert [item.status for item in told.items if item.file.endswith("old_00001_.png")] == ["registered"]
    assert told.troubles == []
    assert registry.count_assets() == 5


def test_a_faulty_adapter_does_not_end_the_watch(
    watching: Callable[..., object], output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One strange file would end what runs for days."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))
    (output / "0.txt").write_text("STRANGE good")

    with watching(output, first=False, adapter="strange", settle_s=0.05) as told:  # type: ignore[attr-defined]
        told.wait_for_file("0.txt")
        (output / "1.txt").write_text("STRANGE raises")
        (output / "2.txt").write_text("STRANGE fine")
        item = told.wait_for_file("2.txt")

    assert item.status == "registered"
    assert next(item.status for item in told.items if item.file.endswith("1.txt")) == "failed"


def test_what_can_not_be_watched_is_refused(registry: AssetRegistry, tmp_path: Path) -> None:
    """A user would wait for what never comes."""
    (tmp_path / "game" / "images").mkdir(parents=True)

    with pytest.raises(ImportFailed, match="can't be watched"):
        watch_selection(
            Selection([tmp_path], adapter="renpy"),
            registry,
            stop=threading.Event(),
            on_item=lambda item: None,
            on_trouble=lambda text: None,
        )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_command_tells_each_file_in_a_line_of_json_and_ends_cleanly(
    number: signal.Signals, code: int, output: Path, project: Path
) -> None:
    """A script could not follow, or Ctrl-C leave half an asset."""
    draw(output / "ComfyUI_00001_.png", 1)
    command = [COMFYVN, "ingest", str(output), "--adapter", "comfyui", "--watch", "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COMFYVN_DURABILITY": "off"},
    )
    assert process.stdout is not None

    first = json.loads(process.stdout.readline())
    draw(output / "ComfyUI_00002_.png", 2)
    second = json.loads(process.stdout.readline())
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == code, err
    assert [first["path"], second["path"]] == ["images/ComfyUI_00001_.png", "images/ComfyUI_00002_.png"]
    assert out == ""
    assert "Watching has ended" in err
    with AssetRegistry(durability="off") as registry:
        assert registry.count_assets() == 2
