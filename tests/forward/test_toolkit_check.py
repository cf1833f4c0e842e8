"""An adopted model that returns something else than the toolkit's own quantizers make of it is not measured."""

import copy

import pytest
import torch
from toolkit_networks import calibrate_by_toolkit, quantizers_of
from torch import nn
from torch.nn import functional

from qa_lib import Evaluator, IncrementalForward, QuantizedActivationsModel, sensitivity
from qa_lib.errors import NotReproducibleError, QAWarning
from qa_lib.quantization.toolkit import toolkit_nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = toolkit_nn.QuantConv2d(1, 4, 3), toolkit_nn.QuantLinear(64, 5)

    def forward(self, images):
        return self.last(self.first(images).relu().flatten(1))


class ByItsForward(Network):
    def forward(self, images):
        features = self.last.input_quantizer.forward(self.first(images).relu().flatten(1))
        return functional.linear(features, self.last.weight_quantizer.forward(self.last.weight))


class ByAFunction(Network):
    def forward(self, images):
        features = self.last.input_quantizer(self.first(images).relu().flatten(1))
        return functional.linear(features, self.last.weight_quantizer(self.last.weight))


class ReadsTheWidth(Network):
    def forward(self, images):
        return super().forward(images) * self.last.input_quantizer.num_bits


class ReadsTheSwitch(Network):
    def forward(self, images):
        return super().forward(images) * (1.0 if self.last.input_quantizer._disabled else 2.0)


class ByTheNumberOfItems(Network):
    def forward(self, images):
        features = self.first(images).relu().flatten(1)
        if len(images) < 20:
            return self.last(features)
        return functional.linear(self.last.input_quantizer.forward(features), self.last.weight)


class FasterPast(nn.Module):
    """Torch itself goes past the modules in this layer where nothing is hooked to them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.layer.linear1, self.layer.linear2 = toolkit_nn.QuantLinear(6, 8), toolkit_nn.QuantLinear(8, 6)

    def forward(self, images):
        return self.layer(images[:, 0]).flatten(1)


class UsedTwice(Network):
    def __init__(self):
        super().__init__()
        self.again = self.first._weight_quantizer

    def forward(self, images):
        features = self.again(self.first(images).transpose(0, 1)).transpose(0, 1)
        return self.last(features.relu().flatten(1))


def hooked():
    model = Network()
    model.last.input_quantizer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return model


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (ByItsForward, "'last._input_quantizer', 'last._weight_quantizer'"),
        (ByAFunction, "'last._weight_quantizer'"),
        (ReadsTheWidth, "'last._input_quantizer'"),
        (ReadsTheSwitch, "'last._input_quantizer'"),
        (UsedTwice, "'first._weight_quantizer'"),
        (hooked, "'last._input_quantizer'"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_is_done_where_nobody_sees_it_is_refused_by_name(make, named, images):
    torch.manual_seed(0)
    model = make().eval()
    plain = Network().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    calibrate_by_toolkit(plain, images)
    for name, quantizer in quantizers_of(plain).items():
        model.get_submodule(name).register_buffer("_amax", quantizer.amax.clone())
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        expected = model(images)
    qmodel = QuantizedActivationsModel.adopt(model)
    said = rf"other numbers than the toolkit's own at \d bits, because of {named}: "
    for measure in (
        lambda: Evaluator(qmodel, images, torch.zeros(96).long()).evaluate([4] * 4),
        lambda: IncrementalForward(qmodel, images),
        lambda: IncrementalForward(qmodel, [(images,)]),
        lambda: sensitivity(qmodel, images),
    ):
        with pytest.raises(NotReproducibleError, match=said):
            measure()
    assert qmodel.bit_widths == (8, 8, 8, 8) and qmodel.adopted["last._input_quantizer"]._disabled
    qmodel.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(images), expected)


def test_who_only_looks_is_let_pass_and_so_are_negatives(images):
    torch.manual_seed(0)
    model = Network().eval()
    model.last.input_quantizer.register_forward_hook(lambda module, inputs, output: None)
    calibrate_by_toolkit(model, images)
    model.first.input_quantizer.unsigned = True  # the toolkit's own would raise for what is below 0
    evaluator = Evaluator(QuantizedActivationsModel.adopt(model), images - 0.5, torch.zeros(96).long())
    with pytest.warns(QAWarning, match="negative values"):
        assert evaluator.evaluate([4] * 4).complete
    assert evaluator.qmodel.fake_quantizers["first._input_quantizer"].negatives


def test_it_may_depend_on_how_many_items_there_are(images):
    torch.manual_seed(0)
    model = ByTheNumberOfItems().eval()
    calibrate_by_toolkit(model, images[:8])
    with pytest.raises(NotReproducibleError, match="'last._input_quantizer'"):
        Evaluator(QuantizedActivationsModel.adopt(model), images, torch.zeros(96).long(), batch_size=32)


def test_torchs_faster_way_past_the_quantizers_is_seen(images):
    torch.manual_seed(0)
    model = FasterPast()
    calibrate_by_toolkit(model.train(), images)
    with pytest.raises(NotReproducibleError, match="nn.TransformerEncoderLayer"):
        Evaluator(QuantizedActivationsModel.adopt(model.eval()), images, torch.zeros(96).long()).evaluate(
            [4] * 4
        )
