from __future__ import annotations

import bz2
import gzip
import lzma
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmkit import corpus, demo
from lstmkit.corpus import Document
from lstmkit.shapes import InputError
from lstmkit.tasks.language_model import LanguageModel

CODE = '''\
def double(x):
    """Twice x."""
    return [2 * value
            for value in x]
'''


def test_compressors_are_measured_on_the_same_bytes_per_character():
    text = "Größe und Maß\n" * 50
    content = text.encode()
    assert len(content) > len(text)
    bits = demo.compressed(text)
    assert list(bits) == ["gzip", "bzip2", "xz"]
    assert bits["gzip"] == 8 * len(gzip.compress(content, 9)) / len(text)
    assert bits["bzip2"] == 8 * len(bz2.compress(content, 9)) / len(text)
    xz = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    assert bits["xz"] == 8 * len(xz) / len(text)


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        (CODE, ""),
        (CODE + "x = [1, 2\n", "x = [1, 2\n"),  # a bracket that never closes
        ("x = 'abc\n" + CODE, "x = 'abc\n"),  # a text that never ends
        (CODE + '"""never closed\n', '"""never closed\n'),
        ("        deep = 1\n    shallow = 2\n" + CODE, ""),  # may begin anywhere
        ("a = 1\nb = '\nc = 2\nd = \"\ne = 3\n", "b = '\nd = \"\n"),
        ("a = 1\n   \n\n# note\n", ""),
        ("x = 5 $ 3\ny = 1\n", "x = 5 $ 3\n"),
        ("x = ?\n", "x = ?\n"),
        ("a = 1\nb = '\0'\n", "b = '\0'\n"),
        ("a = 1\n\x0c\nb = '\u2028'\n", ""),  # one line ends in a newline and in nothing else
    ],
)
def test_a_line_is_lost_if_python_cannot_tokenize_it(code, lost):
    assert demo.tokenizable(code) == pytest.approx(1 - len(lost) / len(code))


@given(st.text("ab=(\"'\\\n\t \0\r\x0c\x1c\x85\u2028\ufffdé€😀0_{}#", max_size=60))
def test_whatever_is_written_has_a_share(code):
    assert 0.0 <= demo.tokenizable(code + "\n") <= 1.0


def test_what_was_cut_off_in_the_middle_does_not_count():
    assert demo.tokenizable(CODE + "x = 'cut of") == 1.0
    assert demo.tokenizable("a = 1\nb = '\nc = ") == 0.5
    assert demo.tokenizable("no line") == 0.0
    assert demo.tokenizable("") == 0.0


def test_the_standard_library_is_tokenizable_as_a_whole():
    document = next(d for d in corpus.standard_library().documents if d.name == "copy.py")
    assert demo.tokenizable(document.text) == 1.0


def test_a_long_sample_is_judged_in_time():
    began = time.perf_counter()
    demo.tokenizable("x = [1, 'a\n" * 120)
    assert time.perf_counter() - began < 5


def documents(count=30, size=500) -> list[Document]:
    return [Document(f"{k:02}.py", f"value_{k} = {k}\n" * (size // 14)) for k in range(count)]


def test_the_three_parts_are_apart_and_always_the_same():
    parts = demo.divide(documents())
    assert parts == demo.divide(documents())
    names = [document.name for part in parts for document in part]
    assert sorted(names) == [document.name for document in documents()]
    total = demo.characters(documents())
    assert 0.04 * total < demo.characters(parts.held_out) <= 0.1 * total
    assert 0.04 * total < demo.characters(parts.validation) <= 0.1 * total


def test_a_single_file_is_cut_three_ways():
    text = "".join(f"line {k}\n" for k in range(1000))
    parts = demo.divide([Document("my.txt", text)])
    pieces = [part[0].text for part in parts]
    assert "".join(pieces) == text
    assert len(pieces[2]) == pytest.approx(0.1 * len(text), rel=0.01)
    assert len(pieces[1]) == pytest.approx(0.09 * len(text), rel=0.01)


def test_of_a_large_text_a_fixed_number_of_characters_is_held_out():
    parts = demo.divide(documents(count=400, size=20_000))
    assert demo.HELD_OUT - 20_000 <= demo.characters(parts.held_out) <= demo.HELD_OUT
    assert demo.VALIDATION - 20_000 <= demo.characters(parts.validation) <= demo.VALIDATION


def test_a_few_characters_are_too_few():
    with pytest.raises(InputError, match="has 199 characters; expected at least 200"):
        demo.divide([Document("a", "x" * 199)])


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    text = "".join(document.text for document in documents())
    return LanguageModel(16, embedding_size=8, tokens="bytes", seed=0).fit(
        text, steps=30, batch_size=8, sequence_length=16
    )


def test_the_outcome_is_measured_on_what_is_held_out(model):
    held_out = demo.divide(documents()).held_out
    outcome = demo.measure(model, held_out, seed=4)
    texts = [document.text for document in held_out]
    assert outcome.bits == {
        "lstmkit": model.bits_per_character(texts),
        **demo.compressed("".join(texts)),
    }
    assert len(outcome.sample) == demo.SAMPLE["length"]
    assert outcome == demo.measure(model, held_out, seed=4)
    assert outcome.sample != demo.measure(model, held_out, seed=5).sample
    assert outcome.tokenized == demo.tokenizable(outcome.sample)


def test_only_code_is_tokenized(model):
    prose = [Document("my.txt", "value_1 = 1\n" * 20), *documents(3)]
    assert demo.measure(model, prose, seed=0).tokenized is None


def test_the_time_after_training_is_estimated_with_room_to_spare(model):
    held_out = [Document("a.py", "value_1 = 1\n" * 4000)]
    estimate = demo.seconds_after_training(model, held_out)
    began = time.perf_counter()
    demo.measure(model, held_out, seed=0)
    assert time.perf_counter() - began < estimate < 20
