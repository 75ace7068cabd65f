"""What a gallery asks besides: assets without tags, and those with which something is wrong.

A library of a million assets takes some seconds, once, when it is opened.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_UNTAGGED = "length(c.codes) = 10"  # five characters for the type, five for the licence
_FILL = (
    "INSERT INTO asset_terms (project_id, kind, fold, name, count)"
    " SELECT a.project_id, 'tag', '', '', count(*) FROM asset_codes c"
    f" JOIN assets_registry a ON a.id = c.asset_id WHERE {_UNTAGGED} GROUP BY a.project_id",
    "INSERT INTO asset_term_links (term_id, asset_id)"
    " SELECT t.id, a.id FROM asset_codes c JOIN assets_registry a ON a.id = c.asset_id"
    " JOIN asset_terms t ON t.project_id = a.project_id AND t.kind = 'tag' AND t.fold = ''"
    f" WHERE {_UNTAGGED} ORDER BY t.id, a.id",
    "UPDATE asset_codes AS c SET codes = codes || (SELECT char(48 + ((t.id >> 24) & 63),"
    " 48 + ((t.id >> 18) & 63), 48 + ((t.id >> 12) & 63), 48 + ((t.id >> 6) & 63), 48 + (t.id & 63))"
    " FROM assets_registry a JOIN asset_terms t ON t.project_id = a.project_id AND t.kind = 'tag'"
    f" AND t.fold = '' WHERE a.id = c.asset_id) WHERE {_UNTAGGED}",
)


def upgrade() -> None:
    for statement in _FILL:
        op.execute(statement)
    for name, condition in (("preview", "preview_state = 'failed'"), ("sidecar", "sidecar_size IS NULL")):
        op.create_index(
            f"ix_assets_registry_no_{name}",
            "assets_registry",
            ["project_id", "id"],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.create_index(
        "ix_asset_journal_overruled",
        "asset_journal",
        ["project_id", "asset_id"],
        sqlite_where=sa.text("event = 'asset_meta_updated' AND instr(after_json, '\"overruled\":') > 0"),
    )
