"""Where assets came from: what made them, and of which others they came.

Nothing is filled in: `comfyvn facts refresh` reads it from the files.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _generation()
    _lineage()
    _fingerprints()


def _generation() -> None:
    op.add_column("assets_registry", sa.Column("generation", sa.JSON(none_as_null=True)))
    op.add_column("assets_registry", sa.Column("seed", sa.Text()))
    op.create_index(
        "ix_assets_registry_seed",
        "assets_registry",
        ["project_id", "seed", "id"],
        sqlite_where=sa.text("seed IS NOT NULL"),
        postgresql_where=sa.text("seed IS NOT NULL"),
    )


def _lineage() -> None:
    op.create_table(
        "asset_lineage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("child_uid", sa.Text(), nullable=False),
        sa.Column("parent_uid", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("certainty", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_asset_lineage_child",
        "asset_lineage",
        ["project_id", "child_uid", "parent_uid", "kind"],
        unique=True,
    )
    op.create_index(
        "ix_asset_lineage_parent",
        "asset_lineage",
        ["project_id", "parent_uid", "certainty", "child_uid"],
    )
    op.create_index(
        "ix_asset_lineage_likely",
        "asset_lineage",
        ["project_id", "id"],
        sqlite_where=sa.text("certainty = 'likely'"),
        postgresql_where=sa.text("certainty = 'likely'"),
    )


def _fingerprints() -> None:
    op.create_table(
        "asset_fingerprints",
        sa.Column("asset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Integer(), nullable=False),
        sa.Column("pixels", sa.Text()),
        *(sa.Column(f"band_{number}", sa.Integer()) for number in range(4)),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    for number in range(4):
        columns = ["project_id", f"band_{number}", "asset_id"]
        op.create_index(f"ix_asset_fingerprints_{number}", "asset_fingerprints", columns)
