"""The tables, declared once. ``assets_registry`` and ``provenance`` keep the columns that users query.

What a filter may ask of an asset is a term: its type, its licence (``""`` for none), each of its tags
(``""`` for none). An asset is linked to its terms, and a term counts its assets: a filter walks the links of
its rarest term, and facets of everything are read from the counts. ``asset_codes`` holds the same links the
other way round, as five characters a term (`comfyvn.db.terms`), for counting the terms of many assets.
``asset_lineage`` holds the parents of each asset that has any, by uids: a parent need not be in the library.
``asset_fingerprints`` holds how pictures look, by which one is known again that lost its metadata.
``asset_search`` (`SEARCH`) is a full-text index of trigrams over ``asset_text.folded``, kept in step by its
triggers.

Some installations share the database file with other ComfyVN parts: every other table of ours is named
``asset_...`` so that none meets one of theirs.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

__all__ = [
    "SEARCH",
    "asset_codes",
    "asset_fingerprints",
    "asset_ids",
    "asset_journal",
    "asset_library",
    "asset_lineage",
    "asset_term_links",
    "asset_terms",
    "asset_text",
    "asset_tokens",
    "asset_versions",
    "asset_webhook_deliveries",
    "asset_webhooks",
    "assets_registry",
    "metadata",
    "provenance",
]

SEARCH: Final = (
    # the texts are folded already; what a search finds is looked at again, so it needs no positions
    "CREATE VIRTUAL TABLE asset_search USING fts5(folded, content='asset_text', content_rowid='asset_id',"
    " tokenize='trigram case_sensitive 1', detail=none)",
    "CREATE TRIGGER asset_search_insert AFTER INSERT ON asset_text BEGIN"
    " INSERT INTO asset_search (rowid, folded) VALUES (new.asset_id, new.folded); END",
    "CREATE TRIGGER asset_search_delete AFTER DELETE ON asset_text BEGIN"
    " INSERT INTO asset_search (asset_search, rowid, folded) VALUES ('delete', old.asset_id, old.folded);"
    " END",
    "CREATE TRIGGER asset_search_update AFTER UPDATE OF folded ON asset_text BEGIN"
    " INSERT INTO asset_search (asset_search, rowid, folded) VALUES ('delete', old.asset_id, old.folded);"
    " INSERT INTO asset_search (rowid, folded) VALUES (new.asset_id, new.folded); END",
)
"""The search index of SQLite, which SQLAlchemy can't declare."""

metadata = MetaData()

# SQLite makes a column its row id, which a primary key should be, only if it says INTEGER
_Id = BigInteger().with_variant(Integer(), "sqlite")
_Json = JSON(none_as_null=True)
_now = text("CURRENT_TIMESTAMP")


def _only(condition: str) -> dict[str, Any]:
    """Return what makes an index one of the few rows for which a condition holds."""
    return {f"{engine}_where": text(condition) for engine in ("sqlite", "postgresql")}


assets_registry = Table(
    "assets_registry",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("project_id", Text, nullable=False, server_default=text("'default'")),
    Column("uid", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("path_full", Text, nullable=False),
    Column("path_thumb", Text),
    Column("hash", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Text, nullable=False, server_default=_now),
    Column("meta", _Json, nullable=False),
    Column("updated_at", Text, nullable=False, server_default=_now),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("license_fold", Text),
    Column("path_fold", Text, nullable=False),
    Column("extra", _Json),
    Column("provenance_id", BigInteger),
    Column("preview_kind", Text),
    Column("preview_state", Text, nullable=False, server_default=text("'none'")),
    Column("preview_reason", Text),
    Column("preview_recipe", Integer, nullable=False, server_default=text("0")),
    Column("mirror_key", Text),
    Column("file_size", BigInteger),
    Column("file_mtime_ns", BigInteger),
    Column("file_inode", BigInteger),
    Column("sidecar_size", BigInteger),
    Column("sidecar_mtime_ns", BigInteger),
    Column("sidecar_inode", BigInteger),
    Column("is_in_place", Boolean, nullable=False, server_default=text("0")),
    Column("missing_since", Text),
    Column("media", _Json),
    Column("generation", _Json),
    Column("seed", Text),
    UniqueConstraint("project_id", "uid", name="uq_assets_registry_uid"),
    UniqueConstraint("project_id", "path_full", name="uq_assets_registry_path"),
    Index("ix_assets_registry_path_fold", "project_id", "path_fold"),
    Index("ix_assets_registry_project", "project_id", "id"),
    Index("ix_assets_registry_missing", "project_id", "id", **_only("missing_since IS NOT NULL")),
    Index("ix_assets_registry_no_preview", "project_id", "id", **_only("preview_state = 'failed'")),
    Index("ix_assets_registry_no_sidecar", "project_id", "id", **_only("sidecar_size IS NULL")),
    Index("ix_assets_registry_seed", "project_id", "seed", "id", **_only("seed IS NOT NULL")),
)

provenance = Table(
    "provenance",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    Column("project_id", Text, nullable=False, server_default=text("'default'")),
    Column("asset_id", BigInteger, nullable=False),
    Column("asset_uid", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("workflow_hash", Text),
    Column("commit_hash", Text),
    Column("inputs_json", _Json),
    Column("c2pa_like", _Json),
    Column("user_id", Text),
    Column("created_at", Text, nullable=False, server_default=_now),
    Index("ix_provenance_asset", "asset_id", "id"),
    Index("ix_provenance_uid", "project_id", "asset_uid", "id"),
    Index("ix_provenance_workflow", "project_id", "workflow_hash"),
)

asset_versions = Table(
    "asset_versions",
    metadata,
    Column("asset_id", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Text, nullable=False, server_default=_now),
    Column("provenance_id", BigInteger),
    PrimaryKeyConstraint("asset_id", "version", name="pk_asset_versions"),
    Index("ix_asset_versions_hash", "project_id", "hash"),
)

asset_terms = Table(
    "asset_terms",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("fold", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("count", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("project_id", "kind", "fold", name="uq_asset_terms_fold"),
    Index("ix_asset_terms_count", "project_id", "kind", "count"),
)

asset_term_links = Table(
    "asset_term_links",
    metadata,
    Column("term_id", BigInteger, nullable=False),
    Column("asset_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("term_id", "asset_id", name="pk_asset_term_links"),
    sqlite_with_rowid=False,
)

asset_text = Table(
    "asset_text",
    metadata,
    Column("asset_id", _Id, primary_key=True, autoincrement=False),
    Column("folded", Text, nullable=False),
)

asset_codes = Table(
    "asset_codes",
    metadata,
    Column("asset_id", _Id, primary_key=True, autoincrement=False),
    Column("codes", Text, nullable=False),
)

asset_lineage = Table(
    "asset_lineage",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("child_uid", Text, nullable=False),
    Column("parent_uid", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("certainty", Text, nullable=False),
    Column("found", Text, nullable=False),
    Index("ix_asset_lineage_child", "project_id", "child_uid", "parent_uid", "kind", unique=True),
    Index("ix_asset_lineage_parent", "project_id", "parent_uid", "certainty", "child_uid"),
    Index("ix_asset_lineage_likely", "project_id", "id", **_only("certainty = 'likely'")),
)

asset_fingerprints = Table(
    "asset_fingerprints",
    metadata,
    Column("asset_id", _Id, primary_key=True, autoincrement=False),
    Column("project_id", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("recipe", Integer, nullable=False),
    Column("pixels", Text),
    Column("band_0", Integer),
    Column("band_1", Integer),
    Column("band_2", Integer),
    Column("band_3", Integer),
    *(
        Index(f"ix_asset_fingerprints_{number}", "project_id", f"band_{number}", "asset_id")
        for number in range(4)
    ),
)

asset_journal = Table(
    "asset_journal",
    metadata,
    Column("seq", _Id, primary_key=True, autoincrement=True),
    Column("project_id", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("actor", Text),
    Column("event", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("asset_id", BigInteger, nullable=False),
    Column("operation_id", BigInteger, nullable=False),
    Column("before_json", _Json),
    Column("after_json", _Json),
    Index("ix_asset_journal_uid", "project_id", "uid", "seq"),
    Index("ix_asset_journal_operation", "operation_id"),
    Index(
        "ix_asset_journal_overruled",
        "project_id",
        "asset_id",
        # what only looks like it is passed over later: a look inside might fail here, and with it a write
        sqlite_where=text("event = 'asset_meta_updated' AND instr(after_json, '\"overruled\":') > 0"),
    ),
    sqlite_autoincrement=True,
)

asset_library = Table(
    "asset_library",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

asset_ids = Table(
    "asset_ids",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_id", BigInteger, nullable=False),
)

asset_tokens = Table(
    "asset_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("last_used_at", Text),
    Column("revoked_at", Text),
)

asset_webhooks = Table(
    "asset_webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("types", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("disabled_at", Text),
    Column("disabled_why", Text),
    Column("last_at", Text),
    Column("last_status", Integer),
    Column("last_error", Text),
)

asset_webhook_deliveries = Table(
    "asset_webhook_deliveries",
    metadata,
    Column("webhook_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_at", Text),
    Column("last_at", Text),
    Column("last_status", Integer),
    Column("last_error", Text),
    PrimaryKeyConstraint("webhook_id", "seq", name="pk_asset_webhook_deliveries"),
    Index("ix_asset_webhook_deliveries_next", "webhook_id", "state", "next_at"),
)
