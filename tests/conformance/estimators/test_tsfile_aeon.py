"""Our reader of .ts files beside aeon's, on the files that aeon brings with it."""

from __future__ import annotations

from pathlib import Path

import aeon
import numpy as np
import pytest

from lstmkit.tasks import tsfile

pytestmark = pytest.mark.conformance

FOLDER = Path(aeon.__file__).parent / "datasets" / "data"
FILES = sorted(path for path in FOLDER.rglob("*.ts") if "TimeStamps" not in path.name)


def test_the_files_are_there():
    names = {path.name for path in FILES}
    assert len(FILES) >= 20
    assert {"JapaneseVowels_TRAIN.ts", "Covid3Month_TEST.ts", "GunPoint_TRAIN.ts"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_the_same_cases_and_labels_as_aeon(path):
    """Theirs are (channels, time), with the classes' names in small letters."""
    from aeon.datasets import load_from_ts_file

    theirs, labels = load_from_ts_file(str(path))[:2]
    X, y, names = tsfile.read(path)
    assert len(X) == len(theirs)
    for case, other in zip(X, theirs, strict=True):
        assert np.array_equal(case, np.asarray(other).T, equal_nan=True)
    if y.dtype.kind == "U":
        assert [label.lower() for label in y] == [str(label).lower() for label in labels]
        assert set(y) <= set(names)
    else:
        assert np.array_equal(y, np.asarray(labels, float))
