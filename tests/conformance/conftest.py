"""Where the other libraries are not installed, as for a plain `pytest`, nothing here is collected.

`nox -s conformance` installs them; if it collected nothing, it would fail.
"""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = ("torch", "onnx", "onnxruntime", "keras", "h5py")

collect_ignore_glob = [] if all(map(find_spec, LIBRARIES)) else ["test_*.py"]
