import hashlib
import os
import shutil
import sys

import pytest
import torch

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, errors, load_workload, register_workload
from qa_lib.__main__ import main
from qa_lib.workloads import workload as workloads
from qa_lib.workloads.scenes import compose


def test_the_three_sets(workload):
    for name, count in (("calibration", 1024), ("search", 4096), ("holdout", 5904)):
        images, labels = getattr(workload, f"{name}_images"), getattr(workload, f"{name}_labels")
        assert images.shape == (count, 1, 28, 28)
        assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert (float(images.min()), float(images.max())) == (0.0, 1.0)
        per_class = torch.bincount(labels, minlength=10)
        assert per_class.max() - per_class.min() <= 1
    assert len(workload.class_names) == 10


def test_no_image_is_in_two_sets(workload):
    sets = [
        {image.numpy().tobytes() for image in images}
        for images in (workload.search_images, workload.holdout_images, workload.calibration_images)
    ]
    search, holdout, calibration = sets
    # Fashion-MNIST itself holds a few pictures twice; images, not pictures, are disjoint.
    assert len(search & holdout) <= 3
    assert len((search | holdout) & calibration) <= 3


def test_the_split_numbers_are_disjoint_and_complete():
    arrays = workloads.np.load(workloads.DATA_FOLDER / "fashion_mnist.npz")
    numbers = [*arrays["search_indices"], *arrays["holdout_indices"]]
    assert sorted(numbers) == list(range(10_000))
    assert len(set(arrays["calibration_indices"].tolist())) == 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantizers", "correct"),
    [("fashion_mnist", 17, 9360), ("fashion_mnist_mobilenet", 34, 9259), ("fashion_mnist_convnet", 5, 9043)],
)
def test_the_models_are_as_good_as_stated(name, quantizers, correct):
    workload = load_workload(name)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    assert len(qmodel.activation_fake_quantizers) == quantizers
    qmodel.bit_widths = [None] * quantizers
    images = torch.cat([workload.search_images, workload.holdout_images])
    labels = torch.cat([workload.search_labels, workload.holdout_labels])
    with torch.inference_mode():
        found = sum(
            int((qmodel(x).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    assert abs(found - correct) <= 2  # another processor may round a tie the other way


def test_the_calibration_loader_begins_anew_each_time(workload):
    for _ in range(2):
        batches = list(workload.calibration_loader(500))
        assert [len(images) for images, _ in batches] == [500, 500, 24]
        assert torch.equal(torch.cat([labels for _, labels in batches]), workload.calibration_labels)


def test_each_load_is_a_fresh_copy(workload):
    assert load_workload("fashion_mnist").model is not workload.model


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(errors.WorkloadError, match=r"no workload 'imagenet'; known are fashion_mnist"):
        load_workload("imagenet")


def test_a_workload_of_ones_own_takes_a_few_lines(workload, monkeypatch):
    monkeypatch.setattr(workloads, "_builders", dict(workloads._builders))

    @register_workload("mine")
    def mine():
        return workload

    assert load_workload("mine") is workload
    assert workloads.known_workloads() == (
        "fashion_mnist",
        "fashion_mnist_convnet",
        "fashion_mnist_mobilenet",
        "garment_scenes",
        "mine",
    )


@pytest.fixture
def data_copy(tmp_path, monkeypatch):
    for name in ("fashion_mnist.npz", "fashion_mnist_resnet.pt", "SHA256SUMS"):
        shutil.copy(workloads.DATA_FOLDER / name, tmp_path)
    monkeypatch.setattr(workloads, "DATA_FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["fashion_mnist.npz", "fashion_mnist_resnet.pt", "SHA256SUMS"])
def test_a_missing_file_is_named_with_the_way_to_make_it(data_copy, name):
    (data_copy / name).unlink()
    with pytest.raises(errors.WorkloadError, match=rf"{name} is missing.*prepare_fashion_mnist.py"):
        load_workload("fashion_mnist")


@pytest.mark.parametrize("name", ["fashion_mnist.npz", "fashion_mnist_resnet.pt"])
def test_a_damaged_file_is_named_with_the_way_to_make_it(data_copy, name):
    content = bytearray((data_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (data_copy / name).write_bytes(content)
    with pytest.raises(errors.WorkloadError, match=rf"{name} is damaged.*prepare_fashion_mnist.py"):
        load_workload("fashion_mnist")


OWN = """
import torch
from torch import nn
from qa_lib import Workload, conv2d_predicate
from qa_lib.metrics import SQNR

def mine():
    return Workload("mine", nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).eval(), conv2d_predicate,
                    torch.rand(16, 3, 8, 8), search_images=torch.rand(24, 3, 8, 8), metric=SQNR())

def fails():
    raise OSError("no file")

def nothing():
    return None

def unsearched():
    return Workload("mine", nn.Conv2d(3, 4, 3), conv2d_predicate, torch.rand(16, 3, 8, 8))
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_workloads.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_workloads"
    sys.modules.pop("my_workloads", None)


def test_a_workload_of_ones_own_is_searched_from_the_command_line(own_module, tmp_path, capsys):
    assert load_workload(f"{own_module}:mine").metric.name == "SQNR"
    out = tmp_path / "out"
    options = ["--evaluations", "6", "--population-size", "3", "--out", str(out)]
    assert main(["explore", "--workload", f"{own_module}:mine", *options]) == 0
    said = capsys.readouterr().out
    assert "SQNR" in said and " dB" in said and "accuracy" not in said
    assert (out / "front.csv").read_text().startswith("SQNR,total_bits,mean_bits,input,0,1")
    assert (out / "front.html").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:mine", "importing it raised ModuleNotFoundError"),
        ("my_workloads:theirs", "my_workloads has no function 'theirs'"),
        ("my_workloads:fails", "raised OSError: no file"),
        ("my_workloads:unsearched", "has no search_images"),
        ("my_workloads:nothing", "is NoneType; give a function that returns a Workload"),
        (":", "importing it raised"),
    ],
)
def test_what_is_no_workload_is_a_sentence(own_module, name, message, capsys):
    with pytest.raises(errors.WorkloadError, match=message):
        load_workload(name)
    assert main(["explore", "--workload", name]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_line_lists_what_there_is(capsys):
    assert main(["workloads"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in workloads.known_workloads()) and "mean IoU" in said


def test_scenes_have_exact_masks_and_are_the_same_everywhere():
    arrays = workloads.np.load(workloads.DATA_FOLDER / "fashion_mnist.npz")
    scenes, masks = compose(arrays["search_images"], arrays["search_labels"], 40, seed=1)
    assert scenes.shape == masks.shape == (40, 64, 64)
    digest = hashlib.sha256(scenes.tobytes() + masks.tobytes()).hexdigest()
    assert digest == "58a8165e9d595b9df1e8bb77fd5fd74158652086d7968270f0b4b88980d0cbe2"
    for mask in masks:
        assert 0.2 < (mask == 0).mean() < 1  # some of it is ground, and something lies on it
    assert set(masks.ravel()) == set(range(11))


@pytest.mark.slow
def test_the_segmentation_network_is_as_good_as_stated():
    workload = load_workload("garment_scenes")
    assert os.path.getsize(workloads.DATA_FOLDER / "garment_scenes_unet.pt") < 500_000
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    assert len(qmodel.names) == 12
    images, masks = workload.search_images, workload.search_labels
    evaluator = Evaluator(qmodel, images, masks, metric=workload.metric)
    counts = torch.zeros(3, 11, dtype=torch.long)
    float_model = load_workload("garment_scenes").model
    with torch.no_grad():
        found = torch.cat([float_model(batch).argmax(dim=1) for batch in images.split(64)])
    for number in range(11):
        counts[:, number] = torch.tensor(
            [
                int(((found == number) & (masks == number)).sum()),
                int((found == number).sum()),
                int((masks == number).sum()),
            ]
        )
    by_hand = float((counts[0] / (counts[1] + counts[2] - counts[0])).mean())
    score = evaluator.evaluate_uniform(None).score
    assert score == pytest.approx(by_hand, abs=2e-3)  # other batches round a few pixels the other way
    assert score == pytest.approx(0.539, abs=2e-3)
    holdout = Evaluator(qmodel, workload.holdout_images, workload.holdout_labels, metric=workload.metric)
    assert abs(holdout.evaluate_uniform(None).score - score) < 0.03
