"""What needs NumPy and safetensors alone: checkpoints of PyTorch, and the estimators on arrays.

    python tests/formats/alone.py [--strict]

All other packages that could help are refused; with --strict they may not even be installed.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tempfile
from pathlib import Path

NEEDED = {"lstmkit", "numpy", "safetensors"}
REFUSED = {"torch", "typer", "rich", "click", "onnx", "onnxruntime", "h5py", "keras", "matplotlib"}
REFUSED |= {"sklearn", "scipy", "pandas", "polars", "pyarrow", "narwhals", "tensorboardX"}
FILES = Path(__file__).parents[1] / "fixtures" / "pytorch"


class Refuse:
    """Stands before every import."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} is asked for")


def main() -> None:
    sys.meta_path.insert(0, Refuse())
    if "--strict" in sys.argv:
        there = {found.metadata["Name"].lower() for found in importlib.metadata.distributions()}
        assert there <= NEEDED | {"pip", "setuptools", "wheel"}, sorted(there)

    import numpy as np

    import lstmkit as lk

    expected = np.load(FILES / "expected.npz")
    for name in ("plain", "everything", "half", "cell"):
        for in_file in (False, True):
            lstm = lk.load(FILES / f"{name}.pt", in_file=in_file)
            y, _ = lstm(expected[f"{name}.x"])
            assert np.abs(y - expected[f"{name}.y"]).max() < 2e-6, name
    stream = lk.load(FILES / "plain.pt").stream()
    steps = [stream.step(x_t[None]) for x_t in expected["plain.x"][0]]
    assert np.abs(np.concatenate(steps) - expected["plain.y"][0]).max() < 2e-6
    stream.restore(stream.snapshot())
    with tempfile.TemporaryDirectory() as folder:
        label_and_estimate(Path(folder) / "model.safetensors")
        forecast(Path(folder) / "model.safetensors")

    loaded = {name.partition(".")[0] for name in sys.modules}
    print("run with", ", ".join(sorted(loaded & (NEEDED | REFUSED))))


def label_and_estimate(path: Path) -> None:
    """Fit, look inside, save and load a classifier, a regressor and a tagger."""
    import numpy as np

    import lstmkit as lk

    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3 + k % 3, 2)) for k in range(24)]
    options = {"hidden_size": 4, "epochs": 2, "random_state": 0}
    for kind, y in (
        (lk.SequenceClassifier, ["up" if x[-1, 0] > 0 else "down" for x in X]),
        (lk.SequenceRegressor, [x.sum() for x in X]),
        (lk.SequenceTagger, [x[:, 0] > 0 for x in X]),
    ):
        model = kind(**options).fit(X, y)
        model.partial_fit(X, y)
        found = model.predict(X)
        model.save(path)
        again = lk.load(path).predict(X)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True)), kind
        assert np.isfinite(model.score(X, y)), kind
        assert model.trace(X)[1].c.shape == (1, 1, 4, 4), kind
        stream = model.stream()
        latest = [stream.step(x_t[None])[0] for x_t in X[1]][-1]
        last = found[1][-1] if kind is lk.SequenceTagger else found[1]
        assert latest == last or abs(latest - last) < 1e-5, kind


def forecast(path: Path) -> None:
    """Fit a forecaster to an array; save and load it."""
    import numpy as np

    import lstmkit as lk

    season = np.sin(np.arange(96) * np.pi / 6)
    options = {"context": 12, "horizon": 3, "hidden_size": 4, "epochs": 2, "random_state": 0}
    for data, columns in ((season, {}), (np.stack([season, -season], 1), {"target": [0, 1]})):
        model = lk.Forecaster(**options).fit(data, **columns)
        found = model.predict()
        model.save(path)
        assert np.shape(found)[0] == 3
        assert np.array_equal(lk.load(path).predict(data), model.predict(data))


if __name__ == "__main__":
    main()
