"""What is inside a file: its format, its digest, its marker, its preview.

One module per format family. A format comes in through the entry point ``comfyvn.media``, ours as well as a
stranger's; the abilities beyond recognising a file are small protocols (`SupportsStamp`,
`SupportsPreview`). A file that no format claims is plain data: hashed, copied, never stamped.

The digest of a file leaves our own marker out, so a stamped file and its original have the same digest.
"""

from comfyvn.media.formats import (
    RECIPES,
    MediaFormat,
    Part,
    PreviewLimits,
    SupportsPreview,
    SupportsStamp,
    render,
    unavailable,
)
from comfyvn.media.reading import Reading, fill_marker, mentions_marker, read, read_marker, strip

__all__ = [
    "RECIPES",
    "MediaFormat",
    "Part",
    "PreviewLimits",
    "Reading",
    "SupportsPreview",
    "SupportsStamp",
    "fill_marker",
    "mentions_marker",
    "read",
    "read_marker",
    "render",
    "strip",
    "unavailable",
]
