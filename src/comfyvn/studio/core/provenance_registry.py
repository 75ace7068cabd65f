"""`ProvenanceRegistry`: the provenance rows alone, as scripts of older releases use them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfyvn import config as settings
from comfyvn import sidecar
from comfyvn.errors import AssetNotFound
from comfyvn.model import parse_provenance, utc_now
from comfyvn.studio.core.library import Library

__all__ = ["ProvenanceRegistry"]


class ProvenanceRegistry:
    """The provenance rows of one project.

    Args:
        db_path: the ledger; default: setting ``db``.
        project_id: the project in it; default: setting ``project``.

    Raises:
        RegistryUnusable: the ledger can't be made or opened.
    """

    def __init__(self, db_path: str | Path | None = None, project_id: str | None = None) -> None:
        self._library = Library(settings.load({"db": db_path, "project": project_id}))

    def close(self) -> None:
        """Close the ledger."""
        self._library.close()

    def record(
        self,
        asset_id: int,
        *,
        source: str,
        workflow_hash: str | None = None,
        commit_hash: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        c2pa_like: Mapping[str, Any] | None = None,
        user_id: str | None = None,
    ) -> dict[str, Any]:
        """Append a provenance row to an asset and rewrite its sidecar.

        Args:
            asset_id: the record's ``id``, a number.
            source: where the file came from.
            workflow_hash: default: derived from source and inputs.
            commit_hash: default: the setting ``git_commit``, else the git commit of the project folder.
            inputs: what went into it; JSON.
            c2pa_like: content credentials, as JSON.
            user_id: default: the setting ``user``.

        Returns:
            The new row.

        Raises:
            AssetNotFound: no asset has that id.
            InvalidMetadata: refused; nothing was recorded.
        """
        stated = {
            "source": source,
            "workflow_hash": workflow_hash,
            "commit_hash": commit_hash,
            "inputs": inputs,
            "c2pa_like": c2pa_like,
            "user_id": user_id,
        }
        library = self._library
        claim = parse_provenance(
            stated,
            {},
            user_id=library.config.user,
            commit_hash=library.commit_hash(),
            limits=library.limits,
        )
        with library.transaction() as change:
            asset = change.rows.asset_with_id(asset_id)
            if asset is None:
                raise AssetNotFound(uid=f"(id {asset_id})", project=library.config.project)
            row_id = change.rows.reserve_ids(1)[0]
            asset = library.append_provenance(change, asset, claim, row_id, utc_now())
            asset = library.change_one(change, asset, asset.facts, force=True, announce=True)
        assert asset.provenance is not None
        return sidecar.describe_provenance(asset.provenance)

    def list_for_asset_uid(self, uid: str) -> list[dict[str, Any]]:
        """Return every provenance row of a uid, newest first; those of removed assets too."""
        with self._library.read() as rows:
            return [sidecar.describe_provenance(row) for row in rows.provenance_of(uid)]
