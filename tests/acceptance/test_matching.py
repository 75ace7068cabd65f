"""Pictures whose metadata is gone: known again by pixels or looks, linked or proposed, never guessed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from comfyvn.errors import AssetNotFound
from comfyvn.model import preview_names
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRegistry
from pictures import draw_scene
from support import Answer

Run = Callable[..., Answer]
Keep = Callable[..., str]
PARAMETERS = "{prompt}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: {seed}, Size: 300x400, Model: anima"


@pytest.fixture
def keep(registry: AssetRegistry, tmp_path: Path) -> Keep:
    """Save and register a picture; with a seed, as the tool saves it that made it."""

    def keep_one(
        image: Image.Image, name: str, seed: int | None = None, prompt: str = "mara", **options: Any
    ) -> str:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        if seed is not None:
            options["pnginfo"] = PngInfo()
            options["pnginfo"].add_text("parameters", PARAMETERS.format(seed=seed, prompt=prompt))
        if path.suffix == ".jpg":
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        image.save(path, **options)
        uid = registry.register_file(path, "characters")["uid"]
        registry.wait_for_thumbnails(60)
        return uid

    return keep_one


def found(registry: AssetRegistry, *uids: str, dry_run: bool = False) -> list[tuple[str, str, str | None]]:
    """Return whom a match finds: who, what became of it, of whom."""
    told = registry.match(uids or None, dry_run=dry_run)
    return [(each["uid"], each["status"], each["parent"]) for each in told if each["status"] != "nothing"]


def edges(registry: AssetRegistry, uid: str) -> list[tuple[str, str, str, str]]:
    told = registry.lineage(uid, "ancestors", with_rejected=True)["edges"]
    return [(each["parent"], each["kind"], each["certainty"], each["found"]) for each in told]


def blink(image: Image.Image, height: int = 10) -> Image.Image:
    """Return the same sprite with another expression: something small on it is another one."""
    other = image.copy()
    ImageDraw.Draw(other).ellipse((140, 60, 160, 60 + height), fill=(20, 10, 10, 255))
    return other


# -- pixels -----------------------------------------------------------------------------------------------


def test_a_copy_without_metadata_is_linked_to_the_picture_that_was_made(
    registry: AssetRegistry, keep: Keep, run: Run
) -> None:
    """Who looks at the copy could not learn which model and seed made it."""
    image = draw_scene(1)
    copy = keep(image, "from_messenger.webp", lossless=True, exact=True)
    origin = keep(image, "mara.png", seed=7)

    answer = run("match", "--json")

    assert answer.code == 0
    [item] = answer.document["items"]
    assert (item["uid"], item["status"], item["parent"], item["found"]) == (copy, "linked", origin, "pixels")
    assert answer.document["counts"]["linked"] == 1
    assert edges(registry, copy) == [(origin, "variant", "certain", "pixels")]
    assert edges(registry, origin) == []
    assert registry.read_sidecar(copy)["lineage"][0]["parent"] == origin
    registry.undo(answer.document["operation"])
    assert edges(registry, copy) == []


def test_of_two_copies_that_tell_nothing_the_later_one_is_only_proposed(
    registry: AssetRegistry, keep: Keep
) -> None:
    """Which of them came of the other is a guess: the copy may well have come in first."""
    first = keep(draw_scene(1), "mara.png")
    second = keep(draw_scene(1), "again.png", compress_level=1)

    assert found(registry) == [(second, "proposed", first)]
    assert edges(registry, second) == [(first, "variant", "likely", "pixels")]
    assert found(registry) == []


def test_of_many_copies_that_tell_nothing_none_is_certain(registry: AssetRegistry, keep: Keep) -> None:
    """Any of them may be the one from which the others were made."""
    first, *others = (keep(draw_scene(1), f"{level}.png", compress_level=level) for level in (1, 5, 9))

    assert found(registry) == [(each, "proposed", first) for each in others]
    assert edges(registry, others[0]) == [(first, "variant", "likely", "pixels")]


def test_of_many_copies_the_one_that_tells_what_made_it_is_certain(
    registry: AssetRegistry, keep: Keep
) -> None:
    """The more copies are about, the more need their origin."""
    others = [keep(draw_scene(1), f"{level}.png", compress_level=level) for level in (1, 9)]
    origin = keep(draw_scene(1), "made.png", seed=7)

    assert found(registry) == [(each, "linked", origin) for each in others]


def test_two_pictures_of_one_workflow_are_no_parents_of_each_other(
    registry: AssetRegistry, keep: Keep
) -> None:
    """A picture that was made twice is not its own copy."""
    keep(draw_scene(1), "one.png", seed=7)
    keep(draw_scene(1), "two.png", seed=7, compress_level=1)

    assert found(registry) == []


@pytest.mark.parametrize("other", [{"seed": 8}, {"seed": 7, "prompt": "mara at night"}])
def test_a_copy_of_pictures_that_tell_different_makings_is_of_neither(
    registry: AssetRegistry, keep: Keep, other: dict[str, Any], run: Run
) -> None:
    """One seed of two would be taken for the right one, for certain."""
    one = keep(draw_scene(1), "one.png", seed=7)
    two = keep(draw_scene(1), "two.png", **other)
    bare = keep(draw_scene(1), "bare.png")

    [item] = run("match", "--json").document["items"]

    assert (item["uid"], item["status"], item["parent"]) == (bare, "ambiguous", None)
    assert set(item["candidates"]) == {one, two}
    assert edges(registry, bare) == []


def test_a_copy_of_pictures_that_tell_the_same_making_is_of_the_older(
    registry: AssetRegistry, keep: Keep
) -> None:
    """A second file of the same picture would hide what made a third."""
    one = keep(draw_scene(1), "one.png", seed=7)
    keep(draw_scene(1), "two.png", seed=7, compress_level=1)
    bare = keep(draw_scene(1), "bare.png", compress_level=9)

    assert found(registry) == [(bare, "linked", one)]


def painted_over(registry: AssetRegistry, keep: Keep) -> str:
    """Keep a picture that tells its making, and have an editor save another one in its place."""
    uid = keep(draw_scene(1), "mara.png", seed=7)
    place = registry.resolve_path(uid)
    assert place is not None
    draw_scene(2).save(place)
    rebuild(registry)
    registry.wait_for_thumbnails(60)
    return uid


def test_a_picture_that_was_painted_over_tells_nothing_of_copies_of_its_new_pixels(
    registry: AssetRegistry, keep: Keep
) -> None:
    """A copy would be linked for certain to the seed of a picture that it does not show."""
    uid = painted_over(registry, keep)
    assert [each["uid"] for each in registry.list_assets(seed=7)] == [uid]

    copy = keep(draw_scene(2), "copy.png", compress_level=1)

    assert found(registry) == [(copy, "proposed", uid)]


def test_the_origin_of_a_picture_that_was_painted_over_is_looked_for(
    registry: AssetRegistry, keep: Keep
) -> None:
    """The facts that were kept of its older content would pass for its own making."""
    uid = painted_over(registry, keep)

    origin = keep(draw_scene(2), "made.png", seed=8)

    assert found(registry) == [(uid, "linked", origin)]


# -- looks ------------------------------------------------------------------------------------------------


def test_what_looks_the_same_is_proposed_and_confirmed(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """What is only likely would be taken for a fact."""
    image = draw_scene(1)
    origin = keep(image, "mara.png", seed=7)
    lossy = keep(image, "lossy.jpg", quality=80)
    larger = keep(image.resize((600, 800)), "larger.png")

    answer = run("match")

    assert answer.code == 0
    assert "lossy.jpg" in answer.out
    assert "comfyvn proposal list" in answer.out
    assert edges(registry, lossy) == [(origin, "variant", "likely", "similar")]
    assert edges(registry, larger) == [(origin, "upscale", "likely", "similar")]
    assert {each["child"] for each in registry.proposed_parents()} == {lossy, larger}
    registry.confirm_parent(lossy, origin)
    assert found(registry) == []


def test_what_was_rejected_is_not_proposed_again(registry: AssetRegistry, keep: Keep) -> None:
    """People would be asked the same at every run."""
    origin = keep(draw_scene(1), "mara.png", seed=7)
    lossy = keep(draw_scene(1), "lossy.jpg")
    assert found(registry) == [(lossy, "proposed", origin)]

    registry.reject_parent(lossy, origin)

    assert found(registry, lossy, dry_run=True) == found(registry, lossy) == []
    assert [edge[2] for edge in edges(registry, lossy)] == ["rejected"]


def test_what_is_linked_the_other_way_round_is_left(registry: AssetRegistry, keep: Keep) -> None:
    """A hand-made link would be made a circle."""
    first = keep(draw_scene(1), "mara.png")
    between = keep(draw_scene(9), "sketch.png")
    lossy = keep(draw_scene(1), "lossy.jpg")
    registry.link(first, between)
    registry.link(between, lossy)

    assert found(registry, dry_run=True) == found(registry) == []
    told = {each["uid"]: each["reason"] for each in registry.match([lossy])}
    assert told == {lossy: f"it looks like characters/mara.png ({first}), which came from it"}


def test_what_has_its_origin_already_gets_no_other(registry: AssetRegistry, keep: Keep) -> None:
    """Who linked the right copy by hand would be asked about all of the others."""
    keep(draw_scene(1), "mara.png", seed=7)
    copy = keep(draw_scene(1), "packed.webp", lossless=True, exact=True)
    lossy = keep(draw_scene(1), "lossy.jpg")
    registry.link(lossy, copy, "edit")

    assert found(registry, lossy, dry_run=True) == []


def test_a_picture_that_tells_its_own_making_is_only_like_another(
    registry: AssetRegistry, keep: Keep
) -> None:
    """Every upscale whose graph names its source would get a second one, by guess."""
    keep(draw_scene(1), "mara.png", seed=7)
    keep(draw_scene(1).resize((600, 800)), "other.png", seed=8, prompt="mara at night")

    assert found(registry) == []


def test_expressions_of_one_sprite_are_not_each_others_origins(registry: AssetRegistry, keep: Keep) -> None:
    """The history of a character would be nonsense."""
    image = draw_scene(3)
    keep(image, "open.png", seed=1)
    other = keep(blink(image), "closed.png", seed=2)
    alone = keep(blink(image, 16), "wide.png")
    lossy = keep(blink(image), "closed.jpg")

    assert found(registry) == [(lossy, "proposed", other)]
    assert edges(registry, alone) == []


def test_where_two_could_be_meant_neither_is_proposed(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """A guess would stand in the lineage."""
    image = draw_scene(3)
    mark = Image.new("RGBA", image.size, (0, 0, 0, 0))
    ImageDraw.Draw(mark).rectangle((120, 150, 180, 210), fill=(255, 255, 255, 38))
    light = Image.alpha_composite(image, mark)
    one, other = keep(image, "one.png", seed=1), keep(light, "other.png", seed=2)
    lost = keep(Image.blend(image, light, 0.5), "lost.png")

    answer = run("match", "--json")

    [item] = answer.document["items"]
    assert (item["uid"], item["status"], item["parent"]) == (lost, "ambiguous", None)
    assert set(item["candidates"]) == {one, other}
    assert edges(registry, lost) == []


def test_copies_of_a_copy_lead_to_the_one_that_was_made(registry: AssetRegistry, keep: Keep) -> None:
    """A picture that was saved twice would have two origins, and so none."""
    image = draw_scene(1)
    lossy = keep(image, "lossy.jpg", quality=90)
    origin = keep(image, "mara.png", seed=7)
    small = keep(image.resize((240, 320)), "small.png")

    assert found(registry) == [(lossy, "proposed", origin), (small, "proposed", origin)]


def test_where_more_look_alike_than_can_be_compared_none_is_proposed(
    registry: AssetRegistry, keep: Keep
) -> None:
    """The one that was meant may be among those that nobody looked at."""
    keep(draw_scene(1), "mara.png", seed=7)
    lossy = keep(draw_scene(1), "lossy.jpg")
    list(registry.match(dry_run=True))
    columns = "project_id, hash, recipe, band_0, band_1, band_2, band_3"
    with closing(sqlite3.connect(registry.db_path)) as ledger:
        (first,) = ledger.execute("SELECT min(asset_id) FROM asset_fingerprints").fetchone()
        copy = f"INSERT INTO asset_fingerprints (asset_id, {columns}) SELECT ?, {columns} FROM"
        values = [(2**52 + number, first) for number in range(300)]
        ledger.executemany(f"{copy} asset_fingerprints WHERE asset_id = ?", values)
        ledger.commit()

    told = [each for each in registry.match() if each["status"] != "nothing"]

    assert (lossy, "ambiguous") in [(each["uid"], each["status"]) for each in told]
    assert all("more pictures look like it" in (each["reason"] or "") for each in told)


# -- what is said of it -----------------------------------------------------------------------------------


def test_why_nothing_was_found_is_said_of_each_picture(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """One sentence for all reasons tells nobody what to do."""
    origin = keep(draw_scene(1), "mara.png", seed=7)
    twin = keep(draw_scene(1), "twin.png", seed=7, compress_level=1)
    copy = keep(draw_scene(1), "copy.png", compress_level=2)
    lossy = keep(draw_scene(1), "lossy.jpg")
    first, second = keep(draw_scene(5), "first.png"), keep(draw_scene(5), "second.jpg")
    third = keep(draw_scene(5), "third.jpg", quality=70)
    alone = keep(draw_scene(9), "alone.png")
    plain = keep(Image.new("RGB", (300, 300), "red"), "plain.png")
    small = keep(draw_scene(2).resize((60, 40)), "small.png")
    registry.link(copy, origin)
    list(registry.match([lossy, second, third]))
    registry.reject_parent(third, first)
    reasons = {
        twin: "what made it is known, so it passes for an origin itself",
        copy: f"its origin is known: characters/mara.png ({origin})",
        lossy: f"that it came from characters/mara.png ({origin}) waits for confirmation already",
        first: "it is the oldest",
        third: "somebody has rejected that it came from there",
        alone: "no other picture is like it",
        plain: "it has hardly any edges",
        small: "it is smaller than 64 x 96 px",
    }

    person, program = run("match", *reasons).out, run("match", *reasons, "--json").document

    told = {item["uid"]: item["reason"] for item in program["items"]}
    for uid, reason in reasons.items():
        assert reason in told[uid]
        assert f"({uid}): {told[uid]}\n" in person


def test_why_an_asset_can_not_be_compared_is_said(
    registry: AssetRegistry, keep: Keep, run: Run, tmp_path: Path
) -> None:
    """A maker would not know whether to make a preview, or to look for the file."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mara")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    gone = keep(draw_scene(1), "gone.png")
    unread = keep(draw_scene(2), "unread.png")
    text = registry.register_file(notes, "notes")["uid"]
    damaged = registry.register_file(broken, "art")["uid"]
    registry.wait_for_thumbnails(60)
    Path("assets/characters/gone.png").unlink()
    rebuild(registry, allow_missing=True)
    (registry.THUMB_ROOT / preview_names(unread, "thumbnail")["256"]).unlink()

    said = {uid: run("match", uid).out for uid in (gone, unread, text, damaged)}

    assert "its file is gone" in said[gone]
    assert "its preview can't be read; `comfyvn previews build` makes it anew" in said[unread]
    assert "it is no still picture" in said[text]
    assert "its preview can't be made: " in said[damaged]


def test_who_asks_what_made_a_copy_is_sent_to_its_origin(
    registry: AssetRegistry, keep: Keep, run: Run
) -> None:
    """The facts are there, two commands away, and nobody would know."""
    origin = keep(draw_scene(1), "mara.png", seed=7)
    copy, other = (
        keep(draw_scene(1), "copy.webp", lossless=True, exact=True),
        keep(draw_scene(9), "other.png"),
    )
    run("match")

    asked, alone = run("facts", "show", copy), run("facts", "show", other)

    assert (asked.code, alone.code) == (3, 3)
    assert "It came from characters/mara.png (variant, found by pixels)" in asked.err
    assert f"`comfyvn facts show {origin}`" in asked.err
    assert alone.err.endswith("tells what made it.\n")


def test_who_asks_what_made_a_lossy_copy_is_told_how_to_decide(
    registry: AssetRegistry, keep: Keep, run: Run
) -> None:
    """A proposal that nobody knows of is never decided, and nobody thinks of a match."""
    origin, lossy = keep(draw_scene(1), "mara.png", seed=7), keep(draw_scene(1), "lossy.jpg", quality=80)

    before = run("facts", "show", lossy)
    run("match")
    after = run("facts", "show", lossy)

    assert (before.code, after.code) == (3, 3)
    assert f"`comfyvn match {lossy}` looks for the picture that it came from" in before.err
    assert f"may have come from characters/mara.png ({origin}; variant, found by similar)" in after.err
    assert f"came of it      1, 1 of them likely (comfyvn lineage {origin})" in run("show", origin).out
    assert f"`comfyvn proposal confirm {lossy} {origin}`" in after.err
    assert f"`comfyvn proposal reject {lossy} {origin}`" in after.err


def test_a_match_counts_why_so_many_have_no_origin(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """28 nothing: are these too small, or is the origin not in the library?"""
    keep(draw_scene(1), "mara.png", seed=7)
    keep(draw_scene(1), "copy.png", compress_level=1)
    keep(draw_scene(5), "harbour.png")
    keep(draw_scene(9), "roof.png")

    first, second = run("match").out, run("match").out

    assert "\n  2 nothing: no other picture is like it\n" in first
    assert "1 linked" in first
    assert "\n  1 nothing: its origin is known: another picture\n" in second


# -- the work ---------------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_same_and_writes_nothing(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """Nobody would dare to try it."""
    origin, copy = keep(draw_scene(1), "mara.png", seed=7), keep(draw_scene(1), "copy.png", compress_level=1)
    lossy = keep(draw_scene(1), "lossy.jpg")
    position = registry.journal_position()

    answer = run("match", "--dry-run", "--json")

    assert answer.document["operation"] is None
    assert registry.journal_position() == position
    assert found(registry) == [(copy, "linked", origin), (lossy, "proposed", origin)]
    assert [each["uid"] for each in answer.document["items"]] == [copy, lossy]


def test_only_what_is_named_is_looked_at(registry: AssetRegistry, keep: Keep, run: Run) -> None:
    """Who wants to know of one picture would change all the others."""
    origin = keep(draw_scene(1), "mara.png", seed=7)
    one, other = keep(draw_scene(1), "one.jpg", quality=90), keep(draw_scene(1), "two.jpg", quality=80)
    plain = keep(Image.new("RGB", (300, 300), "red"), "plain.png")

    answer = run("match", one, plain, "--json")

    told = {each["uid"]: each for each in answer.document["items"]}
    assert told.keys() == {one, plain}
    assert told[one]["parent"] == origin
    assert "can't be compared" in told[plain]["reason"]
    assert edges(registry, other) == []
    assert run("match", "nobody").code == 3
    with pytest.raises(AssetNotFound):
        list(registry.match(["nobody"]))


def test_a_picture_that_changed_is_looked_at_anew(
    registry: AssetRegistry, keep: Keep, tmp_path: Path
) -> None:
    """It would be taken for what it was."""
    uid = keep(draw_scene(1), "mara.png")
    list(registry.match())
    place = registry.resolve_path(uid)
    assert place is not None
    draw_scene(2).save(place)
    registry.register_file(place, "characters")
    registry.wait_for_thumbnails(60)

    lossy = keep(draw_scene(2), "lossy.jpg")

    assert found(registry) == [(lossy, "proposed", uid)]


def test_a_picture_that_changes_while_it_is_compared_is_not_linked(
    registry: AssetRegistry, keep: Keep
) -> None:
    """What was found out of its older content would be said of the new one."""
    keep(draw_scene(1), "mara.png", seed=7)
    uid = keep(draw_scene(1), "copy.png", compress_level=1)
    list(registry.match(dry_run=True))
    place = registry.resolve_path(uid)
    assert place is not None
    looked = []

    def change() -> None:
        looked.append(uid)
        if len(looked) == 2:
            draw_scene(2).save(place)
            registry.register_file(place, "characters")

    told = list(registry.match(on_look=change))

    assert [each["status"] for each in told] == ["nothing", "nothing"]
    assert any("changed, linked or removed meanwhile" in (each["reason"] or "") for each in told)
    assert edges(registry, uid) == []


def test_a_preview_that_is_gone_or_damaged_costs_its_own_picture_alone(
    registry: AssetRegistry, keep: Keep
) -> None:
    """One bad file in the cache would stop the search for all."""
    origin = keep(draw_scene(1), "mara.png", seed=7)
    gone, damaged = keep(draw_scene(1), "gone.jpg"), keep(draw_scene(1), "damaged.jpg", quality=70)
    lossy = keep(draw_scene(1), "lossy.jpg", quality=80)
    small = {uid: registry.THUMB_ROOT / preview_names(uid, "thumbnail")["256"] for uid in (gone, damaged)}
    small[gone].unlink()
    small[damaged].write_bytes(b"RIFF\0\0\0\0WEBP")

    assert found(registry) == [(lossy, "proposed", origin)]


def test_a_removed_asset_leaves_no_fingerprint(registry: AssetRegistry, keep: Keep) -> None:
    """The ledger would keep what nobody asked it to keep."""
    uid = keep(draw_scene(1), "mara.png")
    list(registry.match())

    registry.remove_asset(uid)

    with closing(sqlite3.connect(registry.db_path)) as ledger:
        assert ledger.execute("SELECT count(*) FROM asset_fingerprints").fetchone() == (0,)


# -- real art ---------------------------------------------------------------------------------------------


@pytest.mark.art
def test_the_expressions_of_a_real_sprite_stay_apart(
    registry: AssetRegistry, keep: Keep, art: Path, tmp_path: Path
) -> None:
    """Sylvie smiling is not made of Sylvie giggling, and a stripped smile is of the smile alone."""
    sprites = sorted(art.rglob("sylvie green *.png"))
    assert len(sprites) == 4
    known = {path.stem: registry.register_file(path, "characters")["uid"] for path in sprites}
    registry.wait_for_thumbnails(60)
    assert found(registry) == []

    lost = {}
    for path in sprites:
        with Image.open(path) as image:
            lost[path.stem] = keep(image, f"{path.stem}.jpg", quality=80)

    assert sorted(found(registry)) == sorted((lost[stem], "proposed", known[stem]) for stem in known)


@pytest.mark.art
def test_a_real_expression_whose_origin_is_not_here_finds_no_other(
    registry: AssetRegistry, keep: Keep, art: Path
) -> None:
    """The next best expression would be proposed, with a good reason and wrongly."""
    normal, surprised = (next(art.rglob(f"sylvie blue {name}.png")) for name in ("normal", "surprised"))
    other = registry.register_file(surprised, "characters")["uid"]
    with Image.open(normal) as image:
        lossy = keep(image, "normal.jpg")
        small = keep(image.resize((image.width // 2, image.height // 2)), "small.png")

    assert found(registry) == [(small, "proposed", lossy)]
    assert edges(registry, other) == edges(registry, lossy) == []
