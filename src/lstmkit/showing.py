"""What the commands share to show things: tables, counts, and text that steers no terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

WIDEST = 200  # letters of a cell that comes from a file


def visible(text: str) -> str:
    """Put U+FFFD in the place of what would steer a terminal: a model may write any byte."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def count(number: int, thing: str) -> str:
    """Return a number and its noun: ``"1 file"``, ``"1,234 files"``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def shown(value: Any) -> str:
    """Write a value of a file on one line."""
    text = (
        value if isinstance(value, str) else f"{value:g}" if type(value) is float else repr(value)
    )
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: rich on a terminal, aligned columns elsewhere."""
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*head, box=box.SIMPLE_HEAD)
        for row in rows:
            drawn.add_row(*map(Text, row))
        Console().print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
