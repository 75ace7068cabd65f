"""What made a file: the facts that ComfyUI and other tools write into what they save.

Pure: texts in, facts out; no disk. Unknown stays unknown, never guessed; each fact says where it was read.
The names of the facts and what is read from which tool: ``docs/provenance.md``.
"""

from comfyvn.generation.reading import READER, Generation, read

__all__ = ["READER", "Generation", "read"]
