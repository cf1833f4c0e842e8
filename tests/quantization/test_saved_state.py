"""State dicts from anybody: what cannot be is refused before anything is changed."""

import copy
import math
import tracemalloc
import zlib

import pytest
import torch

from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import BitWidthError, CalibrationError, LayerError, QAError

EXTRA, AMAX, BY_WIDTH = "_extra_state", "quantizers.conv1._amax", "quantizers.conv1._amax_by_width"


@pytest.fixture
def saved(qmodel, images):
    calibrate(qmodel, images.split(40), method="mse")
    return copy.deepcopy(qmodel.state_dict())


@pytest.fixture
def fresh(tiny_model):
    return QuantizedActivationsModel(type(tiny_model)(), conv2d_predicate)


def bomb(numbers):
    packed = zlib.compress(bytes(8 * numbers), level=9)
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def at(*path):
    """Sets what lies at ``path`` in a state dict."""

    def change(value):
        def apply(state):
            *folders, last = path
            for name in folders:
                state = state[name]
            state[last] = value(state[last]) if callable(value) else value

        return apply

    return change


LAYER = (EXTRA, "statistics", "layers", "conv1")
TAMPERED = {
    "amax below zero": at(AMAX)(torch.tensor(-1.0)),
    "amax infinite": at(AMAX)(torch.tensor(math.inf)),
    "amax whole": at(AMAX)(torch.tensor(3)),
    "amax text": at(AMAX)("3.0"),
    "amax of two dimensions": at(AMAX)(torch.ones(2, 2)),
    "amax by width below zero": at(BY_WIDTH)(lambda amax: -amax),
    "amax for some widths": at(BY_WIDTH)(lambda amax: torch.where(torch.arange(15) < 3, math.nan, amax)),
    "amax for too few widths": at(BY_WIDTH)(torch.ones(3)),
    "no extra state": at(EXTRA)(None),
    "extra state a list": at(EXTRA)([1, 2]),
    "no widths": at(EXTRA, "bit_widths")(None),
    "a width of 40": at(EXTRA, "bit_widths", "conv1")(40),
    "a width that is text": at(EXTRA, "bit_widths", "conv1")("4"),
    "another model": at(EXTRA, "bit_widths")({"input": 4, "conv9": 4}),
    "a sign that is none": at(EXTRA, "unsigned", "conv1")("yes"),
    "a sign of nobody": at(EXTRA, "unsigned")({"conv9": True}),
    "calls that are none": at(EXTRA, "calls", "conv1")({"count": 1}),
    "calls below zero": at(EXTRA, "calls", "conv1", "count")(-1),
    "calls of nothing": at(EXTRA, "calls")(None),
    "a bomb": at(*LAYER, "counts")(bomb(100_000_000)),
    "too many bins": at(*LAYER, "keys")(bomb(600_000)),
    "cut off": at(*LAYER, "keys")(lambda keys: keys[: len(keys) // 2]),
    "no zip": at(*LAYER, "keys")(torch.zeros(30, dtype=torch.uint8)),
    "bins of another layer": lambda state: at(*LAYER, "keys")(state[EXTRA]["statistics"]["layers"]["input"]["keys"])(state),
    "a count too many": at(*LAYER, "count")(lambda count: count + 1),
    "extremes that are none": at(*LAYER, "maximum")(math.nan),
    "statistics of other layers": lambda state: state[EXTRA]["statistics"]["layers"].pop("conv1"),
    "statistics of no images": at(EXTRA, "statistics", "images")(0),
    "a record without a method": lambda state: state[EXTRA]["calibration"].pop("method"),
    "a record with more": at(EXTRA, "calibration", "further")(1),
    "a record of impossible cost": at(EXTRA, "calibration", "passes")(math.nan),
}  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_what_cannot_be_is_refused_and_nothing_is_changed(saved, fresh, tamper):
    before = {name: copy.deepcopy(value) for name, value in fresh.state_dict().items()}
    tamper(saved)
    tracemalloc.start()
    try:
        with pytest.raises(QAError) as error:
            fresh.load_state_dict(saved)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()
    assert type(error.value) in (BitWidthError, CalibrationError, LayerError)
    assert len(str(error.value)) < 600
    after = fresh.state_dict()
    assert after.pop(EXTRA) == before.pop(EXTRA) and fresh.calibration is None
    assert all(torch.equal(after[name].nan_to_num(-9), before[name].nan_to_num(-9)) for name in before)


def test_a_part_of_a_larger_model_is_looked_at_as_well(saved, fresh):
    larger = torch.nn.ModuleDict({"quantized": fresh})
    state = {f"quantized.{key}": value for key, value in saved.items()}
    larger.load_state_dict(copy.deepcopy(state))
    assert fresh.calibration.method == "mse"
    state["quantized." + AMAX] = torch.tensor(-1.0)
    with pytest.raises(CalibrationError, match=r"quantized.quantizers.conv1._amax .*-1.0"):
        larger.load_state_dict(state)


def test_what_was_saved_comes_back(saved, fresh, qmodel):
    fresh.load_state_dict(saved)
    assert fresh.calibration == qmodel.calibration and fresh.bit_widths == qmodel.bit_widths
    assert fresh.layer_table(all_widths=True).equals(qmodel.layer_table(all_widths=True))
