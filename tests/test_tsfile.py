"""The .ts format: what it holds, and what is said of files that are not it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.shapes import InputError
from lstmkit.tasks import tsfile

RAGGED = """\
# A comment, and a line of the archive's own:
% another
@problemName Ragged
@timeStamps false
@missing true
@univariate false
@equalLength false
@classLabel true up Down

@data
1,2.5,-3e-1:?,5,6:up
7, 8 :9,10,:Down
NaN:1:up
"""


def read(folder, text):
    path = folder / "a.ts"
    path.write_text(text, encoding="utf-8")
    return tsfile.read(path)


def test_ragged_cases_of_two_channels_with_missing_values(tmp_path):
    X, y, names = read(tmp_path, RAGGED)
    expected = [
        [[1, np.nan], [2.5, 5], [-0.3, 6]],
        [[7, 9], [8, 10]],
        [[np.nan, 1]],
    ]
    for case, values in zip(X, expected, strict=True):
        assert case.dtype == np.float64
        np.testing.assert_array_equal(case, values)
    assert y.tolist() == ["up", "Down", "up"]
    assert names == ["up", "Down"]


def test_values_and_files_without_either(tmp_path):
    X, y, names = read(tmp_path, "@univariate true\n@targetLabel true\n@data\n1,2:0.5\n3,4:-1\n")
    assert (len(X), X[0].shape, y.dtype, y.tolist(), names) == (2, (2, 1), float, [0.5, -1], [])
    X, y, names = read(tmp_path, "\ufeff@classLabel false\n@data\n1,2\n3,4\n")
    assert (len(X), y, names) == (2, None, [])
    X, y, names = read(tmp_path, "@classLabel true\r\n@data\r\n1:2:a\r\n")
    assert (X[0].shape, y.tolist(), names) == ((1, 2), ["a"], [])
    X, y, names = read(tmp_path, "@data\n5,\n")  # a comma at the end
    assert (X[0].tolist(), y) == ([[5]], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a.ts has no @data"),
        ("@data\n", "a.ts has no cases"),
        ("1,2:a\n", "line 1 of a.ts is '1,2:a' before @data"),
        ("@timeStamps true\n@data\n1\n", "line 2 of a.ts ends a header with @timeStamps true"),
        ("@data\n(0,1),(1,2)\n", "line 2 of a.ts has times in parentheses"),
        ("@classLabel maybe\n@data\n1:a\n", "@classLabel maybe; expected true or false"),
        ("@classLabel true a\n@targetLabel true\n@data\n1:a\n", "expected one of them"),
        ("@data\n1,2\n1,x\n", "line 3 of a.ts has 'x' as value 2 of a channel"),
        ("@data\n1,,2\n", "has '' as value 2 of a channel"),
        ("@data\n1_0\n", "has '1x0' as value 1 of a channel"),
        ("@data\n1:\n", "line 2 of a.ts has '' as value 1 of a channel"),
        ("@data\n1,inf\n", "line 2 of a.ts has an infinite value"),
        ("@data\n1,2:3\n", "has channels of 1 to 2 steps"),
        ("@data\n1,2:3,4\n1,2\n", "line 3 of a.ts has 1 channels; expected 2, as the case before"),
        ("@univariate true\n@data\n1:2\n", "has 2 channels; expected 1, as @univariate is true"),
        ("@classLabel true a b\n@data\n1:c\n", "ends in the label 'c'; expected a b"),
        ("@classLabel true\n@data\n1:\n", "ends in the label ''; expected a label"),
        ("@classLabel true a\n@data\na\n", "has no channel"),
        ("@targetLabel true\n@data\n1:nan\n", "ends in 'nan'; expected a finite number"),
        ("@targetLabel true\n@data\n1:x\n", "ends in 'x'; expected a finite number"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_line_of_the_file(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith("tsfile.read: ")
    assert "\n" not in message
    assert words in message


def test_files_that_are_no_text_or_not_there(tmp_path):
    (tmp_path / "a.ts").write_bytes(b"@data\n\xff\xfe")
    with pytest.raises(InputError, match=r"a\.ts is not UTF-8 text"):
        tsfile.read(tmp_path / "a.ts")
    with pytest.raises(FileNotFoundError):
        tsfile.read(tmp_path / "none.ts")


PIECES = "@data\n |@classLabel true a\n|@timeStamps false |@targetLabel |?|:|,|(|)| |\n|1|-2e5"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES.split("|")), max_size=30).map("".join).map(str.encode)
    | st.binary(max_size=80).map(lambda data: b"@classLabel true\n@data\n1,2:a\n" + data)
)
def test_any_bytes_give_cases_or_a_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.ts"
    path.write_bytes(data)
    try:
        X, y, _ = tsfile.read(path)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert len(X) > 0
        assert y is None or len(y) == len(X)
    assert "\n" not in message
