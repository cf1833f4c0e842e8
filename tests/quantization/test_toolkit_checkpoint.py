"""Checkpoints of the toolkit's models load where there is no GPU."""

import copy

import pytest
import torch
from toolkit_networks import calibrate_by_toolkit, made_by_toolkit, quantizers_of
from torch import nn

from qa_lib import QuantizedActivationsModel, load_toolkit_checkpoint
from qa_lib.errors import AlreadyQuantizedError, CalibrationError, DataError, LayerError

IMAGES = torch.rand(8, 1, 5, 5, generator=torch.Generator().manual_seed(0))


def make(width=4):
    return made_by_toolkit(
        lambda: nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(9 * width, 5))
    )


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = calibrate_by_toolkit(make().eval(), IMAGES)
    torch.save(model.state_dict(), tmp_path / "qat.pt")
    return model, tmp_path / "qat.pt"


def wrapped(state):
    return {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}


@pytest.mark.parametrize("inside", [dict, wrapped], ids=["state dict", "of a training script"])
@pytest.mark.parametrize(
    "into", [make, lambda: calibrate_by_toolkit(make(), IMAGES)], ids=["fresh", "calibrated"]
)
def test_it_loads_and_returns_what_the_saved_model_did(saved, inside, into):
    model, path = saved
    torch.save(inside(model.state_dict()), path)
    loaded = load_toolkit_checkpoint(into(), path)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), model(IMAGES))
        assert torch.equal(QuantizedActivationsModel.adopt(loaded)(IMAGES), model(IMAGES))


def test_one_number_may_have_any_shape(saved):
    model, path = saved
    torch.save(model.state_dict() | {"0._input_quantizer._amax": torch.ones(1, 1, 1, 1)}, path)
    loaded = load_toolkit_checkpoint(make(), path)
    assert loaded[0].input_quantizer.amax.shape == (1, 1, 1, 1)
    assert QuantizedActivationsModel.adopt(loaded).fake_quantizers["0._input_quantizer"].amax == 1


@pytest.mark.parametrize("outside", [nn.DataParallel, nn.Identity], ids=["into DataParallel", "into none"])
@pytest.mark.parametrize("saved_in", [nn.DataParallel, None], ids=["of DataParallel", "of none"])
def test_data_parallelism_is_no_matter(saved, outside, saved_in):
    model, path = saved
    torch.save((saved_in(model) if saved_in else model).state_dict(), path)
    fresh = nn.DataParallel(make()) if outside is nn.DataParallel else make()
    assert load_toolkit_checkpoint(fresh, path) is fresh
    with torch.no_grad():
        assert torch.equal(fresh(IMAGES), model(IMAGES))


def test_what_was_not_calibrated_is_named_unless_it_is_off(saved):
    model, path = saved
    torch.save({k: v for k, v in model.state_dict().items() if k != "3._input_quantizer._amax"}, path)
    fresh = make()
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(CalibrationError, match=r"no amax of 1 of the 4 quantizers \(3._input_quantizer\)"):
        load_toolkit_checkpoint(fresh, path)
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in before.items())
    fresh[3].input_quantizer.disable()
    assert load_toolkit_checkpoint(fresh, path)[3].input_quantizer.amax is None


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (lambda s: make(8).state_dict(), LayerError, "another network than this Sequential: it has in another shape"),
        (lambda s: s | {"4.weight": torch.ones(1)}, LayerError, r"has, which the model has not, \['4.weight'\]"),
        (lambda s: {k: v for k, v in s.items() if k != "3.bias"}, LayerError, r"it has no \['3.bias'\]"),
        (lambda s: s | {"0._input_quantizer._amax": torch.tensor(-1.0)}, CalibrationError, "0._input_quantizer._amax"),
        (lambda s: s | {"3._weight_quantizer._amax": torch.ones(5)}, CalibrationError, r"'3._weight_quantizer' has shape \(5,\)"),
        (lambda s: s | {"3._input_quantizer._amax": torch.ones(5)}, CalibrationError, "it has to be one number"),
        (lambda s: s | {"3._input_quantizer._amax": torch.tensor(torch.nan)}, CalibrationError, r"no amax of 1 of the 4 quantizers \(3._input_quantizer\)"),
        (lambda s: s | {"3._input_quantizer._amax": torch.tensor(1.0).double()}, CalibrationError, "is torch.float64"),
        (lambda s: {"net": s}, DataError, r"holds dict of \['net'\] and no state dict: .* 'state_dict'"),
        (lambda s: [1, 2], DataError, "holds list and no state dict"),
        (lambda s: {}, DataError, "no state dict"),
        (lambda s: nn.Linear(1, 1), DataError, "holds more than tensors, a whole model perhaps"),
    ],
    ids=[
        "wider", "more", "fewer", "negative", "of too few dimensions", "for channels", "nan", "double", "inside something", "list", "empty", "a whole module",
    ],
)  # fmt: skip
def test_other_files_are_refused(saved, state, error, said):
    model, path = saved
    torch.save(state(dict(model.state_dict())), path)
    fresh = calibrate_by_toolkit(make(), 2 * IMAGES)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(error, match=said):
        load_toolkit_checkpoint(fresh, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


def test_what_it_cannot_load_into(saved, tmp_path):
    model, path = saved
    with pytest.raises(LayerError, match="no quantizers of pytorch-quantization"):
        load_toolkit_checkpoint(nn.Linear(1, 1), path)
    with pytest.raises(DataError, match="cannot be read"):
        load_toolkit_checkpoint(make(), tmp_path / "none.pt")
    QuantizedActivationsModel.adopt(model)
    assert all(quantizer._disabled for quantizer in quantizers_of(model).values())
    with pytest.raises(AlreadyQuantizedError, match=r"remove\(\)"):
        load_toolkit_checkpoint(model, path)


def test_a_quantizer_that_layers_share_is_loaded_once(tmp_path):
    def shared():
        torch.manual_seed(0)
        model = made_by_toolkit(lambda: nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)))
        model[2]._input_quantizer = model[0]._input_quantizer
        return model.eval()

    model = calibrate_by_toolkit(shared(), IMAGES)
    torch.save(model.state_dict(), tmp_path / "shared.pt")
    loaded = load_toolkit_checkpoint(shared(), tmp_path / "shared.pt")
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), model(IMAGES))


def test_what_was_saved_on_a_gpu_loads_where_there_is_none(saved, monkeypatch):
    model, path = saved
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(model.state_dict(), path)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)
    loaded = load_toolkit_checkpoint(make(), path)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), model(IMAGES))
