"""The examples of the pages that a plain run leaves out: they need what we are held against.

In a page they stand in ``{code-block} python``, which tests/test_project.py does not run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.conformance

PAGES = {
    page.name: found
    for page in sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
    if (
        found := re.findall(
            r"^```\{code-block\} python\n(.*?)^```",
            page.read_text(encoding="utf-8"),
            flags=re.MULTILINE | re.DOTALL,
        )
    )
}


def test_the_long_examples_are_found():
    assert "classification.md" in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_the_long_examples_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, example in enumerate(PAGES[page], 1):
        exec(compile(example, f"{page}, long example {number}", "exec"), names)
