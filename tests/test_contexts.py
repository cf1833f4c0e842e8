"""What a caller has switched on around a call changes no number, or is refused."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from tiny import make_tiny_model

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
    sensitivity,
)
from qa_lib.errors import DataError
from qa_lib.evaluation import LiveEvaluator


@contextmanager
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


STEPS = ("calibrate", "evaluator", "evaluate", "incremental", "sensitivity", "explore", "live")


def run(images, labels, context, where):
    """What each step finds, the steps ``where`` within a context."""

    def within(step):
        return context() if step in where else nullcontext()

    qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    with within("calibrate"):
        calibrate(qmodel, images.split(40))
    with within("evaluator"):
        evaluator = Evaluator(qmodel, images, labels, batch_size=40)
    with within("evaluate"):
        score = evaluator.evaluate([2, 3, 2, 4]).score
    with within("incremental"):
        forward = IncrementalForward(qmodel, images)
        outputs = forward([3, 2, 3, 4]).clone()
    with within("sensitivity"):
        table = sensitivity(qmodel, images, progress=False).divergence
    with within("explore"):
        front = explore(evaluator, evaluations=10, population_size=5, progress=False).front
    with within("live"):
        live = LiveEvaluator(evaluator).evaluate([2, 2, 3, 4])
    return score, outputs.tolist(), table.tolist(), front.to_dict(), live.score, forward.traced


@pytest.fixture(scope="module")
def found():
    return []


@pytest.fixture
def expected(images, labels, found):
    """What is found without a context, once for all."""
    if not found:
        found.append(run(images, labels, nullcontext, ()))
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("context", "where"),
    [
        *((context, STEPS) for context in (torch.inference_mode, torch.no_grad, float64_by_default)),
        *((torch.inference_mode, (step,)) for step in STEPS),
    ],
)
def test_it_changes_nothing(images, labels, expected, context, where):
    assert run(images, labels, context, where) == expected


def test_images_made_in_inference_mode_are_images(images, labels, expected):
    with torch.inference_mode():
        made = images.clone()
    assert run(made, labels, nullcontext, ()) == expected


@pytest.mark.parametrize("step", STEPS)
def test_autocast_is_refused(images, labels, step):
    with pytest.raises(DataError, match="torch.autocast is on here"):
        run(images, labels, lambda: torch.autocast("cpu", dtype=torch.bfloat16), (step,))
