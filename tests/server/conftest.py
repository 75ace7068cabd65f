"""Fixtures of the tests that go through a real server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from comfyvn.studio.core import AssetRegistry
from serving import serve


@pytest.fixture
def client(registry: AssetRegistry) -> Iterator[httpx.Client]:
    """A client of a server on the project of ``registry``."""
    with serve(registry) as client:
        yield client
