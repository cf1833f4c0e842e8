"""Nothing that a model takes is left out of a batch in silence."""

import pytest
import torch
from torch import nn

from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate, linear_predicate
from qa_lib.calibration import collect_statistics
from qa_lib.errors import CalibrationError


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, features, mask=None):
        return self.linear(features if mask is None else features * mask)


class Flagged(TwoInputs):
    def forward(self, features, with_more=False):
        return self.linear(features)


FEATURES = torch.rand(6, 4)


@pytest.mark.parametrize("run", [calibrate, collect_statistics])
def test_a_second_input_is_not_left_out(run):
    qmodel = QuantizedActivationsModel(TwoInputs(), linear_predicate)
    with pytest.raises(
        CalibrationError, match=r"forward takes features, mask: all but the first would be left out"
    ):
        run(qmodel, [(FEATURES, torch.ones(6, 4))])
    assert not qmodel.activation_fake_quantizers["linear"].calibrated
    run(qmodel, [(FEATURES, torch.zeros(6, dtype=torch.int64))])  # labels


def test_targets_are_no_input():
    qmodel = QuantizedActivationsModel(Flagged(), linear_predicate)
    calibrate(qmodel, [(FEATURES, torch.rand(6, 3))])
    images = torch.rand(4, 1, 6, 6)
    segmentation = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)), conv2d_predicate)
    calibrate(
        segmentation, [(images, torch.zeros(4, 6, 6, dtype=torch.int64)), [images, torch.rand(4, 1, 12, 12)]]
    )


@pytest.mark.parametrize("sizes", [[(6, 6), (6, 6)], [(6, 6), (8, 7), (6, 6)]])
def test_a_list_of_images_is_no_batch(sizes):
    qmodel = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 3)), conv2d_predicate)
    with pytest.raises(CalibrationError, match=r"look like images each.*torch\.stack"):
        calibrate(qmodel, [[torch.rand(1, *size) for size in sizes]])
