"""What the laboratory measured when the package was made: ``content/measured.json``.

`experiments/laboratory.py` writes the file; `lstmkit lesson gradients` measures the same anew.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

Row = tuple[str, float, float, float, str]


def adding() -> list[Row]:
    """Each network's error on the adding problem: the median, least and most over the seeds.

    >>> [row[0] for row in adding()]
    ['basic RNN', 'LSTM']
    """
    page = (files("lstmkit.lesson") / "content" / "measured.json").read_text(encoding="utf-8")
    rows: list[Any] = json.loads(page)["adding"]
    return [(str(n), float(m), float(a), float(b), str(s)) for n, m, a, b, s in rows]
