import numpy as np
import pytest
import torch

from qa_lib.errors import DataError
from qa_lib.metrics import Accuracy

LABELS = torch.tensor([0, 1, 2, 0])
LOGITS = torch.nn.functional.one_hot(LABELS, 3).float()


def test_right_answers_are_counted_and_of_equal_logits_the_first_counts():
    logits = LOGITS.clone()
    assert Accuracy().measure(logits, LABELS).tolist() == [4, 4]
    logits[0] = logits[0].roll(1)
    assert Accuracy().measure(logits, LABELS).tolist() == [3, 4]
    assert Accuracy().measure(torch.zeros(4, 3), LABELS).tolist() == [2, 4]


def test_the_score_is_the_share_over_any_set_of_batches():
    metric = Accuracy()
    wrong = LOGITS.roll(1, dims=1)
    sums = metric.measure(LOGITS, LABELS) + metric.measure(wrong[:3], LABELS[:3])
    assert metric.score(sums) == 4 / 7
    assert metric.score(metric.perfect(LABELS)) == metric.best == 1.0


def test_margins_are_what_the_right_class_leads_by():
    logits = torch.tensor([[1.0, 0.5, 0.0], [2.0, 1.5, 0.0], [0.0, 0.0, 3.0], [-torch.inf, 0.0, 1.0]])
    assert Accuracy().margins(logits, LABELS).tolist() == [0.5, -0.5, 3.0, -torch.inf]


def test_classes_are_counted():
    logits = LOGITS.clone()
    logits[3] = logits[3].roll(1)
    assert Accuracy().by_class(logits, LABELS).tolist() == [[1, 1, 1], [2, 1, 1]]


def test_outputs_that_are_no_logits_of_these_labels_are_refused():
    with pytest.raises(DataError, match=r"returns \(3, 3\).*shape \(4, classes\)"):
        Accuracy().measure(LOGITS[:3], LABELS)
    with pytest.raises(DataError, match="returns tuple"):
        Accuracy().measure((LOGITS,), LABELS)
    with pytest.raises(DataError, match="the largest label is 2, but the model has 2 classes"):
        Accuracy().measure(LOGITS[:, :2], LABELS)


@pytest.mark.parametrize(
    ("added", "possible"),
    [([3, 4], True), ([0, 4], True), ([5, 4], False), ([-1, 4], False), ([3, 5], False), ([2.5, 4.0], False),
     ([float("nan"), 4.0], False), ([3], False), ([3, 4, 4], False)],
)  # fmt: skip
def test_what_a_batch_of_four_can_have_added(added, possible):
    assert Accuracy().possible(np.array([added]), np.array([[4, 4]])) is possible
