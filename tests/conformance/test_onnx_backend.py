"""Our `Backend` under ONNX's own node tests: those of the LSTM, and of every operator we have."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from onnx.backend.test import BackendTest
from onnx.backend.test.case.node import collect_testcases

from lstmkit.formats.onnx import Backend
from lstmkit.formats.onnx.operators import OPERATORS

pytestmark = pytest.mark.conformance

LSTM = r"test_lstm_.*_cpu$"
with warnings.catch_warnings():  # ONNX's cases overflow while they are made
    warnings.simplefilter("ignore")
    # A key that is wrong runs nothing, and says nothing: the count is asserted below. In a tuple,
    # or pytest collects the thousands of tests that are left out.
    SUITE = (BackendTest(Backend, __name__).include(LSTM).test_cases["OnnxBackendNodeModelTest"],)
    CASES = list(collect_testcases(None))
NAMES = sorted(name for name in dir(SUITE[0]) if re.match(LSTM, name))

NOT_OURS = {  # names of cases, and why the interpreter is not made for them
    "batchnorm_.*training|training_dropout": "training",
    "cast|castlike": "types of 8 bits and fewer, and text; the others are below",
    "seq|opt|scan_sum": "sequences, optional values, a Scan of opset 8",
    "wrap_pad|gathernd_example_int32_batch_dim1|reduce_m.._empty_set": "not in LSTM graphs",
    "range_bfloat16": "NumPy has no bfloat16",
}


def test_there_are_six_of_the_lstm():
    print(f"\nONNX's node tests of the LSTM: {len(NAMES)}")
    assert len(NAMES) == 6


@pytest.mark.parametrize("name", NAMES)
def test_onnx_node_test_of_the_lstm(name):
    getattr(SUITE[0](name), name)()


def test_the_operators_around_it_pass_their_node_tests():
    known = {*OPERATORS, "If", "Loop", "Scan"}
    passed = []
    for case in CASES:
        if not {node.op_type for node in case.model.graph.node} <= known:
            continue
        if any(re.search(f"test_.*({names})", case.name) for names in NOT_OURS):
            continue
        prepared = Backend.prepare(case.model)
        for inputs, outputs in case.data_sets:
            for ours, theirs in zip(prepared.run(list(inputs)), outputs, strict=True):
                np.testing.assert_allclose(ours, theirs, case.rtol, case.atol, err_msg=case.name)
                assert ours.dtype == theirs.dtype, case.name
        passed.append(case.name)
    print(f"\nONNX's node tests of the operators around it: {len(passed)}")
    assert len(passed) >= 600


@pytest.mark.parametrize("to", ["FLOAT", "DOUBLE", "FLOAT16", "INT64", "INT32", "BOOL"])
def test_casts_between_the_usual_types(to):
    from onnx import TensorProto, helper

    x = np.array([-2.7, -0.5, 0.0, 1.5, 3.2], np.float32)
    node = helper.make_node("Cast", ["x"], ["y"], to=getattr(TensorProto, to))
    (y,) = Backend.run_node(node, [x])
    expected = x.astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, to)))
    assert y.dtype == expected.dtype
    assert (y == expected).all()
