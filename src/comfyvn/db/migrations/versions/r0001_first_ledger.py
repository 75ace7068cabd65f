"""The first ledger: assets, provenance, versions, tags, search text, journal, library facts, ids.

The tables are spelled out here, not taken from `comfyvn.db.schema`: a migration must go on making the tables
of its own day. A test holds both against each other.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON(none_as_null=True)
_NOW = sa.text("CURRENT_TIMESTAMP")


def upgrade() -> None:
    op.create_table(
        "asset_ids",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "asset_journal",
        sa.Column("seq", _ID, autoincrement=True, nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("operation_id", sa.BigInteger(), nullable=False),
        sa.Column("before_json", _JSON, nullable=True),
        sa.Column("after_json", _JSON, nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_asset_journal_operation", "asset_journal", ["operation_id"], unique=False)
    op.create_index("ix_asset_journal_uid", "asset_journal", ["project_id", "uid", "seq"], unique=False)
    op.create_table(
        "asset_library",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "asset_tag_links",
        sa.Column("tag_id", sa.BigInteger(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tag_id", "asset_id", name="pk_asset_tag_links"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_asset_tag_links_asset", "asset_tag_links", ["asset_id"], unique=False)
    op.create_table(
        "asset_tags",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("fold", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "fold", name="uq_asset_tags_fold"),
    )
    op.create_table(
        "asset_text",
        sa.Column("asset_id", _ID, autoincrement=False, nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    op.create_table(
        "asset_versions",
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Text(), server_default=_NOW, nullable=False),
        sa.Column("provenance_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("asset_id", "version", name="pk_asset_versions"),
    )
    op.create_index("ix_asset_versions_hash", "asset_versions", ["project_id", "hash"], unique=False)
    op.create_table(
        "assets_registry",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Text(), server_default=sa.text("'default'"), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("path_full", sa.Text(), nullable=False),
        sa.Column("path_thumb", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Text(), server_default=_NOW, nullable=False),
        sa.Column("meta", _JSON, nullable=False),
        sa.Column("updated_at", sa.Text(), server_default=_NOW, nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("license_fold", sa.Text(), nullable=True),
        sa.Column("path_fold", sa.Text(), nullable=False),
        sa.Column("extra", _JSON, nullable=True),
        sa.Column("provenance_id", sa.BigInteger(), nullable=True),
        sa.Column("preview_kind", sa.Text(), nullable=True),
        sa.Column("preview_state", sa.Text(), server_default=sa.text("'none'"), nullable=False),
        sa.Column("preview_reason", sa.Text(), nullable=True),
        sa.Column("preview_recipe", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("mirror_key", sa.Text(), nullable=True),
        sa.Column("file_size", sa.BigInteger(), nullable=True),
        sa.Column("file_mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("file_inode", sa.BigInteger(), nullable=True),
        sa.Column("sidecar_size", sa.BigInteger(), nullable=True),
        sa.Column("sidecar_mtime_ns", sa.BigInteger(), nullable=True),
        sa.Column("sidecar_inode", sa.BigInteger(), nullable=True),
        sa.Column("is_in_place", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("missing_since", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "path_full", name="uq_assets_registry_path"),
        sa.UniqueConstraint("project_id", "uid", name="uq_assets_registry_uid"),
    )
    op.create_index("ix_assets_registry_hash", "assets_registry", ["project_id", "hash", "id"], unique=False)
    op.create_index(
        "ix_assets_registry_license", "assets_registry", ["project_id", "license_fold", "id"], unique=False
    )
    op.create_index(
        "ix_assets_registry_path_fold", "assets_registry", ["project_id", "path_fold"], unique=False
    )
    op.create_index(
        "ix_assets_registry_preview", "assets_registry", ["project_id", "preview_state", "id"], unique=False
    )
    op.create_index("ix_assets_registry_project", "assets_registry", ["project_id", "id"], unique=False)
    op.create_index("ix_assets_registry_type", "assets_registry", ["project_id", "type", "id"], unique=False)
    op.create_table(
        "provenance",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Text(), server_default=sa.text("'default'"), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("asset_uid", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("workflow_hash", sa.Text(), nullable=True),
        sa.Column("commit_hash", sa.Text(), nullable=True),
        sa.Column("inputs_json", _JSON, nullable=True),
        sa.Column("c2pa_like", _JSON, nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_provenance_asset", "provenance", ["asset_id", "id"], unique=False)
    op.create_index("ix_provenance_uid", "provenance", ["project_id", "asset_uid", "id"], unique=False)
    op.create_index("ix_provenance_workflow", "provenance", ["project_id", "workflow_hash"], unique=False)
