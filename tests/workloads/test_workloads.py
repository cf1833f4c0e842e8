import shutil

import pytest
import torch

from qa_lib import QuantizedActivationsModel, errors, load_workload, register_workload
from qa_lib.workloads import workload as workloads


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
