"""Previews, made behind the call: a bounded pool of threads that the whole process shares."""

from __future__ import annotations

import heapq
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, Literal

from comfyvn import media
from comfyvn.errors import ComfyVNError, SourceChanged, SourceMissing, StorageUnwritable
from comfyvn.media.isolation import WORKERS
from comfyvn.media.worker import Job
from comfyvn.model import Asset, Preview, PreviewKind, preview_names
from comfyvn.sidecar import describe_preview
from comfyvn.storage import Writes
from comfyvn.studio.core.facts import OF_STRUCTURE, has_facts, keep_facts
from comfyvn.studio.core.library import Library

__all__ = ["POOL", "PreviewNeed", "PreviewPool", "build_preview", "need_of", "renew"]

_log = logging.getLogger(__name__)
_QUEUE_LIMIT: Final = 512
_NOTE_EVERY: Final = 64
_LONG: Final = 6
_WORTH_A_START: Final = 16 << 20
"""Pictures of so many bytes take longer to decode than a worker process takes to start."""
_PACKED_SOUND: Final = 8
_THREAD_NAME: Final = "comfyvn-preview"
_TURNS: Final[tuple[PreviewKind, ...]] = ("thumbnail", "animation", "waveform")


class PreviewPool:
    """Makes previews in the background and notes in the ledger what became of them.

    Pictures come first, then what moves, then sound: decoding music takes long, and pictures are looked at.
    One more worker is used only when that much waits that its start is worth it. At most ``_QUEUE_LIMIT``
    previews wait; then `submit` waits. What is still waiting when the process is killed stays ``pending`` in
    the ledger and is made by the next ingest or rebuild.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Condition()
        self._executor: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._unfinished = 0
        self._is_cancelled = False
        self._made: list[tuple[Library, Asset]] = []
        self._waiting: list[tuple[int, int, Library, Asset]] = []
        self._load = self._count = self._running = 0

    def submit(self, library: Library, assets: Iterable[Asset]) -> None:
        """Queue the previews of assets that are pending, and the facts of those that are ready without."""
        for asset in sorted(assets, key=_turn_of):
            is_bare = asset.preview.state == "ready" and not has_facts(asset)
            if asset.preview.kind is not None and (is_bare or asset.preview.state == "pending"):
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
            if self._is_another_worth_it(asset, library.config.preview_workers):
                self._executor.submit(self._drain)
                self._running += 1
            self._unfinished += 1
            self._count += 1
            self._load += _weight_of(asset)
            heapq.heappush(self._waiting, (_turn_of(asset), self._count, library, asset))

    def _is_another_worth_it(self, asset: Asset, most: int) -> bool:
        """Tell whether one more thread should work; its worker process may have to be started."""
        is_much = self._load + _weight_of(asset) >= _WORTH_A_START
        return self._running < most and (not self._running or is_much or WORKERS.has_idle())

    def _drain(self) -> None:
        """Make one preview after another till none waits."""
        while (waiting := self._next()) is not None:
            library, asset = waiting
            try:
                self._make(library, asset)
            except Exception:  # noqa: BLE001 - nobody asks this thread what became of it
                _log.exception("what became of previews could not be noted")
            with self._lock:
                self._load -= _weight_of(asset)

    def _next(self) -> tuple[Library, Asset] | None:
        with self._lock:
            if not self._waiting:
                self._running -= 1
                return None
            _, _, library, asset = heapq.heappop(self._waiting)
        return library, asset

    def _make(self, library: Library, asset: Asset) -> None:
        try:
            if not self._is_cancelled:
                made = build_preview(library, asset)
                with self._lock:
                    self._made.append((library, made))
        except Exception:  # noqa: BLE001 - decoders are foreign code: one bad file must not end the pool
            _log.exception("the preview of %s failed unexpectedly", asset.key)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Note results in batches; whoever is last notes all that is left before waiters are woken."""
        try:
            while batch := self._take_made():
                try:
                    for library in {library for library, _ in batch}:
                        _note_each(library, [asset for owner, asset in batch if owner is library])
                except ComfyVNError as error:
                    _log.warning("%d previews are made but could not all be noted: %s", len(batch), error)
        except BaseException:
            self._count_down()
            raise

    def _take_made(self) -> list[tuple[Library, Asset]]:
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


PreviewNeed = Literal["ready", "missing", "failed", "none"]
"""What a preview needs: nothing; to be made, or its file to be looked at; another try; there is none."""


def _turn_of(asset: Asset) -> int:
    """Return how soon a preview is made; facts alone are asked for last."""
    kind = asset.preview.kind
    return _TURNS.index(kind) if kind in _TURNS and asset.preview.state != "ready" else len(_TURNS)


def _weight_of(asset: Asset) -> int:
    """Return about how many bytes of still pictures take as long to decode."""
    if asset.preview.kind == "animation":
        return max(asset.size_bytes, _WORTH_A_START)
    is_packed = asset.preview.kind == "waveform" and asset.media.get("format") != "wav"
    return asset.size_bytes * _PACKED_SOUND if is_packed else asset.size_bytes


def need_of(library: Library, asset: Asset) -> PreviewNeed:
    """Tell what the preview of an asset needs, by its row and the files of the cache."""
    preview = asset.preview
    if asset.missing_since is not None:
        return "none"
    if not asset.media:  # an older version registered it, and nobody has looked
        return "missing"
    if preview.kind is None:
        return "none"
    is_current = preview.recipe == media.RECIPES[preview.kind]
    if not is_current or preview.state not in ("ready", "failed"):
        return "missing"
    if preview.state == "failed":
        return "failed"
    is_whole = all(path.is_file() for path in library.preview_paths(asset))
    return "ready" if is_whole and has_facts(asset) else "missing"


def renew(library: Library, asset: Asset, *, is_forced: bool = False) -> None:
    """Have the preview of an asset made that its file wants today, and its facts read.

    A preview that is there and current is left, unless ``is_forced``.

    Raises:
        SourceMissing, SourceChanged, OutsideLibrary, OSError: its file can't be read.
    """
    with library.storage.open(asset.key) as source:
        look = media.look(source.file, name=asset.key)
    preview = library.planned_preview(asset.uid, look.preview_kind)
    if not is_forced and asset.preview == replace(preview, state="ready"):
        is_whole = all(path.is_file() for path in library.preview_paths(asset))
        preview = asset.preview if is_whole else preview
    told = library.first_media(look, is_in_place=asset.is_in_place)
    planned = replace(asset, preview=preview, media={**asset.media, **told})
    if preview.state in ("none", "failed"):
        _note(library, [planned])
    else:
        POOL.submit(library, [planned])


def build_preview(library: Library, asset: Asset) -> Asset:
    """Make the files of one asset's preview and ask its file for facts; return the asset with both.

    A preview that is ready already is left, and only the facts are asked for, where these are told without
    decoding. One that fails says why. On a full or read-only disk, and where the file was just changed or
    moved away (another asset's may lie there now), it stays pending: the next ingest or rebuild tries again.
    """
    preview = asset.preview
    assert preview.kind is not None
    wanted = None if preview.state == "ready" and not _is_decoded_for_facts(asset) else preview.kind
    try:
        with library.storage.open(asset.key) as source:
            if asset.file not in (None, source.stat):
                raise SourceChanged(path=asset.key)
            made = WORKERS.make(source.file, source.path, _job(library, asset.key, wanted))
        told = {name: asset.media[name] for name in OF_STRUCTURE if name in asset.media}
        asset = replace(asset, media={**made.facts, **told, "recipe": media.FACTS_RECIPE})
        if wanted is None:
            if made.failure is None:
                keep_facts(library, asset)
            return asset
        names = preview_names(asset.uid, wanted)
        why = made.failure
        if why is None and made.files.keys() != names.keys():
            why = "the format made other files than such a preview has"
        if why is not None:
            return replace(asset, preview=Preview(wanted, "failed", why, preview.recipe))
        for size, data in made.files.items():
            library.thumbs.write(names[size], data, Writes(is_wanted=False))
    except StorageUnwritable as error:
        why = f"the preview could not be written: {error.fields['why']}; the next rebuild makes it"
        return replace(asset, preview=replace(preview, state="pending", reason=why))
    except (SourceMissing, SourceChanged):
        why = "its file was changed or moved meanwhile; the next rebuild looks for it"
        return replace(asset, preview=replace(preview, state="pending", reason=why))
    except ComfyVNError as error:
        return replace(asset, preview=Preview(preview.kind, "failed", str(error), preview.recipe))
    except OSError as error:
        why = f"the preview could not be written: {error.strerror or error}"
        return replace(asset, preview=Preview(preview.kind, "failed", why, preview.recipe))
    keep_facts(library, asset)
    return replace(asset, preview=replace(preview, state="ready", recipe=media.RECIPES[wanted]))


def _is_decoded_for_facts(asset: Asset) -> bool:
    """Tell a file whose facts are whole only after it was decoded, as for its preview: loudness, for one."""
    return asset.preview.kind == "waveform" or asset.media.get("format") == "jxl"


def _job(library: Library, key: str, kind: PreviewKind | None) -> Job:
    """Return what a worker is told; sound and film are long, and read from one end to the other."""
    config = library.config
    time_s = config.preview_time_s * (1 if kind == "thumbnail" else _LONG)
    limits = media.PreviewLimits(pixels=config.preview_pixels)
    return Job(key, kind, limits, time_s, config.preview_memory_bytes)


def _note_each(library: Library, batch: list[Asset]) -> None:
    """Note a batch; where one of it can't be noted for a reason that nobody thought of, the others are."""
    try:
        _note(library, batch)
    except ComfyVNError:
        raise
    except Exception:  # noqa: BLE001 - what foreign code told of one file must not cost the others theirs
        if len(batch) == 1:
            _log.exception("the preview of %s is made but could not be noted", batch[0].key)
            return
        for asset in batch:
            _note_each(library, [asset])


def _note(library: Library, batch: list[Asset]) -> None:
    """Write what became of previews into the ledger, and what their sidecars tell of them into those."""
    done = {asset.uid: asset for asset in batch if asset.preview.state != "pending"}
    waiting = [asset for asset in batch if asset.preview.state == "pending"]
    library.preview_failures.extend((asset.key, asset.preview.reason or "") for asset in waiting)
    told: dict[str, Asset] = {}
    if done:
        with library.ledger.write(is_durable=False) as rows:
            known = {asset.uid: asset for asset in rows.assets(list(done)) if _is_of(done[asset.uid], asset)}
            told = {
                uid: done[uid]
                for uid, asset in known.items()
                if describe_preview(done[uid]) != describe_preview(asset)
            }
            quiet = [asset for uid, asset in known.items() if uid not in told]
            rows.set_previews([_with_preview(asset, done[asset.uid]) for asset in quiet])
    failed = [asset for asset in done.values() if asset.preview.state == "failed"]
    library.preview_failures.extend((asset.key, asset.preview.reason or "") for asset in failed)
    if told:
        _tell(library, told)


def _is_of(made: Asset, now: Asset) -> bool:
    """Tell whether a preview is of the content that the asset has now."""
    return made.version == now.version


def _with_preview(now: Asset, made: Asset) -> Asset:
    return replace(now, preview=made.preview, media=made.media)


def _tell(library: Library, told: Mapping[str, Asset]) -> None:
    """Note previews that the sidecars must tell of: another kind or recipe, or the reason of a failure."""
    with library.transaction(wait=False) as change:
        for asset in change.rows.assets(list(told)):
            made = told[asset.uid]
            if _is_of(made, asset):
                old = library.preview_paths(asset) if asset.preview.recipe else []  # 0: an older release's
                asset = _with_preview(asset, made)
                for path in set(old) - set(library.preview_paths(asset)):
                    path.unlink(missing_ok=True)
                change.update(library.change_one(change, asset, asset.facts, force=True))
