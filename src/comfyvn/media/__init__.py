"""What is inside a file: its format, its digest, its marker, its preview.

One module per format family. A format comes in through the entry point ``comfyvn.formats``, ours as well as a
stranger's; the abilities beyond recognising a file are small protocols (`SupportsStamp`, `SupportsProbe`,
`SupportsPreview`, `TellsKind`). A file that no format claims is plain data: hashed, copied, never stamped.

The digest of a file leaves our own marker out, so a stamped file and its original have the same digest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from comfyvn.media.formats import (
        FACTS_RECIPE,
        RECIPES,
        Layout,
        MediaFormat,
        PreviewLimits,
        Rendered,
        Splice,
        SupportsPreview,
        SupportsProbe,
        SupportsStamp,
        TellsKind,
        probe,
        render,
        unavailable,
    )
    from comfyvn.media.reading import (
        Look,
        Reading,
        fill_marker,
        look,
        mentions_marker,
        read,
        read_marker,
        strip,
    )

__all__ = [
    "FACTS_RECIPE",
    "RECIPES",
    "Layout",
    "Look",
    "MediaFormat",
    "PreviewLimits",
    "Reading",
    "Rendered",
    "Splice",
    "SupportsPreview",
    "SupportsProbe",
    "SupportsStamp",
    "TellsKind",
    "fill_marker",
    "look",
    "mentions_marker",
    "probe",
    "read",
    "read_marker",
    "render",
    "strip",
    "unavailable",
]

_READING: Final = frozenset(
    {"Look", "Reading", "fill_marker", "look", "mentions_marker", "read", "read_marker", "strip"}
)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name with its module when it is asked for: who only reads the ledger needs none of them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{'reading' if name in _READING else 'formats'}")
        globals()[name] = found = getattr(module, name)
        return found
