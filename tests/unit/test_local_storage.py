"""Files by key: placed whole or not at all, never over another, never outside the root."""

import errno
import gc
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comfyvn.errors import (
    LibraryUnreachable,
    OutsideLibrary,
    PathConflict,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    UnsafePath,
)
from comfyvn.storage import LocalStorage, Staged, Writes, local, open_source
from support import run_all

TIMEOUT_S = 30.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="tells files by /proc")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "library" / "assets"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


@pytest.fixture
def open_storage(root: Path) -> Iterator[Callable[..., LocalStorage]]:
    opened: list[LocalStorage] = []

    def open_one(folder: Path = root) -> LocalStorage:
        opened.append(LocalStorage(folder))
        return opened[-1]

    yield open_one
    for storage in opened:
        storage.close()


@pytest.fixture
def storage(open_storage: Callable[..., LocalStorage]) -> LocalStorage:
    return open_storage()


@pytest.fixture(params=["links", "no links"])
def with_and_without_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test as on ext4 or NTFS, and as on exFAT or some network drives."""
    if request.param == "no links":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


def staged(storage: LocalStorage, data: bytes) -> Staged:
    found = storage.stage()
    found.file.write(data)
    return found


def fill(storage: LocalStorage, *keys: str) -> None:
    for key in keys:
        storage.write(key, key.encode(), Writes())


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def keys_of(storage: LocalStorage) -> list[str]:
    """Return every file below the root, also one that was left in staging, but for the lock."""
    return [name for name in files_below(storage.root) if not name.endswith("/lock")]


# -- place --------------------------------------------------------------------------------------------


def test_opening_touches_no_disk(root: Path) -> None:
    """Asking for help would make folders."""
    LocalStorage(root)

    assert not root.parent.exists()


def test_a_placed_file_has_its_bytes_and_its_stat(
    storage: LocalStorage, with_and_without_links: None
) -> None:
    """What was stored would be another file than what was given."""
    source = staged(storage, b"mara")

    placed = storage.place(source, "characters/mara.png", Writes())

    assert storage.path("characters/mara.png").read_bytes() == b"mara"
    assert placed == storage.stat("characters/mara.png")
    assert placed.size_bytes == 4
    assert not source.path.exists()
    source.discard()


def test_placing_never_replaces_what_lies_there(storage: LocalStorage, with_and_without_links: None) -> None:
    """The second file of a name once overwrote the first."""
    fill(storage, "a.png")
    second = staged(storage, b"second")

    with pytest.raises(FileExistsError):
        storage.place(second, "a.png", Writes())

    assert storage.path("a.png").read_bytes() == b"a.png"
    assert second.path.read_bytes() == b"second"
    storage.place(second, "b.png", Writes())
    assert storage.path("b.png").read_bytes() == b"second"


@posix_only
@pytest.mark.parametrize("kind", ["folder", "dangling link", "link", "pipe"])
def test_placing_never_replaces_anything_at_all(
    kind: str, storage: LocalStorage, outside: Path, with_and_without_links: None
) -> None:
    """A link would be written through, a folder or pipe of the user would vanish."""
    fill(storage, "other.png")
    target = storage.path("a.png")
    make: dict[str, Callable[[], object]] = {
        "folder": target.mkdir,
        "dangling link": lambda: target.symlink_to(outside / "made.png"),
        "link": lambda: target.symlink_to(storage.path("other.png")),
        "pipe": lambda: os.mkfifo(target),
    }
    make[kind]()
    before = os.lstat(target)

    with staged(storage, b"mine") as mine, pytest.raises(FileExistsError):
        storage.place(mine, "a.png", Writes())

    assert os.lstat(target) == before
    assert list(outside.iterdir()) == []
    assert storage.path("other.png").read_bytes() == b"other.png"


def test_of_eight_threads_that_place_one_name_exactly_one_wins(
    storage: LocalStorage, with_and_without_links: None
) -> None:
    """Two would believe that the file is theirs, and one file would be lost."""
    for turn in range(25):
        key, won, lost = f"folder{turn}/mara.png", [], []
        sources = [staged(storage, bytes([number]) * 70_000) for number in range(8)]

        def place(source: Staged, key: str = key, won: list[Staged] = won, lost: list[Staged] = lost) -> None:
            try:
                storage.place(source, key, Writes())
                won.append(source)
            except FileExistsError:
                lost.append(source)

        run_all(*[lambda source=source: place(source) for source in sources])

        assert (len(won), len(lost)) == (1, 7)
        assert storage.path(key).read_bytes() == bytes([sources.index(won[0])]) * 70_000
        for source in lost:
            assert source.path.read_bytes() == bytes([sources.index(source)]) * 70_000
            source.discard()


def test_a_failure_of_the_disk_while_placing_is_passed_on(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that has nothing to do with links would be answered by the way for systems without them."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "rename", fail)

    with staged(storage, b"x") as source, pytest.raises(OSError, match="No space left"):
        storage.place(source, "a.png", Writes())

    assert not storage.exists("a.png")


def test_a_file_where_a_folder_is_needed_is_a_conflict_and_not_a_taken_name(storage: LocalStorage) -> None:
    """A registration would try one name after the other forever."""
    fill(storage, "characters")

    for key in ("characters/mara.png", "characters/more/mara.png"):
        with staged(storage, b"x") as source, pytest.raises(PathConflict, match="where a folder is needed"):
            storage.place(source, key, Writes())
        with pytest.raises(PathConflict):
            storage.write(key, b"x", Writes())

    assert keys_of(storage) == ["characters"]


# -- write, create, delete ----------------------------------------------------------------------------


def test_a_written_file_replaces_its_older_self(storage: LocalStorage) -> None:
    """A sidecar could not be rewritten."""
    storage.write("x/a.asset.json", b"one", Writes())

    found = storage.write("x/a.asset.json", b"second", Writes())

    assert storage.read("x/a.asset.json", 100) == (b"second", found)
    assert files_below(storage.root / "x") == ["a.asset.json"]


def test_a_reader_never_sees_half_a_file(storage: LocalStorage) -> None:
    """Sidecars were once read half-written."""
    versions = [bytes([65 + number]) * (300_000 + number * 50_000) for number in range(4)]
    storage.write("a.json", versions[0], Writes())
    done, seen = threading.Event(), []

    def write() -> None:
        try:
            for turn in range(200):
                storage.write("a.json", versions[turn % 4], Writes())
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            found = storage.read("a.json", 1_000_000)
            assert found is not None, "the file was gone for a moment"
            assert found[0] in versions
            seen.append(found[0])

    run_all(write, read)

    assert seen


def test_a_failed_write_leaves_the_older_file_and_nothing_else(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk would cost the sidecar that was there."""
    storage.write("a.json", b"older", Writes())

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        storage.write("a.json", b"newer", Writes())

    assert storage.path("a.json").read_bytes() == b"older"
    assert keys_of(storage) == ["a.json"]


def test_a_file_is_written_over_the_one_that_is_known_and_over_no_other(storage: LocalStorage) -> None:
    """What an editor saved since we looked would be gone."""
    known = storage.write("a.json", b"one", Writes())
    second = storage.write("a.json", b"two", Writes(), over=known)
    assert storage.read("a.json", 100) == (b"two", second)

    with pytest.raises(FileExistsError):
        storage.write("a.json", b"three", Writes(), over=known)

    assert storage.read("a.json", 100) == (b"two", second)
    storage.delete("a.json")
    storage.write("a.json", b"four", Writes(), over=second)
    assert keys_of(storage) == ["a.json"]
    assert storage.path("a.json").read_bytes() == b"four"


@linux_only
@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_file_that_is_saved_at_the_last_moment_is_not_written_over(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    """Between the look at a file and its replacement an editor has its microseconds."""
    known = storage.write("a.json", b"one", Writes())
    rename, path, left = local._rename, storage.path("a.json"), list(range(saves))

    def save_first(source: str, target: str, flag: int) -> bool:
        if left:
            beside = path.with_name("editor's")
            beside.write_bytes(b"save %d" % left.pop())
            beside.replace(path)
        return rename(source, target, flag)

    monkeypatch.setattr(local, "_rename", save_first)
    with pytest.raises(FileExistsError):
        storage.write("a.json", b"ours", Writes(), over=known)

    assert path.read_bytes() == b"save 0"  # the last
    assert keys_of(storage) == ["a.json"]
    storage.close()
    assert [each for each in files_below(storage.root) if "staging" in each] == []


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_disk_that_exchanges_no_files_takes_new_ones_too(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """On exFAT and on macOS no sidecar could be changed."""
    known = storage.write("a.json", b"one", Writes())
    if not can_exchange:
        monkeypatch.setattr(local, "_renameat2", lambda: None)

    storage.write("a.json", b"two", Writes(), over=known)

    assert storage.path("a.json").read_bytes() == b"two"
    assert keys_of(storage) == ["a.json"]


@posix_only
def test_writing_replaces_a_link_and_not_what_it_leads_to(storage: LocalStorage, outside: Path) -> None:
    """A link named like a sidecar would let us overwrite any file of the user."""
    storage.root.mkdir(parents=True)
    (outside / "mine.txt").write_bytes(b"mine")
    storage.path("a.asset.json").symlink_to(outside / "mine.txt")

    storage.write("a.asset.json", b"{}", Writes())

    assert (outside / "mine.txt").read_bytes() == b"mine"
    assert storage.path("a.asset.json").read_bytes() == b"{}"
    assert not storage.path("a.asset.json").is_symlink()


def test_creating_is_for_free_names_only(storage: LocalStorage) -> None:
    """A mirror would overwrite another asset's."""
    storage.create("a.json", b"first", Writes())

    with pytest.raises(FileExistsError):
        storage.create("a.json", b"second", Writes())

    assert storage.path("a.json").read_bytes() == b"first"
    assert keys_of(storage) == ["a.json"]


def test_deleting_what_is_gone_is_fine(storage: LocalStorage) -> None:
    """A second try would fail where the first had done half."""
    fill(storage, "a.json")

    storage.delete("a.json")
    storage.delete("a.json")

    assert not storage.exists("a.json")


def test_a_damaged_file_is_copied_beside_itself_under_the_next_free_number(storage: LocalStorage) -> None:
    """The second damage would overwrite the copy of the first."""
    copies = []
    for turn in range(3):
        storage.write("a.asset.json", f"broken {turn}".encode(), Writes())
        copies.append(storage.keep_copy("a.asset.json"))

    assert copies == ["a.asset.json.broken", "a.asset.json.broken-2", "a.asset.json.broken-3"]
    assert [storage.path(copy).read_bytes() for copy in copies] == [b"broken 0", b"broken 1", b"broken 2"]
    assert storage.path("a.asset.json").read_bytes() == b"broken 2"


def test_trash_keeps_files_with_their_folders(storage: LocalStorage) -> None:
    """Two files of one name would meet in the trash, and none could be put back."""
    fill(storage, "a/mara.png", "b/mara.png", "a/mara.png.asset.json")

    storage.trash(["a/mara.png", "a/gone.png", "b/mara.png"], "4711")

    trash = storage.root / ".comfyvn" / "trash" / "4711"
    assert files_below(trash) == ["a/mara.png", "b/mara.png"]
    assert (trash / "b" / "mara.png").read_bytes() == b"b/mara.png"
    assert not storage.exists("a/mara.png")
    assert storage.exists("a/mara.png.asset.json")


@posix_only
def test_trash_takes_a_link_and_not_what_it_leads_to(storage: LocalStorage, outside: Path) -> None:
    """A file outside the library would be taken away."""
    storage.root.mkdir(parents=True)
    (outside / "mine.png").write_bytes(b"mine")
    storage.path("a.png").symlink_to(outside / "mine.png")

    storage.trash(["a.png"], "1")

    assert (outside / "mine.png").read_bytes() == b"mine"
    assert not storage.exists("a.png")


# -- inside the root ----------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("key", ["out/a.png", "out/deep/er/a.png", "in/out/a.png"])
def test_a_linked_folder_that_leads_out_of_the_root_is_refused(
    key: str, storage: LocalStorage, outside: Path
) -> None:
    """Something outside the library would be written, moved or deleted."""
    (storage.root / "in").mkdir(parents=True)
    (storage.root / "out").symlink_to(outside)
    (storage.root / "in" / "out").symlink_to(outside)
    (outside / "a.png").write_bytes(b"mine")

    with staged(storage, b"x") as source, pytest.raises(OutsideLibrary):
        storage.place(source, key, Writes())
    with pytest.raises(OutsideLibrary):
        storage.write(key, b"x", Writes())
    with pytest.raises(OutsideLibrary):
        storage.create(key, b"x", Writes())
    with pytest.raises(OutsideLibrary):
        storage.delete("out/a.png")
    with pytest.raises(OutsideLibrary):
        storage.trash(["out/a.png"], "1")
    with pytest.raises(OutsideLibrary):
        storage.keep_copy("out/a.png")

    assert files_below(outside) == ["a.png"]
    assert (outside / "a.png").read_bytes() == b"mine"


@posix_only
def test_a_linked_folder_that_leads_nowhere_makes_nothing_there(storage: LocalStorage, outside: Path) -> None:
    """Folders would be made wherever the link says."""
    storage.root.mkdir(parents=True)
    (storage.root / "out").symlink_to(outside / "not" / "made")

    with pytest.raises(OutsideLibrary):
        storage.write("out/a.png", b"x", Writes())

    assert list(outside.iterdir()) == []


@posix_only
@pytest.mark.parametrize("folder", ["in", "in/deep"])
def test_a_folder_that_became_a_link_since_the_last_use_is_refused(
    folder: str, storage: LocalStorage, outside: Path
) -> None:
    """What was seen to be a folder once would be trusted, and files be written wherever the link leads."""
    key = "in/deep/a.json"
    storage.write(key, b"ours", Writes())
    (outside / "deep").mkdir()
    for place in (outside, outside / "deep"):
        (place / "a.json").write_bytes(b"mine")
    before = files_below(outside)
    (storage.root / folder).rename(storage.root / "moved")
    (storage.root / folder).symlink_to(outside)

    for use in (storage.write, storage.create):
        with pytest.raises(OutsideLibrary):
            use(key, b"x", Writes())
    with staged(storage, b"x") as source, pytest.raises(OutsideLibrary):
        storage.place(source, key, Writes())
    with pytest.raises(OutsideLibrary):
        storage.read(key, 100)
    with pytest.raises(OutsideLibrary):
        storage.delete(key)

    assert storage.stat(key) is None
    assert files_below(outside) == before
    assert {(outside / name).read_bytes() for name in before} == {b"mine"}


@posix_only
@pytest.mark.parametrize("key", ["../outside/a.png", "x/../../outside/a.png", "x/../../../a.png"])
def test_a_key_with_dots_does_not_lead_out(key: str, storage: LocalStorage, outside: Path) -> None:
    """No key has them, but a scan or an older release's row might bring one."""
    (storage.root / "x").mkdir(parents=True)
    (outside / "a.png").write_bytes(b"mine")

    with pytest.raises(OutsideLibrary):
        storage.write(key, b"x", Writes())
    with pytest.raises(OutsideLibrary):
        storage.delete(key)

    assert (outside / "a.png").read_bytes() == b"mine"


def test_a_folder_or_a_whole_library_that_was_deleted_is_made_anew(storage: LocalStorage) -> None:
    """The cache of previews is safe to delete, also while a program runs."""
    for gone in (storage.root / "in", storage.root):
        for key in ("in/a.json", "a.json"):
            storage.write(key, b"x", Writes())
        shutil.rmtree(gone)

        for key in ("in/a.json", "a.json"):
            storage.write(key, b"y", Writes())

        assert storage.read("in/a.json", 100) is not None


@posix_only
def test_a_root_or_folder_that_is_a_link_may_be_used(
    open_storage: Callable[..., LocalStorage], tmp_path: Path, outside: Path
) -> None:
    """A library on another drive, linked into the project, could not be used."""
    (tmp_path / "linked").symlink_to(outside)
    storage = open_storage(tmp_path / "linked")
    (outside / "real").mkdir()
    (outside / "alias").symlink_to(outside / "real")

    storage.write("alias/a.png", b"x", Writes())

    assert (outside / "real" / "a.png").read_bytes() == b"x"
    assert storage.key_of(outside / "real" / "a.png") == "real/a.png"


@posix_only
def test_a_sibling_with_a_longer_name_lies_outside(storage: LocalStorage) -> None:
    """``/assets-private`` begins with the letters of ``/assets``."""
    sibling = storage.root.parent / "assets-private"
    sibling.mkdir(parents=True)
    storage.root.mkdir()
    (storage.root / "out").symlink_to(sibling)

    with pytest.raises(OutsideLibrary):
        storage.write("out/a.png", b"x", Writes())
    with pytest.raises(OutsideLibrary):
        storage.key_of(sibling / "a.png")


def test_the_key_of_a_path_is_found_after_links(storage: LocalStorage, outside: Path) -> None:
    """A file outside could be registered in place, and one inside be refused."""
    fill(storage, "a/b.png")

    assert storage.key_of(storage.root / "a" / ".." / "a" / "b.png") == "a/b.png"
    for path in (outside / "x.png", storage.root / ".." / "x.png", storage.root.parent):
        with pytest.raises(OutsideLibrary):
            storage.key_of(path)


@posix_only
def test_a_name_that_is_no_text_has_no_key(storage: LocalStorage) -> None:
    """No ledger could hold it; the registration would fail half-way."""
    storage.root.mkdir(parents=True)

    with pytest.raises(UnsafePath, match="not valid Unicode"):
        storage.key_of(storage.root / os.fsdecode(b"bad\xff.png"))


# -- reading ------------------------------------------------------------------------------------------


def test_a_small_file_is_read_with_its_stat(storage: LocalStorage) -> None:
    """A sidecar could change between its bytes and its stat."""
    fill(storage, "a.json")

    found = storage.read("a.json", 100)

    assert found == (b"a.json", storage.stat("a.json"))
    assert storage.read("b.json", 100) is None
    assert storage.read("a.json/b.json", 100) is None


def test_a_file_at_the_limit_is_read_and_one_above_is_refused(storage: LocalStorage) -> None:
    """A sidecar of some gigabytes would fill the memory."""
    storage.write("a.json", b"x" * 100, Writes())

    assert storage.read("a.json", 100) is not None
    with pytest.raises(SourceUnreadable, match="100 bytes, the limit sidecar_bytes is 99"):
        storage.read("a.json", 99)


@posix_only
def test_a_link_is_not_read_in_place_of_a_file(storage: LocalStorage, outside: Path) -> None:
    """Any file of the user could be shown through a link that calls itself a sidecar."""
    storage.root.mkdir(parents=True)
    (outside / "secret").write_bytes(b"{}")
    storage.path("a.json").symlink_to(outside / "secret")

    with pytest.raises(SourceUnreadable, match="this is a link, not a file"):
        storage.read("a.json", 100)

    assert storage.stat("a.json") is None
    assert storage.exists("a.json")


def test_stat_is_for_regular_files_only(storage: LocalStorage) -> None:
    """A folder named like an asset would count as its file."""
    fill(storage, "folder/a.png")

    assert storage.stat("folder") is None
    assert storage.stat("gone") is None
    assert storage.stat("a\0b") is None
    assert storage.stat("folder/a.png") is not None


@posix_only
def test_what_is_no_file_is_refused_at_once_with_a_word_for_it(tmp_path: Path) -> None:
    """A pipe would be waited for until somebody writes to it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    expected = {"pipe": "a pipe", "circle": "in a circle", "nowhere": "leads nowhere", ".": "a folder"}

    for name, why in expected.items():
        with pytest.raises(SourceUnreadable, match=why), open_source(tmp_path / name):
            pass
    with pytest.raises(SourceUnreadable, match="a device"), open_source(Path("/dev/null")):
        pass
    with (
        pytest.raises(SourceUnreadable, match="a link, not"),
        open_source(tmp_path / "nowhere", follow_links=False),
    ):
        pass
    for missing in (tmp_path / "gone", tmp_path / "pipe" / "x", tmp_path / "a\0b"):
        with pytest.raises(SourceMissing, match="no such file"), open_source(missing):
            pass


@linux_only
def test_what_is_refused_is_not_left_open(tmp_path: Path) -> None:
    """A long ingest over many folders would run out of open files."""
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))

    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")) * 5:
        with pytest.raises(SourceUnreadable), open_source(path):
            pass

    assert len(list(Path("/proc/self/fd").iterdir())) == before


@posix_only
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would come out as a fault that nobody understands."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

        with pytest.raises(SourceUnreadable, match="socket or pipe"), open_source(tmp_path / "socket"):
            pass


def test_a_name_that_is_too_long_for_the_system_is_named(tmp_path: Path) -> None:
    """The user would see a traceback."""
    with pytest.raises(SourceUnreadable, match="can't be read"), open_source(tmp_path / ("x" * 5000)):
        pass


@pytest.mark.parametrize("change", [b"other", b"longer than before"])
def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path, change: bytes) -> None:
    """What is hashed would not be what is stored."""
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    os.utime(path, ns=(0, 0))

    with open_source(path) as source:
        source.check_unchanged()
        path.write_bytes(change)

        with pytest.raises(SourceChanged):
            source.check_unchanged()


# -- walk ---------------------------------------------------------------------------------------------


def test_a_walk_gives_every_file_in_one_order_and_leaves_our_own_out(storage: LocalStorage) -> None:
    """Two rebuilds would number assets differently, or register mirrors and trash as assets."""
    keys = ["b/z.png", "b/a.png", "a.png", "夏/é.png", "b/c/d.png", "b/_meta/x.png", ".hidden/x.png"]
    fill(storage, *keys, "_meta/a.json")
    storage.ensure()
    skipped: list[tuple[str, str]] = []

    found = dict(storage.walk(skipped))

    assert list(found) == [
        ".hidden/x.png",
        "a.png",
        "b/_meta/x.png",
        "b/a.png",
        "b/c/d.png",
        "b/z.png",
        "夏/é.png",
    ]
    assert found["a.png"] == storage.stat("a.png")
    assert skipped == []


@posix_only
def test_a_walk_skips_links_pipes_and_sockets_and_names_them(storage: LocalStorage, outside: Path) -> None:
    """A link would bring files from outside in, a circle of links would never end."""
    fill(storage, "a/x.png")
    (outside / "secret.png").write_bytes(b"x")
    storage.path("a/file-link.png").symlink_to(outside / "secret.png")
    storage.path("a/folder-link").symlink_to(outside)
    storage.path("a/circle").symlink_to(storage.root)
    os.mkfifo(storage.path("a/pipe"))
    skipped: list[tuple[str, str]] = []

    found = [key for key, _ in storage.walk(skipped)]

    assert found == ["a/x.png"]
    assert [key for key, _ in skipped] == ["a/circle", "a/file-link.png", "a/folder-link", "a/pipe"]
    assert dict(skipped)["a/pipe"] == "a pipe, not a file"
    assert "a link" in dict(skipped)["a/folder-link"]


@posix_only
def test_a_walk_names_what_it_can_not_read_or_write_down(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder without permission, or one old file name, would stop a whole rebuild."""
    fill(storage, "a/x.png", "closed/y.png", "z.png")
    with open(os.fsencode(storage.root) + b"/a/bad\xff.png", "wb"):  # noqa: PTH123 - pathlib takes no bytes
        pass
    scan = os.scandir

    def refuse(folder: Path | int) -> object:
        if isinstance(folder, Path) and folder.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    skipped: list[tuple[str, str]] = []

    found = [key for key, _ in storage.walk(skipped)]

    assert found == ["a/x.png", "z.png"]
    assert skipped == [("a/bad?.png", "its name is not valid Unicode"), ("closed", "Permission denied")]


def test_a_root_that_is_gone_is_an_error_and_no_empty_library(storage: LocalStorage) -> None:
    """A drive that is not mounted would look like a library whose assets are all gone."""
    with pytest.raises(LibraryUnreachable):
        list(storage.walk([]))


# -- library.json -------------------------------------------------------------------------------------


def test_a_library_has_one_id_for_good(
    open_storage: Callable[..., LocalStorage], storage: LocalStorage
) -> None:
    """A ledger could not tell its library from another one."""
    assert not storage.root.exists()

    first = storage.ensure()

    assert storage.ensure() == first == storage.library_id() == open_storage().ensure("another")
    stored = json.loads((storage.root / ".comfyvn" / "library.json").read_text("utf-8"))
    assert stored["library"] == first
    assert storage.root.is_dir()


def test_a_lost_id_can_be_written_again(storage: LocalStorage) -> None:
    """A library restored from a backup would be a foreign one."""
    assert storage.library_id() is None

    assert storage.ensure("3f1a") == "3f1a"


def test_threads_that_make_one_library_agree_on_its_id(
    open_storage: Callable[..., LocalStorage], tmp_path: Path
) -> None:
    """Two programs started together would each hold the other's library for foreign."""
    for turn in range(30):
        found: list[str] = []

        def ensure(folder: Path = tmp_path / f"library{turn}", found: list[str] = found) -> None:
            found.append(open_storage(folder).ensure())

        run_all(*[ensure] * 6)

        assert len(found) == 6
        assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"library"'])
def test_a_damaged_id_file_is_named_and_kept(storage: LocalStorage, content: bytes) -> None:
    """A new id would make the ledger refuse its own library."""
    storage.ensure()
    path = storage.root / ".comfyvn" / "library.json"
    path.write_bytes(content)

    for use in (storage.ensure, storage.library_id):
        with pytest.raises(LibraryUnreachable, match=r"library\.json: this file is damaged"):
            use()

    assert path.read_bytes() == content


@pytest.mark.parametrize("is_in_place", [True, False])
def test_an_id_that_changes_under_a_running_program_is_noticed(
    storage: LocalStorage, is_in_place: bool
) -> None:
    """Another drive mounted there would get what belongs to the first one."""
    first = storage.ensure()
    path = storage.root / ".comfyvn" / "library.json"
    content = path.read_text("utf-8").replace(first, first[::-1])

    if is_in_place:
        path.write_text(content, "utf-8")
    else:
        (storage.root / "new.json").write_text(content, "utf-8")
        (storage.root / "new.json").replace(path)

    assert storage.library_id() == first[::-1]
    path.unlink()
    assert storage.library_id() is None


# -- staging ------------------------------------------------------------------------------------------


def staging_of(root: Path) -> list[str]:
    folder = root / ".comfyvn" / "staging"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_staged_file_that_is_not_placed_is_thrown_away(storage: LocalStorage) -> None:
    """Each failed registration would leave a copy of its file behind."""
    with staged(storage, b"x") as source:
        assert source.path.exists()

    assert not source.path.exists()
    assert source.file.closed
    source.discard()


def test_closing_takes_the_staging_folder_away_and_the_storage_can_still_be_used(
    storage: LocalStorage,
) -> None:
    """Every program that ran would leave a folder behind."""
    fill(storage, "a.png")
    assert len(staging_of(storage.root)) == 1

    storage.close()

    assert staging_of(storage.root) == []
    fill(storage, "b.png")
    assert storage.path("b.png").exists()


def test_a_forgotten_storage_takes_its_staging_folder_away(root: Path) -> None:
    """A program that forgets to close would leave a folder behind."""
    storage = LocalStorage(root)
    fill(storage, "a.png")

    del storage
    gc.collect()

    assert staging_of(root) == []


def test_a_staging_folder_that_somebody_removed_is_made_again(storage: LocalStorage) -> None:
    """Clearing ``.comfyvn`` by hand would stop a running program."""
    fill(storage, "a.png")
    for path in sorted((storage.root / ".comfyvn" / "staging").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    fill(storage, "b.png")

    assert storage.path("b.png").read_bytes() == b"b.png"


def test_threads_that_stage_first_together_keep_their_files(
    open_storage: Callable[..., LocalStorage], tmp_path: Path
) -> None:
    """Two staging folders would be made, and one swept with the files that are just being made in it."""
    for turn in range(20):
        storage = open_storage(tmp_path / f"library{turn}")
        made: list[Staged] = []

        run_all(*[lambda storage=storage, made=made: made.append(staged(storage, b"x"))] * 8)
        gc.collect()

        assert all(source.path.exists() for source in made)
        assert len(staging_of(storage.root)) == 1
        for source in made:
            source.discard()


STAGE_AND_WAIT = """
import sys
from pathlib import Path
from comfyvn.storage import LocalStorage
storage = LocalStorage(Path(sys.argv[1]))
staged = storage.stage()
staged.file.write(b"half a picture")
staged.file.flush()
print(staged.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start_stager(root: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], Path]]]:
    """Start programs that stage a file below the root and then wait."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE_AND_WAIT, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


@posix_only
def test_what_a_killed_process_staged_is_swept_by_the_next_and_a_living_ones_is_not(
    start_stager: Callable[[], tuple[subprocess.Popen[str], Path]], storage: LocalStorage
) -> None:
    """The disk would fill with halves of pictures, or a running ingest would lose its files."""
    killed, left_behind = start_stager()
    _, in_use = start_stager()
    killed.send_signal(signal.SIGKILL)
    killed.wait(TIMEOUT_S)
    assert left_behind.read_bytes() == in_use.read_bytes() == b"half a picture"

    storage.write("a.png", b"x", Writes())

    assert not left_behind.parent.exists()
    assert in_use.read_bytes() == b"half a picture"


def test_a_process_that_ends_by_itself_leaves_nothing(
    start_stager: Callable[[], tuple[subprocess.Popen[str], Path]], root: Path
) -> None:
    """A script without `close` would leave its staging folder until the next run."""
    process, path = start_stager()
    assert path.exists()

    process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0
    assert staging_of(root) == []


@pytest.mark.parametrize("has_lock", [False, True])
def test_a_folder_that_another_process_is_just_making_is_left_alone(
    has_lock: bool, storage: LocalStorage
) -> None:
    """Two programs started together would sweep each other: between making, opening and locking lies time."""
    newborn = storage.root / ".comfyvn" / "staging" / "4711-aaaaaaaa"
    dead = storage.root / ".comfyvn" / "staging" / "4711-bbbbbbbb"
    for folder in (newborn, dead):
        folder.mkdir(parents=True)
        if has_lock:
            (folder / "lock").touch()
    an_hour_ago = time.time() - 3600
    os.utime(dead, (an_hour_ago, an_hour_ago))

    storage.write("a.png", b"x", Writes())

    assert newborn.exists()
    assert not dead.exists()


def test_what_else_lies_in_the_staging_folder_does_no_harm(storage: LocalStorage) -> None:
    """One stray file would stop every registration."""
    stray = storage.root / ".comfyvn" / "staging" / ".DS_Store"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x")

    storage.write("a.png", b"x", Writes())

    assert storage.exists("a.png")


@posix_only
def test_a_forked_child_neither_uses_nor_takes_away_its_parents_staging_folder(storage: LocalStorage) -> None:
    """A worker that ends would delete the files that its parent is making."""
    source = staged(storage, b"parent's")

    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            mine = storage.stage()
            code = 0 if mine.path.parent != source.path.parent else 2
            mine.discard()
            storage.close()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    source.file.flush()
    assert source.path.read_bytes() == b"parent's"
    source.discard()


# -- durability ---------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the paths of what is synced to the disk, in order."""
    found: list[str] = []
    sync = os.fsync

    def note(number: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        sync(number)

    monkeypatch.setattr(os, "fsync", note)
    return found


@linux_only
def test_syncing_brings_every_written_file_and_every_folder_that_names_one_to_the_disk(
    storage: LocalStorage, synced: list[str]
) -> None:
    """What was reported as registered would be gone after a power cut."""
    storage.ensure()
    writes = Writes()

    with staged(storage, b"x") as source:
        storage.place(source, "a/b/mara.png", writes)
    storage.write("a/b/mara.png.asset.json", b"{}", writes)
    storage.create("top.json", b"{}", writes)
    assert synced == []
    writes.sync()

    root = str(storage.root)
    files = [f"{root}/a/b/mara.png", f"{root}/a/b/mara.png.asset.json", f"{root}/top.json"]
    assert sorted(synced) == sorted([*files, root, f"{root}/a", f"{root}/a/b"])


@linux_only
def test_what_is_synced_once_is_not_synced_again(storage: LocalStorage, synced: list[str]) -> None:
    """Every batch would sync all that came before it."""
    writes = Writes()
    storage.write("a.json", b"{}", writes)
    writes.sync()
    synced.clear()

    writes.sync()

    assert synced == []


@linux_only
def test_without_durability_nothing_is_synced_or_remembered(storage: LocalStorage, synced: list[str]) -> None:
    """Tests would take as long as the disk does."""
    writes = Writes(is_wanted=False)

    with staged(storage, b"x") as source:
        storage.place(source, "a/b/mara.png", writes)
    storage.write("a/b/mara.png.asset.json", b"{}", writes)
    writes.sync()

    assert synced == []
    assert (writes.files, writes.folders) == ([], set())


@linux_only
def test_a_file_that_was_taken_back_meanwhile_is_no_trouble_for_the_rest(
    storage: LocalStorage, synced: list[str]
) -> None:
    """One failed registration would fail its whole batch."""
    writes = Writes()
    fill_keys = ("a.json", "b.json")
    for key in fill_keys:
        storage.write(key, b"{}", writes)
    storage.delete("a.json")

    writes.sync()

    assert str(storage.path("b.json")) in synced


def test_a_placed_file_may_be_read_as_other_new_files_may(storage: LocalStorage, tmp_path: Path) -> None:
    """A web server or a colleague in the group could not read the assets."""
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"x")

    fill(storage, "a.png")

    assert stat.S_IMODE(storage.path("a.png").stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)
