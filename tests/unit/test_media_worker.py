"""Workers: decoders in processes of their own, which may crash, hang, eat memory and print what they like."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import troublesome
from comfyvn.errors import SourceChanged
from comfyvn.media import PreviewLimits, process
from comfyvn.media.isolation import Workers
from comfyvn.media.worker import Channel, Garbled, Job, Made, make
from support import TIMEOUT_S, run_all

Ask = Callable[..., Made]
MEMORY = 400 << 20


@pytest.fixture(params=["socket", "pipes"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Workers that get their files as on Linux and macOS, and as on Windows."""
    made = Workers(by_descriptor=request.param == "socket")
    yield made
    made.close()


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the troublesome format; its log is ``log``."""
    monkeypatch.syspath_prepend(troublesome.install(tmp_path / "site"))
    monkeypatch.setenv(troublesome.LOG, str(tmp_path / "log"))


@pytest.fixture
def ask(tmp_path: Path, trouble: None, workers: Workers) -> Ask:
    """Have a file of the troublesome format looked at."""

    def ask_one(what: str, *, by: Workers = workers, **limits: Any) -> Made:
        path = tmp_path / f"{what}.trouble"
        path.write_bytes(troublesome.content(what))
        job = Job(path.name, "thumbnail", **{"memory_bytes": MEMORY, "time_s": TIMEOUT_S, **limits})
        with path.open("rb", buffering=0) as file:
            return by.make(file, path, job)

    return ask_one


@pytest.fixture
def seen(tmp_path: Path) -> Callable[[], list[int]]:
    """Tell which processes made the previews so far."""

    def read() -> list[int]:
        return [int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines()]

    return read


def is_gone(pid: int) -> bool:
    """Wait till a process ended, also if it is nobody's child any more."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


# -- what is made -----------------------------------------------------------------------------------------


def test_a_worker_makes_what_would_be_made_here(tmp_path: Path, workers: Workers) -> None:
    """A preview would depend on where it is made."""
    path = tmp_path / "a.png"
    Image.effect_noise((900, 700), 60).save(path)
    job = Job("a.png", "thumbnail", PreviewLimits(pixels=700_000))

    with path.open("rb", buffering=0) as file:
        made = workers.make(file, path, job)
        refused = workers.make(file, path, Job("a.png", "thumbnail", PreviewLimits(pixels=1_000)))
        here = make(file, job)

    assert made == here
    assert set(made.files) == {"256", "512"}
    assert made.failure is None
    assert "900 x 700 pixels" in str(refused.failure)


def test_facts_are_told_beside_the_preview_and_without_one(ask: Ask) -> None:
    """A picture that can't be shown would have no size either."""
    good, failed = ask("well"), ask("fail")

    assert good.facts == {"width": 1, "codec": "well", "height": 1}
    assert failed.facts == {"width": 1, "codec": "fail"}
    assert failed.failure == "the format trouble failed on it (RuntimeError)"


def test_facts_alone_can_be_asked_for(tmp_path: Path, ask: Ask, workers: Workers) -> None:
    """What has no preview could tell nothing."""
    ask("well")
    path = tmp_path / "well.trouble"

    with path.open("rb", buffering=0) as file:
        made = workers.make(file, path, Job("well.trouble", None))

    assert made == Made(facts={"width": 1, "codec": "well"})


def test_facts_that_can_not_be_recorded_are_left_out(ask: Ask) -> None:
    """One odd fact of a stranger's format would cost all others, or the whole sidecar."""
    assert ask("odd-facts").facts == {"width": 1, "height": 1}


@pytest.mark.parametrize("what", ["no-preview", "text-files"])
def test_what_is_no_preview_is_a_failure(ask: Ask, what: str) -> None:
    """A stranger's mistake would end the worker, and be told as a crash."""
    assert ask(what).failure == "the format made something that is no preview"


# -- trouble ----------------------------------------------------------------------------------------------

REASONS = {
    "crash": "the decoder crashed (signal SIGSEGV)",
    "abort": "the decoder crashed (signal SIGABRT)",
    "exit": "the decoder ended the process that it ran in (exit code 3)",
    "quit": "the decoder ended the process that it ran in (exit code 1)",
    "scribble": "the decoder disturbed the process that it ran in",
    "killed-always": "the process that decoded it was killed (signal SIGKILL), perhaps for want of memory",
}


@pytest.mark.parametrize("what", REASONS)
def test_a_decoder_that_ends_its_process_costs_one_preview(ask: Ask, what: str) -> None:
    """It would end the program, and everything that was being registered."""
    before, made, after = ask("well"), ask(what), ask("well")

    assert made.failure == REASONS[what]
    assert made.facts == {"width": 1, "codec": what}
    assert before.failure is None
    assert before == after


@pytest.mark.parametrize("what", ["hang", "hang-deaf", "spin", "hang-up", "move-out"])
def test_a_decoder_that_does_not_end_is_stopped(
    ask: Ask, seen: Callable[[], list[int]], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file would hold up all previews for ever."""
    monkeypatch.setattr(process, "_END_S", 1.0)
    ask("well")  # so that no start of Python counts

    made = ask(what, time_s=0.5)

    assert made.failure == "it took longer than 0.5 s"
    assert all(is_gone(pid) for pid in seen())
    assert ask("well").failure is None


def test_a_reason_is_one_sentence_that_can_be_recorded(ask: Ask) -> None:
    """A stranger's reason could not be written down, or would fill sidecars and terminals."""
    failure = ask("chatter").failure

    assert failure is not None
    assert failure.startswith("?www")
    assert len(failure) == 500


def test_a_crash_while_facts_are_told_costs_one_preview(ask: Ask) -> None:
    """Only half of a decoder's work would be kept apart."""
    made = ask("crash-at-once")

    assert (made.failure, made.facts) == ("the decoder crashed (signal SIGSEGV)", {})


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts memory so that it can be limited")
def test_a_decoder_that_eats_memory_is_refused_it(ask: Ask) -> None:
    """A picture of a few bytes would fill the memory of the machine."""
    made, more = ask("eat"), ask("eat", memory_bytes=3 << 30)

    assert made.failure == "it needs more than 400 MiB of memory"
    assert more.failure == "it needs more than 3 GiB of memory"
    assert made.facts == {"width": 1, "codec": "eat"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts memory so that it can be limited")
def test_what_earlier_files_leaked_is_not_blamed_on_a_file(ask: Ask, seen: Callable[[], list[int]]) -> None:
    """The hundredth file of a leaking decoder would fail, and the next time another one."""
    made = [ask("leak") for _ in range(4)]

    assert [each.failure for each in made] == [None] * 4
    assert len(set(seen())) == 2


def test_what_decoders_print_disturbs_nothing(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """A library's warning would be taken for an answer, or the worker wait for ever to be read."""
    with caplog.at_level(logging.DEBUG, "comfyvn.media.process"):
        made = ask("shout")
        ask("crash")

    assert made == ask("shout")
    assert made.failure is None
    assert "garbage" in caplog.text
    assert "Segmentation fault" in caplog.text


def test_a_worker_that_is_killed_from_outside_is_not_the_files_fault(ask: Ask) -> None:
    """A good picture would count as broken because the system was tidied up at that moment."""
    assert ask("killed-once").failure is None


def test_a_worker_that_ended_while_it_had_nothing_to_do_is_replaced(
    ask: Ask, seen: Callable[[], list[int]]
) -> None:
    """The next file would get the blame."""
    ask("well")
    os.kill(seen()[0], signal.SIGKILL)

    assert ask("well").failure is None
    assert len(set(seen())) == 2


# -- the processes ------------------------------------------------------------------------------------------


def test_a_worker_serves_many_files_and_then_makes_place(
    ask: Ask, seen: Callable[[], list[int]], workers: Workers
) -> None:
    """Each file would cost a start, or what decoders leak would grow without end."""
    few = Workers(jobs_of_one=3)
    for _ in range(4):
        ask("well")
    for _ in range(4):
        ask("well", by=few)
    few.close()

    assert [len(set(part)) for part in (seen()[:4], seen()[4:7], seen()[6:])] == [1, 1, 2]
    assert all(is_gone(pid) for pid in seen()[4:])


def test_as_many_workers_as_callers(ask: Ask, seen: Callable[[], list[int]], workers: Workers) -> None:
    """Every preview would start a process more, or all would wait for one."""
    for _ in range(3):
        run_all(lambda: ask("well"), lambda: ask("crash"))

    assert len(workers._all) <= 2
    workers.close()
    assert all(is_gone(pid) for pid in seen())


def test_a_worker_that_nobody_asks_ends(
    ask: Ask, seen: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor that is left open over night would keep its decoders loaded."""
    monkeypatch.setattr(process, "_IDLE_S", 0.1)

    ask("well")

    assert is_gone(seen()[0])
    assert ask("well").failure is None


def test_a_hosts_time_out_for_sockets_does_not_matter(ask: Ask) -> None:
    """A program that sets one for its downloads would break the previews."""
    socket.setdefaulttimeout(0.001)
    try:
        made = ask("well")
    finally:
        socket.setdefaulttimeout(None)

    assert made.failure is None


def test_another_file_at_the_path_is_not_looked_at(tmp_path: Path) -> None:
    """Where a worker opens files by their path, it would show another asset's picture."""
    workers, path = Workers(by_descriptor=False), tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "b.png")

    with path.open("rb", buffering=0) as file:
        (tmp_path / "b.png").replace(path)
        with pytest.raises(SourceChanged):
            workers.make(file, path, Job("a.png", "thumbnail"))

    workers.close()


def test_an_open_file_is_looked_at_wherever_it_is_moved(tmp_path: Path) -> None:
    """A preview would fail because its asset was renamed at that moment."""
    workers, path = Workers(), tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)

    with path.open("rb", buffering=0) as file:
        path.rename(tmp_path / "b.png")
        made = workers.make(file, path, Job("a.png", "thumbnail"))

    workers.close()
    assert made.failure is None


CHILD = """
import os, sys
from pathlib import Path
from comfyvn.media.isolation import WORKERS
from comfyvn.media.worker import Job

def ask():
    with open(sys.argv[1], "rb", buffering=0) as file:
        return WORKERS.make(file, Path(sys.argv[1]), Job("a.trouble", "thumbnail")).failure

assert ask() is None
child = os.fork()
if child == 0:
    assert ask() is None
    print("child is done", flush=True)
    sys.stdin.read()
    os._exit(0)
assert ask() is None
print("parent is done", flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_workers_of_its_own(
    trouble: None, tmp_path: Path, seen: Callable[[], list[int]]
) -> None:
    """Two processes would talk to one worker, and it would outlive the one that it belongs to."""
    (tmp_path / "a.trouble").write_bytes(troublesome.content("well"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "a.trouble")],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        told = sorted([run.stdout.readline(), run.stdout.readline()])
        first, second = sorted(set(seen()), key=seen().index)
        code, is_first_gone = run.wait(TIMEOUT_S), is_gone(first)  # while the child lives on
        run.stdin.close()  # type: ignore[union-attr]
        is_second_gone = is_gone(second)

    assert told == ["child is done\n", "parent is done\n"]
    assert code == -signal.SIGKILL
    assert seen().count(first) == 2
    assert (is_first_gone, is_second_gone) == (True, True)


# -- where no worker can be had -----------------------------------------------------------------------------


def not_python(folder: Path) -> str:
    return str(folder / "blender")


def nowhere(folder: Path) -> str:
    return str(folder / "python3")


def mute(folder: Path) -> str:
    path = folder / "python-mute"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return str(path)


def rude(folder: Path) -> str:
    path = folder / "python-rude"
    path.write_text("#!/bin/sh\necho 'this program is not yours' >&2; printf 'hello world' >&0; sleep 600\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
@pytest.mark.parametrize("program", [not_python, nowhere, mute, rude])
def test_where_no_worker_can_be_started_the_work_is_done_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    program: Callable[[Path], str],
) -> None:
    """A program with a Python built in would start itself again for each file, or have no previews."""
    monkeypatch.setattr(sys, "executable", program(tmp_path))
    workers, path = Workers(), tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)

    with path.open("rb", buffering=0) as file:
        made = [workers.make(file, path, Job("a.png", "thumbnail")) for _ in range(3)]

    assert [each.failure for each in made] == [None] * 3
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "no worker process can be started" in told[0]


def test_a_worker_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that runs while comfyvn is updated would talk to a stranger."""
    monkeypatch.setattr(process, "greeting", lambda: {"comfyvn": "0.0.1", "python": sys.version})
    workers, path = Workers(), tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)

    with path.open("rb", buffering=0) as file:
        assert workers.make(file, path, Job("a.png", "thumbnail")).failure is None

    assert workers._all == set()


def test_a_project_with_modules_of_its_own_is_not_run(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded project with a file named PIL.py would run its code when it is looked at."""
    for name in ("PIL", "numpy", "json", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("open('was-run', 'w').close()\nraise SystemExit('no')\n")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)

    with path.open("rb", buffering=0) as file:
        made = workers.make(file, path, Job("a.png", "thumbnail"))

    assert made.failure is None
    assert not list(tmp_path.rglob("was-run"))


# -- messages -----------------------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[Channel, int]]:
    """A channel, and the descriptor at its other end."""
    ours, theirs = socket.socketpair()
    channel = Channel(*[ours.detach()] * 2)
    yield channel, theirs.fileno()
    channel.close()
    theirs.close()


@pytest.mark.parametrize(
    "message",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x02{}",
        b"\0\0\0\x02[]",
        b'\0\0\0\x0c{"sizes":1}  ',
        b'\0\0\0\x0e{"sizes":[-1]}',
        b'\0\0\0\x10{"sizes":[true]}',
        b'\0\0\0\x18{"sizes":[99999999999]} ',
        b"\0\0\xff\xff" + b"[" * 65_535,
    ],
)
def test_what_is_no_message_is_refused(line: tuple[Channel, int], message: bytes) -> None:
    """A broken decoder could make us wait for, or hold, any number of bytes."""
    channel, other = line
    os.write(other, message)

    with pytest.raises(Garbled):
        channel.receive()


def test_the_end_of_the_line_is_told(line: tuple[Channel, int]) -> None:
    """Half an answer would be taken for a whole one."""
    channel, other = line
    os.write(other, b'\0\0\0\x0d{"sizes":[5]}' + b"half")
    with socket.socket(fileno=os.dup(other)) as end:
        end.shutdown(socket.SHUT_RDWR)

    with pytest.raises(EOFError):
        channel.receive()
