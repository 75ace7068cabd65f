"""What is inside a file: its format, its digest, its marker, its preview.

One module per format family. A format comes in through the entry point ``comfyvn.formats``, ours as well as a
stranger's; the abilities beyond recognising a file are small protocols (`SupportsStamp`, `SupportsProbe`,
`SupportsTexts`, `SupportsClean`, `SupportsPreview`, `TellsKind`). A file that no format claims is plain data:
hashed, copied, never stamped.

The digest of a file leaves our own marker out, so a stamped file and its original have the same digest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from comfyvn.media.embedded import Enough, TextCollector, texts
    from comfyvn.media.formats import (
        FACTS_RECIPE,
        RECIPES,
        Layout,
        MediaFormat,
        PreviewLimits,
        Rendered,
        Splice,
        SupportsClean,
        SupportsPreview,
        SupportsProbe,
        SupportsStamp,
        SupportsTexts,
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
    "Enough",
    "Layout",
    "Look",
    "MediaFormat",
    "PreviewLimits",
    "Reading",
    "Rendered",
    "Splice",
    "SupportsClean",
    "SupportsPreview",
    "SupportsProbe",
    "SupportsStamp",
    "SupportsTexts",
    "TellsKind",
    "TextCollector",
    "fill_marker",
    "look",
    "mentions_marker",
    "probe",
    "read",
    "read_marker",
    "render",
    "strip",
    "texts",
    "unavailable",
]

_MODULES: Final = {
    **dict.fromkeys(("Enough", "TextCollector", "texts"), "embedded"),
    **dict.fromkeys(
        ("Look", "Reading", "fill_marker", "look", "mentions_marker", "read", "read_marker", "strip"),
        "reading",
    ),
}
"""Where the names are that are not in ``formats``."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a name with its module when it is asked for: who only reads the ledger needs none of them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'formats')}")
        globals()[name] = found = getattr(module, name)
        return found
