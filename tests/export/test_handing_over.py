"""A setting on the other side: the same grids, bit for bit."""

import json

import jsonschema
import pytest
import torch
from tiny import make_tiny_model

from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import BitWidthError, DataError, NotCalibratedError
from qa_lib.export import export_setting, load_setting, setting_schema

WIDTHS = (8, 4, None, 3)


@pytest.fixture
def qmodel(images):
    """Calibrated with an amax for each width, one grid unsigned."""
    quantized = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    calibrate(quantized, images, method="mse")
    assert quantized.activation_fake_quantizers["input"].unsigned
    return quantized


def by_hand(values, row):
    """What a file says of a quantizer, without anything of ours."""
    if row["num_bits"] is None:
        return values
    low, high = row["levels"]
    steps = torch.tensor(high, dtype=torch.float32) / torch.tensor(row["amax"], dtype=torch.float32)
    return torch.clamp(torch.round(values * steps), low, high) / steps


@pytest.mark.parametrize("num_bits", [*range(2, 9), 16])
def test_what_the_file_says_is_what_the_quantizers_do(qmodel, tmp_path, num_bits):
    export_setting(tmp_path / "setting.json", qmodel, [num_bits] * 4)
    rows = json.loads((tmp_path / "setting.json").read_text())["quantizers"]
    assert [row["name"] for row in rows] == list(qmodel.names)
    values = 3 * torch.randn(5000, generator=torch.Generator().manual_seed(num_bits))
    qmodel.bit_widths = [num_bits] * 4
    for row, quantizer in zip(rows, qmodel.activation_fake_quantizers.values(), strict=True):
        assert torch.equal(by_hand(values, row), quantizer(values))
        assert row["scale"] == row["amax"] / row["levels"][1] and row["zero_point"] == 0
        assert row["levels"] == (
            [0, 2**num_bits - 1] if not row["signed"] else [-(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1]
        )


def test_a_model_that_was_never_calibrated_does_what_the_other_did(qmodel, evaluator, images, tmp_path):
    written = export_setting(tmp_path / "setting.json", qmodel, evaluator.evaluate(WIDTHS))
    read = load_setting(tmp_path / "setting.json")
    assert read == written and read.bit_widths == WIDTHS
    content = json.loads((tmp_path / "setting.json").read_text())
    jsonschema.validate(content, setting_schema())
    assert (
        content["score"]["items"] == 96 and content["fingerprint"] == evaluator.evaluate(WIDTHS).fingerprint
    )
    assert content["quantizers"][1]["shape"] == [4, 6, 6] and content["model"] == "TinyNet"
    other = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    read.apply(other)
    assert other.bit_widths == WIDTHS
    with torch.no_grad(), qmodel.temporary_bit_widths(WIDTHS):
        assert torch.equal(other(images), qmodel(images))
    assert qmodel.bit_widths == (8, 8, 8, 8)


def test_widths_alone_have_no_score(qmodel, tmp_path):
    export_setting(tmp_path / "setting.json", qmodel, {"conv1": 2})
    content = json.loads((tmp_path / "setting.json").read_text())
    jsonschema.validate(content, setting_schema())
    assert content["score"] is None and content["fingerprint"] is None and content["total_bits"] == 26


def test_what_cannot_be_handed_over_is_a_sentence(qmodel, tmp_path):
    path = tmp_path / "setting.json"
    for given, error, message in (
        ((path, qmodel, [8] * 3), BitWidthError, "3"),
        (
            (path, qmodel, [8] * 4, "onnx"),
            DataError,
            r"give a name that ends in \.onnx; the JSON file lies beside it",
        ),
        ((tmp_path / "no" / "setting.json", qmodel, [8] * 4), DataError, "lies in no folder that exists"),
        (
            (path, QuantizedActivationsModel(make_tiny_model(), conv2d_predicate), [8] * 4),
            NotCalibratedError,
            "have no amax",
        ),
    ):
        with pytest.raises(error, match=message):
            export_setting(*given)
    assert not path.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.update(format="setting"), "no setting that was handed over"),
        (lambda content: content.update(version=2), "is version 2 of a setting, and this qa_lib reads 1"),
        (lambda content: content.pop("quantizers"), "damaged setting"),
        (lambda content: content.update(quantizers=[]), "names twice, or none"),
        (lambda content: content["quantizers"][0].update(num_bits=1), "damaged setting"),
        (lambda content: content["quantizers"][0].update(amax=-1.0), "damaged setting"),
        (lambda content: content["quantizers"][0].update(amax=None), "no amax of 'input'"),
        (lambda content: content["quantizers"][0].update(amax=0.1), "do not belong together"),
        (lambda content: content["quantizers"][0].update(levels=[-8, 7]), "do not belong together"),
        (lambda content: content["quantizers"][0].update(signed="yes"), "damaged setting"),
        (lambda content: content["quantizers"][1].update(name="input"), "names twice"),
    ],
)
def test_a_file_that_is_damaged_is_refused(qmodel, tmp_path, damage, message):
    path = tmp_path / "setting.json"
    export_setting(path, qmodel, WIDTHS)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_setting(path)


def test_other_files_and_models_are_refused(qmodel, tmp_path):
    path = tmp_path / "setting.json"
    with pytest.raises(DataError, match="cannot be read as a setting"):
        load_setting(path)
    path.write_text("[1]")
    with pytest.raises(DataError, match="no setting that was handed over"):
        load_setting(path)
    export_setting(path, qmodel, WIDTHS)
    other = QuantizedActivationsModel(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), conv2d_predicate)
    with pytest.raises(DataError, match="this model has"):
        load_setting(path).apply(other)


def test_an_amax_of_next_to_nothing_makes_zeros(qmodel, tmp_path):
    qmodel.activation_fake_quantizers["conv1"].amax = 2.0**-30
    export_setting(tmp_path / "setting.json", qmodel, [4] * 4)
    grid = load_setting(tmp_path / "setting.json").grids["conv1"]
    assert grid.scale == (0.0,) and grid.amax == (2.0**-30,)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("num_bits", [2, 5, 8, 16])
def test_grids_of_weights_are_handed_over_by_channel(tiny_model, images, tmp_path, per_channel, num_bits):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True, per_channel=per_channel)
    calibrate(qmodel, images)
    widths = [8, 8, 8, 8, num_bits, num_bits, num_bits]
    export_setting(tmp_path / "setting.json", qmodel, widths)
    content = json.loads((tmp_path / "setting.json").read_text())
    jsonschema.validate(content, setting_schema())
    row = next(row for row in content["quantizers"] if row["name"] == "conv1.weight")
    assert (
        row["kind"] == "weight"
        and row["axis"] == (0 if per_channel else None)
        and row["shape"] == [4, 1, 3, 3]
    )
    qmodel.bit_widths = widths
    weight = tiny_model.conv1.weight.detach()
    amax = torch.tensor(row["amax"]).reshape(-1, 1, 1, 1)
    scale = row["levels"][1] / amax  # as the toolkit has it, in single precision
    by_hand = (weight * scale).round().clamp(*row["levels"]) / scale
    assert torch.equal(by_hand, qmodel.fake_quantizers["conv1.weight"](weight))
    with torch.no_grad():
        expected = qmodel(images)
        fresh = QuantizedActivationsModel(
            make_tiny_model(), conv2d_predicate, weights=True, per_channel=per_channel
        )
        load_setting(tmp_path / "setting.json").apply(fresh)
        assert torch.equal(fresh(images), expected)
    other = QuantizedActivationsModel(
        make_tiny_model(), conv2d_predicate, weights=True, per_channel=not per_channel
    )
    with pytest.raises(DataError, match="the same per_channel="):
        load_setting(tmp_path / "setting.json").apply(other)


def test_a_score_of_another_model_is_not_handed_over(qmodel, evaluator, images, tmp_path):
    measured = evaluator.evaluate([4] * 4)
    export_setting(tmp_path / "setting.json", qmodel, measured)
    calibrate(qmodel, images, method="max")
    with pytest.raises(DataError, match="of another model, or of this one before a calibration"):
        export_setting(tmp_path / "setting.json", qmodel, measured)
    export_setting(tmp_path / "setting.json", qmodel, measured.bit_widths)
    assert load_setting(tmp_path / "setting.json").facts["score"] is None


@pytest.mark.parametrize(("field", "value"), [("zero_point", 3), ("axis", 1), ("kind", "bias")])
def test_a_grid_that_no_quantizer_here_has_is_refused(qmodel, tmp_path, field, value):
    path = tmp_path / "setting.json"
    export_setting(path, qmodel, [4] * 4)
    content = json.loads(path.read_text())
    content["quantizers"][1][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="damaged setting"):
        load_setting(path)
