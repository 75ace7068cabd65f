"""Films keep the contract of every media format: MP4 and QuickTime, WebM and Matroska."""

import functools
import struct

import pytest

from comfyvn.media.matroska import MatroskaFormat
from comfyvn.media.mp4 import Mp4Format
from comfyvn.testing import FormatContract
from films import encode

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}
FAST_START = {"movflags": "faststart"}
AS_COMFYUI = {"movflags": "use_metadata_tags+faststart"}
SIGNATURE = struct.pack(">I4s", 64, b"uuid") + bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + bytes(40)


class TestMp4Format(FormatContract):
    format = Mp4Format()
    unstampable = frozenset({"signed.mp4"})
    uncleanable = frozenset({"signed.mp4"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return mp4_files()


@functools.cache
def mp4_files() -> dict[str, bytes]:
    return {
        "film.mp4": encode("mp4", video="mpeg4", sound="aac", frames=4),
        "fast.mp4": encode("mp4", video="mpeg4", sound="aac", frames=4, options=FAST_START),
        "comfy.mp4": encode("mp4", video="mpeg4", frames=4, options=AS_COMFYUI, tags={"prompt": "{}"}),
        "film.mov": encode("mov", video="mpeg4", frames=4, options=FAST_START),
        "voice.m4a": encode("ipod", sound="aac", frames=4, tags={"title": "Voice"}),
        "fragmented.mp4": encode("mp4", sound="aac", frames=4, options=FRAGMENTED),
        "signed.mp4": encode("mp4", video="mpeg4", frames=4) + SIGNATURE,
    }


class TestMatroskaFormat(FormatContract):
    format = MatroskaFormat()
    unstampable = frozenset({"live.webm"})
    uncleanable = frozenset({"live.webm"})

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return matroska_files()


@functools.cache
def matroska_files() -> dict[str, bytes]:
    return {
        "film.webm": encode("webm", video="libvpx", sound="libopus", frames=4),
        "film.mkv": encode("matroska", video="mpeg4", sound="aac", frames=4, tags={"title": "Film"}),
        "music.webm": encode("webm", sound="libopus", frames=4),
        "live.webm": encode("webm", sound="libopus", frames=4, options={"live": "1"}),
    }
