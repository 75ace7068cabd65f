"""The asset registry for visual novels: identity, provenance, licences and previews for every file."""

__all__ = ["__version__"]

__version__ = "0.1.0"
