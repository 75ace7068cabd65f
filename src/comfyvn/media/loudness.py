"""Loudness of sound, integrated and gated. NumPy alone.

The filter of the standard is recursive; NumPy knows no such filters. So sound is cut into stretches of
0.1 s, at whose end all that rang before has died away (160 dB down), and these into blocks: what a block
makes of its samples, what it leaves ringing, and how that goes on are matrix products.

Format: ITU-R BS.1770-4, annex 1; its filters for other rates than 48 kHz as the analogue ones that they were
made from, by the bilinear transform.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Meter", "weight_of"]

_RATES_HZ: Final = range(4_000, 400_000)
"""Below there is no room for the filter, above are only damaged files."""
_CHANNELS: Final = 64
_BLOCKS: Final = range(20, 150)
# Frequencies in Hz with qualities, and gains, of the analogue filters.
_SHELF: Final = (1681.974450955533, 0.7071752369554196)
_SHELF_GAIN: Final = 10 ** (3.999843853973347 / 20)
_SHELF_MIDDLE: Final = _SHELF_GAIN**0.4996667741545416
_HIGH_PASS: Final = (38.13547087602444, 0.5003270373238773)
_OFFSET_DB: Final = -0.691
_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_DB: Final = -10.0
_LOUDEST_LUFS: Final = 10.0
_STEPS: Final = 100
"""Loudness is sorted in steps of 0.01 before it is gated, as FFmpeg's meter does: figures can be compared."""
_WINDOW: Final = 4
"""Stretches of 0.1 s that are gated as one."""

_BEHIND: Final = frozenset({"BL", "BC", "BR", "TBL", "TBC", "TBR", "SL", "SR", "SDL", "SDR"})
_EFFECTS: Final = frozenset({"LFE", "LFE2"})


def weight_of(channel: str) -> float:
    """Return how much a channel counts, by its name in FFmpeg.

    >>> weight_of("FL"), weight_of("SR"), weight_of("LFE"), weight_of("NONE")
    (1.0, 1.41, 0.0, 1.0)
    """
    if channel in _EFFECTS:
        return 0.0
    return 1.41 if channel in _BEHIND else 1.0


class Meter:
    """Measures sound of one kind, given in parts. Memory grows by some bytes for 0.1 s of it.

    Args:
        rate_hz: frames a second.
        weights: how much each channel counts; see `weight_of`.
    """

    def __init__(self, rate_hz: int, weights: Sequence[float]) -> None:
        self._weights = weights
        is_sound = rate_hz in _RATES_HZ and 0 < len(weights) <= _CHANNELS
        self._kernel = _kernel_of(rate_hz) if is_sound else None
        self._powers: list[float] = []
        self._rest: NDArray[Any] | None = None
        self._ringing: NDArray[Any] | None = None

    def add(self, samples: NDArray[Any]) -> None:
        """Add what comes next: one row a channel; whole numbers of their full width, or floats."""
        import numpy as np

        kernel = self._kernel
        if kernel is None:
            return
        scale = 1.0 if samples.dtype.kind == "f" else 2.0 ** -(8 * samples.dtype.itemsize - 1)
        rest = samples if self._rest is None else np.concatenate([self._rest, samples], axis=1)
        count = rest.shape[1] // kernel.stretch
        whole = count * kernel.stretch
        self._rest = rest[:, whole:].copy()
        if not count:
            return
        with np.errstate(all="ignore"):  # damaged sound may have any value
            floats = rest[:, :whole].astype(np.float32, order="C", copy=False)
            powers, self._ringing = kernel.powers(floats, self._ringing)
            total = np.asarray(self._weights) @ powers * (scale * scale)
        self._powers += np.where(np.isfinite(total), total, 0.0).tolist()

    def value(self) -> float | None:
        """Return LUFS, one decimal; None of what is silent, shorter than 0.4 s or of absurd numbers."""
        import numpy as np

        if len(self._powers) < _WINDOW:
            return None
        powers = np.convolve(self._powers, np.full(_WINDOW, 1 / _WINDOW), "valid")
        powers = powers[powers > _power_of(_GATE_LUFS)]
        if not len(powers):
            return None
        steps = np.floor((_loudness_of(powers) - _GATE_LUFS) * _STEPS)
        gate = (_loudness_of(powers.mean()) + _RELATIVE_GATE_DB - _GATE_LUFS) * _STEPS
        highest = (_LOUDEST_LUFS - _GATE_LUFS) * _STEPS
        kept = np.minimum(steps, highest)[steps >= min(math.floor(gate), highest)]
        value = float(_loudness_of(_power_of(kept / _STEPS + _GATE_LUFS).mean()))
        return round(value, 1) if value > _GATE_LUFS else None


def _loudness_of(power: Any) -> Any:
    import numpy as np

    return _OFFSET_DB + 10.0 * np.log10(power)


def _power_of(loudness: Any) -> Any:
    return 10.0 ** ((loudness - _OFFSET_DB) / 10.0)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The filter at one rate, as matrices that are multiplied from the right; rows are blocks or stretches.

    ``samples``: a block's samples to its output. ``ends``: to what rings at its end. ``rings``: what rings at
    its start to its output. ``starts``: what each block of a stretch leaves to what rings at the start of
    each. ``passes``: what rings at the start of a stretch to the same. ``leaves``: what each block leaves to
    what rings at the end of the stretch.
    """

    stretch: int
    samples: NDArray[Any]
    ends: NDArray[Any]
    rings: NDArray[Any]
    starts: NDArray[Any]
    passes: NDArray[Any]
    leaves: NDArray[Any]

    def powers(
        self, samples: NDArray[Any], ringing: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the mean square of the output, by channel and stretch, and what rings at the end."""
        import numpy as np

        channels, stretches = len(samples), samples.shape[1] // self.stretch
        blocks = samples.reshape(-1, len(self.samples))
        left = (blocks @ self.ends).reshape(channels * stretches, -1)
        before = np.zeros((channels, stretches + 1, self.leaves.shape[1]), np.float32)
        before[:, 1:] = (left @ self.leaves).reshape(channels, stretches, -1)
        if ringing is not None:
            before[:, 0] = ringing
        at_start = before[:, :-1].reshape(channels * stretches, -1)
        rings = (left @ self.starts + at_start @ self.passes).reshape(len(blocks), -1)
        output = blocks @ self.samples
        output += rings @ self.rings
        rows = output.reshape(channels * stretches, self.stretch)
        squares = np.einsum("ij,ij->i", rows, rows).reshape(channels, stretches)
        return squares / self.stretch, before[:, -1]


@functools.lru_cache(maxsize=8)
def _kernel_of(rate_hz: int) -> _Kernel:
    import numpy as np

    stretch = rate_hz // 10
    best = round((32 * stretch) ** (1 / 3))  # the ringing costs 16 * stretch / block**2, the samples block
    fitting = [each for each in _BLOCKS if stretch % each == 0]
    block = min(fitting, key=lambda each: abs(each - best), default=best)
    blocks = stretch // block  # an odd rate that no block divides has stretches that are a little shorter
    step, entry, exit_, direct = _in_steps(rate_hz)
    tails = _powers_of(step, blocks * block) @ entry  # what rings after so many frames of an impulse
    impulse = np.concatenate([[direct], tails @ exit_])
    over = _powers_of(np.linalg.matrix_power(step, block), blocks + 1)
    order = len(entry)
    starts = _later(over, blocks, 1).transpose(0, 3, 1, 2)
    toeplitz = _later(impulse, block, 0)
    return _Kernel(
        blocks * block,
        toeplitz.astype(np.float32),
        tails[:block][::-1].astype(np.float32),
        (exit_ @ _powers_of(step, block)).T.astype(np.float32),
        starts.reshape(blocks * order, blocks * order).astype(np.float32),
        over[:blocks].transpose(2, 0, 1).reshape(order, -1).astype(np.float32),
        over[:blocks][::-1].transpose(0, 2, 1).reshape(-1, order).astype(np.float32),
    )


def _in_steps(rate_hz: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]:
    """Return the filter as what a frame does: what rings goes on, takes the sample up, and is heard.

    What rings is told in numbers as large as what is heard of it, so that single precision suffices.
    """
    import numpy as np

    first, second = _shelf(rate_hz), _high_pass(rate_hz)
    (step_1, entry_1, exit_1, direct_1), (step_2, entry_2, exit_2, direct_2) = map(_section, (first, second))
    step = np.block([[step_1, np.zeros((2, 2))], [np.outer(entry_2, exit_1), step_2]])
    entry = np.concatenate([entry_1, entry_2 * direct_1])
    exit_ = np.concatenate([direct_2 * exit_1, exit_2])
    heard = exit_ @ _powers_of(step, rate_hz // 10)
    change = np.linalg.qr(heard, mode="r")
    back = np.linalg.inv(change)
    return change @ step @ back, change @ entry, exit_ @ back, direct_1 * direct_2


def _section(filter_: tuple[float, ...]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]:
    """Return a filter of second order, b0 b1 b2 a1 a2, as `_in_steps` does."""
    import numpy as np

    b0, b1, b2, a1, a2 = filter_
    step = np.array([[-a1, 1.0], [-a2, 0.0]])
    return step, np.array([b1 - a1 * b0, b2 - a2 * b0]), np.array([1.0, 0.0]), b0


def _shelf(rate_hz: int) -> tuple[float, ...]:
    """Return the first stage, for the effect of the head."""
    frequency_hz, quality = _SHELF
    k = math.tan(math.pi * frequency_hz / rate_hz)
    a0 = 1 + k / quality + k * k
    b0 = _SHELF_GAIN + _SHELF_MIDDLE * k / quality + k * k
    b2 = _SHELF_GAIN - _SHELF_MIDDLE * k / quality + k * k
    return (
        b0 / a0,
        2 * (k * k - _SHELF_GAIN) / a0,
        b2 / a0,
        2 * (k * k - 1) / a0,
        (1 - k / quality + k * k) / a0,
    )


def _high_pass(rate_hz: int) -> tuple[float, ...]:
    """Return the second stage."""
    frequency_hz, quality = _HIGH_PASS
    k = math.tan(math.pi * frequency_hz / rate_hz)
    a0 = 1 + k / quality + k * k
    return 1.0, -2.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0


def _later(values: NDArray[Any], count: int, least: int) -> NDArray[Any]:
    """Return a matrix of what something does to each place after it: the value of their distance, or 0."""
    import numpy as np

    places = np.arange(count)
    distances = places - places[:, np.newaxis] - least
    padded = np.concatenate([values[:count], np.zeros_like(values[:1])])
    return padded[np.where(distances < 0, len(padded) - 1, distances)]


def _powers_of(step: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the first powers of a matrix, from the zeroth on."""
    import numpy as np

    powers = np.eye(len(step))[np.newaxis]
    while len(powers) < count:
        powers = np.concatenate([powers, powers @ np.linalg.matrix_power(step, len(powers))])
    return powers[:count]
