"""What several commands share: the library they open, and JSON that is written as it comes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.errors import ComfyVNError
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.studio.core import AssetRegistry

__all__ = ["emit_list", "json_option", "open_library", "size_of"]

_END: Final = object()
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


@contextmanager
def open_library(library: dict[str, str | None], *, makes: bool = False) -> Iterator[AssetRegistry]:
    """Open the library that the options name; only a command that registers makes one where there is none."""
    console.set_up_logging()
    with console.open_registry(**library, makes=makes) as registry:
        yield registry


def emit_list(name: str, items: Iterable[Any], rest: Callable[[], dict[str, Any]] = dict) -> None:
    """Print one JSON document with a list that is written as it comes; an error still ends it properly."""
    wanted = iter(items)
    first = next(wanted, _END)  # what is refused is refused before the first character
    click.echo(f'{{\n  "{name}": [', nl=False)
    separator, failure = "\n    ", None
    try:
        for item in () if first is _END else itertools.chain([first], wanted):
            click.echo(separator + console.to_json(item), nl=False)
            separator = ",\n    "
    except ComfyVNError as error:
        failure = error
    tail = {"error": str(failure)} if failure else rest()
    text = "".join(f',\n  "{key}": {console.to_json(value)}' for key, value in tail.items())
    click.echo(f"\n  ]{text}\n}}")
    if failure is not None:
        raise failure


def size_of(size_bytes: int) -> str:
    """Return a size as people read it.

    >>> size_of(1_234_567)
    '1.2 MB'
    """
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
