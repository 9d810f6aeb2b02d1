"""The page as a file: what goes in stays text, it is small, whole, and asks for nothing."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import lstmkit as lk
from lstmkit import explorer, store
from lstmkit.cli import app
from lstmkit.shapes import InputError

TEXT = "to be or not to be\n" * 12
NASTY = '</script><script>alert("1")</script> <!-- <script> & \u2028 \u00e9 \U0001f600 \\u003c'


@pytest.fixture(scope="module")
def model() -> lk.LanguageModel:
    return lk.LanguageModel(8, embedding_size=4, tokens="bytes", seed=0).fit(
        TEXT, steps=2, batch_size=2, sequence_length=8
    )


def data_of(page: str):
    """What a browser takes for the data: all up to the first end of that script."""
    begin = '<script id="lstmkit-data" type="application/json">'
    assert page.count(begin) == 1
    return json.loads(page.split(begin)[1].split("</script>")[0])


def written(path) -> str:
    return path.read_text(encoding="utf-8")


def numbers(array) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["data"]), "<f4").reshape(array["shape"])


def test_the_page_holds_the_text_and_every_weight(model, tmp_path):
    size = explorer.explore(model, TEXT, tmp_path / "page.html", title="A title")
    assert size == (tmp_path / "page.html").stat().st_size
    data = data_of(written(tmp_path / "page.html"))
    assert (data["text"], data["title"], data["kind"]) == (TEXT, "A title", "language")
    assert data["parameters"] == sum(array.size for array in model.parameters.values())
    assert set(data["network"]["arrays"]) == set(model.parameters)
    for name, array in data["network"]["arrays"].items():
        np.testing.assert_array_equal(numbers(array), model.parameters[name])


def test_no_text_and_no_title_breaks_out(model, tmp_path):
    explorer.explore(model, NASTY, tmp_path / "nasty.html", title=NASTY)
    explorer.explore(model, "tame", tmp_path / "tame.html", title="tame")
    page, tame = written(tmp_path / "nasty.html"), written(tmp_path / "tame.html")
    data = data_of(page)
    assert data["text"] == data["title"] == NASTY
    for tag in ("<script", "</script", "<!--"):
        assert page.count(tag) == tame.count(tag)
    assert re.search(r"<title>(.*?)</title>", page)[1].startswith("&lt;/script&gt;")


def test_the_marks_of_the_page_may_stand_in_the_text(model, tmp_path):
    text = '@@lstmkit-title@@ "@@lstmkit-data@@"'
    explorer.explore(model, text, tmp_path / "page.html", title=text)
    data = data_of(written(tmp_path / "page.html"))
    assert data["text"] == data["title"] == text


def test_the_page_asks_for_nothing(model, tmp_path):
    explorer.explore(model, TEXT, tmp_path / "page.html")
    page = written(tmp_path / "page.html").split("<!--\nIn this page:")[0]  # the licences
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    assert "default-src 'none'" in page
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "import("):
        assert word not in page


def test_a_model_of_128_units_takes_less_than_3_mb(tmp_path):
    model = lk.LanguageModel(128, 2, tokens="bytes", seed=0).fit(TEXT, steps=1, batch_size=2)
    assert explorer.explore(model, TEXT * 10, tmp_path / "page.html") < 3_000_000


def test_a_page_that_cannot_be_written_leaves_the_old_one(model, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    with pytest.raises(InputError):
        explorer.explore(model, "", path)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        explorer.explore(model, TEXT, tmp_path / "nowhere" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_an_lstm_alone_is_shown_on_numbers(tmp_path):
    lstm = lk.LSTM(2, 5, bidirectional=True, seed=0)
    x = np.arange(6.0).reshape(3, 2)
    explorer.explore(lstm, x, tmp_path / "a.html")
    explorer.explore(lstm, "0 1; 2, 3\n4 5", tmp_path / "b.html")
    pages = [data_of(written(tmp_path / name)) for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]
    assert pages[0]["kind"] == "numbers"
    np.testing.assert_array_equal(numbers(pages[0]["x"]), x)


def other_vocabulary():
    return explorer.RNNLanguageModel(4, tokens="characters", seed=0).fit(
        TEXT, steps=1, batch_size=2
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda m: (m, ""), "explore: text is empty"),
        (lambda m: (m, "a" * 20_001), "text has 20001 tokens; expected at most 20000"),
        (lambda m: (m, 5), "text is int; expected str"),
        (lambda m: (m, "a \ud800"), "half character"),
        (lambda m: ("model", "a"), "model is str; expected a LanguageModel or an LSTM"),
        (lambda m: (lk.LanguageModel(4), "a"), "knows nothing yet"),
        (lambda m: (lk.LSTM(2, 3), "1 2; 3"), "row 2 of text has 1 numbers; expected 2"),
        (lambda m: (lk.LSTM(2, 3), "1 2; x 3"), "row 2 of text is 'x 3'; expected numbers"),
        (lambda m: (lk.LSTM(2, 3), "1 2 3"), "text has shape"),
        (lambda m: (lk.LSTM(2, 3), ""), "text is empty"),
        (lambda m: (lk.LSTM(2, 3), [[1, np.nan]]), "nan or inf"),
        (
            lambda m: (lk.LSTM(2, 3, activations=("sigmoid", ("elu", 2), "tanh")), "1 2"),
            "the model has the activation ('elu', 2.0); the page knows sigmoid, tanh",
        ),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(model, tmp_path, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        explorer.explore(*arguments(model), tmp_path / "page.html")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_two_models_side_by_side_read_the_same_tokens(model, tmp_path):
    with pytest.raises(InputError, match="rnn has a vocabulary of 8 characters, the model bytes"):
        explorer.explore(model, TEXT, tmp_path / "p.html", rnn=other_vocabulary())
    with pytest.raises(InputError, match="rnn is str"):
        explorer.explore(model, TEXT, tmp_path / "p.html", rnn="no")
    with pytest.raises(InputError, match="expected None, as the model reads no text"):
        explorer.explore(lk.LSTM(1, 2), "1", tmp_path / "p.html", rnn=model)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = lk.LanguageModel(4, seed=0).fit(TEXT, steps=1, batch_size=2)
    model.parameters["head.bias"][0] = np.nan
    with pytest.raises(InputError, match=r"head.bias has nan or inf"):
        explorer.explore(model, "to", tmp_path / "page.html")


# --------------------------------------------------------------------------- the command


def run(*arguments):
    return CliRunner().invoke(app, ["explore", *map(str, arguments)])


@pytest.fixture
def saved(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("model.safetensors")
    return "model.safetensors"


def test_the_command_writes_a_page(saved, tmp_path):
    result = run(saved, "--text", "to be", "-o", "page.html")
    assert result.exit_code == 0, result.output
    assert "page.html: 0." in result.output
    assert data_of(written(tmp_path / "page.html"))["text"] == "to be"


def test_a_long_file_is_cut_and_that_is_said(saved, tmp_path):
    (tmp_path / "long.txt").write_text("é" * 50, encoding="utf-8")
    result = run(saved, "--file", "long.txt", "--length", 20, "-o", "page.html")
    assert "the first 20 of 50 characters" in result.output
    assert data_of(written(tmp_path / "page.html"))["text"] == "é" * 20


def test_a_file_is_read_as_it_is_for_training(saved, tmp_path):
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbfto\r\nbe")
    result = run(saved, "--file", "dos.txt", "-o", "page.html")
    assert result.exit_code == 0, result.output
    assert data_of(written(tmp_path / "page.html"))["text"] == "to\nbe"


def test_an_rnn_is_shown_beside(saved, tmp_path):
    explorer.RNNLanguageModel(6, tokens="bytes", seed=0).fit(TEXT, steps=1, batch_size=2).save(
        "rnn"
    )
    for other, kind in (("rnn", "rnn"), (saved, "lstm")):
        result = run(saved, "--text", "to", "-o", "page.html", "--rnn", other, "--force")
        assert result.exit_code == 0, result.output
        assert data_of(written(tmp_path / "page.html"))["rnn"]["kind"] == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "of --text and --file neither is given"),
        (["--text", "a", "--file", "b"], "of --text and --file both is given"),
        (["--text", "a", "-o", "old.html"], "old.html is already there; expected another --output"),
        (["--file", "none.txt"], "none.txt: No such file or directory"),
        (["--file", "latin"], "latin is not UTF-8 (byte 0xe9 at 1)"),
        (["--file", "nul"], "nul is binary (zero byte at 1)"),
        (["--file", "."], "explore: . is a folder; expected a text file"),
        (
            ["--text", "a", "-o", "model.safetensors", "--force"],
            "is read for the page; expected another",
        ),
        (["--text", "a", "--rnn", "old.html"], "old.html"),
        (["--text", "a", "-o", "no/page.html"], "no/page.html: No such file or directory"),
    ],
)
def test_bad_arguments_are_told_in_one_line(saved, tmp_path, arguments, message):
    (tmp_path / "old.html").write_text("old")
    (tmp_path / "latin").write_bytes(b"a\xe9")
    (tmp_path / "nul").write_bytes(b"a\0")
    result = run(saved, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "lstmkit-explorer.html").exists()


def test_an_lstm_from_a_file_reads_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lk.LSTM(2, 3, seed=0).save("lstm.safetensors")
    assert run("lstm.safetensors", "--text", "1 2; 3 4").exit_code == 0
    result = run("lstm.safetensors", "--text", "hello", "--force")
    assert (result.exit_code, len(result.output.splitlines())) == (2, 1)


# ------------------------------------------------------------------------- the basic RNN


def test_the_rnn_is_the_textbooks(tmp_path):
    """Forward and backward, against functions whose gradients are proved by complex step."""
    from lstmkit.textbook import rnn_backward, rnn_forward

    rnn = explorer.RNNLanguageModel(5, embedding_size=3, seed=1).fit(TEXT, steps=3, batch_size=2)
    tokens = rnn.vocabulary_.encode("t", "t", "to be or").astype(np.int64)[None]
    p = {name: array.astype(np.float64) for name, array in rnn.parameters.items()}
    book = {"W_xh": p["weight_ih"], "W_hh": p["weight_hh"], "b_h": p["bias"]}
    x = p["embedding.weight"][tokens[0]]
    h = np.array(rnn_forward(x, np.zeros(5), book))
    logits, state, tape = rnn.forward(tokens)
    np.testing.assert_allclose(state[0][0], h[-1], rtol=1e-5, atol=1e-6)  # float32
    expected = h @ p["head.weight"].T + p["head.bias"]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-4, atol=1e-5)

    dlogits = np.random.default_rng(0).normal(size=logits.shape).astype(np.float32)
    dx, grads = rnn.backward_input(tape, dlogits)
    dX, _, dbook = rnn_backward(x, np.zeros(5), book, dlogits[0] @ p["head.weight"])
    pairs = {"weight_ih": "W_xh", "weight_hh": "W_hh", "bias": "b_h"}
    checks = [(dx[0], dX)] + [(grads[ours], dbook[theirs]) for ours, theirs in pairs.items()]
    checks += [(grads["head.weight"], dlogits[0].T @ h), (grads["head.bias"], dlogits[0].sum(0))]
    for ours, theirs in checks:
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_the_rnn_learns_and_survives_a_file(tmp_path):
    logs = []
    for steps in (1, 60):
        rnn = explorer.RNNLanguageModel(16, seed=0).fit(
            TEXT, steps=steps, batch_size=4, sequence_length=16, learning_rate=2e-2
        )
        tokens = rnn.vocabulary_.encode("t", "t", TEXT).astype(np.int64)[None]
        logits, _ = rnn(tokens[:, :-1])
        logits = logits[0] - np.log(np.exp(logits[0]).sum(axis=1, keepdims=True))
        logs.append(-logits[np.arange(len(logits)), tokens[0, 1:]].mean())
    assert logs[1] < 0.7 * logs[0]
    rnn.save(tmp_path / "rnn")
    again = explorer.RNNLanguageModel.load(tmp_path / "rnn")
    np.testing.assert_array_equal(again(tokens)[0], rnn(tokens)[0])


def test_an_rnns_file_is_checked(model, tmp_path):
    model.save(tmp_path / "lstm")
    with pytest.raises(InputError, match="holds a 'LanguageModel'; expected an RNNLanguageModel"):
        explorer.RNNLanguageModel.load(tmp_path / "lstm")
    rnn = explorer.RNNLanguageModel(4, tokens="bytes", seed=0).fit(TEXT, steps=1, batch_size=2)
    store.save(tmp_path / "a", "RNNLanguageModel", rnn.config, {"bias": rnn.parameters["bias"]})
    with pytest.raises(InputError, match=r"embedding.weight is nothing"):
        explorer.RNNLanguageModel.load(tmp_path / "a")
    with pytest.raises(InputError, match="knows nothing yet"):
        explorer.RNNLanguageModel(4).save(tmp_path / "b")
    with pytest.raises(InputError, match="text is empty"):
        explorer.RNNLanguageModel(4).fit("")
