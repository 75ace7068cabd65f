"""Keys: whatever name comes in, what goes out lies inside the root and can be held by every file system."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyvn.errors import UnsafePath
from comfyvn.storage import numbered_key, safe_key, safe_name
from comfyvn.storage.keys import MAX_DEPTH, MAX_NAME_BYTES

SUFFIX = ".asset.json"
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
}
# every code point with the property Bidi_Control (Unicode 16.0, PropList.txt)
BIDI = set("\u061c\u200e\u200f") | {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}

pieces = st.sampled_from(
    [
        *(
            "a",
            "A",
            "Mara",
            "夏",
            "é",
            "e\u0301",
            "が",
            "か\u3099",
            "\u212b",
            "ß",
            "ſ",
            "x" * 66,
            "夏" * 60,
            "🎨",
        ),
        *(
            ".",
            "..",
            " ",
            "~",
            "_",
            "-",
            "/",
            "\\",
            ":",
            "C:",
            "*",
            "\0",
            "\t",
            "\n",
            "\x7f",
            "\x85",
            "\u2028",
        ),
        *("\u202e", "\u061c", "\u2066", "\udcff", "\ud800", "\ufeff", "\u00a0"),
        *(
            "con",
            "AUX",
            "com1",
            "LPT¹",
            "conin$",
            SUFFIX,
            ".ASSET.JSON",
            ".asset",
            ".json",
            ".png",
            ".tar.gz",
        ),
        *("_meta", ".comfyvn", ".", "." * 70, " " * 70, ".png" * 40),
    ]
)
names = st.lists(pieces, max_size=8).map("".join) | st.text(max_size=80)
suffixes = st.sampled_from(["", SUFFIX, ".json", "_side", ".ASSET.JSON"])


def is_reserved_on_windows(name: str) -> bool:
    """Tell as Python 3.13's ``os.path.isreserved`` does."""
    return (
        name.endswith((".", " "))
        or any(char in '"*:<>?|/\\' or ord(char) < 32 for char in name)
        or name.partition(".")[0].rstrip(" ").casefold() in DEVICES
    )


def assert_safe(name: str) -> None:
    assert name
    assert name not in (".", "..")
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert not is_reserved_on_windows(name), name
    assert unicodedata.is_normalized("NFC", name)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI for char in name)


def made(path: str, suffix: str = SUFFIX) -> str | None:
    try:
        return safe_key(path, sidecar_suffix=suffix)
    except UnsafePath:
        return None


@given(names, suffixes)
def test_a_safe_name_can_be_held_by_every_file_system(name: str, suffix: str) -> None:
    """A library could not be copied to another system, or a file would vanish from a listing."""
    safe = safe_name(name, suffix)

    assert_safe(safe)
    assert not suffix or not safe.casefold().endswith(suffix.casefold())


@given(names, suffixes)
def test_making_a_safe_name_safe_changes_nothing(name: str, suffix: str) -> None:
    """A file would get another name each time it is registered."""
    safe = safe_name(name, suffix)

    assert safe_name(safe, suffix) == safe


@given(st.from_regex(r"[a-zé夏][a-z0-9_é夏 -]{0,30}[a-z0-9]\.[a-z0-9]{1,5}", fullmatch=True))
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    """Names that people chose would be changed without need."""
    ordinary = unicodedata.normalize("NFC", name)

    if not is_reserved_on_windows(ordinary):
        assert safe_name(ordinary, SUFFIX) == ordinary


@given(st.lists(names, min_size=1, max_size=5).map("/".join), suffixes)
def test_a_key_never_leads_out_of_the_root(path: str, suffix: str) -> None:
    """A name from an upload would write anywhere on the disk."""
    key = made(path, suffix)

    if key is not None:
        parts = key.split("/")
        for part in parts:
            assert_safe(part)
        assert len(parts) <= MAX_DEPTH
        assert parts[0].casefold() not in ("_meta", ".comfyvn")
        assert not key.startswith(("/", "~"))
        assert not re.match("[A-Za-z]:", key)
        assert not suffix or not parts[-1].casefold().endswith(suffix.casefold())


@given(st.lists(names, min_size=1, max_size=5).map("/".join), suffixes)
def test_a_key_of_a_key_is_the_key(path: str, suffix: str) -> None:
    """A file that lies where its key says would be looked for elsewhere."""
    key = made(path, suffix)

    if key is not None:
        assert safe_key(key, sidecar_suffix=suffix) == key


@given(names, st.sampled_from(["3f1a0c22", "3f1a0c22-2", "3f1a0c22-1000"]))
def test_a_numbered_key_is_as_safe_as_the_plain_one_and_keeps_its_suffix(name: str, mark: str) -> None:
    """The second file of a name would get another type, or a name that no disk holds."""
    plain = safe_name(name, SUFFIX)

    folder, _, numbered = numbered_key(f"characters/{plain}", mark).rpartition("/")

    assert folder == "characters"
    assert_safe(numbered)
    assert numbered != plain
    assert f"-{mark}" in numbered
    assert not numbered.casefold().endswith(SUFFIX)
    stem, dot, suffix = plain.rpartition(".")
    if dot and stem and len(suffix.encode()) <= 32:
        assert numbered.endswith(f"-{mark}.{suffix}")
    assert safe_key(f"characters/{numbered}") == f"characters/{numbered}"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("mara.png", "mara.png"),
        ("AUX", "_AUX"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("LPT³.png", "_LPT³.png"),
        ("con .png", "_con .png"),
        ("console.png", "console.png"),
        ("trailing. . ", "trailing"),
        (" leading", "leading"),
        ("", "_"),
        ("...", "_"),
        (".hidden", ".hidden"),
        ('<a>:"b|c?*', "_a___b_c__"),
        ("a/b\\c", "a_b_c"),
        ("gnp.\u202eexe", "gnp._exe"),
        ("e\u0301.png", "é.png"),
        ("bad\udcff.png", "bad_.png"),
        ("x.asset.json", "x.asset_.json"),
        ("X.ASSET.JSON", "X.ASSET_.JSON"),
        (".asset.json", ".asset_.json"),
    ],
)
def test_a_name_is_made_safe_with_few_changes(name: str, safe: str) -> None:
    """A person would not find the file again."""
    assert safe_name(name, SUFFIX) == safe


@pytest.mark.parametrize(
    "name",
    [
        "." + " " * 300 + "x",
        "." * 250 + "x" * 40,
        "con" + " " * 300 + ".png",
        "a" * 189 + ".asset" + "b" * 50 + ".json",
        "a" * 189 + ".asset.json",
        "con." + "x" * 196,
        "夏" * 100 + ".png",
        "x" * 100 + "." + "y" * 150,
    ],
)
def test_a_name_that_is_cut_is_safe_afterwards_too(name: str) -> None:
    """What was cut off would lay bare a device name, a sidecar's suffix, or nothing at all."""
    safe = safe_name(name, SUFFIX)

    assert_safe(safe)
    assert not safe.endswith(SUFFIX)
    assert safe_name(safe, SUFFIX) == safe


def test_a_long_name_keeps_its_suffix() -> None:
    """A picture would not be known for one."""
    assert safe_name("夏" * 100 + ".png") == "夏" * 64 + ".png"
    assert numbered_key("夏" * 65 + ".png", "3f1a0c22") == "夏" * 62 + "-3f1a0c22.png"


def test_a_suffix_of_ones_own_is_kept_free_for_sidecars() -> None:
    """With ``sidecar_suffix=".json"`` an asset ``x.json`` would overwrite the sidecar of ``x``."""
    assert safe_name("x.json", ".json") == "x_.json_"
    assert safe_name("x_side", "_side") == "x_side_"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            " ",
            "/",
            "/etc/passwd",
            "//host/share",
            "\\\\host\\share",
            "C:\\x.png",
            "c:x.png",
            "~/x",
            "./~/x",
        ),
        *("..", "../x", "a/../../x", "a\\..\\..\\x", "a/ .. /x", "a/..", "a\0b", "a/", "a/.", ".", "./"),
        *("_meta/x.json", "_META/x.json", ".comfyvn/library.json", ".ComfyVN/x", "_meta", ".comfyvn. /x"),
        "/".join("a" * 33),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """Something outside the library, or our own folder in it, would be written."""
    with pytest.raises(UnsafePath, match="relative path below the assets folder"):
        safe_key(path)


@pytest.mark.parametrize("path", [None, 3, b"a.png"])
def test_what_is_no_text_is_refused(path: object) -> None:
    """A fault of the caller would come out as a fault of ours."""
    with pytest.raises(UnsafePath):
        safe_key(path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("characters\\mara.png", "characters/mara.png"),
        ("./a//b/./c.png", "a/b/c.png"),
        ("a/..b/c..png", "a/..b/c..png"),
        ("characters/~mara.png", "characters/~mara.png"),
        ("nul/aux.png", "_nul/_aux.png"),
        ("a.asset.json/b.png", "a.asset.json/b.png"),
        ("x/_meta/b.png", "x/_meta/b.png"),
        ("/".join("a" * 32), "/".join("a" * 32)),
    ],
)
def test_a_relative_path_becomes_a_key(path: str, key: str) -> None:
    """A path that is fine would be refused or changed."""
    assert safe_key(path) == key
