"""How Alembic reaches the connection that the ledger already has."""

from alembic import context

from comfyvn.db import schema
from comfyvn.db.engine import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=VERSION_TABLE,
    # the caller holds the one write transaction in which all of it happens
    transactional_ddl=False,
)
context.run_migrations()
