"""The Studio's domain: `comfyvn.studio.core` is the public Python API."""

from comfyvn.studio.core import AssetRegistry

__all__ = ["AssetRegistry"]
