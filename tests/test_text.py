from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmkit.shapes import InputError
from lstmkit.tasks.text import Passages, Vocabulary, cut, documents, tokens


def test_characters_are_numbered_in_the_order_given():
    vocabulary = Vocabulary("ba\né😀")
    assert len(vocabulary) == 5
    assert vocabulary.encode("m", "text", "a😀éb\nb").tolist() == [1, 4, 3, 0, 2, 0]
    assert vocabulary.start == 2
    assert [vocabulary.decoder()(k) for k in range(5)] == list("ba\né😀")


def test_without_a_newline_the_first_character_stands_for_the_beginning():
    assert Vocabulary("xyz").start == 0


def test_bytes_are_numbered_by_themselves():
    vocabulary = Vocabulary()
    assert len(vocabulary) == 256
    assert vocabulary.start == 10
    assert vocabulary.encode("m", "text", "é\n").tolist() == [0xC3, 0xA9, 10]
    assert vocabulary.encode("m", "text", b"\xff\0").tolist() == [255, 0]


def test_bytes_become_characters_as_soon_as_they_are_whole():
    decode = Vocabulary().decoder()
    pieces = [decode(byte) for byte in "a€😀".encode() + b"\xff" + b"\xc3" + b"z"]
    assert pieces == ["a", "", "", "€", "", "", "", "😀", "\ufffd", "", "\ufffdz"]


@pytest.mark.parametrize("size", [1, 255, 256, 300, 70_000])
def test_a_text_takes_no_more_memory_than_it_must(size):
    characters = "".join(map(chr, range(size + 0x800 if size > 0xD800 else size)))
    characters = "".join(c for c in characters if not 0xD800 <= ord(c) < 0xE000)[:size]
    numbers = Vocabulary(characters).encode("m", "text", characters)
    assert numbers.tolist() == list(range(len(characters)))
    assert numbers.dtype.itemsize == (1 if size <= 255 else 2 if size <= 65535 else 4)


def test_unknown_characters_are_named_with_place_and_remedy():
    vocabulary = Vocabulary("abc\n")
    with pytest.raises(InputError) as caught:
        vocabulary.encode("LanguageModel", "prompt", "ab\ncxé\n€x1234")
    assert str(caught.value) == (
        "LanguageModel: prompt has characters that the model does not know: "
        "'x' (line 2, column 2), 'é' (line 2, column 3), '€' (line 3, column 1), "
        "'1' (line 3, column 3), '2' (line 3, column 4) and 2 more; expected the 4 in its "
        'vocabulary (a model with tokens="bytes" takes any)'
    )
    for low in ("\0", "`"):  # below the lowest character, and between two
        with pytest.raises(InputError, match="does not know"):
            vocabulary.encode("m", "text", low)


@pytest.mark.parametrize(
    ("vocabulary", "text", "message"),
    [
        (Vocabulary("a"), b"a", "text is bytes; expected str"),
        (Vocabulary(), 5, "text is int; expected str or bytes"),
        (Vocabulary(), "ab\ud800", "text has the half character '\\\\ud800' at 2"),
    ],
)
def test_what_is_no_text_is_told(vocabulary, text, message):
    with pytest.raises(InputError, match=f"^m: {message}"):
        vocabulary.encode("m", "text", text)


@pytest.mark.parametrize(
    ("characters", "message"), [("", "it is ''"), ("aba", "'a' twice"), (5, "it is 5")]
)
def test_a_vocabulary_has_each_character_once(characters, message):
    with pytest.raises(InputError, match=f"^vocabulary: .*{message}"):
        Vocabulary(characters)


def test_documents_are_texts_of_one_kind():
    assert documents("m", "text", "ab") == ["ab"]
    assert documents("m", "text", bytearray(b"ab")) == [b"ab"]
    assert documents("m", "text", ("a", "b")) == ["a", "b"]
    assert documents("m", "text", iter([b"a"])) == [b"a"]
    for wrong in (5, ["a", b"b"], [5], None):
        with pytest.raises(InputError, match=r"^m: text holds .*; expected str"):
            documents("m", "text", wrong)


@given(st.lists(st.text("abc", max_size=20), min_size=1), st.floats(0.01, 0.99))
def test_a_cut_takes_the_last_part(texts, fraction):
    before, after = cut("m", texts, fraction)
    assert "".join(before) + "".join(after) == "".join(texts)
    assert len("".join(after)) == round(fraction * len("".join(texts)))


def test_documents_are_chained_each_after_a_beginning():
    chained, starts = tokens(Vocabulary("ab\n"), "m", "text", ["ab", "", "b"])
    assert chained.tolist() == [2, 0, 1, 2, 2, 1]
    assert starts.tolist() == [0, 3, 4]
    with pytest.raises(InputError, match=r"^m: text\[1\] has characters"):
        tokens(Vocabulary("ab\n"), "m", "text", ["ab", "c"])


def walk(passages):
    """Read as a model does: what a row has read since its reset, and each target that counts."""
    rows: dict[int, list[int]] = {}
    for batch in passages:
        assert batch.count == (batch.targets >= 0).sum()
        for row, (inputs, targets, reset) in enumerate(
            zip(batch.inputs, batch.targets, batch.reset, strict=True)
        ):
            for token, target, fresh in zip(inputs, targets, reset, strict=True):
                if fresh:
                    rows[row] = []
                rows.setdefault(row, []).append(int(token))
                if target >= 0:
                    yield rows[row], int(target)


@given(
    st.lists(st.text("abc", max_size=40), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(1, 20),
    st.integers(0, 10),
    st.integers(1, 7),
)
def test_passages_count_every_character_once_after_what_came_before_it(
    texts, rows, row_length, warm, chunk
):
    passages = Passages(*tokens(Vocabulary("abc\n"), "m", "text", texts))
    passages._rows, passages._row_length = rows, row_length
    passages._warm, passages._chunk = warm, chunk
    expected = [(text[:k], c) for text in texts for k, c in enumerate(text)]
    assert passages.count == len(expected)
    found = []
    for read, target in walk(passages):
        before = "".join("abc\n"[token] for token in read)
        found.append((before, "abc"[target]))
    # Rows come side by side; a row may begin later in a document, but not without its warm-up.
    assert sorted(c for _, c in found) == sorted(c for _, c in expected)
    wanted = [("\n" + before, c) for before, c in expected]
    for before, c in found:
        fits = [w for w in wanted if w[1] == c and w[0].endswith(before)]
        assert any(len(w[0]) == len(before) or len(before) > warm for w in fits)


def test_passages_can_be_gone_through_again():
    passages = Passages(*tokens(Vocabulary("abc\n"), "m", "text", ["abc" * 2000]))
    first, second = list(passages), list(passages)
    assert [b.count for b in first] == [b.count for b in second]
    assert sum(b.count for b in first) == 6000
    assert first[0].inputs.shape == (5, 128)
    assert [b.count for b in first[:3]] == [0, 0, 5 * 128]  # the first 256 warm up


def test_no_text_has_no_passages():
    for texts in ([], [""], ["", ""]):
        passages = Passages(*tokens(Vocabulary("a\n"), "m", "text", texts))
        assert passages.count == 0
        assert sum(batch.count for batch in passages) == 0
