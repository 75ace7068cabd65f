"""Settings: where each comes from, where relative paths start, and what a wrong one is told."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from comfyvn import config
from comfyvn.config import SETTINGS_FILE, Config, load, settings_table
from comfyvn.errors import InvalidSetting
from comfyvn.model import Limits

STATED = {
    "thumbs_rel": "previews",
    "project": "night-shift",
    "user": "mara",
    "git_commit": "ab12",
    "durability": "batch",
    "busy_timeout_s": 1.5,
    "log_level": "INFO",
    "preview_workers": 3,
    "ingest_workers": 4,
    "preview_pixels": 5,
    "preview_time_s": 5.5,
    "preview_memory_bytes": 55,
    "metadata_bytes": 6,
    "metadata_nesting": 7,
    "metadata_values": 8,
    "tags_per_asset": 9,
    "tag_length": 10,
    "sidecar_bytes": 11,
    "archive_files": 11_001,
    "archive_bytes": 11_002,
    "server_host": "127.0.0.2",
    "server_port": 8001,
    "api_token": "abc",
    "upload_bytes": 12,
    "uploads_at_once": 13,
    "request_bytes": 14,
    "request_nesting": 15,
    "header_bytes": 16,
    "request_time_s": 16.5,
    "idle_time_s": 17.5,
    "connections": 18,
    "page_size": 19,
    "bulk_assets": 20,
    "event_backlog": 21,
    "event_streams": 22,
}
LISTS = ("allowed_hosts", "allowed_origins", "import_roots", "webhook_hosts")
VARIABLES = {row["name"]: row["env"] for row in settings_table()}
PATHS = ("assets_root", "thumbs_root", "db")


@pytest.fixture
def write_settings(project: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = project / SETTINGS_FILE
        path.write_text(text, "utf-8")
        return path

    return write


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, (str, Path)) else str(value)


def test_without_any_settings_everything_lies_in_the_current_folder(project: Path) -> None:
    """The places that the manual names would be wrong."""
    found = load(environ={})

    assert found.home == project
    assert found.assets_root == project / "assets"
    assert found.thumbs_root == project / "cache" / "thumbs"
    assert found.db == project / "comfyvn" / "data" / "comfyvn.db"
    assert (found.project, found.durability, found.busy_timeout_s) == ("default", "full", 30.0)
    assert (found.user, found.git_commit) == (None, None)
    assert found.limits() == Limits()
    assert found.origins == {}
    assert not list(project.iterdir())


def test_every_setting_is_tried_here() -> None:
    """A new setting would have no test."""
    names = {row["name"] for row in settings_table()}

    assert names == {"home", "server_watch", *PATHS, *STATED, *LISTS}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("true", True),
        ("YES", True),
        (" 1 ", True),
        ("on", True),
        ("false", False),
        ("0", False),
        ("Off", False),
    ],
)
def test_a_switch_is_set_by_any_word_for_it(
    write_settings: Callable[[str], Path], said: str, meant: bool
) -> None:
    """A user would switch something off by a word that counts as on."""
    write_settings(f"server_watch = {str(not meant).lower()}\n")

    assert load(environ={}).server_watch is not meant
    assert load(environ={"COMFYVN_SERVER_WATCH": said}).server_watch is meant


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    """A mistyped word would count as one of the two."""
    with pytest.raises(InvalidSetting, match="it must be true or false"):
        load(environ={"COMFYVN_SERVER_WATCH": "maybe"})


@pytest.mark.parametrize("name", STATED)
def test_a_file_beats_the_default_a_variable_the_file_and_an_argument_all(
    name: str, write_settings: Callable[[str], Path]
) -> None:
    """A user would set something and see no effect."""
    value = STATED[name]
    other = {"durability": "off", "log_level": "ERROR"}.get(name, "other" if isinstance(value, str) else 77)
    third = {"durability": "full", "log_level": "DEBUG"}.get(name, "third" if isinstance(value, str) else 88)
    variable = VARIABLES[name]
    write_settings(f"{name} = {toml(value)}\n")

    from_file = load(environ={})
    from_variable = load(environ={variable: str(other)})
    from_argument = load({name: third}, environ={variable: str(other)})

    assert getattr(from_file, name) == value
    assert getattr(from_variable, name) == other
    assert getattr(from_argument, name) == third
    assert type(getattr(from_variable, name)) is type(value)
    assert [each.why(name) for each in (from_file, from_variable, from_argument)] == [
        SETTINGS_FILE,
        variable,
        "argument",
    ]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_beats_the_one_of_the_level_below_it(
    name: str, write_settings: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two programs with one configuration would act on two libraries."""
    write_settings(f'{name} = "from-file"\n')
    variable = f"COMFYVN_{name.upper()}"

    assert getattr(load(environ={}), name) == Path.cwd() / "from-file"
    assert getattr(load(environ={variable: "from-env"}), name) == Path.cwd() / "from-env"
    stated = load({name: tmp_path / "stated"}, environ={variable: "from-env"})
    assert getattr(stated, name) == tmp_path / "stated"


def test_relative_paths_of_file_and_variables_start_at_the_project_those_of_arguments_here(
    tmp_path: Path, project: Path
) -> None:
    """A path on a command line means what the shell would mean by it."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / SETTINGS_FILE).write_text('thumbs_root = "t"\n', "utf-8")

    found = load({"db": "my.db"}, environ={"COMFYVN_HOME": str(home), "COMFYVN_ASSETS_ROOT": "art"})

    assert found.home == home
    assert found.thumbs_root == home / "t"
    assert found.assets_root == home / "art"
    assert found.db == project / "my.db"
    assert found.why("home") == "COMFYVN_HOME"


def test_the_settings_file_is_that_of_the_project_folder(tmp_path: Path, project: Path) -> None:
    """Settings of the folder one happens to stand in would be used for another project."""
    (project / SETTINGS_FILE).write_text('project = "here"\n', "utf-8")
    (tmp_path / SETTINGS_FILE).write_text('project = "there"\n', "utf-8")

    assert load({"home": ".."}, environ={}).project == "there"
    assert load(environ={"COMFYVN_HOME": str(tmp_path)}).project == "there"
    assert load(environ={}).project == "here"
    assert load({"home": ".."}, environ={}).home.resolve() == tmp_path


def test_a_home_argument_beats_the_variable(tmp_path: Path, project: Path) -> None:
    """`--home` would be ignored."""
    found = load({"home": project}, environ={"COMFYVN_HOME": str(tmp_path)})

    assert found.home == project
    assert found.why("home") == "argument"


def test_a_tilde_leads_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder named ``~`` would be made in the project."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    found = load({"home": "~/vn"}, environ={"COMFYVN_ASSETS_ROOT": "~/art"})

    assert found.home == tmp_path / "vn"
    assert found.assets_root == tmp_path / "art"


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ((), "assets"),
        (("assets",), "assets"),
        (("data/assets",), "data/assets"),
        (("assets", "data/assets"), "assets"),
    ],
)
def test_an_old_library_in_data_assets_keeps_working(
    project: Path, existing: tuple[str, ...], expected: str
) -> None:
    """An upgrade would show an empty library beside the full one."""
    for folder in existing:
        (project / folder).mkdir(parents=True)

    assert load(environ={}).assets_root == project / expected


def test_a_file_named_assets_is_no_library(project: Path) -> None:
    """The old library would be hidden by a stray file."""
    (project / "assets").write_text("a note")
    (project / "data" / "assets").mkdir(parents=True)

    assert load(environ={}).assets_root == project / "data" / "assets"


def test_an_empty_variable_and_a_none_argument_count_as_not_stated(
    write_settings: Callable[[str], Path],
) -> None:
    """`COMFYVN_DB=` in a shell script would name the project folder as the ledger."""
    write_settings('project = "mine"\n')

    found = load({"project": None, "db": None}, environ={"COMFYVN_PROJECT": "", "COMFYVN_DB": ""})

    assert found.project == "mine"
    assert found.db.name == "comfyvn.db"


def test_the_environment_is_that_of_the_process_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Variables would have no effect in a program that does not pass them on."""
    monkeypatch.setenv("COMFYVN_PROJECT", "from-the-shell")

    assert load().project == "from-the-shell"
    assert load(environ={}).project == "default"


def test_limits_come_from_the_settings(write_settings: Callable[[str], Path]) -> None:
    """A limit could be set and not hold."""
    write_settings("metadata_bytes = 6\nmetadata_nesting = 7\nmetadata_values = 8\ntags_per_asset = 9\n")

    assert load({"tag_length": 10}, environ={}).limits() == Limits(6, 7, 8, 9, 10)


def test_an_unknown_key_is_named_with_those_that_there_are(write_settings: Callable[[str], Path]) -> None:
    """A mistyped key would be ignored in silence."""
    write_settings('asets_root = "art"\n')

    with pytest.raises(InvalidSetting, match=r"asets_root = 'art' \(from comfyvn.toml\).*assets_root"):
        load(environ={})


def test_tables_of_import_adapters_are_kept_for_those(write_settings: Callable[[str], Path]) -> None:
    """Rules would be refused as an unknown setting, or those of a plug-in that is not installed here."""
    write_settings('[importers.painter]\ncolour = 3\n[[importers.folders.rules]]\nmatch = "*"\n')

    found = load(environ={})

    assert found.importers == {"painter": {"colour": 3}, "folders": {"rules": [{"match": "*"}]}}
    assert load({"home": "elsewhere"}, environ={}).importers == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("importers = 3\n", r"importers = 3 \(from comfyvn.toml\): it must be a table"),
        ("[[importers]]\nname = 'folders'\n", r"importers = \[.*it must be a table"),
        ("[importers]\nfolders = true\n", r"importers.folders = True \(from comfyvn.toml\): it must be"),
    ],
)
def test_what_is_no_table_of_an_adapter_is_named(
    text: str, why: str, write_settings: Callable[[str], Path]
) -> None:
    """Rules with a wrong pair of brackets would have no effect."""
    write_settings(text)

    with pytest.raises(InvalidSetting, match=why):
        load(environ={})


@pytest.mark.parametrize("name", ["home", "origins"])
def test_what_is_no_setting_of_the_file_is_refused_there(
    name: str, write_settings: Callable[[str], Path]
) -> None:
    """A file can't say in which folder it is looked for, nor where other values came from."""
    write_settings(f'{name} = "x"\n')

    with pytest.raises(InvalidSetting, match=f"{name} .* there is no such setting"):
        load(environ={})


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"project = ", "comfyvn.toml"), (b'project = "\xff"', "utf-8"), (b"a = 1\na = 2", "comfyvn.toml")],
)
def test_a_broken_settings_file_is_named(project: Path, text: bytes, why: str) -> None:
    """A user would not know which file to mend."""
    (project / SETTINGS_FILE).write_bytes(text)

    with pytest.raises(InvalidSetting, match=why) as caught:
        load(environ={})

    assert str(project / SETTINGS_FILE) in str(caught.value)


def test_a_folder_in_place_of_the_settings_file_is_named(project: Path) -> None:
    """Settings would be ignored in silence."""
    (project / SETTINGS_FILE).mkdir()

    with pytest.raises(InvalidSetting, match=SETTINGS_FILE):
        load(environ={})


def test_a_settings_file_with_a_byte_order_mark_is_read(project: Path) -> None:
    """PowerShell and Notepad write one; the parser calls it an invalid statement."""
    (project / SETTINGS_FILE).write_bytes(b'\xef\xbb\xbfproject = "mine"\n')

    assert load(environ={}).project == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("preview_workers", value) for value in ("0", "-1", "two", "1.5", "", " ", "nan", "1e400")),
        *(("preview_workers", value) for value in (0, 2.5, True, float("inf"), float("nan"), [1], 10**16)),
        *(("busy_timeout_s", value) for value in ("0", "-0.1", "soon", "inf", "nan", True, 10**400, {})),
        *(("durability", value) for value in ("none", 1, True)),
        *(("project", value) for value in ("  ", 1, True, ["x"], "a\0b")),
        *(("assets_root", value) for value in (1, True, "a\0b", "s3://bucket/art", ["x"])),
        *(("assets_root", value) for value in ("~no-such-user-here/art",)),
        *(("db", value) for value in ("postgresql://host/db", "sqlite:///x.db")),
        *(("home", value) for value in (1, "a\0b", "~no-such-user-here", "s3://x")),
    ],
)
def test_a_bad_value_is_named_with_its_setting_and_origin(name: str, value: object) -> None:
    """A traceback would not tell which of many settings is wrong."""
    with pytest.raises(InvalidSetting) as caught:
        load({name: value}, environ={})

    assert str(caught.value).startswith(f"Setting {name} = {value!r} (from argument): ")


def test_a_bad_variable_is_named() -> None:
    """A user would look for the mistake in the settings file."""
    with pytest.raises(InvalidSetting, match=r"preview_workers = 'many' \(from COMFYVN_PREVIEW_WORKERS\)"):
        load(environ={"COMFYVN_PREVIEW_WORKERS": "many"})


def test_a_bad_value_that_something_better_replaces_does_no_harm() -> None:
    """A stale variable could not be overruled on the command line."""
    found = load({"preview_workers": 3}, environ={"COMFYVN_PREVIEW_WORKERS": "many"})

    assert found.preview_workers == 3


def test_a_whole_number_with_a_point_is_fine(write_settings: Callable[[str], Path]) -> None:
    """Programs that write settings don't tell 2 from 2.0."""
    write_settings("preview_workers = 2.0\nbusy_timeout_s = 3\n")

    found = load(environ={})

    assert (found.preview_workers, found.busy_timeout_s) == (2, 3.0)
    assert (type(found.preview_workers), type(found.busy_timeout_s)) == (int, float)


def test_text_is_trimmed() -> None:
    """A blank at the end of a line would make another project of it."""
    assert load(environ={"COMFYVN_PROJECT": " mine \n"}).project == "mine"


def test_the_table_documents_every_setting() -> None:
    """``docs/settings.md`` is made from it."""
    rows = {row["name"]: row for row in settings_table()}

    assert all(row["doc"].endswith(".") for row in rows.values())
    assert rows["assets_root"]["env"] == "COMFYVN_ASSETS_ROOT"
    assert rows["durability"]["default"] == "`full`"
    assert rows["home"]["default"] == "the current folder"
    assert "origins" not in rows
    for name, row in rows.items():
        assert row["env"] == ("API_TOKEN" if name == "api_token" else f"COMFYVN_{name.upper()}")


def test_paths_are_absolute_and_nothing_is_made(project: Path) -> None:
    """A change of the current folder would move the library; reading settings would leave folders behind."""
    found = load(
        {"assets_root": "a", "home": "b"}, environ={"COMFYVN_DB": "c.db", "COMFYVN_THUMBS_ROOT": "d"}
    )

    assert all(getattr(found, name).is_absolute() for name in ("home", *PATHS))
    assert not list(project.iterdir())
    assert isinstance(found, Config)
    assert config.__all__


def test_a_log_level_may_be_written_in_small_letters() -> None:
    """``log_level = "debug"`` would be refused, or worse, ignored."""
    assert load(environ={"COMFYVN_LOG_LEVEL": "debug"}).log_level == "DEBUG"
    with pytest.raises(InvalidSetting, match="it must be one of DEBUG, INFO"):
        load(environ={"COMFYVN_LOG_LEVEL": "loud"})


def test_a_list_is_taken_from_the_file_or_with_commas_from_a_variable(
    write_settings: Callable[[str], Path],
) -> None:
    """A name after the first comma would be locked out."""
    write_settings('allowed_hosts = ["gpu.lan", "studio.lan"]\n')

    from_file = load(environ={})
    from_variable = load(environ={"COMFYVN_ALLOWED_HOSTS": " a.lan, b.lan ,"})

    assert from_file.allowed_hosts == ("gpu.lan", "studio.lan")
    assert from_variable.allowed_hosts == ("a.lan", "b.lan")
    with pytest.raises(InvalidSetting, match="it must be a list of texts"):
        load({"allowed_hosts": 5}, environ={})


def test_a_list_of_folders_is_parted_as_the_system_parts_paths(project: Path) -> None:
    """A folder with a comma in its name could not be listed."""
    found = load(environ={"COMFYVN_IMPORT_ROOTS": os.pathsep.join(["in,box", "/srv/art"])})

    assert found.import_roots == (project / "in,box", Path("/srv/art"))


def test_the_token_is_not_shown_where_settings_are_printed() -> None:
    """A log or a bug report would give it away."""
    assert "hush" not in repr(load(environ={"API_TOKEN": "hush"}))
