import pytest
import torch

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.items import Items, in_channels_last

IMAGES = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10) % 3


def cut(images=IMAGES, labels=LABELS, order=None, batch_size=4, channels_last=False):
    order = torch.arange(10) if order is None else order
    return BatchedSet.cut(Items(images, labels), order, batch_size, channels_last)


def test_batches_hold_the_images_in_order():
    order = torch.tensor([3, 1, 0, 2, 9, 8, 7, 6, 5, 4])
    searched = cut(order=order)
    assert [len(labels) for _, labels in searched.batches] == [4, 4, 2]
    assert torch.equal(torch.cat([images for images, _ in searched.batches]), IMAGES[order])
    assert torch.equal(torch.cat([labels for _, labels in searched.batches]), LABELS[order])
    assert searched.images == 10


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_reaches_through_a_convolution(channels):
    images = in_channels_last(torch.rand(2, channels, 4, 4))
    assert images.stride(1) == 1
    output = torch.nn.Conv2d(channels, 5, 1)(images)
    assert output.is_contiguous(memory_format=torch.channels_last)


CHANGES = {
    "one pixel": {
        "images": IMAGES.clone().index_put((torch.tensor(3), *[torch.tensor(0)] * 3), torch.tensor(9.0))
    },
    "one label": {"labels": LABELS.clone().index_fill(0, torch.tensor(5), 0)},
    "the order": {"order": torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, 8, 9])},
    "the batch size": {"batch_size": 5},
    "the layout": {"channels_last": True},
    "the dtype": {"images": IMAGES.double()},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_follows(change):
    assert cut().digest == cut().digest
    assert cut(**CHANGES[change]).digest != cut().digest
