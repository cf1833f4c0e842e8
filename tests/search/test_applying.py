"""A setting written back into a model of the toolkit, which is then run without this library."""

import copy
import subprocess
import sys

import pytest
import torch
from toolkit_networks import calibrate_by_toolkit, made_by_toolkit, quantizers_of
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore
from qa_lib.errors import AlreadyQuantizedError, BitWidthError, LayerError, SearchError
from qa_lib.export import export_setting, load_setting
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn

LOOP = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, pytorch_quantization.nn
model, images, labels = torch.load(sys.argv[1], weights_only=False)
with torch.no_grad():
    print(*[int(sum((m(batch).argmax(1) == labels[40 * i:][:40]).sum() for i, batch in enumerate(images.split(40)))) for m in model])
assert not any(name.startswith("qa_lib") for name in sys.modules)
"""


def make_toolkit_model(images):
    torch.manual_seed(0)
    made = made_by_toolkit(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 5)
        )
    )
    model = calibrate_by_toolkit(made.eval(), images)
    with torch.no_grad():
        model[4].bias -= model(images).mean(0)  # so that it tells images apart
    return model


@pytest.fixture
def searched(images):
    model = make_toolkit_model(images)
    with torch.no_grad():
        labels = model(images).argmax(1)
    qmodel = QuantizedActivationsModel.adopt(model)
    calibrate(qmodel, images, unsigned=False)
    evaluator = Evaluator(qmodel, images, labels, batch_size=40, hardest_first=False, channels_last=False)
    return qmodel, explore(evaluator, evaluations=40, progress=False), labels


@pytest.mark.slow
def test_the_users_own_loop_counts_the_same(searched, images, tmp_path):
    qmodel, exploration, labels = searched
    qmodel.bit_widths = [2] * len(qmodel.names)
    model, applied = qmodel.remove(), []
    for evaluation in exploration.front_evaluations:
        applied.append(copy.deepcopy(model))
        exploration.apply(evaluation, applied[-1])
    torch.save((applied, images, labels), tmp_path / "applied.pt")
    # From here on nothing of ours is there.
    said = subprocess.run(
        [sys.executable, "-c", LOOP, tmp_path / "applied.pt"], capture_output=True, text=True, check=True
    )
    counts = [round(e.score * 96) for e in exploration.front_evaluations]
    assert list(map(int, said.stdout.split())) == counts and len(set(counts)) > 2


def test_quantizers_that_hooks_call_take_a_setting_too(evaluator, tiny_model, images, labels):
    exploration = explore(evaluator, evaluations=30, progress=False)
    model = evaluator.qmodel.remove()
    mine = {name: toolkit_nn.TensorQuantizer() for name in exploration.names}
    for name, quantizer in mine.items():
        if name != "input":
            model.get_submodule(name).register_forward_hook(lambda m, i, o, quantizer=quantizer: quantizer(o))
    for evaluation in exploration.front_evaluations:
        exploration.apply(evaluation, mine)
        with torch.no_grad():
            outputs = torch.cat([model(mine["input"](batch)) for batch in images.split(40)])
        assert int((outputs.argmax(1) == labels).sum()) == round(evaluation.score * 96)


def test_what_is_off_is_switched_off_and_rows_of_tables_are_taken(searched):
    qmodel, exploration, _ = searched
    model = qmodel.remove()
    for quantizer in quantizers_of(model).values():
        quantizer._scale_amax = 0.5
    exploration.apply(exploration.front.iloc[-1], model)
    widths = {name: quantizer.num_bits for name, quantizer in quantizers_of(model).items()}
    assert tuple(widths[name] for name in exploration.names) == exploration.front_evaluations[-1].bit_widths
    exploration.apply([None, *[3] * (len(exploration.names) - 1)], model)
    named = quantizers_of(model)
    assert named[exploration.names[0]]._disabled and not named[exploration.names[1]]._disabled
    assert named[exploration.names[1]]._scale_amax is None


def partly_searched(images, predicate, share=False):
    model = make_toolkit_model(images)
    if share:
        model[2]._input_quantizer = model[0]._input_quantizer
    with torch.no_grad():
        labels = model(images).argmax(1)
    evaluator = Evaluator(QuantizedActivationsModel.adopt(model, predicate), images, labels, batch_size=40)
    exploration = explore(evaluator, evaluations=12, progress=False)
    return exploration, evaluator.qmodel.remove()


def switched_off(model):
    model[4].input_quantizer.disable()


def of_another_width(model):
    model[4].input_quantizer.num_bits = 4


def of_another_amax(model):
    model[4].weight_quantizer._amax *= 2


def one_more(model):
    model[1] = nn.Sequential(model[1], toolkit_nn.TensorQuantizer())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            switched_off,
            r"\['4._input_quantizer'\]\): the first is switched off here, and is switched on .* there",
        ),
        (of_another_width, r"\['4._input_quantizer'\]"),
        (of_another_amax, r"\['4._weight_quantizer'\]"),
        (one_more, r"\['1.1'\]\): the first is switched on .* here, and is switched off there"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_quantizers_that_were_not_searched_have_to_be_as_they_were(images, tmp_path, change, said):
    exploration, model = partly_searched(images, conv2d_predicate)
    best = exploration.front_evaluations[-1]
    exploration.apply(best, copy.deepcopy(model))
    qmodel = QuantizedActivationsModel.adopt(copy.deepcopy(model), conv2d_predicate)
    export_setting(tmp_path / "setting.json", qmodel, best.bit_widths)
    load_setting(tmp_path / "setting.json").apply(qmodel)
    change(model)
    before = {name: q.num_bits for name, q in quantizers_of(model).items()}
    with pytest.raises(LayerError, match=said):
        exploration.apply(best, model)
    assert {name: q.num_bits for name, q in quantizers_of(model).items()} == before
    other = QuantizedActivationsModel.adopt(model, conv2d_predicate) if change is not one_more else None
    if other is not None:
        with pytest.raises(LayerError, match=said):
            load_setting(tmp_path / "setting.json").apply(other)
        other.remove()


def test_what_layers_share_has_to_be_shared(images):
    exploration, model = partly_searched(images, None, share=True)
    best = exploration.front_evaluations[-1]
    exploration.apply(best, nn.DataParallel(copy.deepcopy(model)))
    apart = copy.deepcopy(model)
    apart[2]._input_quantizer = copy.deepcopy(model[0]._input_quantizer)
    with pytest.raises(
        LayerError, match=r"\['2._input_quantizer'\]\): .* is shared with '0._input_quantizer' there"
    ):
        exploration.apply(best, apart)
    separate, model = partly_searched(images, None)
    model[2]._input_quantizer = model[0]._input_quantizer
    with pytest.raises(LayerError, match=r"is shared with '2._input_quantizer' here"):
        separate.apply(separate.front_evaluations[-1], model)


def test_what_cannot_take_it_is_said_and_stays(searched, qmodel, images):
    theirs, exploration, _ = searched
    best = exploration.front_evaluations[-1]
    with pytest.raises(AlreadyQuantizedError, match=r"remove\(\)"):
        exploration.apply(best, theirs.model)
    model = theirs.remove()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LayerError, match=r"Conv2d has no quantizers .* called \['0._input_quantizer', "):
        exploration.apply(best, nn.Conv2d(1, 1, 1))
    with pytest.raises(SearchError, match="of another model or search set"):
        exploration.apply(Evaluator(qmodel, images, images[:, 0, 0, 0].long()).evaluate([4] * 4), model)
    with pytest.raises(BitWidthError, match="names no width of"):
        exploration.apply({"0._input_quantizer": 4}, model)
    model[4]._weight_quantizer = toolkit_nn.TensorQuantizer(QuantDescriptor(learn_amax=True, amax=1.0))
    with pytest.raises(LayerError, match="learns its amax"):
        exploration.apply(best, model)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items() if "4._weight" not in k)


def test_one_quantizer_for_two_names_or_of_another_class_is_refused(searched):
    qmodel, exploration, _ = searched
    best, one = exploration.front_evaluations[-1], toolkit_nn.TensorQuantizer()
    mine = {name: toolkit_nn.TensorQuantizer() for name in exploration.names}
    with pytest.raises(LayerError, match="'0._input_quantizer' and '2._input_quantizer' are one quantizer"):
        exploration.apply(best, mine | {"0._input_quantizer": one, "2._input_quantizer": one})
    with pytest.raises(LayerError, match="no plain TensorQuantizer"):
        exploration.apply(best, qmodel.fake_quantizers)
    with pytest.raises(AlreadyQuantizedError, match=r"remove\(\)"):
        exploration.apply(best, qmodel)


def test_what_was_searched_inside_data_parallelism_is_applied_to_what_is_not(images):
    model = make_toolkit_model(images)
    with torch.no_grad():
        labels = model(images).argmax(1)
    qmodel = QuantizedActivationsModel.adopt(nn.DataParallel(model))
    exploration = explore(Evaluator(qmodel, images, labels, batch_size=40), evaluations=12, progress=False)
    best = exploration.front_evaluations[-1]
    qmodel.remove()
    exploration.apply(best, model)
    widths = tuple(model.get_submodule(name.removeprefix("module.")).num_bits for name in exploration.names)
    assert widths == best.bit_widths
