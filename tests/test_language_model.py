from __future__ import annotations

import math

import numpy as np
import pytest

from lstmkit import optimizers
from lstmkit.losses import cross_entropy
from lstmkit.shapes import InputError
from lstmkit.tasks.language_model import LanguageModel
from lstmkit.tasks.text import Passages

ABC = "abcdefgh \n"
WORDS = "the cat sat on the mat\nthe dog sat on the log\n" * 20


def tiny(text=WORDS, fit=None, **arguments) -> LanguageModel:
    """A model that has hardly learned: for what does not depend on learning."""
    arguments = {"hidden_size": 8, "embedding_size": 5, "seed": 0, **arguments}
    fit = {"steps": 3, "batch_size": 4, "sequence_length": 8, **(fit or {})}
    return LanguageModel(**arguments).fit(text, **fit)


@pytest.fixture(scope="module")
def learned() -> LanguageModel:
    model = LanguageModel(hidden_size=32, embedding_size=8, seed=0)
    return model.fit(WORDS, steps=150, batch_size=8, sequence_length=16, learning_rate=0.02)


# ------------------------------------------------------------------------------ the network


def by_hand(model, parameters, inputs, reset=None, masks=None):
    """Logits by the equations alone, for real or complex weights, one step after the other."""
    p = parameters

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    rows, steps = inputs.shape
    H = model.hidden_size
    h = [np.zeros((rows, H), complex) for _ in range(model.num_layers)]
    c = [np.zeros((rows, H), complex) for _ in range(model.num_layers)]
    logits = []
    for t in range(steps):
        x = p["embedding.weight"][inputs[:, t]]
        if masks is not None:
            x = x * masks[0][:, t]
        for k in range(model.num_layers):
            if reset is not None:
                h[k] = h[k] * ~reset[:, t, None]
                c[k] = c[k] * ~reset[:, t, None]
            z = x @ p[f"lstm.weight_ih_l{k}"].T + h[k] @ p[f"lstm.weight_hh_l{k}"].T
            i, f, g, o = np.split(z + p[f"lstm.bias_l{k}"], 4, axis=1)
            c[k] = sigmoid(f) * c[k] + sigmoid(i) * np.tanh(g)
            h[k] = sigmoid(o) * np.tanh(c[k])
            x = h[k]
        if masks is not None:
            x = x * masks[1][:, t]
        weight = p["embedding.weight"] if model.tied else p["head.weight"]
        logits.append(x @ weight.T + p["head.bias"])
    return np.stack(logits, axis=1)


@pytest.mark.parametrize("tied", [False, True])
def test_its_network_is_a_chain_of_the_same_arrays(tied):
    model = tiny(tied=tied, num_layers=2, embedding_size=None, layer_norm=True, dtype="float64")
    tokens = np.random.default_rng(0).integers(0, len(model.vocabulary), (3, 9))
    logits, _ = model(tokens)
    np.testing.assert_array_equal(model.network(tokens)[0], logits)
    stream = model.network.stream(3)
    steps = np.stack([stream.step(tokens[:, t]) for t in range(9)], axis=1)
    np.testing.assert_allclose(steps, logits, rtol=1e-12)
    for name, array in model.network.parameters.items():
        assert np.shares_memory(
            array, model.parameters.get(name, model.parameters["embedding.weight"])
        )
    with pytest.raises(InputError, match="knows nothing yet"):
        _ = LanguageModel().network


def nats_by_hand(logits, targets):
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(np.take_along_axis(p, targets[..., None], axis=-1)).mean()


VARIANTS = [{}, {"tied": True, "embedding_size": None}, {"num_layers": 2}]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_logits_are_those_of_the_equations(variant):
    model = tiny(ABC * 20, dtype="float64", **variant)
    rng = np.random.default_rng(1)
    inputs, reset = rng.integers(0, len(ABC), (3, 7)), rng.random((3, 7)) < 0.2
    expected = by_hand(model, model.parameters, inputs, reset).real
    logits, _ = model(inputs, reset=reset)
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    logits, _, _ = model.forward(inputs, reset=reset)
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    first, state = model(inputs[:, :3], reset=reset[:, :3])
    rest, _ = model(inputs[:, 3:], state, reset=reset[:, 3:])
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), expected, rtol=1e-12)


@pytest.mark.parametrize("variant", [*VARIANTS, {"dropout": 0.3}])
def test_every_gradient_by_complex_step(variant):
    model = tiny(ABC * 20, dtype="float64", **variant)
    rng = np.random.default_rng(2)
    inputs, targets = rng.integers(0, len(ABC), (2, 2, 5))
    logits, _, tape = model.forward(inputs, rng=rng)
    masks = (tape[1], tape[3]) if "dropout" in variant else None
    if masks is not None:  # on what goes into the LSTM, and on what comes out
        assert [mask.shape for mask in masks] == [(2, 5, 5), (2, 5, 8)]
        assert not np.allclose(logits, model(inputs)[0])
    value, dlogits = cross_entropy(logits, targets)
    grads = model.backward(tape, dlogits)
    assert set(grads) == set(model.parameters)
    own = by_hand(model, model.parameters, inputs, masks=masks)
    assert value == pytest.approx(nats_by_hand(own, targets).real, rel=1e-12)
    for name, array in model.parameters.items():
        exact = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            moved = {n: a.astype(complex) for n, a in model.parameters.items()}
            moved[name][index] += 1e-30j
            moved_logits = by_hand(model, moved, inputs, masks=masks)
            exact[index] = nats_by_hand(moved_logits, targets).imag / 1e-30
        error = np.linalg.norm(grads[name] - exact) / np.linalg.norm(exact)
        assert error <= 1e-9, name


def test_dropout_is_off_without_a_generator():
    model = tiny(dropout=0.5, recurrent_dropout=0.5, zoneout=0.1)
    inputs = np.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(model.forward(inputs)[0], model(inputs)[0])


@pytest.mark.parametrize("tied", [False, True])
def test_embeddings_start_with_deviation_1(tied):
    fit = {"vocabulary": "".join(map(chr, range(128))), "steps": 1}  # at a learning rate of 0
    model = tiny(hidden_size=64, embedding_size=64, tied=tied, fit=fit)
    weight = model.parameters["embedding.weight"]
    assert weight.std() == pytest.approx(1.0, rel=0.03)


# --------------------------------------------------------------------------------- learning


def test_it_learns_what_comes_next(learned):
    history = learned.result_.history
    assert history[0]["bits"] > 3
    assert learned.bits_per_character(WORDS) < 0.35
    assert learned.generate("the cat s", 13, temperature=0) == "at on the mat"


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    one, two, other = tiny(dropout=0.2), tiny(dropout=0.2), tiny(dropout=0.2, seed=1)
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, two.parameters[name])
    assert not np.array_equal(
        one.parameters["lstm.weight_ih_l0"], other.parameters["lstm.weight_ih_l0"]
    )


def test_without_a_seed_every_run_is_another():
    one, other = tiny(seed=None), tiny(seed=None)
    weight = one.parameters["lstm.weight_ih_l0"]
    assert not np.array_equal(weight, other.parameters["lstm.weight_ih_l0"])


def test_fitting_again_begins_anew():
    model = tiny()
    before = {name: array.copy() for name, array in model.parameters.items()}
    model.fit(WORDS, steps=3, batch_size=4, sequence_length=8)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    rate = optimizers.constant(0.01)
    common = {"learning_rate": rate, "checkpoint": tmp_path / "c", "metrics": tmp_path / "m"}
    whole = tiny(dropout=0.2, fit={"steps": 9, "learning_rate": rate})
    tiny(dropout=0.2, fit={"steps": 4, **common})
    resumed = tiny(dropout=0.2, fit={"steps": 9, "resume": True, **common})
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(array, resumed.parameters[name])
    assert resumed.result_.steps == 9


def test_a_resumed_run_must_be_of_the_same_model(tmp_path):
    tiny(fit={"checkpoint": tmp_path / "c"})
    with pytest.raises(InputError, match="is of another model"):
        tiny(WORDS + "!", fit={"checkpoint": tmp_path / "c", "resume": True})


def test_epochs_are_passes_over_the_text():
    # 920 tokens after the beginning, in 4 rows of 230, 8 steps a batch: 29 batches
    assert tiny(fit={"steps": None, "epochs": 1}).result_.steps == 29
    assert tiny(fit={"steps": None, "epochs": 2}).result_.steps == 58
    assert tiny(fit={"steps": None, "epochs": 1e-9}).result_.steps == 1


def test_seconds_are_a_budget_too():
    result = tiny(fit={"steps": None, "seconds": 0.2}).result_
    assert result.reason == "seconds"
    assert 0.2 <= result.elapsed < 2


def test_a_number_is_the_peak_of_a_cosine():
    log = tiny(fit={"steps": 100, "learning_rate": 0.01, "report_every": 1}).result_.history
    rates = [line["learning_rate"] for line in log]
    assert rates[:4] == pytest.approx([0, 0.005, 0.01, 0.01], rel=1e-3)
    assert rates[50] == pytest.approx(0.005, rel=0.05)
    assert 0 < rates[-1] < 1e-5
    log = tiny(fit={"steps": 5, "learning_rate": optimizers.constant(0.01)}).result_.history
    assert log[-1]["learning_rate"] == 0.01


def test_validation_is_a_text_or_the_end_of_the_text():
    text = WORDS[:600]
    given = tiny(text[:540], fit={"validation": text[540:], "vocabulary": "".join(set(text))})
    part = tiny(text, fit={"validation": 0.1, "vocabulary": "".join(set(text))})
    assert given.result_.best_loss == part.result_.best_loss
    bits = given.bits_per_character(text[540:])
    assert given.result_.history[-1]["validation_loss"] / math.log(2) == pytest.approx(bits)


def test_the_state_is_forgotten_between_documents():
    model = tiny(["the cat", "", "sat"])
    assert model.vocabulary == " acehst"
    seen = []
    real = model.lstm_.forward
    model._build = lambda vocabulary: None  # keep the layer that is watched
    model.lstm_.forward = lambda x, *rest: seen.append((x, rest)) or real(x, *rest)
    model.fit(["the cat", "", "sat"], steps=1, batch_size=1, sequence_length=99)
    ((_, (_, _, reset, _)),) = seen
    assert np.flatnonzero(reset).tolist() == [0, 8, 9]


# ---------------------------------------------------------------------------------- scoring


def bits_by_stepping(model, document) -> float:
    """Bits of a document, one character after the other, from nothing."""
    known = model.vocabulary_
    numbers = known.encode("test", "text", document)
    stream, bits, token = model.lstm_.stream(), 0.0, known.start
    for number in map(int, numbers):
        y = stream.step(model.embedding_.parameters["weight"][[token]])
        logits = model.head_(y)[0].astype(np.float64)
        bits -= (logits[number] - np.log(np.exp(logits).sum())) / math.log(2)
        token = number
    return bits


def test_bits_are_those_of_every_character_in_turn(learned):
    text = "the log sat on the cat\n"
    assert learned.bits_per_character(text) == pytest.approx(
        bits_by_stepping(learned, text) / len(text), rel=1e-5
    )


def test_each_document_begins_anew(learned):
    texts = ["the log", "", "sat on", "t"]
    expected = sum(bits_by_stepping(learned, text) for text in texts) / 14
    assert learned.bits_per_character(texts) == pytest.approx(expected, rel=1e-5)


def test_long_texts_in_rows_score_as_in_one_pass(learned, monkeypatch):
    text = WORDS * 6  # 5,640 characters: five rows
    rows = learned.bits_per_character(text)
    monkeypatch.setattr(Passages, "_rows", 1)
    assert rows == pytest.approx(learned.bits_per_character(text), abs=1e-3)
    assert rows == pytest.approx(bits_by_stepping(learned, text) / len(text), abs=1e-3)


@pytest.mark.parametrize("tokens", ["bytes", "characters"])
def test_a_model_that_knows_nothing_pays_for_every_symbol(tokens):
    model = tiny(tokens=tokens)
    for array in model.parameters.values():
        array[...] = 0
    symbols = 256 if tokens == "bytes" else len(set(WORDS))
    assert model.bits_per_character("cat\n" * 2000) == pytest.approx(math.log2(symbols))


def test_bytes_are_measured_per_character_of_text_and_per_byte_of_bytes():
    model = tiny(tokens="bytes")
    text = "dreißig €"  # 9 characters, 12 bytes
    total = bits_by_stepping(model, text)
    assert model.bits_per_character(text) == pytest.approx(total / 9, rel=1e-5)
    assert model.bits_per_character(text.encode()) == pytest.approx(total / 12, rel=1e-5)


def test_no_text_has_no_figure(learned):
    assert math.isnan(learned.bits_per_character(""))


# ---------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("tokens", ["bytes", "characters"])
def test_it_writes_exactly_as_many_characters_as_asked(tokens):
    model = tiny("ein Maß für die Güte\n" * 20, tokens=tokens)
    for length in (0, 1, 57):
        assert len(model.generate("für", length, seed=length)) == length


def test_the_seed_decides_the_text(learned):
    def write(seed):  # so hot that two texts are not the same by chance
        return learned.generate("the", 80, temperature=5.0, seed=seed)

    assert write(5) == write(5)
    assert write(5) != write(6)
    assert write(None) != write(None)
    rng = np.random.default_rng(5)
    assert write(rng) == write(5)
    assert write(rng) != write(5)


def test_the_prompt_is_read_before_the_first_character_is_chosen(learned):
    for prompt in ("", "the ", "the cat sat on the d"):
        known = learned.vocabulary_
        read = np.concatenate([[known.start], known.encode("test", "prompt", prompt)])
        logits, _ = learned(read[None].astype(np.int64))
        expected = learned.vocabulary[int(logits[0, -1].argmax())]
        assert learned.generate(prompt, 1, temperature=0) == expected


def test_what_it_writes_is_what_it_reads_next(learned):
    text = learned.generate("the ", 40, temperature=0)
    for k in (1, 13, 39):
        assert learned.generate("the " + text[:k], 40 - k, temperature=0) == text[k:]


def test_the_temperature_and_the_cuts_reach_the_choice(learned):
    always = learned.generate("the ", 30, temperature=0)
    assert learned.generate("the ", 30, top_k=1, seed=0) == always
    assert learned.generate("the ", 30, top_p=1e-9, seed=0) == always
    assert learned.generate("the ", 30, temperature=1e-9, seed=0) == always
    assert learned.generate("the ", 30, temperature=9.0, seed=0) != always


def test_it_streams_as_it_writes(learned):
    pieces = learned.generate_stream("the ", 10**12, seed=3)
    assert "".join(next(pieces) for _ in range(25)) == learned.generate("the ", 25, seed=3)


def test_a_character_of_several_bytes_comes_in_one_piece():
    model = tiny("€" * 300, tokens="bytes", fit={"steps": 300, "learning_rate": 0.03})
    pieces = list(model.generate_stream("€", 6, temperature=0))
    assert pieces == ["€"] * 6


# ----------------------------------------------------------------------------------- errors


def test_nothing_is_checked_before_fit():
    model = LanguageModel(hidden_size=-1, tokens="words", dtype="int8")
    assert (model.hidden_size, model.tokens, model.dtype) == (-1, "words", "int8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": "words"}, "LanguageModel: tokens is 'words'; expected one of"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_layers": 1.5}, "num_layers is 1.5"),
        ({"embedding_size": -3}, "size is -3"),
        ({"embedding_size": 0}, "size is 0"),
        ({"dropout": 1.0}, "(dropout|rate) is 1.0"),
        ({"dtype": "int8"}, "dtype is 'int8'|dtype int8"),
        ({"seed": -1}, "LanguageModel: seed is -1"),
        ({"seed": "x"}, "LanguageModel: seed is 'x'"),
        (
            {"tied": True, "embedding_size": 5},
            r"LanguageModel: embedding_size is 5; expected 8, the LSTM's output size, since the "
            r"weights are tied \(leave embedding_size out\)",
        ),
        ({"tied": True, "embedding_size": 8, "proj_size": 4}, "expected 4, the LSTM's output"),
    ],
)
def test_a_models_own_arguments_are_checked_by_fit(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        tiny(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fit", "message"),
    [
        ("", {}, "LanguageModel: text is empty"),
        ([], {}, "LanguageModel: text is empty"),
        (5, {}, "LanguageModel: text holds int; expected str"),
        (["a", 5], {}, "LanguageModel: text holds int and str"),
        (b"bytes", {}, 'LanguageModel: text is bytes; expected str .*tokens="bytes"'),
        (WORDS, {"vocabulary": "the"}, "LanguageModel: text has characters .* ' ' "),
        (WORDS, {"vocabulary": "aa"}, "vocabulary: it has 'a' twice"),
        (WORDS, {"validation": "Zoo"}, r"validation has characters .*'Z' \(line 1, column 1\)"),
        (WORDS, {"validation": ""}, "validation is empty; expected text"),
        (WORDS, {"validation": 1.5}, "validation is 1.5; expected above 0 and below 1"),
        (WORDS, {"steps": 1, "epochs": 1}, "one of steps, epochs and seconds"),
        (WORDS, {"steps": 0}, "steps is 0"),
        (WORDS, {"steps": None, "epochs": 0}, "LanguageModel: epochs is 0"),
        (WORDS, {"steps": None, "seconds": -1}, "seconds is -1"),
        (WORDS, {"learning_rate": 0}, "LanguageModel: learning_rate is 0"),
        (WORDS, {"batch_size": 0}, "batch_size is 0"),
        (WORDS, {"batch_size": 10_000}, "batch_size"),
        (WORDS, {"sequence_length": 0}, "sequence_length is 0"),
        (WORDS, {"clip_norm": 0}, "clip_norm is 0"),
        (WORDS, {"resume": True}, "resume is True without a checkpoint"),
    ],
)
def test_what_fit_cannot_use_is_told_in_one_line(text, fit, message):
    with pytest.raises(InputError, match=message) as caught:
        tiny(text, fit=fit)
    assert "\n" not in str(caught.value)


def test_bytes_have_no_vocabulary_of_their_own():
    with pytest.raises(InputError, match="vocabulary is given; expected None"):
        tiny(tokens="bytes", fit={"vocabulary": "abc"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("Cat", 5),
            r"LanguageModel: prompt has characters that the model does not know: 'C' "
            r'\(line 1, column 1\); expected the 14 in its vocabulary .*tokens="bytes"',
        ),
        ((b"cat", 5), "LanguageModel: prompt is bytes; expected str"),
        (("cat", -1), "LanguageModel: length is -1"),
        (("cat", 2.5), "LanguageModel: length is 2.5"),
        (("cat", 5, -0.1), "LanguageModel: temperature is -0.1"),
        (("cat", 5, float("nan")), "LanguageModel: temperature is nan"),
        (("cat", 5, 1.0, 0), "LanguageModel: top_k is 0"),
        (("cat", 5, 1.0, None, 0.0), "LanguageModel: top_p is 0.0; expected above 0"),
        (("cat", 5, 1.0, None, 1.1), "LanguageModel: top_p is 1.1"),
        (("cat", 5, 1.0, None, None, -1), "LanguageModel: seed is -1"),
        (("cat", 5, 1.0, None, None, "x"), "LanguageModel: seed is 'x'"),
    ],
)
def test_what_generate_cannot_use_is_told_before_anything_is_written(learned, arguments, message):
    with pytest.raises(InputError, match=f"^{message}"):
        learned.generate_stream(*arguments)


def test_unknown_characters_cannot_be_scored(learned):
    with pytest.raises(InputError, match=r"text has characters .* 'é' \(line 2, column 2\)"):
        learned.bits_per_character("the\ncéé")


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.generate("a"),
        lambda model: model.bits_per_character("a"),
        lambda model: model.parameters,
        lambda model: model.vocabulary,
        lambda model: model.save("nowhere"),
        lambda model: model(np.zeros((1, 1), int)),
    ],
)
def test_a_model_that_has_not_learned_says_so(use):
    with pytest.raises(InputError, match=r"call fit or lk\.load first"):
        use(LanguageModel())
