"""Import adapters: what other programs know of a file, as type, tags, licence and provenance.

An adapter comes in through the entry point ``comfyvn.importers``, ours as well as a stranger's. It only
tells; `comfyvn.registry.ingest` registers. An adapter that fails on a file costs that file, not the batch.
"""

from comfyvn.importers.adapters import (
    ImportAdapter,
    ImportContext,
    ImportItem,
    ImportSkip,
    ImportSource,
    SupportsWatch,
    adapter_names,
    check_tables,
    load_adapter,
)

__all__ = [
    "ImportAdapter",
    "ImportContext",
    "ImportItem",
    "ImportSkip",
    "ImportSource",
    "SupportsWatch",
    "adapter_names",
    "check_tables",
    "load_adapter",
]
