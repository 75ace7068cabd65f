"""What several test modules do the same way."""

from __future__ import annotations

import threading
from collections.abc import Callable

TIMEOUT_S = 60.0


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
