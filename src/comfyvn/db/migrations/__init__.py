"""Alembic's home: imported only when a ledger's stored revision is behind `comfyvn.db.schema.HEAD`."""
