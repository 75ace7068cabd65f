"""What is measured: each case as ours and as the bare work, on the same files or on the same questions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cases_files
import cases_rows
import cases_serve
import kinds
import lineage
import rows
from measuring import Case, Job, once

_STARTS = 3
# Workers that make previews use one core each, and so must what is compared with them.
_AS_IN_A_WORKER = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def _kind(job: Job, name: str, make: Callable[[Path], None]) -> int:
    path = _kinds(job) / name
    make(path)  # loads the decoder
    with job.watch():
        make(path)
    return 1


def _kinds(job: Job) -> Path:
    return once(job.art / "kinds", kinds.make)


def _help(job: Job) -> int:
    return _start(job, "-m", "comfyvn", "--help")


def _show(job: Job) -> int:
    home = cases_rows.library(job)
    uid = rows.samples(home)[-1].uid
    return _start(job, "-m", "comfyvn", "--home", str(home), "show", uid)


def _python(job: Job) -> int:
    return _start(job, "-c", "pass")


def _start(job: Job, *arguments: str) -> int:
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, capture_output=True)  # the first start reads from the disk
    for _ in range(_STARTS):
        with job.watch():
            subprocess.run(command, check=True, capture_output=True)
    return _STARTS


CASES = {
    **cases_files.CASES,
    **cases_rows.CASES,
    **cases_serve.CASES,
    **lineage.CASES,
    "help": Case(_help, _python, "starts", goal=3.0),
    "show": Case(_show, _python, "starts", goal=8.0, prepare=cases_rows.library),
    **{
        f"kind:{name}": Case(
            partial(_kind, name=name, make=kinds.preview),
            partial(_kind, name=name, make=kinds.decode),
            prepare=_kinds,
            environment=_AS_IN_A_WORKER,
        )
        for name in kinds.names()
    },
}
