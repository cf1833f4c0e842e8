"""Against what it compares itself with, on the networks and images themselves."""

import copy

import pytest
import torch
from torch import nn

from qa_lib import Evaluator, QAWarning, QuantizedActivationsModel, calibrate, conv2d_predicate, load_workload
from qa_lib.calibration import collect_statistics
from qa_lib.calibration.output import OutputCalibration
from qa_lib.errors import CalibrationError
from qa_lib.metrics.divergence import kullback_leibler, mean_squared_error, output_divergence

pytestmark = pytest.mark.slow


def divergence_at(qmodel, images, widths):
    with qmodel.temporary_bit_widths([None] * len(qmodel.names)), torch.no_grad():
        reference = qmodel(images)
    with qmodel.temporary_bit_widths(widths), torch.no_grad():
        return output_divergence(qmodel(images), reference)


def test_kullback_leibler_is_torch_s():
    generator = torch.Generator().manual_seed(1)
    outputs, reference = torch.randn(2, 40, 7, generator=generator).double()
    expected = nn.functional.kl_div(
        outputs.log_softmax(1), reference.log_softmax(1), reduction="batchmean", log_target=True
    )
    assert kullback_leibler(outputs, reference) == pytest.approx(float(expected))
    assert kullback_leibler(reference, reference) == 0
    assert output_divergence(outputs, reference) == kullback_leibler(outputs, reference)


def test_other_outputs_are_compared_by_their_squared_error():
    outputs, reference = torch.ones(4, 3, 5, 5), torch.zeros(4, 3, 5, 5)
    assert output_divergence(outputs, reference) == mean_squared_error(outputs, reference) == 1
    assert output_divergence(torch.ones(4, 1), torch.zeros(4, 1)) == 1


def test_a_class_that_is_ruled_out_adds_nothing(images):
    outputs, reference = torch.randn(2, 40, 7, generator=torch.Generator().manual_seed(1))
    masked = torch.full((40, 1), -torch.inf)
    found = kullback_leibler(torch.cat([outputs, masked], 1), torch.cat([reference, masked], 1))
    assert found == pytest.approx(kullback_leibler(outputs, reference))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.5])
def test_where_nothing_can_be_told_apart_mse_stays(qmodel, images, value):
    options = {"progress": False, "divergence": lambda outputs, reference: value}
    calibrate(qmodel, images, method="output", **options)
    output = qmodel.layer_table(all_widths=True)
    calibrate(qmodel, qmodel.statistics, method="mse")
    assert output.equals(qmodel.layer_table(all_widths=True))


@pytest.mark.parametrize(
    ("divergence", "said"),
    [
        ("kl", "divergence is 'kl'; give a function"),
        (None, "divergence is None; give a function"),
        (lambda outputs: 0.0, "has to take the outputs .* TypeError"),
        (lambda outputs, reference: outputs, "and return a number.* ValueError"),
    ],
    ids=["name", "None", "one argument", "tensor"],
)
def test_a_measure_that_is_none_is_refused(qmodel, images, divergence, said):
    with pytest.raises(CalibrationError, match=said):
        calibrate(qmodel, images, method="output", progress=False, divergence=divergence)


@pytest.mark.parametrize("num_bits", [2, 3, 4, 6])
def test_no_other_method_disturbs_the_output_less(qmodel, images, num_bits):
    found = {}
    for method in ("max", "percentile", "mse", "entropy", "output"):
        options = {"progress": False} if method == "output" else {}
        calibrate(qmodel, images.split(40), method=method, unsigned="auto", **options)
        found[method] = divergence_at(qmodel, images, [num_bits] * 4)
    assert (
        found["output"] <= min(found.values()) * 1.001
    )  # outputs of other batches differ in their last digits


def test_wider_widths_are_those_of_mse(qmodel, images):
    calibrate(qmodel, images, method="output", progress=False)
    output = qmodel.layer_table(all_widths=True)
    calibrate(qmodel, qmodel.statistics, method="mse")
    mse = qmodel.layer_table(all_widths=True)
    assert output["amax_9"].equals(mse["amax_9"]) and output["amax_16"].equals(mse["amax_16"])
    assert not output["amax_3"].equals(mse["amax_3"])


def test_one_setting_is_tuned_as_it_is(qmodel, images):
    widths = (3, 4, None, 2)
    qmodel.bit_widths = widths
    calibrate(qmodel, images, method="mse", per_width=False)
    before = divergence_at(qmodel, images, widths)
    mse = qmodel.layer_table()["amax"]
    record = calibrate(qmodel, images, method="output", per_width=False, progress=False)
    assert qmodel.bit_widths == widths
    assert divergence_at(qmodel, images, widths) < before
    assert not any(q.has_amax_by_width for q in qmodel.activation_fake_quantizers.values())
    assert qmodel.layer_table()["amax"][2] == mse[2]  # float there
    assert record.per_width is False


def test_the_cost_is_told_and_the_images_are_as_many_as_asked_for(qmodel, images):
    few = calibrate(qmodel, iter(images.split(40)), method="output", images=24, progress=False)
    assert few.images == 96
    # 7 widths, 4 layers, 12 comparisons each of a part of a pass over a quarter of the images.
    assert 1 < few.passes < 1 + 7 * 4 * 12 / 4 + 10
    assert few.seconds > 0


def test_a_measure_of_one_s_own(qmodel, images):
    seen = []

    def largest_difference(outputs, reference):
        seen.append(outputs.shape)
        return float((outputs - reference).abs().max())

    calibrate(qmodel, images, method="output", images=50, divergence=largest_difference, progress=False)
    assert set(seen) == {(50, 5)}


def test_the_model_is_left_alone_until_the_end(qmodel, images):
    before = copy.deepcopy(qmodel.layer_table(all_widths=True))

    def fails_late(outputs, reference):
        assert qmodel.layer_table(all_widths=True).equals(before)
        fails_late.calls += 1
        if fails_late.calls > 100:
            raise KeyboardInterrupt
        return output_divergence(outputs, reference)

    fails_late.calls = 0
    with pytest.raises(KeyboardInterrupt):
        calibrate(qmodel, images, method="output", divergence=fails_late, progress=False)
    assert qmodel.layer_table(all_widths=True).equals(before)
    assert qmodel.calibration.method == "max"


@pytest.mark.filterwarnings("ignore:torch.fx cannot take this model apart")
def test_of_several_outputs_the_first_that_is_numbers_is_compared(images):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, images):
            features = self.conv(images)
            return features.flatten(1).argmax(dim=1), features, images

    class One(Two):
        def forward(self, images):
            return super().forward(images)[1]

    torch.manual_seed(0)
    found, weights = [], Two().state_dict()
    for kind in (Two, One):
        model = kind()
        model.load_state_dict(weights)
        qmodel = QuantizedActivationsModel(model, conv2d_predicate)
        calibrate(qmodel, images, method="output", progress=False)
        found.append(qmodel.layer_table(all_widths=True))
    assert found[0].equals(found[1])


def test_a_model_that_returns_no_numbers_is_refused(images):
    class Classes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, images):
            return self.conv(images).flatten(1).argmax(dim=1)

    qmodel = QuantizedActivationsModel(Classes(), conv2d_predicate)
    with pytest.raises(CalibrationError, match="method 'output' .* needs a floating-point tensor in it"):
        calibrate(qmodel, images, method="output")


def test_a_model_that_cannot_be_traced_runs_whole(images):
    class Untraceable(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 5, 6)

        def forward(self, images):
            logits = self.conv(images).flatten(1)
            return logits if logits.sum() > 0 else logits - 1

    qmodel = QuantizedActivationsModel(Untraceable(), conv2d_predicate)
    with pytest.warns(QAWarning, match="torch.fx cannot take this model apart"):
        record = calibrate(qmodel, images, method="output", progress=False)
    # 12 comparisons of 2 layers and 5 starts, the float outputs once, at each of 7 widths; and the first pass.
    assert record.passes == pytest.approx(1 + 1 + 7 * (2 * 12 + 5))


def test_at_few_bits_the_accuracy_gains():
    """On the reference network notebook 02 shows it."""
    workload, num_bits = load_workload("fashion_mnist_convnet"), 3
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels)
    statistics = collect_statistics(qmodel, workload.calibration_loader())
    others = []
    for method in ("max", "percentile", "mse", "entropy"):
        calibrate(qmodel, statistics, method=method)
        others.append(evaluator.evaluate_uniform(num_bits).score)
    qmodel.bit_widths = [num_bits] * len(qmodel.names)
    calibrate(qmodel, workload.calibration_loader(), method="output", per_width=False, progress=False)
    assert evaluator.evaluate_uniform(num_bits).score > max(others)


def test_it_starts_from_whatever_other_method_is_best(qmodel, images):
    """The first candidate is so far off that no factor around it leads back."""
    names = qmodel.names
    good = {name: float(qmodel.activation_fake_quantizers[name].amax) for name in names}
    bad = {name: 1e4 * value for name, value in good.items()}
    search = OutputCalibration(qmodel, [images], dict.fromkeys(names, False), output_divergence)
    found = search.find((4,) * len(names), {"max": bad, "mse": good}, lambda: None)
    assert all(found[name] < 10 * good[name] for name in names)
