"""The sources of the page: their unit tests, their types, and those of the server's answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "tools" / "web.py"
LIMIT_S = 240
SHOWN = 4_000


@pytest.mark.timeout(LIMIT_S + 60)
@pytest.mark.parametrize("what", ["check", "test"])
def test_the_sources_pass_their_own_checks(what: str) -> None:
    """A page that is wrong in itself would be found wrong by its users, or not fit the server's answers."""
    command = [sys.executable, str(WEB), what]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CI": "true", "NO_COLOR": "1"},
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started: a test may turn for ever

    assert process.returncode == 0, said[-SHOWN:]
