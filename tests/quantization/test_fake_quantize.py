"""The oracle is the toolkit's own formula, on what is hard for it: edges of float32, layouts, threads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from qa_lib.quantization.fake_quantize import fake_quantize_
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


def toolkit(values, amax, num_bits, narrow_range=False):
    descriptor = QuantDescriptor(num_bits=num_bits, amax=amax, narrow_range=narrow_range)
    return toolkit_nn.TensorQuantizer(descriptor)(values)


def assert_same_bits(got, expected):
    assert torch.equal(got.contiguous().view(torch.int32), expected.contiguous().view(torch.int32))


EDGES = [0.0, -0.0, 1e-45, -1e-40, 1e-38, 0.5, 1.5, -2.5, 3.4e38, -3.4e38, float("inf"), -float("inf")]


@pytest.mark.parametrize("num_bits", range(2, 17))
@pytest.mark.parametrize("amax", [2.0**-24, 2.0**-23, 1e-3, 1.0, 3.7, 1e30])
@pytest.mark.parametrize("narrow_range", [False, True])
def test_edges_of_float32_equal_the_toolkit(num_bits, amax, narrow_range):
    halves = (torch.arange(-70, 70) + 0.5) * amax / (2 ** (num_bits - 1) - 1)
    values = torch.cat([torch.tensor(EDGES), halves, torch.randn(37) * amax])
    finite = values.isfinite() | torch.tensor(amax > 2.0**-24)  # infinity times zero is NaN
    values = values[finite]
    expected = toolkit(values, amax, num_bits, narrow_range)
    assert_same_bits(fake_quantize_(values.clone(), amax, num_bits, narrow_range=narrow_range), expected)


def test_nan_stays_nan():
    got = fake_quantize_(torch.tensor([float("nan"), 0.3]), 1.0, 4)
    assert got.isnan().tolist() == toolkit(torch.tensor([float("nan"), 0.3]), 1.0, 4).isnan().tolist()
    assert got[0].isnan()


@given(
    values=hypothesis_numpy.arrays("float32", st.integers(0, 40), elements=st.floats(-10, 10, width=32)),
    amax=st.floats(2.0**-20, 20, width=32),
    num_bits=st.integers(2, 16),
)
def test_any_values_equal_the_toolkit(values, amax, num_bits):
    expected = toolkit(torch.from_numpy(values.copy()), amax, num_bits)
    assert_same_bits(fake_quantize_(torch.from_numpy(values.copy()), amax, num_bits), expected)


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3),
    "every_other": lambda x: x[:, ::2],
    "tail_of_a_larger_one": lambda x: x[3:],
    "empty": lambda x: x[:0],
    "scalar": lambda x: x[0, 0, 0, 0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 8], ids=["kernel", "torch"])
def test_only_the_given_values_are_overwritten(layout, threads):
    before = torch.get_num_threads()
    whole = torch.randn(6, 4, 5, 7)
    if layout == "channels_last":
        whole = whole.contiguous(memory_format=torch.channels_last)
    untouched = whole.clone()
    values = LAYOUTS[layout](whole)
    expected = toolkit(values.clone(), 2.0, 3)
    torch.set_num_threads(threads)
    try:
        assert fake_quantize_(values, 2.0, 3) is values
    finally:
        torch.set_num_threads(before)
    assert_same_bits(values, expected)
    changed = (whole != untouched).sum()
    assert changed <= values.numel()
    LAYOUTS[layout](untouched).copy_(values)
    assert_same_bits(whole, untouched)
