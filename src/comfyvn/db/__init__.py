"""The ledger: the SQL side of the registry. What it holds can be rebuilt from files and sidecars."""

from comfyvn.db.engine import Engine, inspect_ledger, open_engine, rehearse_upgrade
from comfyvn.db.ledger import (
    ACTING,
    CardRow,
    FacetCounts,
    FileRow,
    JournalEntry,
    JournalRow,
    Ledger,
    Operation,
    Reader,
    Taken,
    Writer,
)
from comfyvn.db.quarantine import quarantine
from comfyvn.db.terms import TermKind

__all__ = [
    "ACTING",
    "CardRow",
    "Engine",
    "FacetCounts",
    "FileRow",
    "JournalEntry",
    "JournalRow",
    "Ledger",
    "Operation",
    "Reader",
    "Taken",
    "TermKind",
    "Writer",
    "inspect_ledger",
    "open_engine",
    "quarantine",
    "rehearse_upgrade",
]
