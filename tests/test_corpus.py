from __future__ import annotations

import os
import sysconfig

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmkit import corpus
from lstmkit.corpus import Corpus, Document
from lstmkit.shapes import InputError


def test_a_file_is_one_document_with_plain_newlines_and_no_mark(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthr\xc3\xa9e\n")
    assert corpus.read(file) == Corpus([Document("a.txt", "one\ntwo\nthrée\n")], [])
    assert corpus.read(str(file)).characters == 14


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\x89PNG\0", r"is binary \(zero byte at 4\)"),
        (b"caf\xe9 au lait", r"is not UTF-8 \(byte 0xe9 at 3\)"),
        ("zwölf".encode("utf-16-le"), r"is binary \(zero byte at 1\)"),
    ],
)
def test_what_is_not_text_is_an_error_that_names_the_file_and_the_place(tmp_path, content, message):
    file = tmp_path / "data.bin"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"^corpus: .*data\.bin {message}; expected .*UTF-8$"):
        corpus.read(file)


def test_a_missing_file_keeps_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        corpus.read(tmp_path / "nothing.txt")


def test_a_folder_is_read_whole_and_says_what_it_skipped(tmp_path):
    for name, content in {
        "b.txt": b"bee",
        "a.md": "ä".encode(),
        "logo.png": b"\0\1",
        "empty.txt": b"",
        "latin.txt": b"\xff",
        ".hidden": b"secret",
        "sub/c.txt": b"sea",
        ".git/config": b"secret",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.symlink(tmp_path / "gone", tmp_path / "dangling.txt")
    found = corpus.read(tmp_path)
    assert found.documents == [("a.md", "ä"), ("b.txt", "bee"), ("sub/c.txt", "sea")]
    assert found.skipped == [
        "empty.txt is empty",
        "latin.txt is not UTF-8 (byte 0xff at 0)",
        "logo.png is binary (zero byte at 0)",
    ]


def test_the_order_does_not_depend_on_the_system(tmp_path, monkeypatch):
    for name in ("b/x", "b/a", "a/x", "c", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    real = os.walk

    def backwards(root):
        for folder, folders, names in real(root):
            folders.sort(reverse=True)
            yield folder, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    names = [document.name for document in corpus.read(tmp_path).documents]
    assert names == ["a.txt", "c", "a/x", "b/a", "b/x"]


def test_a_file_that_may_not_be_read_is_skipped_in_a_folder(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    real = corpus.Path.read_bytes

    def refuse(self):
        if self.name == "a.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(corpus.Path, "read_bytes", refuse)
    found = corpus.read(tmp_path)
    assert found.documents == [("b.txt", "b")]
    assert found.skipped == ["a.txt cannot be read (Permission denied)"]


def test_a_folder_without_text_is_an_error(tmp_path):
    with pytest.raises(InputError, match="has no files; expected text"):
        corpus.read(tmp_path)
    (tmp_path / "x").write_bytes(b"\0")
    with pytest.raises(InputError, match="has 1 files, none of them text; expected text"):
        corpus.read(tmp_path)


def test_the_standard_library_is_code_and_the_same_each_time():
    library = corpus.standard_library()
    assert library == corpus.standard_library()
    names = [document.name for document in library.documents]
    assert {"argparse.py", "json/decoder.py", "os.py"} <= set(names)
    assert library.characters > 3_000_000
    for name, text in library.documents:
        assert name.endswith(".py")
        assert not {"test", "tests", "idlelib", "site-packages"} & set(name.split("/"))
        assert text.isascii()
        assert "\r" not in text
        assert "\0" not in text
        assert 200 * 0.9 <= len(text) <= 120_000


def test_what_counts_as_the_standard_library(tmp_path, monkeypatch):
    code = "x = 1\n" * 50
    for name in [
        "os.py",
        "json/tool.py",
        "json/tests/case.py",
        "test/a.py",
        "lib2to3/b.py",
        "site-packages/c.py",
        "encodings/cp1252.py",
        "_sysconfigdata__linux_x86_64.py",
        "notes.txt",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    (tmp_path / "short.py").write_text("x = 1\n")
    (tmp_path / "long.py").write_text(code * 500)
    (tmp_path / "accent.py").write_text(code + "# é\n", encoding="utf-8")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    documents = corpus.standard_library().documents
    assert documents == [("os.py", code), ("json/tool.py", code)]


@pytest.mark.parametrize("exists", [True, False])
def test_a_python_without_sources_is_an_error(tmp_path, monkeypatch, exists):
    path = tmp_path if exists else tmp_path / "python311.zip"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(path))
    with pytest.raises(InputError, match="has no source files of the standard library"):
        corpus.standard_library()


def some_documents() -> list[Document]:
    return [Document(f"{k:02}.txt", chr(97 + k % 26) * (10 + 7 * k)) for k in range(40)]


def test_a_split_holds_out_whole_files_up_to_the_fraction():
    documents = some_documents()
    train, held_out = corpus.split(documents, 0.2, seed=3)
    assert sorted(train + held_out) == documents
    assert train == sorted(train)
    size = sum(len(text) for _, text in held_out)
    total = sum(len(text) for _, text in documents)
    assert 0.1 * total <= size <= 0.2 * total


def test_a_split_is_not_filled_up_with_short_files():
    documents = [Document(f"long {k}", "x" * 60) for k in range(10)]
    documents += [Document(f"short {k}", "x" * 5) for k in range(30)]
    sizes = {
        sum(len(text) for _, text in corpus.split(documents, 0.2, seed)[1]) for seed in range(30)
    }
    assert min(sizes) >= 75  # half of the 150 that may be held out
    assert max(sizes) <= 150
    assert min(sizes) < 130  # short ones would always fit


def test_the_seed_decides_the_split():
    documents = some_documents()
    assert corpus.split(documents, 0.2, seed=3) == corpus.split(documents, 0.2, seed=3)
    assert corpus.split(documents, 0.2, seed=3) != corpus.split(documents, 0.2, seed=4)


def test_a_file_longer_than_the_fraction_is_never_held_out():
    documents = [Document("long", "x" * 1000), *some_documents()[:5]]
    for seed in range(20):
        train, held_out = corpus.split(documents, 0.1, seed)
        assert documents[0] in train
        assert held_out


def test_a_single_file_gives_its_last_lines():
    text = "".join(f"line {k}\n" for k in range(100))
    (train,), (held_out,) = corpus.split([Document("a", text)], 0.1)
    assert train.text + held_out.text == text
    assert held_out.text.startswith("line 90\n")  # at 710; 0.1 of 790 characters are 79
    assert train.name == held_out.name == "a"


def test_a_single_long_line_is_cut_all_the_same():
    (train,), (held_out,) = corpus.split([Document("a", "x" * 100)], 0.1)
    assert (len(train.text), len(held_out.text)) == (90, 10)


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=30), min_size=1, max_size=8),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_a_split_loses_nothing_and_leaves_no_part_empty(texts, fraction, seed):
    documents = [Document(f"{k}", text) for k, text in enumerate(texts)]
    if sum(map(len, texts)) < 2 or max(map(len, texts)) < 2:
        return
    train, held_out = corpus.split(documents, fraction, seed)
    assert train
    assert held_out
    assert all(document.text for document in train + held_out)
    together: dict[str, str] = {}
    for name, text in train + held_out:
        together[name] = together.get(name, "") + text
    assert together == {document.name: document.text for document in documents}


def test_one_character_cannot_be_split():
    with pytest.raises(InputError, match="a has 1 characters; expected at least 2"):
        corpus.split([Document("a", "x")], 0.5)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan"), True, "half"])
def test_a_fraction_is_a_number_between_0_and_1(fraction):
    with pytest.raises(InputError, match=r"^corpus: fraction is "):
        corpus.split(some_documents(), fraction)
