"""The waveform preview: peaks of sound, and the JSON that holds them. NumPy alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Peaks", "encode", "peaks_of"]

_FINENESS = 128  # bins for each column, half of that right after a merge

_WIDEST_AT_FIRST = 128  # frames: 1.4 s are still drawn in 512 columns


class Peaks:
    """The peaks of sound whose length is not known before it ends.

    Peaks are kept in bins of one frame each. When all bins are full, neighbours merge and bins are twice as
    wide, so two hours take no more memory than a minute. A column of the waveform begins where a bin begins:
    exactly where it should up to 65,536 frames, at most 1/64 of a column before that beyond.

    Args:
        wanted: how many columns the waveform has at most.
        expected: how many frames there are by the header. Bins begin half as wide as those need, which saves
            most of the work. Where the header says far too much, they are wider than need be.
    """

    def __init__(self, wanted: int, expected: int = 0) -> None:
        import numpy as np

        self._wanted = max(1, wanted)
        self._bins: NDArray[Any] = np.zeros(self._wanted * _FINENESS)
        likely = 1 << max(0, (expected // (2 * len(self._bins))).bit_length() - 1)
        self._width = min(likely, _WIDEST_AT_FIRST)
        self.frames = 0

    def add(self, samples: NDArray[Any], interleaved: int = 1) -> None:
        """Add what comes next.

        Args:
            samples: one-dimensional, or one row a channel; whole numbers of their full width, or floats.
            interleaved: how many samples of a row make a frame.
        """
        import numpy as np

        left = samples.shape[-1] // interleaved
        scale = 1.0 if samples.dtype.kind == "f" else 2.0 ** -(8 * samples.dtype.itemsize - 1)
        at = 0
        while left:
            if self.frames == self._width * len(self._bins):
                self._merge()
            taken = min(left, self._width * len(self._bins) - self.frames)
            first = -self.frames % self._width  # where the next bin begins
            starts = np.arange(first, taken, self._width)
            if first:
                starts = np.concatenate([[0], starts])
            piece = samples[..., at * interleaved : (at + taken) * interleaved]
            peaks = peaks_of(piece, starts * interleaved) * scale
            bins = self._bins[self.frames // self._width :][: len(starts)]
            np.maximum(bins, peaks, out=bins)
            self.frames += taken
            at += taken
            left -= taken

    def points(self) -> list[float]:
        """Return the peak of each column; every frame counts in exactly one."""
        import numpy as np

        if not self.frames:
            return []
        used = self._bins[: -(-self.frames // self._width)]
        columns = min(self._wanted, len(used))
        starts = [column * self.frames // columns // self._width for column in range(columns)]
        points: list[float] = np.maximum.reduceat(used, starts).tolist()
        return points

    def _merge(self) -> None:
        merged = self._bins.reshape(-1, 2).max(axis=1)
        self._bins[: len(merged)] = merged
        self._bins[len(merged) :] = 0.0
        self._width *= 2


def peaks_of(samples: NDArray[Any], starts: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
    """Return the largest absolute value of each stretch that begins at one of ``starts``, over all rows.

    It is found in the samples' own width: the absolute value of the lowest number, which its own type does
    not have, is right as an unsigned one. The answer is in doubles. What is no finite number is silence.
    """
    import numpy as np

    heights = np.abs(samples)
    if samples.dtype.kind == "i":
        heights = heights.view(samples.dtype.str.replace("i", "u"))
    row = heights if heights.ndim == 1 else heights.max(axis=0)
    peaks: NDArray[Any] = np.maximum.reduceat(row, starts).astype(np.float64)
    if not np.isfinite(peaks).all():
        return peaks_of(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), starts)
    return peaks


def encode(points: Sequence[float], *, channels: int, sample_rate_hz: int, duration_s: float) -> bytes:
    """Return the waveform as JSON; its points are scaled to their largest, four decimals."""
    loudest = max(points, default=0.0)
    waveform = {
        "kind": "waveform",
        "channels": channels,
        "sample_rate": sample_rate_hz,
        "duration_s": round(duration_s, 6),
        "points": [round(point / loudest, 4) if loudest else 0.0 for point in points],
    }
    return json.dumps(waveform, separators=(",", ":"), allow_nan=False).encode("ascii")
