"""What one tool's reader finds in the texts of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["FACTS", "Told"]

FACTS: Final[dict[str, type]] = {
    "prompt": str,
    "negative_prompt": str,
    "models": list,
    "loras": list,
    "vae": str,
    "sampler": str,
    "scheduler": str,
    "steps": int,
    "cfg": float,
    "seed": str,
    "denoise": float,
    "clip_skip": int,
    "width": int,
    "height": int,
    "passes": list,
    "input_images": list,
}
"""Every fact and the type of its value.

``models``: ``[{"name", "kind"?, "hash"?}]``, the base model first; ``loras``: ``[{"name", "weight"?,
"clip_weight"?, "hash"?}]``; names as the tool writes them, with folders and suffix. ``seed`` is text, digits
only: it may have 64 bits, more than a number in JavaScript holds. ``width`` and ``height`` in px as they were
asked for, before any upscaling. ``passes``: where the picture was sampled more than once, every pass in order
as ``{"seed", "steps", "cfg", "sampler", "scheduler", "denoise"}`` without what is unknown; the facts of these
names outside of it are then those of the first pass. ``input_images``: ``[{"name", "role"?, "hash"?}]``, role
``img2img``, ``inpaint``, ``mask`` or ``control``.
"""


@dataclass(slots=True)
class Told:
    """What a reader found.

    ``tool`` as the tool spells itself; ``tool_version`` only where the file says it. ``read_from`` names the
    place of each fact in ``facts``, such as ``prompt node 3.seed``. ``workflow`` is what two files of one
    workflow have in common: a JSON value without seed, positions, file names and the like; None where the
    file has no such thing. ``texts`` are the names of the texts that were understood.
    """

    tool: str
    tool_version: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    read_from: dict[str, str] = field(default_factory=dict)
    workflow: Any = None
    texts: tuple[str, ...] = ()

    def tell(self, name: str, value: Any, read_from: str) -> None:
        """Note a fact, unless the value is None or the fact is known already."""
        if value is not None and name not in self.facts:
            self.facts[name] = value
            self.read_from[name] = read_from
