"""A chosen setting, trained on."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import BitWidthError, DataError, NotCalibratedError, SearchError
from qa_lib.finetuning import finetune
from qa_lib.metrics import SQNR, MeanSquaredError

WIDTHS, LOW = [3] * 7, [2] * 7


@pytest.fixture
def both(tiny_model, images):
    quantized = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    calibrate(quantized, images)
    return quantized


def quiet(qmodel, widths, batches, **options):
    return finetune(qmodel, widths, batches, **{"progress": False, "learning_rate": 3e-3} | options)


@pytest.mark.parametrize("learn_amax", [False, True])
def test_it_learns_and_leaves_the_model_alone(both, images, labels, learn_amax):
    before = {name: value.clone() for name, value in both.model.state_dict().items()}
    grids = [quantizer.all_amax.clone() for quantizer in both.fake_quantizers.values()]
    first = Evaluator(both, images, labels).evaluate(LOW)
    tuned = quiet(both, LOW, (images, labels), epochs=30, validation=(images, labels), learn_amax=learn_amax)
    assert tuned.before == first and tuned.after.score > first.score
    assert tuned.history["score"].max() == tuned.after.score == tuned.history["score"][tuned.epoch]
    assert (
        tuned.history["loss"][30] < tuned.history["loss"][1]
        and tuned.history["loss"].isna().tolist() == [True] + [False] * 30
    )
    # What is kept is what was measured, with the toolkit's numbers, and scores it again.
    assert Evaluator(tuned.qmodel, images, labels, replicas=False).evaluate(LOW).score == tuned.after.score
    assert tuned.after.fingerprint != first.fingerprint and tuned.qmodel.bit_widths == tuple(LOW)
    for name, value in both.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(
        torch.equal(q.all_amax, own) for q, own in zip(both.fake_quantizers.values(), grids, strict=True)
    )
    assert both.bit_widths == (8,) * 7 and not any(p.grad is not None for p in both.parameters())
    same = [
        torch.equal(q.amax_at(2), both.activation_fake_quantizers[name].amax_at(2))
        for name, q in tuned.qmodel.activation_fake_quantizers.items()
    ]
    assert all(same) != learn_amax
    assert not any(q._forward_pre_hooks for q in tuned.qmodel.fake_quantizers.values())


def test_the_same_seed_makes_the_same_weights(both, images, labels):
    first, again, other = (quiet(both, WIDTHS, (images, labels), epochs=2, seed=seed) for seed in (1, 1, 2))
    states = [tuned.qmodel.model.state_dict()["conv1.weight"] for tuned in (first, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])
    assert first.before is None and first.after is None and first.epoch == 2


def test_the_best_epoch_is_kept_be_it_none(both, images, labels):
    ruined = quiet(
        both, WIDTHS, (images, (labels + 1) % 5), epochs=3, validation=(images, labels), learning_rate=0.1
    )
    assert ruined.epoch == 0 and ruined.after == ruined.before
    assert torch.equal(ruined.qmodel.model.conv1.weight, both.model.conv1.weight)


def test_batch_norms_keep_their_statistics_and_loaders_are_gone_through(images, labels):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 5)
    ).eval()
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images)
    loader = DataLoader(TensorDataset(images, labels), 32)
    tuned = quiet(qmodel, [4, 4], loader, epochs=2)
    norm = tuned.qmodel.model[1]
    assert torch.equal(norm.running_mean, model[1].running_mean) and not torch.equal(
        norm.weight, model[1].weight
    )
    assert not tuned.qmodel.training and not any(module.training for module in tuned.qmodel.modules())


def test_another_loss_and_metric(both, images, labels):
    with torch.no_grad(), both.temporary_bit_widths([None] * 7):
        outputs = both(images)
    tuned = quiet(
        both,
        LOW,
        (images, outputs),
        epochs=30,
        loss=nn.functional.mse_loss,
        validation=(images, outputs),
        metric=MeanSquaredError(),
    )
    assert tuned.before.score < tuned.after.score <= 0 and len(tuned.history) == 31
    with pytest.raises(DataError, match="SQNR compares a model with its own float outputs"):
        quiet(both, WIDTHS, (images, outputs), validation=(images, None), metric=SQNR())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"epochs": 0}, SearchError, "epochs is 0"),
        ({"learning_rate": -1.0}, SearchError, "learning_rate is -1"),
        ({"learn_amax": 1}, SearchError, "learn_amax"),
        ({"seed": -1}, SearchError, "seed is -1"),
        ({"validation": 3}, DataError, "validation is"),
        ({"bit_widths": [3] * 4}, BitWidthError, "7 quantizers"),
        ({"batches": torch.rand(3, 1, 6, 6)}, DataError, "give a pair of inputs and targets"),
        ({"batches": []}, DataError, "nothing to learn from"),
        ({"batches": (pair for pair in [])}, DataError, "give a pair of inputs and targets"),
        (
            {"batches": (torch.rand(30, 1, 6, 6), torch.zeros(64, dtype=torch.long))},
            DataError,
            "30 inputs and 64 targets",
        ),
        (
            {"batches": (torch.rand(9, 1, 6, 6), torch.full((9,), 9))},
            SearchError,
            "the cross-entropy .*class numbers from 0",
        ),
        (
            {"batches": (torch.full((9, 1, 6, 6), torch.nan), torch.zeros(9, dtype=torch.long))},
            SearchError,
            "the loss is nan in epoch 1",
        ),
        ({"loss": lambda outputs, targets: 3.0}, SearchError, "the loss returned 3.0"),
        ({"loss": lambda outputs, targets: 1 / 0}, SearchError, "the loss .*ZeroDivisionError"),
    ],
)
def test_bad_input(both, images, labels, given, error, message):
    options = {"bit_widths": WIDTHS, "batches": (images, labels)} | given
    with pytest.raises(error, match=message):
        quiet(both, options.pop("bit_widths"), options.pop("batches"), **options)


def test_targets_that_are_no_classes_need_a_loss(both, images, tiny_model):
    with pytest.raises(SearchError, match="the cross-entropy needs logits and whole numbers"):
        quiet(both, WIDTHS, (images, torch.rand(96, 5)))
    with pytest.raises(NotCalibratedError):
        both.remove()
        quiet(QuantizedActivationsModel(tiny_model, conv2d_predicate), [3] * 4, (images, torch.zeros(96)))


def test_modes_around_it_do_not_matter_and_frozen_models_are_a_sentence(both, images, labels):
    expected = quiet(both, WIDTHS, (images, labels), epochs=1).qmodel.model.conv1.weight
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            found = quiet(both, WIDTHS, [images, labels], epochs=1).qmodel.model.conv1.weight
        assert torch.equal(found, expected)
    assert quiet(both, WIDTHS, (images, labels), epochs=1, learn_amax=True).qmodel.calibration is None
    for parameter in both.model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(DataError, match="no parameter of the model is to be trained"):
        quiet(both, WIDTHS, (images, labels))
