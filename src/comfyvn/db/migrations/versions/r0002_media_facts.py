"""What a file tells about itself: width, duration, codec and the like, beside the state of its preview."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("assets_registry", sa.Column("media", sa.JSON(none_as_null=True), nullable=True))
