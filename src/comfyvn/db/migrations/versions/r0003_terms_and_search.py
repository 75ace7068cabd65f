"""Types, licences and tags as counted terms with one kind of link, and a search index.

What becomes of a library of a million assets takes a minute or two, once, when it is opened.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_FILL = (
    "INSERT INTO asset_terms (project_id, kind, fold, name)"
    " SELECT project_id, 'tag', fold, name FROM asset_tags ORDER BY id",
    "INSERT INTO asset_terms (project_id, kind, fold, name)"
    " SELECT DISTINCT project_id, 'type', type, type FROM assets_registry",
    "INSERT INTO asset_terms (project_id, kind, fold, name)"
    " SELECT project_id, 'license', coalesce(license_fold, ''),"
    " coalesce(min(json_extract(meta, '$.license')), '')"
    " FROM assets_registry GROUP BY project_id, coalesce(license_fold, '')",
    "INSERT INTO asset_term_links (term_id, asset_id)"
    " SELECT t.id, l.asset_id FROM asset_tag_links l JOIN asset_tags o ON o.id = l.tag_id"
    " JOIN asset_terms t ON t.project_id = o.project_id AND t.kind = 'tag' AND t.fold = o.fold",
    "INSERT INTO asset_term_links (term_id, asset_id)"
    " SELECT t.id, a.id FROM assets_registry a"
    " JOIN asset_terms t ON t.project_id = a.project_id AND t.kind = 'type' AND t.fold = a.type",
    "INSERT INTO asset_term_links (term_id, asset_id)"
    " SELECT t.id, a.id FROM assets_registry a"
    " JOIN asset_terms t ON t.project_id = a.project_id AND t.kind = 'license'"
    " AND t.fold = coalesce(a.license_fold, '')",
    "UPDATE asset_terms SET count ="
    " (SELECT count(*) FROM asset_term_links l WHERE l.term_id = asset_terms.id)",
    "INSERT INTO asset_codes SELECT asset_id, group_concat(char(48 + ((term_id >> 24) & 63),"
    " 48 + ((term_id >> 18) & 63), 48 + ((term_id >> 12) & 63), 48 + ((term_id >> 6) & 63),"
    " 48 + (term_id & 63)), '') FROM (SELECT asset_id, term_id FROM asset_term_links"
    " ORDER BY asset_id, term_id) GROUP BY asset_id",
)
_SEARCH = (
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
    "INSERT INTO asset_search (asset_search) VALUES ('rebuild')",
)


def upgrade() -> None:
    op.create_table(
        "asset_terms",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("fold", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "kind", "fold", name="uq_asset_terms_fold"),
    )
    op.create_table(
        "asset_term_links",
        sa.Column("term_id", sa.BigInteger(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("term_id", "asset_id", name="pk_asset_term_links"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "asset_codes",
        sa.Column("asset_id", _ID, autoincrement=False, nullable=False),
        sa.Column("codes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset_id"),
    )
    for statement in _FILL:
        op.execute(statement)
    op.create_index("ix_asset_terms_count", "asset_terms", ["project_id", "kind", "count"])
    for index in ("type", "license", "hash", "preview"):
        op.drop_index(f"ix_assets_registry_{index}", "assets_registry")
    op.create_index(
        "ix_assets_registry_missing",
        "assets_registry",
        ["project_id", "id"],
        sqlite_where=sa.text("missing_since IS NOT NULL"),
        postgresql_where=sa.text("missing_since IS NOT NULL"),
    )
    op.drop_table("asset_tag_links")
    op.drop_table("asset_tags")
    for statement in _SEARCH:
        op.execute(statement)
