"""Make docs/images/library.svg: the registered sample library, drawn from its real records and previews."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from html import escape
from pathlib import Path

from comfyvn import sample
from comfyvn.registry.ingest import Selection, ingest
from comfyvn.studio.core import AssetRecord, AssetRegistry

TARGET = Path(__file__).parent.parent / "docs" / "images" / "library.svg"
SHOWN = (
    "backgrounds/lighthouse_night.webp",
    "characters/mara/mara_happy.png",
    "backgrounds/夕暮れの港.png",
    "characters/ellis/ellis_surprised.png",
    "backgrounds/forest_path.jpg",
    "characters/ines/ines_happy.png",
    "music/letters_home.wav",
    "voices/mara_001.wav",
)
COLUMNS, CARD_W, CARD_H, GAP, IMAGE_H = 4, 228, 232, 16, 150
WIDTH = COLUMNS * (CARD_W + GAP) + GAP
STYLE = """
text { font-family: ui-sans-serif, system-ui, sans-serif; font-size: 12px; fill: #c9d1d9 }
.name { font-weight: 600; fill: #f0f6fc } .dim { fill: #8b949e }
.mono { font-family: ui-monospace, monospace }
.key { fill: #79c0ff } .tag { fill: #a5d6ff }
"""


def main() -> None:
    """Register the sample library in a temporary folder and draw what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        sample.build(home / "art")
        with AssetRegistry(
            home / "ledger.db", assets_root=home / "assets", thumb_root=home / "thumbs"
        ) as registry:
            selection = Selection([home / "art"], license="CC0-1.0", tags=("sample",), source="comfyui")
            list(ingest(selection, registry))
            registry.wait_for_thumbnails()
            picture = draw(registry)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(picture, "utf-8")
    sys.stdout.write(f"{TARGET.name}: {len(picture) / 1000:.0f} kB\n")


def draw(registry: AssetRegistry) -> str:
    """Return the picture: a card for each shown asset, and the sidecar of one."""
    records = {record["path"]: record for record in registry.list_assets()}
    cards = "".join(_card(registry, records[path], at) for at, path in enumerate(SHOWN))
    top = GAP + 2 * (CARD_H + GAP)
    lines = _sidecar_lines(registry, records[SHOWN[1]])
    height = top + 20 + 17 * len(lines) + GAP
    text = "".join(
        f'<text class="mono" x="{GAP + 14}" y="{top + 26 + 17 * at}" xml:space="preserve">{line}</text>'
        for at, line in enumerate(lines)
    )
    panel = (
        f'<rect x="{GAP}" y="{top}" width="{WIDTH - 2 * GAP}" height="{height - top - GAP}" rx="8" '
        'fill="#161b22" stroke="#30363d"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" rx="10" fill="#0d1117"/>'
        f"{cards}{panel}{text}</svg>\n"
    )


def _card(registry: AssetRegistry, record: AssetRecord, at: int) -> str:
    x = GAP + at % COLUMNS * (CARD_W + GAP)
    y = GAP + at // COLUMNS * (CARD_H + GAP)
    preview = registry.resolve_thumbnail_path(record)
    assert preview is not None
    shown = _wave(preview) if preview.suffix == ".json" else _image(preview)
    name = escape(record["path"].rpartition("/")[2])
    lines = (
        ("name", name),
        ("dim mono", f"uid {record['uid']}"),
        ("dim", f"{record['type']} · {record['license']} · v{record['version']}"),
    )
    text = "".join(
        f'<text class="{kind}" x="12" y="{IMAGE_H + 28 + 19 * row}">{line}</text>'
        for row, (kind, line) in enumerate(lines)
    )
    return (
        f'<g transform="translate({x} {y})"><rect width="{CARD_W}" height="{CARD_H}" rx="8" fill="#161b22" '
        f'stroke="#30363d"/>{shown}{text}</g>'
    )


def _image(preview: Path) -> str:
    data = base64.b64encode(preview.read_bytes()).decode()
    return (
        f'<rect x="8" y="8" width="{CARD_W - 16}" height="{IMAGE_H}" rx="5" fill="#21262d"/>'
        f'<image x="8" y="8" width="{CARD_W - 16}" height="{IMAGE_H}" href="data:image/webp;base64,{data}"/>'
    )


def _wave(preview: Path) -> str:
    points = json.loads(preview.read_text("utf-8"))["points"]
    width, middle = CARD_W - 32, 8 + IMAGE_H / 2
    step = 4
    bars = "".join(
        f'<rect x="{16 + width * at / len(points):.1f}" y="{middle - peak * 60:.1f}" width="1.2" '
        f'height="{max(peak * 120, 1):.1f}" fill="#58a6ff"/>'
        for at in range(0, len(points), step)
        for peak in [max(points[at : at + step])]
    )
    return f'<rect x="8" y="8" width="{CARD_W - 16}" height="{IMAGE_H}" rx="5" fill="#21262d"/>{bars}'


def _sidecar_lines(registry: AssetRegistry, record: AssetRecord) -> list[str]:
    """Return the start of a real sidecar as lines of the picture."""
    payload = registry.read_sidecar(record["uid"])
    row = payload["provenance"]
    kept = {name: payload[name] for name in ("uid", "type", "path", "hash", "tags", "license", "version")}
    kept["provenance"] = {name: row[name] for name in ("id", "source", "workflow_hash", "created_at")}
    title = f'<tspan class="dim">{escape(record["sidecar"])}</tspan>'
    body = [
        f'  <tspan class="key">"{name}"</tspan>: <tspan class="tag">{escape(json.dumps(value))}</tspan>'
        for name, value in kept.items()
        if name != "provenance"
    ]
    body += ['  <tspan class="key">"provenance"</tspan>: {']
    body += [
        f'    <tspan class="key">"{name}"</tspan>: <tspan class="tag">{escape(json.dumps(value))}</tspan>'
        for name, value in kept["provenance"].items()
    ]
    return [title, "{", *body, "  }, …", "}"]


if __name__ == "__main__":
    main()
