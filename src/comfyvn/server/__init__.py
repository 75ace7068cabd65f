"""The REST door: one library over HTTP. Needs the extra ``server``."""

from comfyvn.server.app import create_app

__all__ = ["create_app"]
