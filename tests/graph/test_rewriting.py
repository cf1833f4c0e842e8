"""Rewritten networks, against the networks themselves."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    load_workload,
    name_matches,
)
from qa_lib.errors import LayerError, PredicateError
from qa_lib.graph import fold_batch_norm, stored_outputs, with_modules
from qa_lib.graph.operations import Activation, Add, Attention, Concatenate, MatMul, Softmax
from qa_lib.workloads.unet import SmallUNet


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def outputs(model, *inputs):
    with torch.no_grad():
        return model.eval()(*inputs)


class Everything(nn.Module):
    """Each operation in each of its forms, and one ReLU for all."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU()

    def forward(self, x):
        a, b = self.relu(self.first(x)), self.relu(self.second(x))
        total = a + b
        total = torch.add(total, a).add(b)
        total += 1.0
        total += a
        product = torch.bmm(
            torch.matmul(total, total.transpose(1, 2)).softmax(dim=-1), functional.relu(b) @ b.mT
        )
        joined = torch.cat([product, functional.softmax(torch.relu(total), dim=-1)], dim=-1)
        attended = functional.scaled_dot_product_attention(joined, joined, joined)
        return self.relu(attended + joined).sum(dim=-1)


def test_each_operation_becomes_a_module_and_the_outputs_stay():
    torch.manual_seed(0)
    model, x = Everything(), numbers(2, 6, 6)
    rewritten = with_modules(model, ["add", "cat", "matmul", "softmax", "relu", "attention"])
    assert torch.equal(outputs(rewritten, x), outputs(model, x))
    kinds = [type(module) for module in rewritten.modules()]
    counts = {kind: kinds.count(kind) for kind in (Add, Concatenate, MatMul, Softmax, Activation, Attention)}
    assert counts == {Add: 5, Concatenate: 1, MatMul: 3, Softmax: 2, Activation: 2, Attention: 1}
    assert {"add", "add_2", "cat", "matmul_3", "softmax_2", "attention"} <= dict(
        rewritten.named_modules()
    ).keys()
    assert torch.equal(outputs(with_modules(model, ["cat"]), x), outputs(model, x))
    assert model.first.weight is rewritten.first.weight


def test_a_module_that_is_called_several_times_is_split_on_request():
    torch.manual_seed(0)
    model, x = Everything(), numbers(2, 6, 6)
    split = with_modules(model, [], split_calls=True)
    assert {"relu", "relu_2", "relu_3"} <= dict(split.named_modules()).keys()
    assert torch.equal(outputs(split, x), outputs(model, x))
    qmodel = QuantizedActivationsModel(split, name_matches("relu*"))
    calibrate(qmodel, x)
    assert qmodel.layer_table()["calls"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "densenet121", "googlenet", "shufflenet_v2_x0_5", "efficientnet_b0"]
)
def test_networks_of_torchvision_stay_what_they_are(name):
    torch.manual_seed(0)
    options = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, num_classes=7, **options)
    x = numbers(2, 3, 64, 64)
    expected = outputs(model, x)
    rewritten = with_modules(model)
    assert torch.equal(outputs(rewritten, x), expected)
    assert any(isinstance(module, (Add, Concatenate)) for module in rewritten.modules())
    assert torch.allclose(outputs(fold_batch_norm(model), x), expected, atol=1e-3)
    chosen = (
        [n for n, m in rewritten.named_modules() if stored_outputs(rewritten)(m)]
        if name == "resnet18"
        else []
    )
    if chosen:  # a stem, eight blocks of two, three shortcuts with a norm, and the classifier
        assert len(chosen) == 1 + 16 + 3 + 1
        assert {"relu", "layer1.0.relu", "layer2.0.downsample.1", "fc"} <= set(chosen)


def test_sums_and_attention_can_be_given_widths():
    timm = pytest.importorskip("timm")
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=5, depth=2
    ).eval()
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # the products by themselves
    x = numbers(4, 3, 32, 32)
    rewritten = with_modules(network)
    assert torch.equal(outputs(rewritten, x), outputs(network, x))
    qmodel = QuantizedActivationsModel(rewritten, lambda m: isinstance(m, (Add, MatMul, Softmax)))
    calibrate(qmodel, x)
    assert {"blocks.0.attn.matmul", "blocks.0.attn.matmul_2", "blocks.1.add"} <= set(qmodel.names)
    incremental = IncrementalForward(qmodel, x)
    assert incremental.traced
    widths = [3] * len(qmodel.names)
    with qmodel.temporary_bit_widths(widths), torch.no_grad():
        assert torch.equal(incremental(widths), qmodel.eval()(x))


def test_what_an_accelerator_stores_of_the_reference_network(workload):
    model = load_workload("fashion_mnist").model
    network = with_modules(model)
    qmodel = QuantizedActivationsModel(network, stored_outputs(network))
    assert len(qmodel.names) == 23
    types = qmodel.layer_table().set_index("name")["type"]
    assert types["stem.2"] == types["blocks.0.relu1"] == types["blocks.0.relu2"] == "ReLU"
    assert types["blocks.2.shortcut.1"] == "BatchNorm2d" and types["classifier"] == "Linear"
    calibrate(qmodel, workload.calibration_loader())
    images, labels = workload.search_images[:512], workload.search_labels[:512]
    stored = Evaluator(qmodel, images, labels).evaluate_uniform(3).score
    before = QuantizedActivationsModel(load_workload("fashion_mnist").model, workload.predicate)
    calibrate(before, workload.calibration_loader())
    assert stored > Evaluator(before, images, labels).evaluate_uniform(3).score


def test_joined_tensors_are_stored_where_they_are_modules():
    network = with_modules(SmallUNet(), ["cat"])
    chosen = [name for name, module in network.named_modules() if stored_outputs(network)(module)]
    assert "cat" in chosen and "cat_2" in chosen and len(chosen) == 13
    assert [n for n, m in with_modules(network).named_modules() if isinstance(m, Concatenate)] == [
        "cat",
        "cat_2",
    ]


def test_folded_norms_change_the_outputs_by_rounding_only(workload):
    model = load_workload("fashion_mnist").model
    images = workload.search_images[:64]
    folded = fold_batch_norm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert torch.allclose(outputs(folded, images), outputs(model, images), atol=1e-4)
    assert type(folded) is type(model)


class DataDependent(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: with_modules(DataDependent()), LayerError, "cannot trace DataDependent"),
        (lambda: fold_batch_norm(DataDependent()), LayerError, "cannot trace DataDependent"),
        (lambda: stored_outputs(DataDependent()), LayerError, "cannot trace DataDependent"),
        (lambda: fold_batch_norm(nn.Sequential(nn.Linear(2, 2))), LayerError, "nothing to fold"),
        (lambda: stored_outputs(nn.Sequential(nn.Flatten())), LayerError, "has no module that makes"),
        (lambda: with_modules(nn.Linear(2, 2), "add"), PredicateError, "functions is 'add'"),
        (lambda: with_modules(nn.Linear(2, 2), ["mul"]), PredicateError, "give a list of 'add'"),
        (lambda: with_modules(3), PredicateError, "model is int"),
        (lambda: stored_outputs(None), PredicateError, "model is NoneType"),
    ],
)
def test_what_cannot_be_rewritten_is_a_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
