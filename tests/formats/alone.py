"""Opens PyTorch's checkpoints and runs them with NumPy and safetensors alone.

    python tests/formats/alone.py [--strict]

All other packages that could help are refused; with --strict they may not even be installed.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

NEEDED = {"lstmkit", "numpy", "safetensors"}
REFUSED = {"torch", "typer", "rich", "click", "onnx", "onnxruntime", "h5py", "keras", "matplotlib"}
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

    loaded = {name.partition(".")[0] for name in sys.modules}
    print("run with", ", ".join(sorted(loaded & (NEEDED | REFUSED))))


if __name__ == "__main__":
    main()
