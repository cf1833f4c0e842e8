"""Networks that are not ours, with their own inputs, outputs, data and scores, against a loop with the toolkit's quantizers."""

import numpy as np
import pytest
import torch
import torchvision
from plain_loop import run_plainly
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.detection import MeanAveragePrecision

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
    sensitivity,
)
from qa_lib.errors import LayerError
from qa_lib.evaluation import LiveEvaluator
from qa_lib.metrics import SQNR, Accuracy, Agreement, MeanIoU, MultilabelF1, TorchMetric

pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.fx cannot take this model apart"),
    pytest.mark.filterwarnings("ignore:.*amax of"),  # with random weights some layers are silent
    pytest.mark.filterwarnings("ignore:all activations"),
]


def of_kind(*kinds):
    return lambda module: type(module) in kinds


def random_like(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return model.eval()


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape, vocabulary=50, seed=0):
    return torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(seed))


class Reader(nn.Module):
    """Tokens through an LSTM, which returns several tensors."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.head = (
            nn.Embedding(50, 12),
            nn.LSTM(12, 16, batch_first=True),
            nn.Linear(16, 4),
        )

    def forward(self, tokens):
        states, (last, _) = self.lstm(self.embedding(tokens))
        return self.head(states.mean(dim=1) + last[0])


class Attention(nn.Module):
    """Attends to a second input, which a mask hides in part."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(5, 16)
        self.attention, self.head = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, query, key, hidden=None):
        attended, _ = self.attention(
            self.first(query), self.second(key), self.second(key), key_padding_mask=hidden
        )
        return {"logits": self.head(attended.mean(dim=1)), "attended": attended}


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, left, right):
        return self.head(torch.relu(self.left(left) * self.right(right)))


def same_scores(qmodel, evaluator, inputs, targets, settings, batch_size=8):
    """Whether scores, searched, live and remeasured, are those of a loop of one's own."""
    outputs = [run_plainly(qmodel, widths, inputs) for widths in settings]
    metric = evaluator.metric
    for widths, found in zip(settings, outputs, strict=True):
        added = [metric.measure(*each) for each in zip(found, targets, strict=True)]
        by_hand = metric.score(sum(added) if metric.additive else added)
        assert evaluator.evaluate(widths).score == by_hand
        assert evaluator.evaluate(widths, remeasure=True).score == by_hand
    live = LiveEvaluator(Evaluator.using(evaluator, None))
    assert live.evaluate(settings[-1]).score == by_hand
    return True


def uniform(qmodel, *widths):
    return [(width,) * len(qmodel.names) for width in widths]


PLAIN = {"batch_size": 8, "hardest_first": False, "channels_last": False}


def test_an_lstm_on_tokens_has_no_quantizer_on_its_input():
    ids, labels = tokens(40, 7), tokens(40, vocabulary=4, seed=1)
    qmodel = QuantizedActivationsModel(random_like(Reader()), of_kind(nn.LSTM, nn.Linear))
    calibrate(qmodel, DataLoader(TensorDataset(ids, labels), batch_size=16))
    assert qmodel.names == ("lstm", "head")
    assert qmodel.layer_table()["output_shape"].tolist() == [(7, 16), (4,)]
    evaluator = Evaluator(qmodel, ids, labels, **PLAIN)
    assert same_scores(qmodel, evaluator, ids.split(8), labels.split(8), [*uniform(qmodel, 2, 3, 8), (8, 2)])
    assert len(explore(evaluator, evaluations=15, progress=False).front)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_passes_begin_in_the_middle_of_what_returns_tuples(kind, which):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.recurrent, self.head = (
                nn.Linear(3, 8),
                kind(8, 8, batch_first=True),
                nn.Linear(8, 4),
            )

        def forward(self, x):
            states, last = self.recurrent(self.first(x))
            return self.head(states[:, -1] + (last[0] if kind is nn.GRU else last[0][0]))

    x = numbers(40, 6, 3)
    outputs = {"recurrent": which}
    qmodel = QuantizedActivationsModel(random_like(Recurrent()), of_kind(kind, nn.Linear), outputs=outputs)
    calibrate(qmodel, x)
    incremental = IncrementalForward(qmodel, x.split(8))
    assert incremental.traced and qmodel.names == ("input", "first", "recurrent", "head")
    for name in qmodel.names:
        for num_bits in (2, 5, None):
            with qmodel.temporary_bit_widths({name: num_bits}), torch.no_grad():
                expected = torch.cat([qmodel(batch) for batch in x.split(8)])
            assert torch.equal(incremental({name: num_bits}), expected)
    assert np.isfinite(sensitivity(qmodel, x, progress=False).divergence).all()


def test_work_is_saved_on_tokens_too():
    ids = tokens(40, 7)
    network = random_like(
        nn.Sequential(nn.Embedding(50, 12), nn.Linear(12, 16), nn.ReLU(), nn.Flatten(), nn.Linear(112, 4))
    )
    qmodel = QuantizedActivationsModel(network, of_kind(nn.Linear))
    calibrate(qmodel, ids)
    incremental = IncrementalForward(qmodel, ids.split(8))
    assert incremental.traced and qmodel.names == ("1", "4")
    for widths in ([8, 2], [2, 8], [3, 3]):
        expected = torch.cat(run_plainly(qmodel, widths, ids.split(8)))
        assert torch.equal(incremental(widths), expected)
    assert incremental.passes < 4


def test_which_of_several_outputs_is_quantized_may_be_said():
    ids = tokens(16, 7)
    seen = {}
    for which in (0, 1, 2):
        qmodel = QuantizedActivationsModel(random_like(Reader()), of_kind(nn.LSTM), outputs={"lstm": which})
        calibrate(qmodel, ids)
        qmodel.bit_widths = [2]
        states, (last, cell) = qmodel.model.lstm(qmodel.model.embedding(ids))
        seen[which] = [len(each.unique()) <= 4 for each in (states, last, cell)]
    assert seen == {0: [True, False, False], 1: [False, True, False], 2: [False, False, True]}


def test_several_inputs_have_a_quantizer_each_and_outputs_may_be_a_dict():
    query, key = numbers(40, 5, 6), numbers(40, 4, 5, seed=1)
    hidden = torch.zeros(40, 4, dtype=torch.bool)
    hidden[::3, -1] = True
    labels = tokens(40, vocabulary=3, seed=2)
    batches = [
        {"query": q, "key": k, "hidden": h, "labels": y}
        for q, k, h, y in zip(query.split(8), key.split(8), hidden.split(8), labels.split(8), strict=True)
    ]
    run = {"forward": lambda model, inputs: model(**inputs)["logits"]}
    for options in ({}, run):
        qmodel = QuantizedActivationsModel(
            random_like(Attention()), of_kind(nn.Linear, nn.MultiheadAttention), **options
        )
        calibrate(qmodel, batches)
        assert qmodel.names[:2] == ("input.query", "input.key") and "attention" in qmodel.names
        if options:
            evaluator = Evaluator(qmodel, batches, **PLAIN)
            inputs = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches]
            settings = [*uniform(qmodel, 2, 4, 8), (2, *[8] * (len(qmodel.names) - 1))]
            assert same_scores(qmodel, evaluator, inputs, labels.split(8), settings)
            assert len(explore(evaluator, evaluations=20, progress=False).front)
        else:  # the dict goes to the metric as it is

            class Logits(Accuracy):
                def measure(self, outputs, targets):
                    return super().measure(outputs["logits"], targets)

                margins = None

            Logits.margins = lambda self, outputs, targets: None
            evaluator = Evaluator(qmodel, batches, metric=Logits(), **PLAIN)
            assert evaluator.evaluate_uniform(8).complete


def test_a_tuple_is_several_inputs_and_one_may_be_left_out():
    left, right, labels = numbers(24, 6), numbers(24, 6, seed=1), tokens(24, vocabulary=3)
    for chosen, names in ((None, ("input.left", "input.right")), (["right"], ("input",)), ([], ())):
        qmodel = QuantizedActivationsModel(random_like(Pairs()), of_kind(nn.Linear), inputs=chosen)
        calibrate(qmodel, [((left, right), labels)])
        assert qmodel.names == (*names, "left", "right", "head")
        evaluator = Evaluator(qmodel, (left, right), labels, **PLAIN)
        inputs = list(zip(left.split(8), right.split(8), strict=True))
        assert same_scores(qmodel, evaluator, inputs, labels.split(8), uniform(qmodel, 2, 5))
        found = explore(evaluator, evaluations=5, progress=False)
        table = found.sensitivities  # counted by items, and not by how many inputs there are
        assert found.full_passes > table.divergence.size * table.images / 24


def test_a_calibrated_model_of_several_inputs_survives_saving_and_loading():
    left, right = numbers(24, 6), numbers(24, 6, seed=1)
    qmodel = QuantizedActivationsModel(random_like(Pairs()), of_kind(nn.Linear))
    calibrate(qmodel, [((left, right), None)])
    qmodel.bit_widths = [3, 4, 5, 6, 7]
    other = QuantizedActivationsModel(random_like(Pairs(), seed=9), of_kind(nn.Linear))
    other.load_state_dict(qmodel.state_dict())
    assert other.names == qmodel.names and other.bit_widths == qmodel.bit_widths
    assert torch.equal(other(left, right), qmodel(left, right))


def test_segmentation_by_mean_iou():
    torch.manual_seed(0)
    network = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4
    )
    images = numbers(12, 3, 32, 32)
    qmodel = QuantizedActivationsModel(network.eval(), conv2d_predicate)
    calibrate(qmodel, images)
    with torch.no_grad():
        masks = network(images)["out"].argmax(dim=1)
    masks[:, :4] = 255
    evaluator = Evaluator(
        qmodel, images, masks, metric=MeanIoU(4, ignore_index=255), **PLAIN | {"batch_size": 4}
    )
    outputs = images.split(4), masks.split(4)
    assert same_scores(qmodel, evaluator, *outputs, uniform(qmodel, 4, 8), batch_size=4)


@pytest.mark.slow
def test_detection_by_mean_average_precision():
    torch.manual_seed(0)
    network = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.3, detections_per_img=5
    )
    images = [
        torch.rand(3, 40, 40 + 8 * (n % 2), generator=torch.Generator().manual_seed(n)) for n in range(4)
    ]
    qmodel = QuantizedActivationsModel(network.eval(), conv2d_predicate)
    calibrate(qmodel, [(images, None)])
    with torch.no_grad():
        found = network([image.clone() for image in images])
    targets = [{"boxes": each["boxes"][:3], "labels": each["labels"][:3]} for each in found]
    metric = TorchMetric(MeanAveragePrecision(), key="map")
    evaluator = Evaluator(qmodel, images, targets, metric=metric, **PLAIN | {"batch_size": 2})
    pairs = [images[:2], images[2:]], [targets[:2], targets[2:]]
    assert same_scores(qmodel, evaluator, *pairs, uniform(qmodel, 6, 8), batch_size=2)
    assert evaluator.evaluate_uniform(None).score > 0.5


def test_a_vision_transformer_of_timm():
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=5, depth=2)
    images = numbers(24, 3, 32, 32)
    qmodel = QuantizedActivationsModel(random_like(network), of_kind(nn.Linear))
    calibrate(qmodel, images)
    assert any("attn.qkv" in name for name in qmodel.names)
    evaluator = Evaluator(qmodel, images, metric=Agreement(), **PLAIN)
    floats = [each.argmax(dim=1) for each in run_plainly(qmodel, None, images.split(8))]
    assert same_scores(qmodel, evaluator, images.split(8), floats, uniform(qmodel, 3, 8))


def test_a_bert_made_from_a_configuration():
    transformers = pytest.importorskip("transformers")
    configuration = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        num_labels=3,
    )
    network = random_like(transformers.BertForSequenceClassification(configuration))
    ids, mask = tokens(24, 9), torch.ones(24, 9, dtype=torch.long)
    mask[::2, 6:] = 0
    labels = tokens(24, vocabulary=3, seed=3)
    data = [
        {"input_ids": i, "attention_mask": m, "labels": y}
        for i, m, y in zip(ids.split(8), mask.split(8), labels.split(8), strict=True)
    ]
    qmodel = QuantizedActivationsModel(
        network, of_kind(nn.Linear), forward=lambda model, inputs: model(**inputs).logits
    )
    calibrate(qmodel, data)
    assert not any(name.startswith("input") for name in qmodel.names) and len(qmodel.names) == 14
    evaluator = Evaluator(qmodel, data, **PLAIN)
    inputs = [{"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]} for batch in data]
    assert same_scores(qmodel, evaluator, inputs, labels.split(8), uniform(qmodel, 2, 8))
    table = sensitivity(qmodel, {"input_ids": ids, "attention_mask": mask}, progress=False)
    assert table.divergence.shape == (14, 7) and (table.divergence >= 0).all()


def test_several_labels_an_item():
    images, there = numbers(32, 6), (numbers(32, 3, seed=4) > 0).long()
    qmodel = QuantizedActivationsModel(
        random_like(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))), of_kind(nn.Linear)
    )
    calibrate(qmodel, images)
    evaluator = Evaluator(qmodel, images, there, metric=MultilabelF1(), **PLAIN)
    assert same_scores(qmodel, evaluator, images.split(8), there.split(8), uniform(qmodel, 2, 4))


def test_super_resolution_without_labels():
    network = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(3, 3, 3, padding=1))
    images = numbers(16, 3, 8, 8)
    qmodel = QuantizedActivationsModel(random_like(network), conv2d_predicate)
    calibrate(qmodel, images)
    evaluator = Evaluator(qmodel, images, metric=SQNR(), **PLAIN)
    floats = run_plainly(qmodel, None, images.split(8))
    assert same_scores(qmodel, evaluator, images.split(8), floats, uniform(qmodel, 3, 6))


class Bytes(Dataset):
    """Pixels as bytes, one by one."""

    def __init__(self, count=40):
        self.pixels = torch.randint(
            256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        return self.pixels[index], int(self.pixels[index].long().sum() % 3)


def scaled(pixels):
    return pixels.float() / 255


@pytest.mark.parametrize("keep", ["memory", "disk"])
@pytest.mark.parametrize("form", ["data set", "loader", "list of batches", "tensors", "arrays"])
def test_data_in_any_form_are_the_same_data(form, keep):
    data = Bytes()
    labels = torch.tensor([data[index][1] for index in range(len(data))])
    forms = {
        "data set": (data,),
        "loader": (DataLoader(data, batch_size=7),),
        "list of batches": (list(zip(data.pixels.split(9), labels.split(9), strict=True)),),
        "tensors": (data.pixels, labels),
        "arrays": (data.pixels.numpy(), labels.numpy()),
    }
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    qmodel = QuantizedActivationsModel(random_like(network), of_kind(nn.Conv2d, nn.Linear))
    calibrate(qmodel, scaled(data.pixels))
    evaluator = Evaluator(qmodel, *forms[form], transform=scaled, keep=keep, **PLAIN)
    assert evaluator.search_set.items.inputs.dtype == torch.uint8
    assert same_scores(
        qmodel, evaluator, scaled(data.pixels).split(8), labels.split(8), uniform(qmodel, 2, 4)
    )
    hardest_first = Evaluator(qmodel, *forms[form], transform=scaled, keep=keep)
    assert hardest_first.evaluate_uniform(3).score == evaluator.evaluate_uniform(3).score
    assert (
        evaluator.fingerprint()
        == Evaluator(qmodel, data.pixels, labels, transform=scaled, **PLAIN).fingerprint()
    )


def test_layers_whose_weights_are_used_without_calling_them_are_explained():
    attention = QuantizedActivationsModel(Attention(), lambda module: isinstance(module, nn.Linear))
    with pytest.raises(LayerError, match=r"without calling them: open_functions\(model, images\)"):
        calibrate(attention, [((numbers(4, 5, 6), numbers(4, 4, 5)), None)])
