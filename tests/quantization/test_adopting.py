"""The toolkit's own quantizers as a model's: against setting ``num_bits`` on its modules by hand."""

import copy
import random
import subprocess
import sys

import pytest
import torch
from toolkit_networks import (
    NETWORKS,
    by_hand,
    calibrate_by_toolkit,
    made_by_toolkit,
    quantizers_of,
    toolkit_network,
)
from torch import nn
from torch.nn.utils import prune

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
    linear_predicate,
    name_matches,
)
from qa_lib.costs import BitOperations, PeakActivationMemory
from qa_lib.errors import (
    AlreadyQuantizedError,
    BitWidthError,
    CalibrationError,
    LayerError,
    NotCalibratedError,
    PredicateError,
)
from qa_lib.evaluation import LiveEvaluator
from qa_lib.export import export_setting, load_setting
from qa_lib.quantization.digests import model_digest
from qa_lib.quantization.toolkit import QuantDescriptor
from qa_lib.quantization.toolkit import toolkit_nn as toolkit

adopt = QuantizedActivationsModel.adopt


class Residual(nn.Module):
    """Two layers read one tensor, which is added as it is, too; a quantizer stands by itself, and one is called in a hook."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.left, self.right = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.sum_quantizer, self.behind = toolkit.TensorQuantizer(), toolkit.TensorQuantizer()
        self.head = nn.Linear(4 * 6 * 6, 5)
        self.left.register_forward_hook(Behind(self.behind))

    def forward(self, images):
        features = self.first(images).relu()
        return self.head(self.sum_quantizer(features + self.left(features) + self.right(features)).flatten(1))


class Behind:
    """A hook as users write it."""

    def __init__(self, quantizer):
        self.quantizer = quantizer

    def __call__(self, module, inputs, output):
        return self.quantizer(output)


def residual(images, **options):
    torch.manual_seed(0)
    return calibrate_by_toolkit(made_by_toolkit(Residual, **options).eval(), images)


@pytest.fixture
def theirs(images):
    return residual(images)


def random_widths(names, seed):
    return dict(zip(names, random.Random(seed).choices(range(2, 9), k=len(names)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [True, False], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_width_is_what_the_toolkit_makes_of_it(name, per_channel):
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = toolkit_network(name, pixels, per_channel=per_channel)
    own = copy.deepcopy(model)
    qmodel = adopt(model)
    assert set(qmodel.names) == set(quantizers_of(own))
    with torch.no_grad():
        for widths in (*(dict.fromkeys(qmodel.names, n) for n in (2, 5, 8)), random_widths(qmodel.names, 0)):
            by_hand(own, widths)
            qmodel.bit_widths = widths
            assert torch.equal(qmodel(pixels), own(pixels)), widths


@pytest.mark.parametrize("per_channel", [True, False], ids=["per channel", "per tensor"])
def test_names_order_and_descriptors_are_the_models(images, per_channel):
    theirs = residual(images, per_channel=per_channel)
    theirs.behind.num_bits, theirs.left.input_quantizer.narrow_range = 5, True
    theirs.right.input_quantizer.unsigned = True
    qmodel = adopt(theirs)
    assert qmodel.names == (
        "first._input_quantizer", "left._input_quantizer", "behind", "right._input_quantizer", "sum_quantizer", "head._input_quantizer",
        "first._weight_quantizer", "left._weight_quantizer", "right._weight_quantizer", "head._weight_quantizer",
    )  # fmt: skip
    assert list(qmodel.weight_fake_quantizers) == list(qmodel.names[6:])
    for name, ours in qmodel.fake_quantizers.items():
        own = theirs.get_submodule(name)
        assert (ours.num_bits, ours.unsigned, ours.narrow_range, ours.axis) == (
            own.num_bits, own.unsigned, own.narrow_range, own.axis,
        )  # fmt: skip
        assert torch.equal(ours.amax, own.amax)
    types = qmodel.layer_table().set_index("name")["type"]
    assert types["left._input_quantizer"] == "QuantConv2d input" and types["behind"] == "TensorQuantizer"
    assert types["left._weight_quantizer"] == "QuantConv2d weight"


@pytest.fixture
def evaluated(theirs, images):
    """The toolkit's model, an evaluator of what was adopted of a copy, and targets."""
    own = copy.deepcopy(theirs)
    with torch.no_grad():
        labels = own(images).argmax(1)
    evaluator = Evaluator(
        adopt(theirs), images, labels, batch_size=40, hardest_first=False, channels_last=False
    )
    return own, evaluator, labels


def counted(own, widths, images, labels):
    by_hand(own, widths)
    with torch.no_grad():
        return int(torch.cat([own(batch).argmax(1) for batch in images.split(40)]).eq(labels).sum())


def test_all_ways_to_run_it_agree_with_the_toolkit(evaluated, images):
    own, evaluator, labels = evaluated
    live, incremental = LiveEvaluator(evaluator), IncrementalForward(evaluator.qmodel, images.split(40))
    assert incremental.traced
    for seed in range(4):
        widths = random_widths(incremental.qmodel.names, seed)
        right = counted(own, widths, images, labels)
        with torch.no_grad():
            assert torch.equal(incremental(widths), torch.cat([own(batch) for batch in images.split(40)]))
        scores = evaluator.evaluate(widths).score, live.evaluate(widths).score
        assert scores == (right / 96, right / 96)


@pytest.mark.slow
def test_a_search_finds_what_the_toolkit_measures(evaluated, images):
    own, evaluator, labels = evaluated
    exploration = explore(evaluator, evaluations=60, progress=False)
    assert len(exploration.front_evaluations) > 2
    for evaluation in exploration.front_evaluations:
        widths = dict(zip(exploration.names, evaluation.bit_widths, strict=True))
        assert counted(own, widths, images, labels) == round(evaluation.score * 96)
    assert "the amax that came with it" in exploration.summary()


def test_calibrate_finds_an_amax_for_each_width(theirs, images):
    qmodel = adopt(theirs)
    assert not any(quantizer.has_amax_by_width for quantizer in qmodel.fake_quantizers.values())
    assert (qmodel.calibration.method, qmodel.calibration.per_width) == ("as it came", False)
    calibrate(qmodel, images.split(40), unsigned=False)
    assert all(quantizer.has_amax_by_width for quantizer in qmodel.fake_quantizers.values())
    # Two layers read one tensor, each through its own quantizer; the sum reads it in float.
    products = {each.layer: (each.operands, each.quantizer) for each in qmodel.dataflow.products}
    read = {name: (f"{name}._input_quantizer",) for name in products}
    assert products == {name: ((read[name],), "behind" if name == "left" else "") for name in products}
    stored = [each.quantizers for each in qmodel.dataflow.tensors]
    assert stored[:6] == [*(read["first"], ("",), read["left"], ("behind",)), ("", "behind"), read["right"]]
    assert stored[-2:] == [read["head"], ("",)]
    bits = [8] * len(qmodel.names)
    assert BitOperations.of(qmodel)(bits) == 64 * sum(each.macs for each in qmodel.dataflow.products) / 1e9
    assert PeakActivationMemory.of(qmodel)(bits) > 0


def test_it_is_saved_and_loaded(theirs, images):
    qmodel, other = adopt(copy.deepcopy(theirs)), adopt(theirs)
    calibrate(qmodel, images.split(40))
    qmodel.bit_widths = random_widths(qmodel.names, 1)
    other.load_state_dict(copy.deepcopy(qmodel.state_dict()))
    with torch.no_grad():
        assert torch.equal(other(images), qmodel(images))
    assert other.calibration == qmodel.calibration and model_digest(other) == model_digest(qmodel)


def test_remove_leaves_the_model_as_it_came(theirs, images):
    before, modules = copy.deepcopy(theirs.state_dict()), dict(theirs.named_modules())
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in modules.items()}
    theirs.right.input_quantizer.disable()
    with torch.no_grad():
        expected = theirs(images)
    qmodel = adopt(theirs)
    calibrate(qmodel, images)
    qmodel.bit_widths = [2] * len(qmodel.names)
    qmodel(images)
    assert qmodel.remove() is theirs
    assert dict(theirs.named_modules()) == modules
    assert {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in modules.items()} == hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())
    with torch.no_grad():
        assert torch.equal(theirs(images), expected)
    theirs.left.input_quantizer.disable()
    qmodel.remove()
    assert theirs.left.input_quantizer._disabled  # a second time does nothing
    assert adopt(theirs).names[0] == "first._input_quantizer"


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (conv2d_predicate, ["first", "left", "right"]),
        (linear_predicate, ["head"]),
        (name_matches("left", "right"), ["left", "right"]),
    ],
    ids=["convolutions", "linear", "by name"],
)
def test_what_is_not_chosen_stays_as_it_is(theirs, images, predicate, expected):
    own, qmodel = copy.deepcopy(theirs), adopt(theirs, predicate)
    assert sorted(qmodel.names) == sorted(
        f"{n}._{kind}_quantizer" for n in expected for kind in ("input", "weight")
    )
    qmodel.bit_widths = [3] * len(qmodel.names)
    by_hand(own, {name: 3 if name in qmodel.names else 8 for name in quantizers_of(own)})
    assert IncrementalForward(qmodel, images).traced
    with torch.no_grad():
        assert torch.equal(qmodel(images), own(images))


def test_the_rest_is_part_of_the_fingerprint(theirs):
    qmodel = adopt(theirs, conv2d_predicate)
    first = model_digest(qmodel)
    qmodel.bit_widths = [2] * len(qmodel.names)
    assert model_digest(qmodel) == first
    found = {first}
    theirs.head.input_quantizer.num_bits = 4
    found.add(model_digest(qmodel))
    theirs.head.input_quantizer.disable()
    found.add(model_digest(qmodel))
    theirs.sum_quantizer._amax *= 2
    found.add(model_digest(qmodel))
    assert len(found) == 4


def test_switched_off_stays_off_and_training_mode_is_no_matter(theirs, images):
    theirs.left.input_quantizer.disable()
    theirs.right.weight_quantizer.disable_quant()
    own, qmodel = copy.deepcopy(theirs), adopt(theirs.train())
    assert len(qmodel.names) == 8 and not {"left._input_quantizer", "right._weight_quantizer"} & {
        *qmodel.names
    }
    widths = random_widths(qmodel.names, 3)
    qmodel.bit_widths = widths
    by_hand(own, widths | {"left._input_quantizer": 2, "right._weight_quantizer": 2})
    with torch.no_grad():
        assert torch.equal(qmodel(images), own(images)) and qmodel.training
    calibrate(qmodel, images)
    assert qmodel.training


def test_scaled_amax_and_an_amax_for_each_channel_of_an_activation(theirs, images):
    theirs.first.input_quantizer._scale_amax = 0.7
    channels = toolkit.TensorQuantizer(QuantDescriptor(axis=1))
    channels.register_buffer("_amax", torch.tensor([1.0, 0.5, 0.25, 2.0]).reshape(1, 4, 1, 1))
    theirs.right._input_quantizer = channels
    own, qmodel = copy.deepcopy(theirs), adopt(theirs)
    for n in (2, 6):
        qmodel.bit_widths = [n] * len(qmodel.names)
        by_hand(own, dict.fromkeys(qmodel.names, n))
        with torch.no_grad():
            assert torch.equal(qmodel(images), own(images))
            assert torch.equal(IncrementalForward(qmodel, images)(qmodel.bit_widths), own(images))
    adopt(own).load_state_dict(qmodel.state_dict())
    with pytest.raises(CalibrationError, match=r"right._input_quantizer have an amax for each channel"):
        calibrate(qmodel, images)


def test_without_any_amax_it_is_calibrated_here(images):
    torch.manual_seed(0)
    qmodel = adopt(made_by_toolkit(Residual).eval())
    with pytest.raises(NotCalibratedError):
        qmodel(images)
    assert qmodel.calibration is None
    calibrate(qmodel, images, method="max", unsigned=False)
    own = residual(images)
    for name, quantizer in qmodel.fake_quantizers.items():
        if name.startswith("first"):  # the toolkit calibrates what follows in float, too
            assert torch.equal(quantizer.amax, own.get_submodule(name).amax)


def test_the_order_of_names_stays_where_nothing_can_be_traced(images):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(16, 5), nn.Conv2d(1, 4, 5)

        def forward(self, images):
            features = self.first(images).flatten(1)
            return self.last(features if features.sum() > 1e9 else 2 * features)

    qmodel = adopt(calibrate_by_toolkit(made_by_toolkit(Backwards).eval(), images))
    names = qmodel.names
    calibrate(qmodel, images)  # whose pass begins with "first"
    assert qmodel.names == names and names[0] == "last._input_quantizer"


def test_a_quantizer_that_layers_share_belongs_to_each(theirs):
    theirs.right._input_quantizer = theirs.left._input_quantizer
    for layer in ("left", "right"):
        qmodel = adopt(theirs, name_matches(layer))
        assert set(qmodel.names) == {"left._input_quantizer", f"{layer}._weight_quantizer"}
        qmodel.remove()


def learns(model):
    model.sum_quantizer = toolkit.TensorQuantizer(QuantDescriptor(learn_amax=True, amax=1.0))


def collects(model):
    model.left.input_quantizer.enable_calib()


def integers(model):
    model.sum_quantizer = toolkit.TensorQuantizer(QuantDescriptor(fake_quant=False, amax=1.0))


def of_another_class(model):
    model.sum_quantizer.__class__ = type("Rounding", (toolkit.TensorQuantizer,), {})


def half_calibrated(model):
    del model.left.input_quantizer._amax
    model.head.weight_quantizer._amax.fill_(float("nan"))


def of_another_shape(model):
    model.left.weight_quantizer._amax = torch.ones(4)


def of_no_axis(model):
    model.left.input_quantizer._amax = torch.ones(4, 1)


def double(model):
    model.left.input_quantizer._amax = model.left.input_quantizer._amax.double()


def two_axes(model):
    model.left.weight_quantizer._axis = (0, 1)


def one_bit(model):
    model.left.weight_quantizer.num_bits = 1


def shared_weight_quantizer(model):
    model.left._weight_quantizer = model.right._weight_quantizer


class Doubled(toolkit.QuantConv2d):
    """What it quantizes is not its weight."""

    def _quant(self, images):
        return self._input_quantizer(images), self._weight_quantizer(2 * self.weight)


def own_quant(model):
    model.left.__class__ = Doubled


def pruned(model):
    prune.l1_unstructured(model.left, "weight", 0.5)


def own_forward(model):
    model.left.forward = lambda images: nn.functional.conv2d(images, model.left.weight, padding=1)


def recurrent(model):
    model.lstm = made_by_toolkit(lambda: nn.LSTMCell(4, 4))
    for quantizer in quantizers_of(model.lstm).values():
        quantizer.amax = 1.0


def all_off(model):
    for quantizer in quantizers_of(model).values():
        quantizer.disable()


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (learns, LayerError, "'sum_quantizer' learns its amax"),
        (collects, CalibrationError, r"'left._input_quantizer' is in calibration mode.*enable_quant\(\)"),
        (integers, LayerError, "'sum_quantizer' returns integers"),
        (of_another_class, LayerError, "'sum_quantizer' is a Rounding"),
        (
            half_calibrated,
            CalibrationError,
            r"2 of the 10 .* \(left._input_quantizer, head._weight_quantizer\)",
        ),
        (
            of_another_shape,
            CalibrationError,
            r"'left._weight_quantizer' has shape \(4,\); .* \(4, 1, 1, 1\), for axis 0",
        ),
        (
            of_no_axis,
            CalibrationError,
            r"'left._input_quantizer' has shape \(4, 1\); it has to be one number",
        ),
        (double, CalibrationError, "is torch.float64"),
        (two_axes, LayerError, r"'left._weight_quantizer' has axis \(0, 1\)"),
        (one_bit, BitWidthError, "the width of 'left._weight_quantizer' is 1"),
        (shared_weight_quantizer, LayerError, "is that of several layers"),
        (own_forward, LayerError, "is not that of a layer of the toolkit's own"),
        (own_quant, LayerError, "is not that of a layer of the toolkit's own"),
        (pruned, LayerError, "a weight that is computed anew at each call"),
        (recurrent, LayerError, "is one of a recurrent layer"),
        (all_off, PredicateError, "no quantizer of the chosen layers is switched on"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_cannot_be_adopted_is_one_sentence(theirs, spoil, error, said):
    spoil(theirs)
    before = copy.deepcopy(theirs.state_dict()), {n: q._disabled for n, q in quantizers_of(theirs).items()}
    with pytest.raises(error, match=said):
        adopt(theirs)
    assert {n: q._disabled for n, q in quantizers_of(theirs).items()} == before[1]


def test_models_that_are_none_of_the_toolkits(tiny_model, theirs, qmodel):
    with pytest.raises(
        AlreadyQuantizedError, match=r"'first._input_quantizer' .* QuantizedActivationsModel.adopt\(model\)"
    ):
        QuantizedActivationsModel(theirs, conv2d_predicate)
    with pytest.raises(PredicateError, match="adopt finds no fake quantizer"):
        adopt(nn.Sequential(nn.Conv2d(1, 1, 1)))
    with pytest.raises(PredicateError, match=r"torch.nn.Module"):
        adopt("model")
    with pytest.raises(PredicateError, match="wrap it"):
        adopt(theirs.sum_quantizer)
    with pytest.raises(PredicateError, match="chooses no module"):
        adopt(theirs, name_matches("nothing"))
    with pytest.raises(PredicateError, match="no quantizer of the chosen layers"):
        adopt(nn.Sequential(theirs), lambda module: isinstance(module, Residual))
    with pytest.raises(PredicateError, match="forward is str"):
        adopt(theirs, forward="forward")
    for ours in (qmodel, qmodel.model, adopt(theirs), theirs):
        with pytest.raises(AlreadyQuantizedError, match=r"remove\(\)"):
            adopt(ours)


def loads_another(model):
    model.load_state_dict({key: 2 * tensor for key, tensor in model.state_dict().items()})


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.left.input_quantizer.enable(),
        lambda model: setattr(model.left.input_quantizer, "num_bits", 2),
        lambda model: setattr(model.left.input_quantizer, "amax", 0.5),
        lambda model: setattr(model.left.weight_quantizer, "narrow_range", True),
        lambda model: model.left.input_quantizer.enable_calib(),
        lambda model: model.double(),
        loads_another,
    ],
    ids=["switched on", "a width", "an amax", "a grid", "calibrated", "converted", "a checkpoint"],
)
def test_what_is_done_to_the_toolkits_quantizers_meanwhile_is_refused(theirs, images, change):
    qmodel = adopt(theirs)
    qmodel(images)
    change(theirs)
    with pytest.raises(
        AlreadyQuantizedError, match="_quantizer' of the toolkit was changed after it was adopted"
    ):
        qmodel(images)
    qmodel.remove()


def test_a_half_that_scales_its_amax_is_refused(theirs):
    theirs.first.input_quantizer._scale_amax = 0.7
    with pytest.raises(
        CalibrationError, match="'first._input_quantizer' is torch.float16, in which .* scale_amax"
    ):
        adopt(theirs.half())


@pytest.mark.parametrize("axis", [0, -1])
def test_one_number_serves_all_channels_as_the_toolkit_has_it(images, axis):
    torch.manual_seed(0)
    model = nn.Sequential(
        toolkit.QuantConv2d(1, 1, 3, quant_desc_weight=QuantDescriptor(axis=axis)), nn.Flatten()
    )
    calibrate_by_toolkit(model.eval(), images)
    assert model[0].weight_quantizer.amax.numel() == 1
    own, qmodel = copy.deepcopy(model), adopt(model)
    for n in (2, 5, 8):
        qmodel.bit_widths = [n, n]
        by_hand(own, dict.fromkeys(qmodel.names, n))
        with torch.no_grad():
            assert torch.equal(qmodel(images), own(images))
    assert Evaluator(qmodel, images, torch.zeros(96).long()).evaluate([4, 4]).complete


def test_a_narrow_range_is_saved_and_handed_over(theirs, images, tmp_path):
    other = copy.deepcopy(theirs)
    for quantizer in quantizers_of(theirs).values():
        quantizer.narrow_range = True
        quantizer._amax /= 2
    bare = copy.deepcopy(other)
    for quantizer in quantizers_of(bare).values():
        del quantizer._amax
    qmodel, fresh, loaded = adopt(theirs), adopt(other), adopt(bare)
    with torch.no_grad():
        expected = qmodel(images)
        loaded.load_state_dict(qmodel.state_dict())
        assert torch.equal(loaded(images), expected)
        export_setting(tmp_path / "setting.json", qmodel, qmodel.bit_widths)
        load_setting(tmp_path / "setting.json").apply(fresh)
        assert torch.equal(fresh(images), expected)
        fresh.remove()
        assert not torch.equal(other(images), expected)
        load_setting(tmp_path / "setting.json").apply(other)
        assert torch.equal(other(images), expected)


def test_quantizers_that_stay_on_count_as_what_they_are(theirs, images):
    part, whole = adopt(copy.deepcopy(theirs), name_matches("first", "left")), adopt(theirs)
    calibrate(part, images)
    calibrate(whole, images)
    bits = dict.fromkeys(whole.names, 8) | dict.fromkeys(part.names, 4)
    for cost in (BitOperations, PeakActivationMemory):
        expected = cost.of(whole)([bits[name] for name in whole.names])
        assert cost.of(part)([4] * len(part.names)) == expected
        part.load_state_dict(part.state_dict())
        assert cost.of(part)([4] * len(part.names)) == expected


def test_whoever_imports_the_library_while_torchs_layers_are_replaced_gets_the_same():
    code = (
        "from pytorch_quantization import quant_modules; quant_modules.initialize(); import qa_lib, torch; from qa_lib import conv2d_predicate; "
        "from qa_lib import QuantizedActivationsModel as Wrap; import qa_lib.forward; quant_modules.deactivate(); "
        "print(*Wrap(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1)), conv2d_predicate, weights=True).names)"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["input", "0", "0.weight"]
