"""What a check found, for a terminal, for a notebook and for a program."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass, field
from typing import TextIO

MARKS = {"passed": "✓", "mistake": "✗", "open": "○", "note": "·"}
STRENGTH = "of 1081 programs with a known mistake 100% are caught and 100% named rightly"
"""What `lstmkit check --strength` measured when this was last changed; it fails below 95%."""
_COLORS = {"passed": "green", "mistake": "red", "open": "yellow", "note": "dim"}


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes
    ----------
    kind : str
        ``"passed"``, ``"mistake"``, ``"open"`` (not written yet) or ``"note"``.
    part : str
        The learner's function, such as ``"lstm_cell_step"``.
    text : str
        One sentence.
    names : tuple of str
        The short names of the mistakes, as the mutants have them; empty where none matched.
    """

    kind: str
    part: str
    text: str
    names: tuple[str, ...] = ()


@dataclass
class Report:
    """All that a check found.

    Attributes
    ----------
    program : str
        What was checked.
    findings : list of Finding
        In the order of the lesson.
    assumed : list of str
        The conventions that the check took the code to follow.
    tried : list of str
        On what the code was tried.
    printed : str
        The beginning of what the code printed.
    complete : bool
        Whether all that the lesson asks for is there.
    """

    program: str
    findings: list[Finding] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    printed: str = ""
    complete: bool = False

    def add(self, kind: str, part: str, text: str, *names: str) -> None:
        """Add a finding, once."""
        finding = Finding(kind, part, " ".join(text.split()), names)
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def mistakes(self) -> list[Finding]:
        """The findings that have to be mended."""
        return [finding for finding in self.findings if finding.kind == "mistake"]

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing is wrong with it."""
        return not self.mistakes and any(f.kind == "passed" for f in self.findings)

    def verdict(self) -> str:
        """Sum it up in one line; nothing is called complete while something is open."""
        count = len(self.mistakes)
        if count:
            return f"{count} mistake{'s' if count > 1 else ''} found"
        left = [finding.part for finding in self.findings if finding.kind == "open"]
        if not self.passed:
            return "nothing passed yet" + (f"; still open: {', '.join(left)}" if left else "")
        if left:
            return f"no mistake found; still open: {', '.join(left)}"
        return "all parts checked here passed" if self.complete else "no mistake found"

    def lines(self) -> list[tuple[str, str]]:
        """Give the report as (kind, line)."""
        rows = [("title", self.program)]
        rows += [("note", f"assumed: {text}") for text in self.assumed]
        for finding in self.findings:
            rows.append((finding.kind, f"{MARKS[finding.kind]} {finding.part}: {finding.text}"))
        rows += [("note", f"tried: {text}") for text in self.tried]
        if self.tried:
            rows.append(("note", f"how far to trust this: {STRENGTH}"))
        if self.printed.strip():
            first = visible(self.printed.strip().splitlines()[0])
            rows.append(("note", f"your code printed: {first[:80]}"))
        return [*rows, ("title", self.verdict())]

    def text(self) -> str:
        """Give the report as plain text."""
        return "\n".join(visible(line) for _, line in self.lines())

    def show(self, file: TextIO | None = None) -> None:
        """Print it: in colours on a terminal, plainly elsewhere."""
        file = file or sys.stdout
        if not file.isatty():
            print(self.text(), file=file)
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(file=file, highlight=False)
        for kind, line in self.lines():
            style = _COLORS.get(kind, "bold")
            console.print(Text(visible(line), style=style))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        colors = {"passed": "#1a7f37", "mistake": "#cf222e", "open": "#9a6700", "note": "#6e7781"}
        rows = []
        for kind, line in self.lines():
            style = f"color:{colors[kind]}" if kind in colors else "font-weight:600"
            rows.append(f'<div style="{style}">{html.escape(visible(line))}</div>')
        return f'<div style="line-height:1.6">{"".join(rows)}</div>'


def visible(text: str) -> str:
    """Put U+FFFD in the place of what would steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
