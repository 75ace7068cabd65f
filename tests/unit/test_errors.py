"""Every error is a sentence with a status, an exit code and the built-in that a caller would expect."""

import ast
import builtins
import copy
import inspect
import pickle
import string

import pytest

from comfyvn import errors
from comfyvn.errors import ComfyVNError

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "ComfyVNError"]
SAMPLES = {"seconds": 2.5, "line": 3, "column": 14, "missing": 30, "total": 100, "percent": 20}
SAMPLES |= {"limit": 512, "size_bytes": 12}

every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def fields_of(kind: type[ComfyVNError]) -> list[str]:
    parsed = string.Formatter().parse(inspect.cleandoc(kind.__doc__ or ""))
    return [name for _, name, _, _ in parsed if name]


def make(kind: type[ComfyVNError]) -> ComfyVNError:
    return kind(**{name: SAMPLES.get(name, f"<{name}>") for name in fields_of(kind)})


def test_every_class_of_the_module_is_exported() -> None:
    """A caller could not catch what it can't import."""
    tree = ast.parse(inspect.getsource(errors))

    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}

    assert defined == set(errors.__all__)


@every_class
def test_the_message_is_the_docstring_with_every_field_filled_in(kind: type[ComfyVNError]) -> None:
    """A user would read a placeholder, or a line break in the middle of a sentence."""
    error = make(kind)

    message = str(error)

    assert kind.__doc__ not in (None, ComfyVNError.__doc__)
    assert "{" not in message
    assert "}" not in message
    assert "\n" not in message
    assert all(str(value) in message for value in error.fields.values())
    assert message == error.message


@every_class
def test_a_field_that_holds_braces_is_shown_as_it_is(kind: type[ComfyVNError]) -> None:
    """A file named ``{0}.png`` would break the report of its own trouble."""
    strange = "{0} {path} }{"
    names = [name for name in fields_of(kind) if name not in SAMPLES]

    error = kind(**{**{name: SAMPLES.get(name) for name in fields_of(kind)}, **dict.fromkeys(names, strange)})

    assert str(error).count(strange) >= min(len(names), 1)


@every_class
def test_a_forgotten_field_is_a_fault_that_shows_at_once(kind: type[ComfyVNError]) -> None:
    """A half-filled sentence would reach a user."""
    names = fields_of(kind)

    for missing in names:
        with pytest.raises(KeyError, match=missing):
            kind(**{name: SAMPLES.get(name, "x") for name in names if name != missing})


@every_class
def test_an_error_has_a_status_and_an_exit_code_that_the_doors_know(kind: type[ComfyVNError]) -> None:
    """A script could not tell a mistake of its own from a broken library."""
    refusals = {400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 416, 421, 422, 429, 431}
    assert kind.status in refusals | {500, 501, 503}
    assert kind.exit_code in {1, 2, 3, 4, 5}
    assert (kind.status == 404) == (kind.exit_code == 3)


@every_class
def test_an_error_is_caught_as_the_builtin_that_one_would_expect(kind: type[ComfyVNError]) -> None:
    """Scripts of today say ``except FileNotFoundError``."""
    base = next(parent for parent in kind.__mro__ if parent.__module__ == builtins.__name__)

    with pytest.raises(base) as caught:
        raise make(kind)

    assert isinstance(caught.value, ComfyVNError)
    assert base not in (Exception, BaseException, object)


@every_class
def test_an_error_survives_the_way_to_another_process(kind: type[ComfyVNError]) -> None:
    """A worker's error would arrive as another one about pickling."""
    error = make(kind)

    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert twin.fields == error.fields


@pytest.mark.parametrize(
    ("kind", "builtin", "status", "exit_code"),
    [
        (errors.AssetNotFound, KeyError, 404, 3),
        (errors.SidecarMissing, FileNotFoundError, 404, 3),
        (errors.SourceMissing, FileNotFoundError, 404, 3),
        (errors.SourceUnreadable, OSError, 400, 4),
        (errors.InvalidSidecar, ValueError, 500, 1),
        (errors.InvalidMetadata, ValueError, 400, 4),
        (errors.UnsafePath, ValueError, 400, 4),
        (errors.OutsideLibrary, ValueError, 400, 4),
        (errors.InvalidFilter, ValueError, 422, 2),
        (errors.InvalidSetting, ValueError, 500, 2),
        (errors.UnknownEvent, ValueError, 400, 2),
        (errors.RegistryUnusable, OSError, 503, 5),
        (errors.RegistryBusy, errors.RegistryUnusable, 503, 5),
        (errors.OlderLibrary, errors.RegistryUnusable, 503, 5),
        (errors.NoLibrary, errors.RegistryUnusable, 503, 5),
    ],
)
def test_what_scripts_rely_on_stays(
    kind: type[ComfyVNError], builtin: type[BaseException], status: int, exit_code: int
) -> None:
    """Exit codes and built-in bases are a promise to scripts."""
    assert issubclass(kind, builtin)
    assert (kind.status, kind.exit_code) == (status, exit_code)


def test_a_missing_asset_reads_as_a_sentence_though_it_is_a_key_error() -> None:
    """`str` of a KeyError puts the message in quotes."""
    error = errors.AssetNotFound(uid="3f1a0c22b7d94e10", project="default")

    assert str(error).startswith("No asset with uid 3f1a0c22b7d94e10 in project default.")
