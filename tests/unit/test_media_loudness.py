"""Loudness, beside FFmpeg's meter as the reference."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from comfyvn.media.loudness import Meter, weight_of

Sound = NDArray[Any]


def measured(samples: Sound, rate_hz: int, weights: list[float], part: int = 20_000) -> float | None:
    meter = Meter(rate_hz, weights)
    for start in range(0, samples.shape[1], part):
        meter.add(samples[:, start : start + part])
    return meter.value()


def by_ffmpeg(samples: Sound, rate_hz: int, layout: str) -> float:
    import av
    from av.error import BlockingIOError, EOFError
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="fltp", layout=layout)
    meter, sink = graph.add("ebur128", "metadata=1:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), "fltp", layout)
    frame.sample_rate = rate_hz
    graph.push(frame)
    value = math.nan
    while True:
        try:
            value = float(graph.pull().metadata["lavfi.r128.I"])
        except (BlockingIOError, EOFError):
            return value


def noise(at_s: Sound) -> Sound:
    return np.random.default_rng(1).normal(0, 0.1, len(at_s))


def rumble(at_s: Sound) -> Sound:
    return 0.5 * np.sin(2 * np.pi * 20 * at_s)


def speech(at_s: Sound) -> Sound:
    voice = 0.3 * np.sin(2 * np.pi * 440 * at_s) * np.abs(np.sin(2 * np.pi * 0.7 * at_s)) ** 4
    return voice + np.random.default_rng(2).normal(0, 0.001, len(at_s))


def on_and_off_over_an_offset(at_s: Sound) -> Sound:
    return 0.2 + 0.1 * noise(at_s) * (np.sin(2 * np.pi * 0.3 * at_s) > 0)


def clicks(at_s: Sound) -> Sound:
    is_click = np.random.default_rng(3).random(len(at_s)) < 0.0005
    return np.where(is_click, 0.9, 0) + 0.05 * np.sin(2 * np.pi * 60 * at_s)


@pytest.mark.parametrize("make", [noise, rumble, speech, on_and_off_over_an_offset, clicks])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_it_measures_as_ffmpeg_does(rate_hz: int, make: Callable[[Sound], Sound]) -> None:
    """A voice would be found too loud by us, and right by every other tool."""
    left = make(np.arange(int(rate_hz * 7.3)) / rate_hz)
    samples = np.stack([left, left * 0.3]).astype(np.float32)

    value = measured(samples, rate_hz, [1.0, 1.0])

    assert value == pytest.approx(by_ffmpeg(samples, rate_hz, "stereo"), abs=0.0501)


@pytest.mark.parametrize("rate_hz", [11_025, 44_056])
def test_rates_that_can_not_be_cut_evenly_are_measured_nearly_as_well(rate_hz: int) -> None:
    """The sound of old consoles and of film at odd speeds would have no loudness."""
    left = noise(np.arange(rate_hz * 9) / rate_hz)
    samples = left[np.newaxis].astype(np.float32)

    value = measured(samples, rate_hz, [1.0])

    assert value == pytest.approx(by_ffmpeg(samples, rate_hz, "mono"), abs=0.1)


def test_channels_count_as_the_standard_says() -> None:
    """A rumble for the sub-woofer alone would make a scene too loud."""
    names = ["FL", "FR", "FC", "LFE", "BL", "BR"]
    samples = np.random.default_rng(4).normal(0, 0.1, (6, 96_000)).astype(np.float32)

    value = measured(samples, 48_000, [weight_of(name) for name in names])

    assert value == pytest.approx(by_ffmpeg(samples, 48_000, "5.1"), abs=0.0501)


@pytest.mark.parametrize("part", [1, 977, 4_800, 19_200, 10**9])
def test_it_does_not_matter_in_which_parts_sound_comes(part: int) -> None:
    """What is measured would depend on the decoder's blocks."""
    samples = speech(np.arange(50_000) / 22_050)[np.newaxis].astype(np.float32)

    assert measured(samples, 22_050, [1.0], part) == measured(samples, 22_050, [1.0])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float64])
def test_samples_of_every_type_are_measured(dtype: type) -> None:
    """Sound of 24 bit would be a hundred decibels too loud."""
    wave = 0.5 * np.sin(2 * np.pi * 997 * np.arange(96_000) / 48_000)[np.newaxis]
    is_float = np.issubdtype(dtype, np.floating)
    samples = wave.astype(dtype) if is_float else np.round(wave * np.iinfo(dtype).max).astype(dtype)

    assert measured(samples, 48_000, [1.0]) == pytest.approx(-9.0, abs=0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_damaged_samples_cost_the_tenth_of_a_second_they_are_in(value: float) -> None:
    """One number that is none would leave a long recording without its loudness."""
    samples = np.full((1, 48_000 * 10), 0.0, np.float32)
    samples[0] = 0.1 * np.sin(2 * np.pi * 997 * np.arange(480_000) / 48_000)
    samples[0, 100_000] = value

    assert measured(samples, 48_000, [1.0]) == pytest.approx(-23.0, abs=0.15)


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(0, 1), (1_000, 1), (2**31, 1), (48_000, 0), (48_000, 60_000)]
)
def test_absurd_numbers_have_no_loudness_and_take_no_memory(rate_hz: int, channels: int) -> None:
    """A header that lies would have tables made of the size that it says."""
    meter = Meter(rate_hz, [1.0] * channels)

    meter.add(np.ones((channels, 100), np.float32))

    assert meter.value() is None


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 96_000)), np.ones((2, 19_199)), np.ones((2, 96_000)) * 1e-5]
)
def test_what_is_silent_or_too_short_has_none(samples: Sound) -> None:
    """Minus infinity is no JSON."""
    assert measured(samples.astype(np.float32), 48_000, [1.0, 1.0]) is None
