"""The public Python API of the asset registry."""

from comfyvn.studio.core.asset_registry import AssetRecord, AssetRegistry
from comfyvn.studio.core.provenance_registry import ProvenanceRegistry

__all__ = ["AssetRecord", "AssetRegistry", "ProvenanceRegistry"]
