"""The page in a real browser: the same numbers as ours, every view, no error, nothing loaded.

Needs Debian's ``chromium`` and ``chromium-driver``, and selenium; run by ``nox -s explorer``.
The pictures go to the folder in LSTMKIT_SCREENSHOTS, else to a temporary one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import explorer
from lstmkit.textbook import rnn_backward, rnn_forward

pytestmark = pytest.mark.browser

CODE = '''def join(words, mark=", "):
    """Put the words (all of them) into one string."""
    if not words:  # nothing to do
        return ""
    return mark.join(str(word) for word in words)


class Box:
    """Holds 'one' thing — naïvely."""

    def __init__(self, thing=[1, 2, (3, 4)]):
        self.thing = {"key": [thing, "a \\"quoted\\" string"]}
'''
WIDTHS = {"desktop": (1360, 940), "phone": (390, 844), "narrow": (320, 640)}


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for name in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"):
        options.add_argument(f"--{name}")
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument("--hide-scrollbars")
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def models():
    """Trained for a moment, so that weights and gates are no longer those of the start."""
    plain = lk.LanguageModel(24, 2, embedding_size=12, tokens="bytes", seed=0)
    variant = {"peepholes": True, "layer_norm": True, "proj_size": 7, "zoneout": 0.1}
    training = {"steps": 30, "batch_size": 4, "sequence_length": 16, "learning_rate": 2e-2}
    return {
        "bytes": plain.fit(CODE * 4, **training),
        "variants": lk.LanguageModel(16, 2, seed=1, **variant).fit(CODE * 4, **training),
        "coupled, tied, float64": lk.LanguageModel(
            16, tied=True, coupled_gates=True, peepholes=True, dtype="float64", seed=2
        ).fit(CODE * 4, **training),
        "rnn": explorer.RNNLanguageModel(24, embedding_size=12, tokens="bytes", seed=0).fit(
            CODE * 4, **training
        ),
    }


class Page:
    """A page that is open: what is wanted of it, in the tests' words."""

    def __init__(self, driver, path: Path, width="desktop", dark=False):
        self.driver = driver
        self.resize(*WIDTHS[width])
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.get(path.as_uri())
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def resize(self, width, height, mobile=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def later(self, script, *arguments):
        script = f"const done = arguments[arguments.length - 1]; ({script}).then(done)"
        return self.driver.execute_async_script(script, *arguments)

    def wait(self, script, seconds=30):
        until = time.monotonic() + seconds
        while not self.js(script):
            assert time.monotonic() < until, f"in vain: {script}"
            time.sleep(0.02)
        time.sleep(0.1)  # what follows from it is drawn

    def idle(self):
        self.wait("return document.querySelector('.progress').ariaHidden === 'true'")

    def click(self, selector):
        self.driver.find_element("css selector", selector).click()
        self.idle()

    def keys(self, selector, *keys):
        self.driver.find_element("css selector", selector).send_keys(*keys)
        self.idle()

    def text(self, selector):
        return self.driver.find_element("css selector", selector).text

    def enter(self, selector, text):
        """Put a text into a field, at once."""
        self.js(
            "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            selector,
            text,
        )
        self.idle()

    def press(self, *keys):
        """On the keyboard, for whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()
        time.sleep(0.1)
        self.idle()

    def value(self, selector):
        return self.js("return document.querySelector(arguments[0]).value", selector)

    def focused(self):
        return self.js("return document.activeElement.id || document.activeElement.tagName")

    def count(self, selector):
        return len(self.driver.find_elements("css selector", selector))

    def token(self, t, shift=False):
        """Press a token."""
        self.js(
            "document.getElementById('t' + arguments[0]).dispatchEvent("
            "new PointerEvent('pointerdown', {bubbles: true, shiftKey: arguments[1]}))",
            t,
            shift,
        )
        self.idle()

    def answered(self, t):
        """Wait until "Why" has followed the gradient of token t."""
        self.wait(f"return document.querySelector('.why:not(.stale)')?.dataset.at === '{t}'")

    def assert_quiet(self):
        """No message in the console, and nothing loaded but the page itself."""
        assert [entry["message"] for entry in self.driver.get_log("browser")] == []
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked = [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]
        assert len(asked) >= 1
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []

    def assert_fits(self):
        wide = self.js(
            "const root = document.documentElement;"
            "return root.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('*')]"
            ".filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)"
            ".map((e) => e.outerHTML.slice(0, 120))"
        )
        assert not wide


@pytest.fixture
def show(browser, tmp_path):
    def open_page(model, text, width="desktop", dark=False, **options):
        explorer.explore(model, text, tmp_path / "page.html", **options)
        return Page(browser, tmp_path / "page.html", width, dark)

    return open_page


TRACE = "return lstmkit.stack.trace.map((steps) => steps.map((s) => Array.from(s[arguments[0]])))"


def assert_traces_agree(page, trace):
    """Every gate and state within 1e-4: of 1, or of the value where c has grown beyond 1."""
    for quantity in "ifgoch":
        expected = getattr(trace, quantity)[:, 0]
        error = np.abs(np.array(page.js(TRACE, quantity)) - expected)
        assert (error <= 1e-4 * np.maximum(1, np.abs(expected))).all(), quantity


def ours(model, text):
    """Logits and trace after the newline that every text begins with, and the token numbers."""
    tokens = model.vocabulary_.encode("test", "text", text).astype(np.int64)
    inputs = np.concatenate([[model.vocabulary_.start], tokens])[None]
    logits, _ = model(inputs)
    return tokens, inputs, logits[0]


def double(model):
    """The same network in float64, with the float32 weights that the page has."""
    arrays = {n: a.astype(np.float32).astype(np.float64) for n, a in model.parameters.items()}
    return type(model).from_parameters(model.config | {"dtype": "float64"}, arrays)


def gradient(model, inputs, tokens, t):
    """d ln p(token t) / d input vectors, by lstmkit's own backward, and the input vectors."""
    x, _ = model.embedding_.forward(inputs[:, : t + 1])
    y, _, tape = model.lstm_.forward(x)
    logits, head = model.head_.forward(y)
    dlogits = surprise(logits[0], tokens[t])[None]
    dy, _ = model.head_.backward(head, dlogits)
    return x[0], model.lstm_.backward(tape, dy)[0][0]


def rnn_gradient(rnn, inputs, tokens, t):
    """The same of the basic RNN, by the lesson's backward."""
    p = {name: array.astype(np.float64) for name, array in rnn.parameters.items()}
    book = {"W_xh": p["weight_ih"], "W_hh": p["weight_hh"], "b_h": p["bias"]}
    x, h_0 = p["embedding.weight"][inputs[0, : t + 1]], np.zeros(rnn.hidden_size)
    logits = np.array(rnn_forward(x, h_0, book)) @ p["head.weight"].T + p["head.bias"]
    dlogits = surprise(logits, tokens[t])
    return x, rnn_backward(x, h_0, book, dlogits @ p["head.weight"])[0]


def surprise(logits, token):
    """d ln p(token), as predicted at the last step, / d logits."""
    p = np.exp(logits[-1] - logits[-1].max())
    dlogits = np.zeros_like(logits)
    dlogits[-1] = -p / p.sum()
    dlogits[-1, token] += 1
    return dlogits


# ------------------------------------------------------------------------- the same numbers


@pytest.mark.parametrize("name", ["bytes", "variants", "coupled, tied, float64"])
def test_forward_agrees_within_1e_4(show, models, name):
    model = models[name]
    page = show(model, CODE)
    _, inputs, logits = ours(model, CODE)
    theirs = np.array(page.js("return lstmkit.language.logits.map((row) => Array.from(row))"))
    assert theirs.shape == logits.shape
    error = np.abs(theirs - logits).max()
    print(f"{name}: logits differ by at most {error:.1e}")
    assert error <= 1e-4
    exact = ours(double(model), CODE)[2]
    assert np.abs(theirs - exact).max() <= 1e-9
    assert_traces_agree(page, model.lstm_.trace(model.embedding_(inputs)))


def assert_gradients_agree(page, which, model, text):
    tokens, inputs, _ = ours(model, text)
    for t in (1, 30, len(tokens) - 1):
        if isinstance(model, explorer.RNNLanguageModel):
            x, dx = rnn_gradient(model, inputs, tokens, t)
        else:
            x, dx = gradient(double(model), inputs, tokens, t)
        found = page.js(
            f"const w = lstmkit.why(arguments[0], lstmkit.{which});"
            "return [Array.from(w.dot), Array.from(w.norm)]",
            t,
        )
        for shown, expected in zip(
            found, ((x * dx).sum(axis=1), np.linalg.norm(dx, axis=1)), strict=True
        ):
            expected = expected[1:]  # the newline before the text is left out
            assert np.linalg.norm(shown - expected) <= 1e-9 * np.linalg.norm(expected), t


@pytest.mark.parametrize("name", ["bytes", "variants", "coupled, tied, float64"])
def test_backward_agrees_with_lstmkits_own(show, models, name):
    assert_gradients_agree(show(models[name], CODE), "language", models[name], CODE)


def test_the_rnns_numbers_agree_too(show, models):
    page = show(models["bytes"], CODE, rnn=models["rnn"])
    _, _, logits = ours(models["rnn"], CODE)
    theirs = np.array(page.js("return lstmkit.rnn.logits.map((row) => Array.from(row))"))
    assert np.abs(theirs - logits).max() <= 1e-4
    assert_gradients_agree(page, "rnn", models["rnn"], CODE)


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "num_layers": 2, "cell_clip": 0.3, "learn_initial_state": True},
        {"activations": ("hard_sigmoid", "softsign", "relu"), "gate_clip": 0.8, "bias": False},
        {"activations": ("sigmoid", "identity", "tanh"), "coupled_gates": True, "zoneout": 0.2},
        {"bidirectional": True, "proj_size": 3, "layer_norm": True, "peepholes": True},
    ],
    ids=lambda options: ", ".join(options),
)
def test_an_lstm_alone_agrees_forward_and_back(show, options):
    lstm = lk.LSTM(3, 6, seed=0, **options)
    rng = np.random.default_rng(1)
    for array in lstm.parameters.values():
        array += 0.4 * rng.normal(size=array.shape).astype(np.float32)
    x = rng.normal(size=(19, 3)).astype(np.float32)
    page = show(lstm, x)
    assert_traces_agree(page, lstm.trace(x[None]))
    lstm = double(lstm)
    y, _, tape = lstm.forward(x[None])
    cell, unit, t = len(lstm.cells) - 1, 1, 11
    dy = np.zeros_like(y)
    width = lstm.cells[0].output_size
    dy[0, t, (cell % lstm.stack.directions) * width + unit] = 1
    dx = lstm.backward(tape, dy)[0][0]
    found = np.array(page.js(WHY_UNIT, t, cell, unit, "h"))
    expected = (x * dx).sum(axis=1)[: len(found)]
    assert np.linalg.norm(found - expected) <= 1e-9 * np.linalg.norm(expected)
    page.assert_quiet()


WHY_UNIT = (
    "const [t, cell, unit, quantity] = arguments;"
    "return Array.from(lstmkit.whyUnit(t, {cell, unit}, quantity).dot)"
)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_the_gradient_of_a_memory_is_that_of_its_own_cell(show, bidirectional):
    """More cells than outputs: c of cell 5, of 6 cells with 3 outputs, by differences of ours."""
    options = {"proj_size": 3, "peepholes": True, "bidirectional": bidirectional}
    lstm = lk.LSTM(2, 6, seed=0, **options)
    rng = np.random.default_rng(1)
    for array in lstm.parameters.values():
        array += 0.4 * rng.normal(size=array.shape).astype(np.float32)
    x = rng.normal(size=(13, 2)).astype(np.float32)
    page = show(lstm, x)
    exact, t, unit, eps = double(lstm), 7, 5, 1e-5
    for cell in range(len(lstm.cells)):
        expected = np.zeros(len(x))
        for k in range(len(x)):  # along x_k itself: the slope is gradient · input
            near = []
            for sign in (1, -1):
                moved = x.astype(np.float64)
                moved[k] *= 1 + sign * eps
                near.append(exact.trace(moved[None]).c[cell][0, t, unit])
            expected[k] = (near[0] - near[1]) / (2 * eps)
        found = np.array(page.js(WHY_UNIT, t, cell, unit, "c"))
        assert np.abs(expected).max() > 0.1
        assert np.abs(found - expected[: len(found)]).max() <= 1e-8
        assert not expected[len(found) :].any()
    page.assert_quiet()


def test_what_is_held_is_held_and_its_gradient_stops(show, models):
    """No weights and a bias far out, or 0, pin a gate of ours: it is the same network."""
    model = models["bytes"]
    page = show(model, CODE)
    values = ((3, "f", 0), (5, "i", 0.5), (7, "o", 0), (9, "g", 0), (11, "o", 1), (13, "c", 0))
    held = [{"cell": 1, "unit": u, "pin": pin, "value": value} for u, pin, value in values]
    page.later("lstmkit.hold(arguments[0], () => {})", held)
    pinned = lk.LanguageModel.from_parameters(model.config, model.parameters)
    for unit, pin, value in values:
        for gate in "if" if pin == "c" else pin:  # nothing kept and nothing written: c is 0
            row = "ifgo".index(gate) * model.hidden_size + unit
            for name in ("weight_ih_l1", "weight_hh_l1"):
                pinned.lstm_.parameters[name][row] = 0
            bias = 0 if pin == "g" or value == 0.5 else 1e4 if value else -1e4
            pinned.lstm_.parameters["bias_l1"][row] = bias
    _, _, logits = ours(pinned, CODE)
    theirs = np.array(page.js("return lstmkit.other.logits.map((row) => Array.from(row))"))
    assert np.abs(theirs - logits).max() <= 1e-4
    assert_gradients_agree(page, "other", pinned, CODE)


# ----------------------------------------------------------------------------- every view


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = Path(os.environ.get("LSTMKIT_SCREENSHOTS") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_is_clicked_and_photographed(show, models, pictures, width, dark):
    page = show(models["bytes"], CODE * 2, width, dark, rnn=models["rnn"], title="A test")
    theme = page.js("return document.documentElement.dataset.theme")
    assert theme == ("dark" if dark else "light")
    for view in ("cells", "gates", "why", "hold", "write", "alike"):
        page.click(f"#tab-{view}")
        page.token(120)
        if view == "why":
            page.answered(120)
        if view == "alike":
            page.token(126, shift=True)
        page.assert_fits()
        height = page.js("return document.documentElement.scrollHeight")
        page.resize(WIDTHS[width][0], max(height, WIDTHS[width][1]))
        path = pictures / f"{view}-{width}-{'dark' if dark else 'light'}.png"
        assert page.driver.save_screenshot(str(path))
        page.resize(*WIDTHS[width])
    page.click("#theme")
    assert page.js("return document.documentElement.dataset.theme") != theme
    page.assert_quiet()


def test_cells_are_chosen_by_square_suggestion_picture_and_number(show, models):
    page = show(models["bytes"], CODE)
    assert page.count("#squares button") == 24
    assert page.count("#suggestions button") >= 1
    assert "(0." in page.text("#suggestions")  # the measured score
    page.click("#squares button:nth-child(6)")
    assert page.js("return document.querySelector('#unit').value") == "5"
    before = page.js("return document.querySelector('#t40').style.backgroundColor")
    page.click("#squares button:nth-child(12)")
    assert page.js("return document.querySelector('#t40').style.backgroundColor") != before
    assert "cell 11" in page.text(".legend")
    page.click("#suggestions button")
    assert page.count("#suggestions button[aria-pressed='true']") >= 1
    page.js(
        "const c = document.querySelector('#overview'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new MouseEvent('click', {bubbles: true,"
        "clientX: b.left + 0.5 * b.width, clientY: b.top + (17.5 / 24) * b.height}))"
    )
    page.idle()
    assert page.js("return document.querySelector('#unit').value") == "17"
    half = len(CODE.encode()) // 2
    assert page.js("return document.querySelector('#text .cursor').id") == f"t{half}"
    page.js(
        "const s = document.querySelector('#layer'); s.value = '1';"
        "s.dispatchEvent(new Event('change', {bubbles: true}))"
    )
    page.wait("return document.querySelector('.legend').innerText.includes('layer 2')")
    page.assert_quiet()


def test_the_colours_are_the_cells_values(show, models):
    """The alpha of every background, against our trace: 0.78 stands for the largest |c|."""
    page = show(models["bytes"], CODE)
    page.click("#squares button:nth-child(9)")
    layer = page.js("return Number(document.querySelector('#layer').value)")
    _, inputs, _ = ours(models["bytes"], CODE)
    trace = models["bytes"].lstm_.trace(models["bytes"].embedding_(inputs))
    c = trace.c[layer, 0, 1:, 8]
    shown = page.js(
        "return Array.from(document.querySelector('#text').children,(e) => e.style.backgroundColor)"
    )
    for colour, value in zip(shown, c / np.abs(c).max(), strict=True):
        red, _, blue, *alpha = (float(n) for n in colour[colour.index("(") + 1 : -1].split(","))
        assert abs((alpha or [1])[0] - 0.78 * abs(value)) < 0.006
        if abs(value) > 0.05:
            assert (red > blue) == (value > 0)


def test_a_projection_has_fewer_h_than_c(show, models):
    """16 cells, 7 h: what the field says is what is painted, and some square takes the focus."""
    page = show(models["variants"], CODE)
    assert page.js("return [lstmkit.width(0, 'c'), lstmkit.width(0, 'h')]") == [16, 7]

    def assert_shown(quantity, unit):
        assert page.value("#unit") == str(unit)
        assert page.text(".legend .caption").startswith(f"{quantity} of")
        assert page.text(".legend .caption").endswith(f"cell {unit}")
        assert page.count("#squares button[tabindex='0'][aria-pressed='true']") == 1
        layer = page.js("return Number(document.querySelector('#layer').value)")
        _, inputs, _ = ours(models["variants"], CODE)
        trace = models["variants"].lstm_.trace(models["variants"].embedding_(inputs))
        values = np.array(getattr(trace, quantity)[layer])[0, 1:, unit]
        cell = {"cell": layer, "unit": unit}
        found = page.js("return Array.from(lstmkit.track(...arguments))", cell, quantity)
        assert np.abs(np.array(found) - values).max() <= 1e-4 * max(1, np.abs(values).max())

    page.enter("#unit", "12")
    assert_shown("c", 12)
    page.click("#tab-gates")
    h = "return document.querySelectorAll('#gates table:first-child tbody tr')[5].innerText"
    assert set(page.js(h).split()) == {"h", "(shown)", "none"}
    page.click("#tab-cells")
    page.press("h")
    assert_shown("h", 6)
    assert page.js("return document.querySelector('#unit').max") == "6"
    assert page.count("#squares button") == 7
    page.enter("#unit", "12")
    assert_shown("h", 6)
    page.press("]")
    assert_shown("h", 0)
    page.press("[")
    assert_shown("h", 6)
    page.press("c")
    assert_shown("c", 6)
    page.enter("#unit", "500")
    assert_shown("c", 15)
    page.assert_quiet()


def test_why_of_numbers_is_that_of_the_chosen_quantity(show):
    x = np.sin(np.arange(30)[:, None] * [0.3, 0.7]).astype(np.float32)
    page = show(lk.LSTM(2, 12, proj_size=5, bidirectional=True, seed=0), x)
    page.click("#tab-why")
    page.enter("#unit", "11")
    for quantity, unit in (("c", 11), ("h", 4)):
        page.press(quantity)
        page.wait(
            "return document.querySelector('.why:not(.stale) .hint')?.innerText.includes("
            f"'{quantity} of layer 1, forwards, cell {unit} ')"
        )
        t = page.js("return Number(document.querySelector('#text .cursor').id.slice(1))")
        shown = page.js(
            "return Array.from(document.querySelectorAll('#why-lstm span'), (e) => e.title)"
        )
        for one, value in zip(shown, page.js(WHY_UNIT, t, 0, unit, quantity), strict=True):
            number = float(one.replace("\u2212", "-"))
            assert abs(number - value) <= max(0.0051, 0.051 * abs(value))
    page.assert_quiet()


def test_gates_and_predictions_are_the_models(show, models):
    page = show(models["bytes"], CODE)
    page.click("#tab-gates")
    page.token(100)
    place = page.js(
        "return [Number(document.querySelector('#layer').value),"
        "Number(document.querySelector('#unit').value)]"
    )
    _, inputs, logits = ours(models["bytes"], CODE)
    trace = models["bytes"].lstm_.trace(models["bytes"].embedding_(inputs))
    rows = page.js(
        "return Array.from(document.querySelectorAll('#gates table:first-child tbody tr'),"
        "(row) => row.querySelector('td.cursor').textContent)"
    )
    expected = [getattr(trace, q)[place[0], 0, 101, place[1]] for q in "ifgoch"]
    for shown, value in zip(rows, expected, strict=True):
        number = float(shown.replace("\u2212", "-"))
        assert abs(number - value) <= (0.0051 if abs(value) < 9.9 else 0.051)  # as it is rounded
    best = page.js(
        "return document.querySelector('#predictions tr:first-child td.cursor').firstChild.data"
    )
    assert best == page.js(
        "return lstmkit.vocabulary.label(arguments[0])", int(logits[101].argmax())
    )
    columns = page.count("#gates table:first-child thead th")
    assert page.count("#predictions thead th[scope='col']") == columns > 5
    kept = page.js("return document.querySelector('#unit').value")
    for _ in range(3):  # a neighbour may already be among those at hand
        page.keys("body", "]")
        if page.js("return !document.querySelector('#keep-cell').disabled"):
            break
    page.click("#keep-cell")
    tables = page.count("#gates table")
    page.keys("body", "[")
    assert page.count("#gates table") >= tables
    assert page.js("return document.querySelector('#unit').value") >= kept
    page.assert_quiet()


def test_why_shows_both_models_and_both_measures(show, models):
    page = show(models["bytes"], CODE, rnn=models["rnn"])
    page.token(77)
    page.keys("#text", "\ue007")  # Enter
    assert page.js("return document.querySelector('#tab-why').ariaSelected") == "true"
    page.answered(77)
    assert page.count("#why-lstm span") == page.count("#why-rnn span") == 77
    assert page.count(".chart path") == 2
    assert "gradient · embedding" in page.text(".legend")
    shown = page.js("return document.querySelector('#why-lstm span:last-of-type').title")
    norm = page.driver.find_elements("css selector", "#view .switch button")[1]
    norm.click()
    page.idle()
    assert "length of the gradient" in page.text(".legend")
    assert page.js("return document.querySelector('#why-lstm span:last-of-type').title") != shown
    page.token(0)
    page.answered(0)
    assert "Nothing stands before" in page.text("#view")
    page.assert_quiet()


def test_holding_changes_the_predictions_and_letting_go_undoes_it(show, models):
    page = show(models["bytes"], CODE)
    page.token(60)
    page.click("#tab-hold")
    free = page.text("#compare")
    page.click("#hold-all")
    assert "bits a token" in page.text("#hold-effect")
    assert page.text("#compare").startswith("token as it is held")
    assert "24 values are held" in page.text(".held-note")
    page.click("#let-go")
    assert page.text("#compare") == free
    for choice in range(7):
        page.js(
            "const s = document.querySelector('#hold-what'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change', {bubbles: true}))",
            str(choice),
        )
        page.click("#hold-one")
    assert page.count("#held li") == 5  # each gate once: the later choice, and c; and "let go"
    page.assert_quiet()


def test_another_text_is_read_and_everything_follows(show, models):
    page = show(models["bytes"], CODE)
    text = "def f(é):\n\treturn '\U0001f600' </script>\n" * 2
    page.click("#tab-write")
    page.js(
        "const a = document.querySelector('#own-text'); a.value = arguments[0];"
        "a.dispatchEvent(new Event('input', {bubbles: true}))",
        text,
    )
    page.click("#read")
    assert page.count("#text span") == len(text.encode())
    _, _, logits = ours(models["bytes"], text)
    theirs = np.array(page.js("return lstmkit.language.logits.map((row) => Array.from(row))"))
    assert np.abs(theirs - logits).max() <= 1e-4
    page.click("#first-text")
    assert page.count("#text span") == len(CODE.encode())
    page.assert_quiet()


def test_a_typed_text_outlives_a_look_at_another_view(show, models):
    page = show(models["bytes"], CODE)
    page.click("#tab-write")
    page.enter("#own-text", "typed, not yet read")
    page.click("#tab-hold")
    page.click("#hold-one")
    page.click("#tab-write")
    assert page.value("#own-text") == "typed, not yet read"
    page.click("#write")
    assert page.value("#own-text") == "typed, not yet read"
    page.click("#read")
    assert page.js("return lstmkit.vocabulary.decode(lstmkit.tokens)") == "typed, not yet read"
    page.click("#first-text")
    assert page.value("#own-text") == CODE
    page.assert_quiet()


CONSISTENT = """
const s = lstmkit;
const runs = [s.language, ...(s.rnn ? [s.rnn] : []), ...(s.held.length ? [s.other] : [])];
const inputs = JSON.stringify([s.vocabulary.start, ...s.tokens]);
const n = s.tokens.length + 1;
return s.shown.length === n - 1 && runs.every((run) => JSON.stringify(run.tokens) === inputs
  && run.logits.length === n && run.stack.trace.every((steps) => steps.length === n));
"""


def test_every_view_opens_while_another_text_is_read(show, models):
    page = show(models["bytes"], CODE, rnn=models["rnn"])
    page.token(60)
    # The reading pauses between its slices for as long as this test likes.
    page.js(
        "const real = setTimeout; window.paused = []; window.pausing = false;"
        "window.setTimeout = (f, ms) => pausing && !ms ? paused.push(f) : real(f, ms)"
    )
    press = "pausing = true; for (const id of arguments) document.getElementById(id).click()"
    busy = "return document.querySelector('.progress').ariaHidden === 'false'"
    for view in ("cells", "gates", "why", "hold", "alike"):
        page.click("#tab-write")
        page.enter("#own-text", "x" * 1500 + view)
        page.js(press, "read", f"tab-{view}")
        time.sleep(0.3)
        assert page.js(busy), "too fast to be looked at"
        assert page.js(CONSISTENT), view
        assert page.text("#view")
        assert page.count("#text span") == len(CODE.encode())
        page.js("pausing = false; paused.splice(0).forEach((f) => f())")
        page.idle()
        assert page.js(CONSISTENT), view
        assert page.count("#text span") == 1500 + len(view)
        page.click("#tab-write")
        page.click("#first-text")
    page.assert_quiet()


@pytest.mark.parametrize("then", ["hold", "write", "read"])
def test_a_reading_that_is_cut_short_leaves_no_trace(show, models, then):
    """The numbers are those of a page where nothing was cut short."""
    jobs = {
        "hold": "lstmkit.hold([{cell: 0, unit: 0, pin: 'c', value: 0}], () => {})",
        "write": "lstmkit.write(99, 40, 1, 1, () => {})",
        "read": "lstmkit.read(lstmkit.tokens.slice(0, 50), () => {})",
    }
    page = show(models["bytes"], CODE, rnn=models["rnn"])
    numbers = "return [lstmkit.tokens, Array.from(lstmkit.logits(45)), lstmkit.bits(lstmkit.rnn)]"
    page.later(jobs[then])
    expected = page.js(numbers)
    page.driver.refresh()
    page.wait("return document.documentElement.dataset.ready === 'yes'")
    cut = (
        "(async () => { const long = lstmkit.tokens.slice(0, 20).concat(Array(8000).fill(120));"
        "const first = lstmkit.read(long, () => {}); await new Promise((r) => setTimeout(r, 30));"
        f"const second = {jobs[then]}; return [await first, await second]; }})()"
    )
    assert page.later(cut) == [False, True]
    assert page.js(CONSISTENT)
    assert page.js(numbers) == expected
    page.assert_quiet()


def test_a_character_that_the_model_does_not_know_is_named(show, models):
    page = show(models["variants"], CODE)
    page.click("#tab-write")
    page.js(
        "const a = document.querySelector('#own-text'); a.value = 'def \u03bb';"
        "a.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    page.click("#read")
    assert "does not know “\u03bb”" in page.text("[role=alert]")
    assert page.count("#text span") == len(CODE)


def test_writing_goes_on_from_the_token_and_repeats_with_its_seed(show, models):
    page = show(models["bytes"], CODE)
    page.token(99)
    page.click("#tab-write")
    written = []
    for _ in range(2):
        page.token(99)
        page.click("#write")
        written.append(page.js("return lstmkit.tokens"))
    assert written[0] == written[1]
    assert len(written[0]) == 400
    assert written[0][:100] == list(CODE.encode()[:100])
    assert page.count("#text .written") == 300
    page.later("lstmkit.write(99, 40, 0, 1, () => {})")
    greedy = list(CODE.encode()[:100])
    for _ in range(40):
        greedy.append(int(models["bytes"](np.array([[10, *greedy]]))[0][0, -1].argmax()))
    assert page.js("return lstmkit.tokens") == greedy
    page.assert_quiet()


def test_a_span_finds_its_like(show, models):
    page = show(models["bytes"], CODE + CODE)
    start = CODE.index("return mark")
    page.click("#tab-alike")
    page.token(start)
    page.token(start + 5, shift=True)
    assert page.count("#text .marked") == 6
    assert page.count("#alike-cells button") >= 1
    assert page.count("#matches li") >= 1
    again = len(CODE.encode()) + start
    found = page.js(
        "return Array.from(document.querySelectorAll('#matches mark'), (m) => m.textContent)"
    )
    assert any("return".startswith(one[:3]) or "eturn" in one for one in found)
    page.click("#matches button")
    marked = page.js("return Number(document.querySelector('#text .marked').id.slice(1))")
    assert abs(marked - again) <= 2  # best of all: the same words in the second copy
    page.assert_quiet()


# ------------------------------------------------------------------- keyboard and screen reader


def test_the_keyboard_walks_and_the_live_region_tells(show, models):
    page = show(models["bytes"], CODE)
    page.token(0)
    right, left, end, home, down, up = "\ue014", "\ue012", "\ue010", "\ue011", "\ue015", "\ue013"
    page.keys("#text", right, right, right, left)
    assert (
        page.js("return document.querySelector('#text').getAttribute('aria-activedescendant')")
        == "t2"
    )
    told = page.text("[role=status]") or page.js(
        "return document.querySelector('[role=status]').textContent"
    )
    assert told.startswith("f, 3 of ")
    assert "next: " in told
    page.keys("#text", down)
    assert (
        page.js("return document.querySelector('#text .cursor').id")
        == f"t{CODE.index(chr(10)) + 3}"
    )
    page.keys("#text", up, "\ue008" + right + right)  # Shift
    assert page.count("#text [aria-selected='true']") == 3
    page.keys("#text", end)
    assert (
        page.js("return document.querySelector('#text .cursor').id") == f"t{len(CODE.encode()) - 1}"
    )
    page.keys("#text", home, "h")
    assert "h of" in page.text(".legend")
    page.click("#tab-cells")
    page.keys("#tab-cells", left)
    assert page.js("return document.activeElement.id") == "tab-alike"


def test_keys_work_wherever_the_focus_is_but_not_while_typing(show, models):
    page = show(models["bytes"], CODE)
    assert page.focused() == "BODY"
    unit = int(page.value("#unit"))
    page.press("]")
    assert page.value("#unit") == str((unit + 1) % 24)
    page.press("[", "h")
    assert page.value("#unit") == str(unit)
    assert "h of" in page.text(".legend")
    page.press("c")
    key = (
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0],"
        "ctrlKey: arguments[1], altKey: true, bubbles: true}))"
    )
    page.js(key, "]", True)  # AltGr
    page.js(key, "]", False)  # Option
    page.js(key, "h", True)
    page.idle()
    assert page.value("#unit") == str((unit + 2) % 24)
    assert "c of" in page.text(".legend")
    page.click("#tab-write")
    page.keys("#own-text", "]h[c")
    assert page.value("#unit") == str((unit + 2) % 24)
    assert page.value("#own-text").endswith("]h[c")
    page.assert_quiet()


def test_what_goes_away_hands_the_focus_on(show, models):
    page = show(models["bytes"], CODE)
    page.click("#tab-hold")
    for choice in ("0", "3"):
        page.js(
            "const s = document.querySelector('#hold-what'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change', {bubbles: true}))",
            choice,
        )
        page.click("#hold-one")
    assert page.count("#held li") == 3
    page.click("#held li:first-child button")
    assert page.js("return document.activeElement.matches('#held li:first-child button')")
    page.click("#held li:first-child button")
    assert page.focused() == "hold-one"
    page.click("#hold-all")
    page.click("#let-go")
    assert page.focused() == "hold-one"
    page.click("#hold-one")
    page.click(".held-note button")
    assert page.focused() == "text"
    page.click("#tab-gates")
    while page.count("#gates caption button"):
        page.click("#gates caption button")
        assert page.focused() != "BODY"
    page.click("#keep-cell")
    assert page.focused() != "BODY"
    page.assert_quiet()


def test_the_live_region_keeps_what_was_done(show, models):
    page = show(models["bytes"], CODE)
    page.token(50)
    page.click("#tab-write")
    page.click("#write")
    time.sleep(0.5)
    status = "return document.querySelector('[role=status]').textContent"
    assert page.js(status).startswith("300 tokens written; ")
    page.keys("#text", "\ue014")
    assert "written" not in page.js(status)
    page.enter("#own-text", "")
    page.click("#read")
    assert "is empty" in page.js(status)
    page.enter("#own-text", "a new text, of some length")
    page.click("#read")
    assert "is empty" not in page.js(status)


def test_a_finger_scrolls_the_text_and_a_tap_moves_the_cursor(show, models):
    page = show(models["bytes"], CODE * 3, "phone")
    page.token(3)
    page.token(9, shift=True)
    cdp = page.driver.execute_cdp_cmd
    page.resize(*WIDTHS["phone"], mobile=True)
    cdp("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 1})
    try:
        x, y = page.js(
            "const b = document.querySelector('#text').getBoundingClientRect();"
            "return [Math.round(b.left + 60), Math.round(b.bottom - 60)]"
        )
        for step in range(11):
            point = {"x": x, "y": y - 20 * step}
            kind = "touchMove" if step else "touchStart"
            cdp("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        cdp("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        top = "return document.querySelector('#text').scrollTop"
        before = -1
        while before != (before := page.js(top)):  # a touch of a text in motion only stops it
            time.sleep(0.3)
        assert page.js("return document.querySelector('#text').scrollTop") > 50
        assert page.count("#text .marked") == 7
        assert page.js("return document.querySelector('#text .cursor').id") == "t9"
        under, x, y = page.js(
            "const box = document.querySelector('#text').getBoundingClientRect();"
            "for (const e of document.querySelectorAll('#text span')) {"
            "const b = e.getBoundingClientRect(); if (b.top > box.top + 60 && e.innerText.trim())"
            "return [e.id, b.left + 3, b.top + b.height / 2]; }"
        )
        point = {"x": round(x), "y": round(y)}
        cdp("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
        cdp("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait(f"return document.querySelector('#text .cursor').id === '{under}'")
        assert page.count("#text .marked") == 0
    finally:
        cdp("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.assert_quiet()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tours_card_leaves_what_it_shows_in_sight(show, models, pictures, width):
    page = show(models["bytes"], CODE * 2, width)
    page.js("document.querySelector('#start-tour').click()")
    stop = 0
    while page.count("#tour-title"):
        time.sleep(0.5)
        card, target, high = page.js(
            "const of = (s) => { const b = document.querySelector(s).getBoundingClientRect();"
            "return {left: b.left, right: b.right, top: b.top, bottom: b.bottom}; };"
            "return [of('.tour'), of('.toured'), innerHeight]"
        )
        apart = (
            target["right"] <= card["left"]
            or card["right"] <= target["left"]
            or target["bottom"] <= card["top"]
            or card["bottom"] <= target["top"]
        )
        # What is longer than the screen has at least its beginning in sight.
        room = high - (card["bottom"] - card["top"]) - 40
        long = target["bottom"] - target["top"] > room
        assert apart or (long and 0 <= target["top"] < card["top"] - 100), (stop, card, target)
        assert -1 <= target["top"] < high - 40
        assert 0 <= card["top"]
        assert card["bottom"] <= high
        assert page.driver.save_screenshot(str(pictures / f"tour-{stop}-{width}.png"))
        page.js("document.querySelector('#tour-next').click()")
        stop += 1
        time.sleep(0.1)
    assert stop == 8
    page.assert_quiet()


def test_a_short_text_says_so_and_its_tour_is_shorter(show, models):
    page = show(models["bytes"], "def f(x):")
    assert "it has 9 tokens, and it takes 20" in page.text("#too-short")
    page.click("#start-tour")
    titles = []
    while page.count("#tour-title"):
        titles.append(page.text("#tour-title"))
        page.wait("return document.querySelector('.toured')")
        page.click("#tour-next")
        time.sleep(0.15)
    assert len(titles) == 7
    assert "Cells with a job" not in titles
    page.assert_quiet()


def test_the_tour_visits_every_stop_and_gives_the_focus_back(show, models):
    page = show(models["bytes"], CODE)
    page.click("#start-tour")
    titles = []
    while page.count("#tour-title"):
        titles.append(page.text("#tour-title"))
        page.click("#tour-next")
        time.sleep(0.15)
    assert len(titles) == len(set(titles)) == 8
    assert page.js("return document.activeElement.id") == "start-tour"
    page.click("#start-tour")
    page.keys(".tour", "\ue00c")  # Escape
    assert page.count(".tour") == 0
    page.assert_quiet()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_barrier(show, models, dark):
    """The rules of axe-core, colour contrast among them, in every view."""
    source = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
    page = show(models["bytes"], CODE, dark=dark, rnn=models["rnn"])
    page.driver.execute_script(source.read_text(encoding="utf-8"))
    for view in ("cells", "gates", "why", "hold", "write", "alike"):
        page.click(f"#tab-{view}")
        if view == "why":
            page.answered(40)
        result = page.later("axe.run(document)")
        found = []
        for one in result["violations"]:
            first = one["nodes"][0]
            found.append(f"{view}: {one['id']}: {first['html'][:200]}: {first['failureSummary']}")
        assert not found, "\n".join(found)


def test_numbers_have_the_views_that_make_sense(show, pictures):
    x = np.sin(np.arange(80)[:, None] * [0.3, 0.7]).astype(np.float32)
    page = show(lk.LSTM(2, 12, 2, bidirectional=True, seed=0), x, title="An LSTM alone")
    assert page.count("#tab-write") == 0
    for view in ("cells", "gates", "why", "hold", "alike"):
        page.click(f"#tab-{view}")
        page.token(30)
        if view == "why":
            page.answered(30)
        if view == "gates":
            columns = page.count("#gates table:first-child thead th")
            assert page.count("#inputs thead th[scope='col']") == columns > 5
        page.assert_fits()
        assert page.driver.save_screenshot(str(pictures / f"{view}-numbers.png"))
    page.click("#tab-hold")
    page.click("#hold-all")
    assert "how far the output moved" in page.text("#hold-effect")
    page.assert_quiet()
