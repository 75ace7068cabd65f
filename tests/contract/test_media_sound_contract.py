"""Sounds keep the contract of every media format: MP3, AAC, WAVE, AIFF, FLAC and Ogg."""

import pytest

from comfyvn.media.aiff import AiffFormat
from comfyvn.media.flac import FlacFormat
from comfyvn.media.mp3 import AacFormat, Mp3Format
from comfyvn.media.ogg import OggFormat
from comfyvn.media.wav import WavFormat
from comfyvn.testing import FormatContract
from sounds import music

EMPTY_TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)


class TestMp3Format(FormatContract):
    format = Mp3Format()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        tagged = music("libmp3lame", "mp3", kind="s16p")
        bare = tagged[10 + tagged[8] * 128 + tagged[9] :]
        return {"tagged.mp3": tagged, "bare.mp3": bare, "empty.mp3": EMPTY_TAG + bare}


class TestAacFormat(FormatContract):
    format = AacFormat()
    unstampable = frozenset({"bare.aac"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        bare = music("aac", "adts", kind="fltp")
        return {"bare.aac": bare, "tagged.aac": EMPTY_TAG + bare}


class TestWavFormat(FormatContract):
    format = WavFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"tagged.wav": music("pcm_s16le", "wav"), "packed.wav": music("adpcm_ms", "wav")}


class TestAiffFormat(FormatContract):
    format = AiffFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "tagged.aiff": music("pcm_s16be", "aiff"),
            "bare.aiff": music("pcm_s16be", "aiff", tags=False),
        }


class TestFlacFormat(FormatContract):
    format = FlacFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        tagged = music("flac", "flac")
        return {"tagged.flac": tagged, "behind.flac": EMPTY_TAG + tagged}


class TestOggFormat(FormatContract):
    format = OggFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "vorbis.ogg": music("vorbis", "ogg", kind="fltp"),
            "opus.opus": music("libopus", "ogg"),
            "flac.oga": music("flac", "ogg"),
        }
