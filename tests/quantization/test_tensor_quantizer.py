"""The oracle is pytorch-quantization's own TensorQuantizer, compared bit for bit."""

import copy
import io
import itertools
import math

import pytest
import torch

from qa_lib.errors import BitWidthError, CalibrationError, NotCalibratedError
from qa_lib.quantization import TensorQuantizer
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn

AMAXES = [3.3, 1.0, 1e-3, 2.0**-24, 7e-8, 0.0]


def toolkit_quantizer(amax, **options):
    return toolkit_nn.TensorQuantizer(QuantDescriptor(amax=amax, **options))


def our_quantizer(amax, **options):
    quantizer = TensorQuantizer(**options)
    quantizer.amax = amax
    return quantizer


def inputs_for(amax, *, unsigned, dtype=torch.float32):
    """Random values inside and outside the range, every tie of the rounding, and the extremes."""
    generator = torch.Generator().manual_seed(7)
    random = torch.randn(4096, generator=generator) * (amax or 1.0)
    halves = (torch.arange(-300, 300) + 0.5) * (amax or 1.0) / 127
    extremes = torch.tensor([0.0, -0.0, amax, -amax, 1e30, -1e30, 1e-40])
    values = torch.cat([random, halves, extremes]).to(dtype)
    return values.abs() if unsigned else values


def assert_same_bits(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)
    assert torch.equal(torch.signbit(ours), torch.signbit(theirs))


@pytest.mark.parametrize("grad", [False, True], ids=["no grad", "grad"])
@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
@pytest.mark.parametrize("num_bits", range(2, 17))
def test_same_bits_as_the_toolkit(num_bits, unsigned, grad):
    for amax, narrow_range in itertools.product(AMAXES, (False, True)):
        options = {"num_bits": num_bits, "unsigned": unsigned, "narrow_range": narrow_range}
        values = inputs_for(amax, unsigned=unsigned).requires_grad_(grad)
        with torch.set_grad_enabled(grad):
            ours = our_quantizer(amax, **options)(values)
            theirs = toolkit_quantizer(amax, **options)(values)
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_same_bits_as_the_toolkit_in_half_precision(dtype):
    values = inputs_for(3.3, unsigned=False, dtype=dtype)
    assert_same_bits(our_quantizer(3.3, num_bits=4)(values), toolkit_quantizer(3.3, num_bits=4)(values))


def test_same_bits_as_the_toolkit_per_channel():
    values = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(7))
    amax = torch.tensor([0.5, 1.5, 0.0]).reshape(1, 3, 1)
    ours = our_quantizer(amax, num_bits=4, axis=1)
    theirs = toolkit_quantizer(amax.numpy(), num_bits=4, axis=1)
    assert_same_bits(ours(values), theirs(values))


def test_gradients_pass_where_the_toolkit_lets_them():
    values = torch.tensor([-2.0, -0.3, 0.4, 2.0])
    gradients = []
    for quantizer in (our_quantizer(1.0, num_bits=4), toolkit_quantizer(1.0, num_bits=4)):
        leaf = values.clone().requires_grad_()
        quantizer(leaf).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
    assert gradients[0].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_the_input_is_left_alone():
    values = torch.tensor([0.3, 0.7])
    with torch.no_grad():
        our_quantizer(1.0, num_bits=2)(values)
    assert values.tolist() == pytest.approx([0.3, 0.7])


def test_none_switches_off_and_a_width_on_again():
    quantizer = our_quantizer(1.0, num_bits=2)
    values = torch.tensor([0.3, 0.7])
    quantizer.num_bits = None
    assert quantizer.num_bits is None
    assert torch.equal(quantizer(values), values)
    quantizer.num_bits = 2
    assert quantizer(values).tolist() == [0.0, 1.0]


def test_bad_widths_and_amaxes_change_nothing():
    quantizer = our_quantizer(1.0, num_bits=5)
    with pytest.raises(BitWidthError):
        quantizer.num_bits = 1
    for amax in (-1.0, math.nan, math.inf):
        with pytest.raises(CalibrationError, match="finite numbers from 0 up"):
            quantizer.amax = amax
    assert quantizer.num_bits == 5
    assert float(quantizer.amax) == 1.0


def test_quantizing_before_calibration_is_an_error():
    quantizer = TensorQuantizer(4)
    assert quantizer.amax is None
    with pytest.raises(NotCalibratedError, match="calibrate"):
        quantizer(torch.ones(2))


@pytest.mark.parametrize("amax", [0.7, torch.tensor([[0.5], [1.5]])], ids=["per tensor", "per channel"])
def test_amax_survives_saving_and_loading_on_cpu(amax):
    quantizer = our_quantizer(amax, num_bits=4)
    file = io.BytesIO()
    torch.save(quantizer.state_dict(), file)
    file.seek(0)
    fresh = TensorQuantizer(4)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh.amax, quantizer.amax)


def test_a_toolkit_state_dict_loads_on_cpu():
    fresh = TensorQuantizer(4)
    fresh.load_state_dict(toolkit_quantizer(0.7).state_dict())
    assert float(fresh.amax) == pytest.approx(0.7)


def test_amax_follows_the_device():
    assert our_quantizer(0.7).to("meta")._amax.device.type == "meta"


def test_a_copy_is_independent():
    quantizer = our_quantizer(1.0, num_bits=4)
    twin = copy.deepcopy(quantizer)
    twin.num_bits, twin.amax = 2, 3.0
    assert quantizer.num_bits == 4
    assert float(quantizer.amax) == 1.0


def test_each_width_has_an_amax_of_its_own():
    quantizer = TensorQuantizer(4)
    quantizer.set_amax_by_width({num_bits: num_bits / 2 for num_bits in range(2, 17)})
    assert quantizer.has_amax_by_width
    values = inputs_for(3.3, unsigned=False)
    for num_bits in (4, 2, 16, 7):
        quantizer.num_bits = num_bits
        assert float(quantizer.amax) == float(quantizer.amax_at(num_bits)) == num_bits / 2
        assert_same_bits(quantizer(values), toolkit_quantizer(num_bits / 2, num_bits=num_bits)(values))
    quantizer.num_bits = None
    assert torch.equal(quantizer(values), values)
    quantizer.num_bits = 3
    assert float(quantizer.amax) == 1.5


def test_setting_one_amax_does_away_with_those_for_each_width():
    quantizer = TensorQuantizer(4)
    quantizer.set_amax_by_width(dict.fromkeys(range(2, 17), 2.0))
    quantizer.amax = 1.0
    quantizer.num_bits = 8
    assert float(quantizer.amax) == 1.0 and not quantizer.has_amax_by_width


@pytest.mark.parametrize(
    ("amax", "said"),
    [
        ({4: 1.0}, r"has widths \[4\]; give a mapping with one for each of 2 to 16"),
        (dict.fromkeys(range(2, 17), -1.0), "finite numbers from 0 up"),
        (dict.fromkeys(range(2, 17), math.nan), "finite numbers from 0 up"),
        (0.5, "has widths 0.5; give a mapping"),
        (dict.fromkeys(range(2, 17), "large"), "finite numbers from 0 up"),
        ({str(num_bits): 1.0 for num_bits in range(2, 17)}, "give a mapping with one for each of 2 to 16"),
    ],
    ids=["missing", "negative", "NaN", "number", "words", "names"],
)
def test_bad_amaxes_by_width_change_nothing(amax, said):
    quantizer = our_quantizer(1.0, num_bits=5)
    with pytest.raises(CalibrationError, match=said):
        quantizer.set_amax_by_width(amax)
    assert float(quantizer.amax) == 1.0


def test_amax_by_width_survives_saving_copying_and_moving():
    quantizer = TensorQuantizer(4)
    quantizer.set_amax_by_width({num_bits: num_bits / 2 for num_bits in range(2, 17)})
    fresh = our_quantizer(7.0, num_bits=6)
    fresh.load_state_dict(quantizer.state_dict())
    assert float(fresh.amax) == 3.0  # for its own width
    assert torch.equal(fresh.all_amax, quantizer.all_amax)
    twin = copy.deepcopy(quantizer)
    twin.num_bits = 2
    assert float(quantizer.amax) == 2.0 and float(twin.amax) == 1.0
    assert quantizer.to("meta")._amax_by_width.device.type == "meta"
    fresh.load_state_dict(toolkit_quantizer(0.7).state_dict())
    assert not fresh.has_amax_by_width


@pytest.mark.parametrize("num_bits", [2, 5, 8, 16])
@pytest.mark.parametrize("path", ["in place", "copy", "grad", "half", "per channel", "many threads"])
def test_unsigned_negatives_become_zero_and_are_counted(num_bits, path, monkeypatch):
    if path == "many threads":
        monkeypatch.setattr("qa_lib.quantization.fake_quantize.THREADS_FOR_TORCH", 0)
    values = inputs_for(3.3, unsigned=False, dtype=torch.float16 if path == "half" else torch.float32)
    negative = int((values < 0).sum())
    options = {"num_bits": num_bits, "unsigned": True}
    amax = torch.full((1,), 3.3) if path == "per channel" else 3.3
    quantizer = our_quantizer(amax, **options, axis=0 if path == "per channel" else None)
    with torch.set_grad_enabled(path == "grad"):
        expected = toolkit_quantizer(3.3, **options)(values.clamp(min=0))
        given = values.clone().requires_grad_(path == "grad")
        found = quantizer.quantize_in_place(given) if path == "in place" else quantizer(given)
    assert torch.equal(found, expected)
    assert quantizer.negatives == negative
    quantizer(torch.rand(5).to(values.dtype))
    assert quantizer.negatives == negative


@pytest.mark.parametrize("num_bits", [1, 0, -3, 17, "4"])
def test_there_is_no_amax_for_what_is_no_width(num_bits):
    quantizer = TensorQuantizer(4)
    quantizer.set_amax_by_width(dict.fromkeys(range(2, 17), 2.0))
    with pytest.raises(BitWidthError):
        quantizer.amax_at(num_bits)
    assert float(quantizer.amax_at(4.0)) == 2.0


@pytest.mark.parametrize("convert", ["half", "bfloat16", "double", "float"])
def test_amax_stays_in_single_precision(convert):
    quantizer = TensorQuantizer(4)
    quantizer.set_amax_by_width({num_bits: 1e5 * num_bits + 0.1 for num_bits in range(2, 17)})
    before = quantizer.all_amax.clone()
    getattr(quantizer, convert)()
    assert torch.equal(quantizer.all_amax, before)
    assert quantizer.amax.dtype == torch.float32 and torch.isfinite(quantizer(torch.ones(3).half())).all()
