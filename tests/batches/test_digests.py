"""A tensor is hashed once, and again when it has changed."""

import pytest
import torch

from qa_lib.batches import digests
from qa_lib.batches.digests import forget_digests, tensor_digest


@pytest.fixture
def hashed(monkeypatch):
    """How many tensors were looked at as a whole."""
    counted, add = [], digests.add_tensor
    monkeypatch.setattr(digests, "add_tensor", lambda d, t: counted.append(1) or add(d, t))
    return counted


def weights(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make", [lambda: weights(100, 7), lambda: weights(8, 4, 5, 5).to(memory_format=torch.channels_last)]
)
def test_what_has_not_changed_is_hashed_once(hashed, make):
    tensor = make()
    first = tensor_digest(tensor)
    assert tensor_digest(tensor) == first == tensor_digest(make()) and len(hashed) == 2
    forget_digests()
    assert tensor_digest(tensor) == first and len(hashed) == 3


def in_place(tensor):
    tensor[37, 3] += 1e-6


def in_inference_mode(tensor):
    with torch.inference_mode():
        tensor[37, 3] += 1e-6


def other_data(tensor):
    tensor.data = tensor.data.clone() * 1.5


def all_of_the_data(tensor):
    tensor.data.mul_(1.5)


def through_numpy(tensor):
    tensor.numpy()[:] *= 2


@pytest.mark.parametrize("change", [in_place, in_inference_mode, other_data, all_of_the_data, through_numpy])
def test_a_change_is_seen(change):
    tensor = weights(100, 7)
    before = tensor_digest(tensor)
    change(tensor)
    assert tensor_digest(tensor) != before
    fresh = tensor_digest(tensor.clone())
    assert tensor_digest(tensor) == fresh


def test_what_tells_nothing_is_hashed_each_time(hashed):
    with torch.inference_mode():
        made = weights(100, 7)
    for tensor in (made, weights(40, 40)[:, ::2], weights(3)):
        tensor_digest(tensor)
        tensor_digest(tensor)
    assert len(hashed) == 6


def test_one_number_written_past_torch_is_seen_once_all_is_forgotten():
    tensor = weights(1000, 7)
    before = tensor_digest(tensor)
    tensor.data[37, 3] = 9.0  # in no sample
    assert tensor_digest(tensor) == before
    forget_digests()
    assert tensor_digest(tensor) != before


def test_shape_and_type_are_part_of_it():
    tensor = torch.zeros(100)
    found = {
        tensor_digest(t)
        for t in (tensor, tensor.double(), tensor.view(10, 10), tensor.int(), torch.zeros(101))
    }
    assert len(found) == 5
