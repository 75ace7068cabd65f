"""Sound: the waveform preview and facts of every format that PyAV decodes."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, BinaryIO

from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import PreviewLimits, Rendered
from comfyvn.model import PreviewKind

__all__ = ["SoundFormat"]


class SoundFormat:
    """A sound format that PyAV decodes; what its files look like is said by the classes that inherit."""

    name: str
    preview_kind: PreviewKind | None = "waveform"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the waveform."""
        raise PreviewFailed(why="PyAV can't be loaded")

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return duration, sample rate, channels, codec and the file's own tags."""
        return {}

    def unavailable(self) -> str | None:
        """Say whether PyAV is missing, without loading it."""
        is_here = "av" in sys.modules or importlib.util.find_spec("av") is not None
        return None if is_here else 'PyAV is not installed: pip install "comfyvn[media]"'
