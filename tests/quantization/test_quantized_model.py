import copy
import io
import threading
import time
import warnings

import pytest
import torch
from torch import nn

from qa_lib import (
    QuantizedActivationsModel,
    any_of,
    calibrate,
    conv2d_predicate,
    linear_predicate,
    name_matches,
)
from qa_lib.batches.forward import evaluation_mode
from qa_lib.errors import (
    AlreadyQuantizedError,
    BitWidthError,
    DataError,
    DeviceError,
    LayerError,
    NotCalibratedError,
    PredicateError,
    RemovedError,
)
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn

NAMES = ("input", "shortcut", "conv1", "conv2")


def count_calls(quantizers):
    """A dict of name -> calls that fills as the quantizers are called."""
    counts = dict.fromkeys(quantizers, 0)

    def counter(name):
        def hook(*_):
            counts[name] += 1

        return hook

    for name, quantizer in quantizers.items():
        quantizer.register_forward_hook(counter(name))
    return counts


def test_quantizers_stand_in_call_order_with_the_input_first(tiny_model):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    assert tuple(qmodel.activation_fake_quantizers) == qmodel.names == NAMES


def test_the_input_and_each_chosen_module_are_quantized_once(qmodel, images):
    counts = count_calls(qmodel.activation_fake_quantizers)
    qmodel(images)
    assert counts == dict.fromkeys(NAMES, 1)


def test_the_pass_equals_one_written_out_with_the_toolkit(qmodel, tiny_model, images):
    widths = dict(zip(NAMES, (5, 4, 3, 6), strict=True))
    qmodel.bit_widths = widths

    def quantize(name, tensor):
        amax = float(qmodel.activation_fake_quantizers[name].amax)
        return toolkit_nn.TensorQuantizer(QuantDescriptor(num_bits=widths[name], amax=amax))(tensor)

    with torch.no_grad():
        got = qmodel(images)
        qmodel.remove()
        entered = quantize("input", images)
        residual = quantize("shortcut", tiny_model.shortcut(entered))
        features = quantize("conv1", tiny_model.conv1(entered))
        features = quantize("conv2", tiny_model.conv2(tiny_model.relu(features)))
        assert torch.equal(got, tiny_model.classifier((features + residual).flatten(1)))


def test_widths_reach_the_quantizers_in_the_stated_order(qmodel):
    qmodel.bit_widths = [2, 3, 4, 5]
    assert {n: q.num_bits for n, q in qmodel.activation_fake_quantizers.items()} == {
        "input": 2,
        "shortcut": 3,
        "conv1": 4,
        "conv2": 5,
    }
    qmodel.bit_widths = {"conv1": None, "input": 16}
    assert qmodel.bit_widths == (16, 3, None, 5)


@pytest.mark.parametrize("bad", [[8, 8, 8], [8] * 5, [8, 8, 8, 1], {"conv9": 4}], ids=repr)
def test_bad_widths_change_nothing(qmodel, bad):
    with pytest.raises(BitWidthError):
        qmodel.bit_widths = bad
    assert qmodel.bit_widths == (8, 8, 8, 8)


def test_temporary_widths_are_put_back_even_after_an_error(qmodel):
    with pytest.raises(KeyboardInterrupt), qmodel.temporary_bit_widths([2, None, 2, 2]):
        assert qmodel.bit_widths == (2, None, 2, 2)
        raise KeyboardInterrupt
    assert qmodel.bit_widths == (8, 8, 8, 8)


def test_all_widths_none_is_the_float_model(qmodel, tiny_model, images):
    qmodel.bit_widths = [None] * 4
    quantized = qmodel(images)
    qmodel.remove()
    assert torch.equal(quantized, tiny_model(images))


def test_removing_restores_the_model_exactly(tiny_model, images):
    before = tiny_model(images)
    state_before = copy.deepcopy(tiny_model.state_dict())
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, num_bits=2)
    calibrate(qmodel, images)
    assert not torch.equal(qmodel(images), before)
    assert qmodel.remove() is tiny_model
    assert torch.equal(tiny_model(images), before)
    assert all(torch.equal(tiny_model.state_dict()[key], value) for key, value in state_before.items())
    assert not any(module._forward_hooks for module in tiny_model.modules())
    with pytest.raises(RemovedError, match="make a new"):
        qmodel(images)
    QuantizedActivationsModel(tiny_model, conv2d_predicate)  # and it can be wrapped again


def test_wrapping_twice_is_an_error(qmodel, tiny_model):
    for wrapped in (qmodel, tiny_model, nn.Sequential(tiny_model)):
        with pytest.raises(AlreadyQuantizedError, match=r"remove\(\)"):
            QuantizedActivationsModel(wrapped, conv2d_predicate)


def test_a_failed_construction_leaves_no_hooks(tiny_model):
    with pytest.raises(BitWidthError):
        QuantizedActivationsModel(tiny_model, conv2d_predicate, num_bits=1)
    with pytest.raises(PredicateError):
        QuantizedActivationsModel(tiny_model, name_matches("nothing"))
    assert not any(module._forward_hooks for module in tiny_model.modules())


def test_a_module_called_input_is_refused_with_a_way_out():
    model = nn.Sequential()
    model.add_module("input", nn.Conv2d(1, 1, 1))
    with pytest.raises(PredicateError, match="wrap the model"):
        QuantizedActivationsModel(model, conv2d_predicate)


def test_names_that_differ_only_in_dots_and_underscores_stay_apart():
    inner = nn.Sequential()
    inner.add_module("b_c", nn.Conv2d(1, 1, 1))
    outer = nn.Sequential()
    outer.add_module("a_b", nn.Sequential())
    outer.a_b.add_module("c", nn.Conv2d(1, 1, 1))
    outer.add_module("a", inner)
    assert QuantizedActivationsModel(outer, conv2d_predicate).names == ("input", "a_b.c", "a.b_c")


def test_quantizing_before_calibration_names_the_quantizers(tiny_model, images):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    with pytest.raises(NotCalibratedError, match="calibrate"):
        qmodel(images)
    with pytest.raises(NotCalibratedError, match="4 of 4 quantizers have no amax .*input, shortcut"):
        qmodel.check_calibrated()
    qmodel.check_calibrated([None] * 4)


def test_images_on_another_device_are_refused(qmodel, images):
    with pytest.raises(DeviceError, match="images are on 'meta', the model is on 'cpu'"):
        qmodel(images.to("meta"))


def test_images_that_are_no_tensor_are_refused(qmodel, images):
    with pytest.raises(DataError, match="inputs are ndarray; give a tensor"):
        qmodel(images.numpy())


def test_the_device_argument_moves_model_and_quantizers(tiny_model):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, device="meta")
    assert {tensor.device.type for tensor in (*qmodel.parameters(), *qmodel.buffers())} == {"meta"}


def test_the_layer_table(qmodel):
    qmodel.bit_widths = {"conv1": None, "conv2": 3}
    table = qmodel.layer_table()
    assert table.columns.tolist() == [
        "name", "type", "output_shape", "elements_per_image", "calls", "num_bits", "unsigned", "amax", "negatives",
        "macs", "weights", "fed_by",
    ]  # fmt: skip
    assert table["macs"].tolist() == [0, 4 * 36, 4 * 9 * 36, 16 * 9 * 36]
    assert table["weights"].tolist() == [0, 4, 36, 144]
    assert table["fed_by"].tolist() == ["", "input", "input", "conv1"]
    assert table["name"].tolist() == list(NAMES)
    assert table["type"].tolist() == ["input", "Conv2d", "Conv2d", "Conv2d"]
    assert table["output_shape"].tolist() == [(1, 6, 6), (4, 6, 6), (4, 6, 6), (4, 6, 6)]
    assert table["elements_per_image"].tolist() == [36, 144, 144, 144]
    assert table["calls"].tolist() == [1, 1, 1, 1]
    assert table["num_bits"].fillna(0).tolist() == [8, 8, 0, 3]
    amaxes = [float(quantizer.amax) for quantizer in qmodel.activation_fake_quantizers.values()]
    assert table["amax"].tolist() == amaxes


def test_the_layer_table_before_calibration_says_what_is_not_known(tiny_model):
    table = QuantizedActivationsModel(tiny_model, conv2d_predicate).layer_table()
    assert table[["output_shape", "elements_per_image", "calls", "amax"]].isna().all(axis=None)


class Repeated(nn.Module):
    """Calls one convolution twice on images of two sizes, and branches on its data, which
    torch.fx cannot trace."""

    def __init__(self):
        super().__init__()
        self.late = nn.Conv2d(1, 1, 1)
        self.early = nn.Conv2d(1, 1, 1)
        self.never = nn.Linear(2, 2)

    def forward(self, images):
        if images.sum() > -1:
            images = self.early(images)
        half = self.early(images[..., ::2])
        return self.late(half).flatten(1)


def test_a_module_called_twice_has_one_quantizer_and_the_table_says_so(images):
    qmodel = QuantizedActivationsModel(Repeated(), conv2d_predicate)
    calibrate(qmodel, images)
    row = qmodel.layer_table().set_index("name").loc["early"]
    assert row["calls"] == 2
    assert row["output_shape"] == ((1, 6, 6), (1, 6, 3))
    assert row["elements_per_image"] == 36 + 18


def test_a_model_that_cannot_be_traced_gets_its_order_from_the_first_pass(images):
    qmodel = QuantizedActivationsModel(Repeated(), conv2d_predicate, num_bits=8)
    qmodel.bit_widths = {"early": 3, "late": None}
    calibrate(qmodel, images)
    assert qmodel.names == ("input", "early", "late")
    assert qmodel.bit_widths == (8, 3, None)


def test_a_chosen_module_that_is_never_reached_is_named(images):
    qmodel = QuantizedActivationsModel(Repeated(), any_of(conv2d_predicate, linear_predicate))
    with pytest.raises(LayerError, match="never reaches never"):
        calibrate(qmodel, images)


@pytest.mark.parametrize(
    ("result", "said"),
    [(lambda x: (x.long(), None), "returns tuple"), (lambda x: x.argmax(1), "returns a torch.int64 tensor")],
    ids=["tuple", "integers"],
)
def test_a_chosen_module_that_returns_something_else_is_named(images, result, said):
    class Odd(nn.Module):
        def forward(self, x):
            return result(x)

    qmodel = QuantizedActivationsModel(nn.Sequential(Odd()), lambda module: isinstance(module, Odd))
    with pytest.raises(LayerError, match=f"'0' .Odd. {said}"):
        calibrate(qmodel, images)


def test_a_calibrated_model_survives_saving_and_loading_on_cpu(qmodel, tiny_model, images):
    qmodel.bit_widths = [5, None, 4, 3]
    expected = qmodel(images)
    file = io.BytesIO()
    torch.save(qmodel.state_dict(), file)
    file.seek(0)
    fresh = QuantizedActivationsModel(type(tiny_model)(), conv2d_predicate)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(images), expected)
    assert fresh.bit_widths == (5, None, 4, 3)
    assert fresh.layer_table().equals(qmodel.layer_table())


def test_loading_into_another_predicate_says_what_differs(qmodel, tiny_model):
    fresh = QuantizedActivationsModel(type(tiny_model)(), linear_predicate)
    with pytest.raises(LayerError, match="this one has input, classifier"):
        fresh.load_state_dict(qmodel.state_dict())


def test_a_deep_copy_has_quantizers_of_its_own(qmodel, images):
    qmodel.bit_widths = [8] * 4
    twin = copy.deepcopy(qmodel)
    expected = qmodel(images)
    twin.bit_widths = [2] * 4
    assert qmodel.bit_widths == (8, 8, 8, 8)
    assert torch.equal(qmodel(images), expected)
    assert not torch.equal(twin(images), expected)
    twin.remove()
    assert torch.equal(qmodel(images), expected)


def test_evaluation_mode_puts_every_module_back(qmodel):
    qmodel.train()
    qmodel.model.relu.eval()
    before = [module.training for module in qmodel.modules()]
    with evaluation_mode(qmodel):
        assert not any(module.training for module in qmodel.modules())
    assert [module.training for module in qmodel.modules()] == before


@pytest.mark.parametrize("form", ["compiled", "scripted", "traced", "scripted within"])
def test_forms_that_take_no_hooks_are_refused_with_the_way_out(tiny_model, images, form):
    made = {
        "compiled": lambda: torch.compile(tiny_model, backend="eager"),
        "scripted": lambda: torch.jit.script(tiny_model),
        "traced": lambda: torch.jit.trace(tiny_model, images),
        "scripted within": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), torch.jit.script(nn.ReLU())),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = made[form]()
    with pytest.raises(PredicateError, match=r"is (compiled|scripted).*give the module"):
        QuantizedActivationsModel(model, conv2d_predicate)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_bits", [2, 5])
def test_what_is_traced_or_compiled_quantizes_too(qmodel, images, num_bits):
    """A trace of the fast pass, which torch does not see, would be the float model."""
    qmodel.bit_widths = [num_bits] * 4
    with torch.no_grad():
        expected = qmodel(images)
        assert torch.equal(torch.jit.trace(qmodel, images)(images), expected)
        assert torch.equal(torch.compile(qmodel, backend="eager")(images), expected)
        qmodel.bit_widths = [None] * 4
        assert not torch.equal(qmodel(images), expected)


def test_another_thread_never_reads_widths_that_are_there_for_a_moment(qmodel):
    inside, read = threading.Event(), []

    def look():
        with qmodel.temporary_bit_widths([None] * 4):
            inside.set()
            time.sleep(0.2)

    qmodel.bit_widths = (8, 4, 3, 2)
    thread = threading.Thread(target=look)
    thread.start()
    inside.wait()
    read.append(qmodel.bit_widths)
    thread.join()
    assert read == [(8, 4, 3, 2)]
