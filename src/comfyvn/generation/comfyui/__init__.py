"""What ComfyUI's graph says of the file that it made.

The walk starts at the node that saved the file and goes back by what inputs are for (`roles`), not by the
classes of nodes, of which there are thousands. What more than one answer fits is left out.
"""

from comfyvn.generation.comfyui.parsing import parse

__all__ = ["parse"]
