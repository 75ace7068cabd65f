"""The command ``show``."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.cli.front import columns
from comfyvn.cli.shared import json_option, open_library, size_of
from comfyvn.errors import AssetNotFound
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["show"]

_NAME_CELLS: Final = 30
_PARENTS_SHOWN: Final = 3
_TOLD_ELSEWHERE: Final = ("asset_uid", "asset_hash", "generation")


@click.command()
@click.argument("uid")
@json_option
@console.library_options
def show(uid: str, as_json: bool, **library: str | None) -> int:
    """Show all that is known of one asset: by its uid, the beginning of that, or its path."""
    with open_library(library) as registry:
        record = registry.get_asset(registry.resolve_uid(uid) or uid)
        if record is None:
            raise AssetNotFound(uid=uid, project=registry.project_id)
        history = registry.list_provenance(record["uid"])
        if as_json:
            console.emit_json({**record, "provenance_history": history})
        else:
            _print_record(registry, record, history)
    return 0


def _print_record(registry: AssetRegistry, record: AssetRecord, history: list[dict[str, Any]]) -> None:
    preview = registry.resolve_thumbnail_path(record)
    reason = (record["preview"] or {}).get("reason")
    rows: dict[str, object] = {
        "uid": record["uid"],
        "type": record["type"],
        "file": registry.ASSETS_ROOT / record["path"],
        "missing since": record["missing_since"],
        "sidecar": registry.ASSETS_ROOT / record["sidecar"],
        "hash": record["hash"],
        "size": f"{size_of(record['bytes'])} ({record['bytes']:,} bytes)",
        "version": record["version"],
        "tags": ", ".join(record["tags"]) or "none",
        "licence": record["license"] or "none",
        "preview": preview or reason or record["preview_state"],
        "registered": f"{record['created_at']} UTC",
        "changed": f"{record['updated_at']} UTC",
    }
    told = record["media"]
    if told:
        stamped = "yes" if told["stamped"] else f"no: {told['not_stamped_because']}"
        facts = {key: value for key, value in told.items() if "stamped" not in key and key != "recipe"}
        rows |= {"marker in file": stamped, "file tells": ", ".join(map(_fact, facts.items()))}
    derived = {"tags", "license", "version", "preview", "thumbnails"}
    derived |= {"media"} if record["meta"].get("media") == told else set()
    rows |= {name: _inline(value) for name, value in record["meta"].items() if name not in derived}
    rows |= {"made with": _made_with(record["uid"], history), **_lineage(registry, record["uid"])}
    shown = [(name, str(value)) for name, value in rows.items() if value is not None]
    _print_rows([*shown, *(("provenance", _describe(row)) for row in history)])


def _made_with(uid: str, history: list[dict[str, Any]]) -> str | None:
    """Return in a line what made an asset, and where all of it is told; None where nothing is known."""
    told = next((row["inputs"]["generation"] for row in history if "generation" in row["inputs"]), None)
    if not isinstance(told, dict):
        return None
    facts = told["facts"] if isinstance(told.get("facts"), dict) else {}
    models = facts["models"] if isinstance(facts.get("models"), list) else []
    parts = [told.get("tool"), *(each.get("name") for each in models[:1] if isinstance(each, dict))]
    parts += [f"seed {facts['seed']}"] if facts.get("seed") else []
    made = ", ".join(part for part in parts if isinstance(part, str))
    return f"{made} (comfyvn facts show {uid})".strip()


def _lineage(registry: AssetRegistry, uid: str) -> dict[str, str]:
    """Return in a line each what an asset came from, and how much came of it, as far as there is any."""
    found = registry.lineage(uid, depth=1)
    paths = {node["uid"]: node["path"] or f"{node['uid']} (not in the library)" for node in found["nodes"]}
    parents = [
        paths[each["parent"]] + (" (likely)" if each["certainty"] == "likely" else "")
        for each in found["edges"]
        if each["child"] == uid
    ]
    below = {each["child"]: each["certainty"] for each in found["edges"] if each["parent"] == uid}
    likely = sum(certainty == "likely" for certainty in below.values())
    more = f" and {len(parents) - _PARENTS_SHOWN:,} more" if len(parents) > _PARENTS_SHOWN else ""
    where = f" (comfyvn lineage {uid})"
    lines = {}
    if parents:
        lines["came from"] = ", ".join(parents[:_PARENTS_SHOWN]) + more + where
    if below:
        lines["came of it"] = f"{len(below):,}{f', {likely:,} of them likely' if likely else ''}{where}"
    return lines


def _print_rows(rows: list[tuple[str, str]]) -> None:
    """Print names and values in two columns, long values wrapped to the terminal at their spaces.

    Not by rich: loading it takes longer than all else that ``show`` does.
    """
    names = [console.plain(name).replace("\n", " ") for name, _ in rows]
    left = min(max(map(_cells, names)), _NAME_CELLS) + 2
    width = (columns() or 80) - left if sys.stdout.isatty() else None
    lines: list[str] = []
    for name, (_, value) in zip(names, rows, strict=True):
        first, *others = _wrapped(console.plain(value), width)
        lines.append(click.style(name, bold=True) + " " * max(left - _cells(name), 1) + first)
        lines += [" " * left + line for line in others]
    click.echo("\n".join(lines))


def _wrapped(text: str, width: int | None) -> list[str]:
    """Return text in lines of so many columns; a word, such as a path, stays whole and can be copied."""
    lines: list[str] = []
    for line in text.split("\n"):
        if width is None or _cells(line) <= width:
            lines.append(line)
            continue
        begun = ""
        for word in line.split():
            if begun and _cells(f"{begun} {word}") > width:
                lines.append(begun)
                begun = word
            else:
                begun = f"{begun} {word}".lstrip()
        lines.append(begun)
    return lines


def _cells(text: str) -> int:
    """Return the columns that text takes on a terminal: two for a character of Chinese or Japanese."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _describe(row: dict[str, Any]) -> str:
    inputs = {key: value for key, value in row["inputs"].items() if key not in _TOLD_ELSEWHERE}
    parts = [f"{row['id']} from {row['source']}", f"{row['created_at']} UTC"]
    parts += [f"by {row['user_id']}"] if row["user_id"] else []
    # one derived from nothing says nothing
    is_known = bool(inputs) or "generation" in row["inputs"]
    parts += [f"workflow {row['workflow_hash'][:16]}"] if row["workflow_hash"] and is_known else []
    parts += [f"commit {row['commit_hash'][:12]}"] if row["commit_hash"] else []
    parts += [_inline(inputs)] if inputs else []
    return ", ".join(parts)


def _fact(fact: tuple[str, object]) -> str:
    name, value = fact
    return f"{name} {value if isinstance(value, float) else _inline(value)}"


def _inline(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:299] + "…"
