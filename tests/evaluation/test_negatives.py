"""Negative values that reach an unsigned quantizer in the middle of a search."""

import warnings

import pytest
import torch
from torch import nn

from qa_lib import Evaluator, QAWarning, QuantizedActivationsModel, calibrate
from qa_lib.evaluation.negatives import NegativesReport
from qa_lib.forward.replicas import make_replicas


@pytest.fixture
def given(images):
    """A model whose chosen layer was never negative, and images on which it is."""
    model = nn.Sequential(nn.Hardtanh(-1, 1), nn.Flatten(), nn.Linear(36, 3))
    qmodel = QuantizedActivationsModel(
        model.eval(), lambda module: isinstance(module, nn.Hardtanh), num_bits=4
    )
    assert calibrate(qmodel, images).unsigned == ("input", "0")
    return qmodel, images - 0.5, torch.zeros(len(images), dtype=torch.int64)


def test_they_are_counted_reported_once_and_measured_as_zero(given):
    qmodel, images, labels = given
    evaluator = Evaluator(qmodel, images, labels, workers=2, batch_size=10)
    negative = int((images < 0).sum())
    with pytest.warns(QAWarning, match=f"^{negative} negative values reached 'input'") as warned:
        evaluation = evaluator.evaluate([4, 4])
    assert len(warned) == 1  # behind the input's quantizer nothing is negative any more
    assert qmodel.layer_table()["negatives"].tolist() == [negative, 0]
    with torch.no_grad():
        expected = int((qmodel(images.clamp(min=0)).argmax(1) == 0).sum())
    assert evaluation.score == expected / 96
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator.evaluate([3, 3])
    assert qmodel.layer_table()["negatives"].tolist() == [2 * negative, 0]
    calibrate(qmodel, images)
    assert qmodel.layer_table()["negatives"].tolist() == [0, 0]
    assert not qmodel.layer_table()["unsigned"].any()


def test_a_layer_in_the_middle_is_named(given):
    qmodel, images, labels = given
    evaluator = Evaluator(qmodel, images, labels)
    with pytest.warns(QAWarning, match=r"reached '0', whose quantizer is unsigned .* unsigned=False"):
        evaluator.evaluate([None, 4])
    assert qmodel.layer_table()["negatives"].tolist() == [0, int((images < 0).sum())]


def test_a_model_that_runs_itself_is_not_counted_twice(given):
    qmodel, images, _ = given
    report = NegativesReport(qmodel)
    with pytest.warns(QAWarning), report.counting([qmodel]), torch.no_grad():
        qmodel(images)
    negative = int((images < 0).sum())
    assert qmodel.activation_fake_quantizers["input"].negatives == negative
    (replica,) = make_replicas(qmodel, 1)
    with report.counting([replica]), torch.no_grad():
        replica(images)
    assert qmodel.activation_fake_quantizers["input"].negatives == 2 * negative
