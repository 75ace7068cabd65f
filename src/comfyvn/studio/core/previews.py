"""Previews, made behind the call: a bounded pool of threads that the whole process shares."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from comfyvn import media
from comfyvn.errors import ComfyVNError, SourceChanged, SourceMissing, StorageUnwritable
from comfyvn.media.isolation import WORKERS
from comfyvn.media.worker import Job
from comfyvn.model import Asset, Preview, PreviewKind, preview_names
from comfyvn.storage import Writes
from comfyvn.studio.core.library import Library

__all__ = ["POOL", "PreviewPool", "build_preview"]

_log = logging.getLogger(__name__)
_QUEUE_LIMIT: Final = 512
_NOTE_EVERY: Final = 64
_LONG: Final = 6
_THREAD_NAME: Final = "comfyvn-preview"


class PreviewPool:
    """Makes previews in the background and notes in the ledger what became of them.

    At most ``_QUEUE_LIMIT`` previews wait; then `submit` waits. What is still waiting when the process is
    killed stays ``pending`` in the ledger and is made by the next ingest or rebuild.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Condition()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._unfinished = 0
        self._is_cancelled = False
        self._made: list[tuple[Library, Asset, Preview]] = []

    def submit(self, library: Library, assets: Iterable[Asset]) -> None:
        """Queue the previews of assets whose preview is pending."""
        for asset in assets:
            if asset.preview.state == "pending":
                self._submit(library, asset)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait till every queued preview is made and noted; False when the time is up before that."""
        with self._lock:
            return self._lock.wait_for(lambda: self._unfinished == 0, timeout_s)

    def cancel(self) -> None:
        """Give up what is waiting (it stays pending) and wait for what is being made."""
        with self._lock:
            self._is_cancelled = True
        self.wait()
        self._is_cancelled = False

    # -- inside ---------------------------------------------------------------------------------------

    def _submit(self, library: Library, asset: Asset) -> None:
        if self._pid != os.getpid():  # a forked child has none of the parent's threads
            self._reset()
        with self._lock:
            if self._executor is None:
                workers = library.config.preview_workers
                self._executor = ThreadPoolExecutor(workers, thread_name_prefix=_THREAD_NAME)
            if not threading.current_thread().name.startswith(_THREAD_NAME):
                self._lock.wait_for(lambda: self._unfinished < _QUEUE_LIMIT)
            self._unfinished += 1
            self._executor.submit(self._run, library, asset)

    def _run(self, library: Library, asset: Asset) -> None:
        try:
            if not self._is_cancelled:
                preview = build_preview(library, asset)
                with self._lock:
                    self._made.append((library, asset, preview))
        except Exception:  # noqa: BLE001 - decoders are foreign code: one bad file must not end the pool
            _log.exception("the preview of %s failed unexpectedly", asset.key)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Note results in batches; whoever is last notes all that is left before waiters are woken."""
        try:
            while batch := self._take_made():
                try:
                    for library in {library for library, _, _ in batch}:
                        _note(library, [(asset, made) for owner, asset, made in batch if owner is library])
                except ComfyVNError as error:
                    _log.warning("%d previews are made but could not all be noted: %s", len(batch), error)
        except BaseException:
            self._count_down()
            raise

    def _take_made(self) -> list[tuple[Library, Asset, Preview]]:
        """Return what is to be noted now; nothing, and one unfinished less, where another will do it."""
        with self._lock:
            is_last = self._unfinished <= max(1, len(self._made))  # the others have put theirs down already
            batch = self._made if is_last or len(self._made) >= _NOTE_EVERY else []
            if batch:
                self._made = []
            else:
                self._count_down()  # under the same lock: nobody may put one down unseen in between
        return batch

    def _count_down(self) -> None:
        with self._lock:
            self._unfinished -= 1
            self._lock.notify_all()


POOL: Final = PreviewPool()


def build_preview(library: Library, asset: Asset) -> Preview:
    """Make the files of one asset's preview; return its new state, with the reason where it failed.

    On a full or read-only disk, and where the file was just changed or moved away (another asset's may lie
    there now), it stays pending: the next ingest or rebuild tries again.
    """
    preview = asset.preview
    assert preview.kind is not None
    try:
        with library.storage.open(asset.key) as source:
            if asset.file not in (None, source.stat):
                raise SourceChanged(path=asset.key)
            made = WORKERS.make(source.file, source.path, _job(library, asset.key, preview.kind))
        if made.failure is not None:
            return Preview(preview.kind, "failed", made.failure, preview.recipe)
        names = preview_names(asset.uid, preview.kind)
        if made.files.keys() != names.keys():
            why = "the format made other files than such a preview has"
            return Preview(preview.kind, "failed", why, preview.recipe)
        for size, data in made.files.items():
            library.thumbs.write(names[size], data, Writes(is_wanted=False))
    except StorageUnwritable as error:
        why = f"the preview could not be written: {error.fields['why']}; the next rebuild makes it"
        return replace(preview, state="pending", reason=why)
    except (SourceMissing, SourceChanged):
        why = "its file was changed or moved meanwhile; the next rebuild looks for it"
        return replace(preview, state="pending", reason=why)
    except ComfyVNError as error:
        return Preview(preview.kind, "failed", str(error), preview.recipe)
    except OSError as error:
        why = f"the preview could not be written: {error.strerror or error}"
        return Preview(preview.kind, "failed", why, preview.recipe)
    return replace(preview, state="ready", recipe=media.RECIPES[preview.kind])


def _job(library: Library, key: str, kind: PreviewKind) -> Job:
    """Return what a worker is told; sound and film are long, and read from one end to the other."""
    config = library.config
    time_s = config.preview_time_s * (1 if kind == "thumbnail" else _LONG)
    limits = media.PreviewLimits(pixels=config.preview_pixels)
    return Job(key, kind, limits, time_s, config.preview_memory_bytes)


def _note(library: Library, batch: list[tuple[Asset, Preview]]) -> None:
    """Write what became of previews into the ledger; failures and newer recipes into the sidecars too."""
    done = [(asset, preview) for asset, preview in batch if preview.state != "pending"]
    good = [(asset, made) for asset, made in done if made == replace(asset.preview, state="ready")]
    told = {asset.uid: (asset, made) for asset, made in done if made != replace(asset.preview, state="ready")}
    library.preview_failures.extend(
        (asset.key, preview.reason or "") for asset, preview in batch if preview.state == "pending"
    )
    if good:
        with library.ledger.write(is_durable=False) as rows:
            rows.set_previews([replace(asset, preview=preview) for asset, preview in good])
    if told:
        with library.transaction(wait=False) as change:
            for asset in change.rows.assets(list(told)):
                old, preview = told[asset.uid]
                if asset.version == old.version:
                    if preview.state == "failed":
                        library.preview_failures.append((asset.key, preview.reason or ""))
                    made = replace(asset, preview=preview)
                    change.update(library.change_one(change, made, asset.facts, force=True))
