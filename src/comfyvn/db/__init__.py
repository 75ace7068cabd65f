"""The ledger: the SQL side of the registry. What it holds can be rebuilt from files and sidecars."""

from comfyvn.db.engine import Engine, inspect_ledger, open_engine
from comfyvn.db.ledger import JournalEntry, Ledger, Reader, Taken, Writer

__all__ = ["Engine", "JournalEntry", "Ledger", "Reader", "Taken", "Writer", "inspect_ledger", "open_engine"]
