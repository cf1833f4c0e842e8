"""The same for each kind of device, run on those that are here: data may lie with the model, or in this machine's memory."""

import pytest
import torch
from pytorch_quantization.nn import TensorQuantizer as TheirQuantizer
from pytorch_quantization.tensor_quant import QuantDescriptor
from tiny import make_tiny_model
from torch.utils.data import DataLoader, TensorDataset

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore, sensitivity
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
SETTINGS = [[8] * 4, [2, 8, 3, 4], [5] * 4, [4, 3, 8, 2]]


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture
def quantized(device, images):
    qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, device=device)
    calibrate(qmodel, images.to(device).split(48))
    return qmodel


def found(evaluator):
    return [(e.score, e.sums, e.divergences) for e in evaluator.evaluate_many(SETTINGS)]


@pytest.mark.parametrize(
    "given",
    [
        lambda images, labels: (images, labels),
        lambda images, labels: (DataLoader(TensorDataset(images, labels), batch_size=7),),
        lambda images, labels: (TensorDataset(images, labels),),
    ],
    ids=["tensors", "loader", "dataset"],
)
@pytest.mark.parametrize("keep", ["memory", "disk"])
def test_data_in_this_machines_memory_are_measured_as_data_beside_the_model(
    quantized, device, images, labels, given, keep
):
    beside = Evaluator(quantized, images.to(device), labels.to(device), batch_size=16)
    here = Evaluator(quantized, *given(images, labels), batch_size=16, keep=keep)
    assert found(here) == found(beside)
    assert here.fingerprint() == beside.fingerprint()
    assert all(inputs.device.type == device.type for inputs, _ in here.search_set.batches)
    live = LiveEvaluator(here)
    assert [live.evaluate(widths).score for widths in SETTINGS] == [score for score, *_ in found(beside)]


def test_a_transform_is_given_what_lies_beside_the_model(quantized, device, images, labels):
    seen = set()

    def transform(batch):
        seen.add(batch.device.type)
        return batch.float() / 255

    as_bytes = (images * 255).byte()
    here = Evaluator(quantized, as_bytes, labels, batch_size=16, transform=transform)
    beside = Evaluator(quantized, (as_bytes.float() / 255).to(device), labels.to(device), batch_size=16)
    assert found(here) == found(beside) and seen == {device.type}


@pytest.mark.parametrize("method", ["max", "mse", "output"])
def test_calibrated_from_this_machines_memory_is_calibrated_the_same(device, images, method):
    amax = []
    options = {"progress": False} if method == "output" else {}
    for data in (images, images.to(device)):
        qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, device=device)
        calibrate(qmodel, data.split(48), method=method, **options)
        amax.append(qmodel.layer_table(all_widths=method != "max"))
    assert amax[0].equals(amax[1])


def test_sensitivities_and_a_search_from_this_machines_memory(quantized, device, images, labels):
    one, other = (sensitivity(quantized, data[:32], progress=False) for data in (images, images.to(device)))
    assert (one.divergence == other.divergence).all()
    evaluator = Evaluator(quantized, images, labels, batch_size=16)
    exploration = explore(evaluator, full_passes=40, population_size=8, progress=False)
    assert len(exploration.front)
    best = exploration.measured[-1]
    again = Evaluator(quantized, images.to(device), labels.to(device), batch_size=16)
    assert again.evaluate(best.bit_widths) == best


@pytest.mark.parametrize("num_bits", range(2, 9))
@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
def test_the_quantizer_is_the_toolkits_there(device, num_bits, unsigned):
    values = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(3)).to(device)
    values = values.abs() if unsigned else values
    theirs = TheirQuantizer(QuantDescriptor(num_bits=num_bits, amax=2.5, unsigned=unsigned)).to(device)
    ours = TensorQuantizer(num_bits, unsigned=unsigned).to(device)
    ours.amax = 2.5
    assert torch.equal(ours(values), theirs(values))
