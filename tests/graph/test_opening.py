"""Functions inside of modules, against the modules themselves and against attention that is written out."""

import math
import pickle
import runpy
import subprocess
import sys

import pytest
import torch
from plain_loop import run_plainly
from torch import nn
from torch.nn import functional
from torchvision.models.swin_transformer import (
    PatchMergingV2,
    SwinTransformer,
    SwinTransformerBlockV2,
)
from torchvision.models.vision_transformer import VisionTransformer

from qa_lib import Evaluator, QuantizedActivationsModel, all_of, calibrate, name_matches, not_
from qa_lib.errors import LayerError, PredicateError
from qa_lib.forward.incremental import IncrementalForward
from qa_lib.graph import open_functions, with_modules
from qa_lib.graph.operations import Attention, MatMul, Operation, Projection, Softmax
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


def random_like(model):
    """``model`` with random numbers in all of its parameters, which initialization leaves at zero here and there."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model.eval()


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vit():
    return random_like(VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3)), numbers(8, 3, 16, 16)


def swin(**options):
    return random_like(SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], num_classes=3, **options)), numbers(8, 3, 32, 32)  # fmt: skip


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return random_like(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)), numbers(8, 5, 8)


def swin_v2():
    return swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


NETWORKS = {"vit": vit, "swin": swin, "swin v2": swin_v2, "encoder": encoder}
# torch runs nn.MultiheadAttention as one kernel.
EXACT = ("swin", "swin v2")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_outputs_are_those_of_the_model(name):
    model, images = NETWORKS[name]()
    opened = open_functions(model, images[:2])
    with torch.inference_mode():
        expected, found = model(images), opened(images)
        assert torch.equal(found, expected) if name in EXACT else torch.allclose(found, expected, atol=1e-5)
    assert [name for name, _ in opened.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert all(a is b for a, b in zip(opened.parameters(), model.parameters(), strict=True))
    assert opened.state_dict().keys() == model.state_dict().keys()
    # Again, from a copy that was saved.
    copied = pickle.loads(pickle.dumps(opened))
    with torch.inference_mode():
        assert torch.equal(copied(images), found)


def test_names_say_what_each_does():
    model, images = vit()
    opened = open_functions(model, images)
    attention = "encoder.layers.encoder_layer_0.self_attention"
    kinds = {name: type(module) for name, module in opened.named_modules() if isinstance(module, Operation)}
    assert kinds[f"{attention}.in_proj"] is Projection and kinds[f"{attention}.attention"] is Attention
    assert len(kinds) == 2 * 2
    model, images = swin()
    kinds = {
        name: type(m) for name, m in open_functions(model, images).named_modules() if isinstance(m, Operation)
    }
    assert {name.rpartition(".")[2]: kind for name, kind in kinds.items()} == {
        "matmul": MatMul,
        "matmul_2": MatMul,
        "softmax": Softmax,
    }
    assert len(kinds) == 3 * 4  # projections are called as they are
    model, images = swin_v2()
    names = {name.rpartition(".")[2] for name, module in open_functions(model, images).named_modules()}
    assert "linear" in names  # of which the bias is changed, so that it is not that of the submodule


def attention_by_hand(layer, x, quantize):
    """``nn.MultiheadAttention`` on one batch, written out, with ``quantize(name, tensor)`` after each step."""
    q, k, v = quantize("in_proj", functional.linear(x.transpose(0, 1), layer.in_proj_weight, layer.in_proj_bias)).chunk(3, -1)  # fmt: skip
    length, count, width = q.shape

    def heads(t):
        return t.reshape(length, count, layer.num_heads, -1).permute(1, 2, 0, 3)

    scores = heads(q) @ heads(k).transpose(-2, -1) / math.sqrt(width / layer.num_heads)
    mixed = quantize("attention", scores.softmax(-1) @ heads(v))
    rows = mixed.permute(2, 0, 1, 3).reshape(length * count, width)
    found = quantize("out_proj", functional.linear(rows, layer.out_proj.weight, layer.out_proj.bias))
    return found.view(length, count, width).transpose(0, 1)


def test_each_step_of_attention_gets_a_width():
    layer, x = random_like(nn.MultiheadAttention(8, 2, batch_first=True)), numbers(6, 5, 8)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = layer

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    opened = open_functions(Own().eval(), x)
    qmodel = QuantizedActivationsModel(
        opened, lambda module: isinstance(module, (Operation, nn.Linear)), inputs=[]
    )
    calibrate(qmodel, x)
    assert qmodel.names == ("attention.in_proj", "attention.attention", "attention.out_proj")
    qmodel.bit_widths = [None] * 3
    with torch.inference_mode():
        plain = qmodel(x)
        for index, name in enumerate(qmodel.names):
            for num_bits in (2, 3, 8):
                widths = [num_bits if each == index else None for each in range(3)]
                amax = float(qmodel.activation_fake_quantizers[name].amax_at(num_bits))
                described = QuantDescriptor(num_bits=num_bits, amax=amax)
                steps = {name.rpartition(".")[2]: toolkit_nn.TensorQuantizer(described)}

                def quantize(step, tensor, steps=steps):
                    return steps[step](tensor) if step in steps else tensor

                with qmodel.temporary_bit_widths(widths):
                    found = qmodel(x)
                # Written out, attention differs by rounding, and so do a few levels.
                by_hand = attention_by_hand(layer, x, quantize)
                assert (found - by_hand).abs().median() < 1e-6 and not torch.allclose(found, plain, atol=1e-3)


def classes(model, inputs):
    """Of the encoder's output the first numbers count as classes."""
    outputs = model(inputs)
    return outputs[:, 0, :3] if outputs.dim() == 3 else outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_those_of_a_plain_loop(name):
    model, images = NETWORKS[name]()
    images = torch.cat([images, 2 * images.flip(1)])
    chosen = lambda module: isinstance(module, (Operation, nn.Linear))  # noqa: E731
    if name == "swin v2":  # it changes the bias of "qkv", and so does not call it as it is
        chosen = all_of(chosen, not_(name_matches("*.qkv")))
    qmodel = QuantizedActivationsModel(
        open_functions(model, images[:2]),
        chosen,
        forward=classes if name == "encoder" else None,
    )
    calibrate(qmodel, images.split(8))
    assert len(qmodel.names) >= 11
    batches, labels = images.split(8), torch.arange(len(images)) % 3
    evaluator = Evaluator(qmodel, images, labels, batch_size=8, hardest_first=False, channels_last=False)
    for num_bits in (2, 3, 5):
        outputs = torch.cat(run_plainly(qmodel, [num_bits] * len(qmodel.names), batches))
        right = int((outputs.argmax(1) == labels).sum())
        assert evaluator.evaluate_uniform(num_bits).score == right / len(images)
    if name != "encoder":  # and so are those of passes that begin in the middle
        incremental, last = IncrementalForward(qmodel, batches), qmodel.names[-1]
        assert incremental.traced
        for num_bits in (2, 6):
            widths = [*qmodel.bit_widths[:-1], num_bits]
            assert torch.equal(incremental({last: num_bits}), torch.cat(run_plainly(qmodel, widths, batches)))
        assert incremental.passes < 2


def test_what_was_opened_is_whole_for_other_rewrites():
    model, images = vit()
    rewritten = with_modules(open_functions(model, images), functions=["add"])
    kinds = [type(module).__name__ for module in rewritten.modules() if isinstance(module, Operation)]
    assert kinds.count("Add") >= 5 and kinds.count("Projection") == 2
    with torch.inference_mode():
        assert torch.allclose(rewritten(images), model(images), atol=1e-5)


@pytest.mark.slow
def test_other_processes_know_it_by_the_same_digest(tmp_path, capsys):
    script = tmp_path / "digest.py"
    script.write_text(
        "import torch\n"
        "from torch import nn\n"
        "from qa_lib import QuantizedActivationsModel, calibrate\n"
        "from qa_lib.graph import open_functions\n"
        "from qa_lib.quantization.digests import model_digest\n"
        "torch.manual_seed(0)\n"
        "x = torch.randn(4, 5, 8)\n"
        "layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()\n"
        "qmodel = QuantizedActivationsModel(open_functions(layer, x), lambda m: 'proj' in type(m).__name__.lower() or isinstance(m, nn.Linear))\n"
        "calibrate(qmodel, x)\n"
        "print(model_digest(qmodel))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], capture_output=True, text=True, check=True
    )
    runpy.run_path(str(script))
    assert capsys.readouterr().out == done.stdout and len(done.stdout) > 40


class Fickle(nn.Module):
    """Calls as many functions as there are items."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def forward(self, x):
        for _ in range(len(x)):
            x = functional.linear(x, self.weight)
        return x


def test_what_cannot_be_opened_is_refused():
    opened = open_functions(Fickle(), numbers(2, 4))
    assert opened(numbers(2, 4)).shape == (2, 4)
    for count in (1, 3):
        with pytest.raises(LayerError, match=r"calls linear \d times .*, and 2 times for the batch"):
            opened(numbers(count, 4))
    with pytest.raises(LayerError, match="calls none of linear"):
        open_functions(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), numbers(2, 4))
    with pytest.raises(PredicateError, match="give a list of 'add'"):
        open_functions(Fickle(), numbers(2, 4), functions=["conv"])
    with pytest.raises(PredicateError, match="give a list of 'add'"):
        open_functions(Fickle(), numbers(2, 4), functions="linear")
    with pytest.raises(LayerError, match="the model"):
        open_functions(Fickle(), numbers(2, 5))
    with pytest.raises(PredicateError, match="torch.nn.Module"):
        open_functions(numbers, numbers(2, 5))


def test_the_way_there_is_said():
    model, images = vit()
    qmodel = QuantizedActivationsModel(model, lambda module: isinstance(module, nn.Linear))
    with pytest.raises(LayerError, match=r"open_functions\(model, images\)"):
        calibrate(qmodel, images)
