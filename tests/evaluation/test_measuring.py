"""NaN is never an answer: of the float model an error, of a setting wrong, and said."""

import warnings

import pytest
import torch
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import DataError, QAWarning
from qa_lib.evaluation import LiveEvaluator, enumerate_settings
from qa_lib.metrics import Accuracy


class Log(nn.Module):
    """Its logits are logarithms of what a quantizer may make 0 / 0 of."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 6)
        nn.init.uniform_(self.conv.weight, 0.01, 0.02)

    def forward(self, images):
        out = self.conv(images).flatten(1)
        coarse = (out == out.amax(dim=1, keepdim=True)).sum(
            dim=1, keepdim=True
        ) > 2  # of a grid with few levels
        return torch.where(coarse, torch.nan, out)


@pytest.fixture
def images():
    return torch.rand(64, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels():
    return torch.zeros(64, dtype=torch.int64)  # what argmax makes of NaN


@pytest.fixture
def qmodel(images):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(Log(), conv2d_predicate)
    calibrate(qmodel, images)
    return qmodel


def by_hand(qmodel, images, labels, widths):
    with torch.no_grad(), qmodel.temporary_bit_widths(widths):
        logits = qmodel.eval()(images)
    bad = logits.isnan().any(dim=1)
    return int(((logits.argmax(dim=1) == labels) & ~bad).sum()), int(bad.sum())


def test_a_setting_that_returns_nan_is_wrong_there_and_it_is_said_once(qmodel, images, labels):
    evaluator = Evaluator(qmodel, images, labels)
    right, bad = by_hand(qmodel, images, labels, [2, 2])
    assert bad > 0
    with pytest.warns(QAWarning, match=r"NaN at bit widths \(2, 2\).*count as wrong"):
        assert evaluator.evaluate([2, 2]).sums == ((right, 64),)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator.evaluate([3, 2])
    live = LiveEvaluator(Evaluator(qmodel, images, labels))
    with pytest.warns(QAWarning, match="NaN"):
        assert live.evaluate([2, 2]).sums == ((right, 64),)
    assert live.by_class([2, 2])[:, 0].tolist() == [right, 64]
    with pytest.warns(QAWarning, match="NaN"):
        every = enumerate_settings(Evaluator(qmodel, images, labels), num_bits_upper_limit=3, progress=False)
    assert {e.bit_widths: e.sums for e in every}[2, 2] == ((right, 64),)


@pytest.mark.parametrize("options", [{}, {"hardest_first": False}])
def test_a_float_model_that_returns_nan_is_an_error(qmodel, images, labels, options):
    images[-1] = 0  # all its logits are the biases
    with torch.no_grad():
        qmodel.model.conv.bias.fill_(0.0)
    with pytest.raises(DataError, match="float model returns NaN"):
        Evaluator(qmodel, images, labels, **options).evaluate_uniform(None)


def test_all_nan_is_nothing_right():
    logits, labels = torch.full((4, 3), torch.nan), torch.zeros(4, dtype=torch.int64)
    assert Accuracy().measure(logits, labels).tolist() == [0, 4]
    assert Accuracy().by_class(logits, labels).tolist() == [[0, 0, 0], [4, 0, 0]]
