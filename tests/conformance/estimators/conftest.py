"""Where aeon, sktime and TensorBoard are not installed, nothing here is collected.

`nox -s "conformance(estimators)"` installs them; if it collected nothing, it would fail.
"""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = ("aeon", "sktime", "sklearn", "pandas", "polars", "pyarrow", "tensorboard")

collect_ignore_glob = [] if all(map(find_spec, LIBRARIES)) else ["test_*.py"]
