"""Measuring the accuracy of bit widths on the search set."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from qa_lib.bit_widths import BitWidths
from qa_lib.costs import total_bits
from qa_lib.errors import DataError
from qa_lib.quantized_model import QuantizedActivationsModel


@dataclass(frozen=True)
class Evaluation:
    """What one setting of the bit widths scored on the search set.

    Attributes:
        bit_widths: ``num_bits`` of each quantizer, in order; None is float.
        correct: Images whose highest logit is the label's.
        images: Images that were shown to the model.
        complete: Whether those were all images of the search set.
        seconds: Wall time of the measurement.
    """

    bit_widths: tuple[int | None, ...]
    correct: int
    images: int
    complete: bool
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the images that are right, 0 to 1; higher is better."""
        return self.correct / self.images

    @property
    def total_bits(self) -> int:
        """Sum of the widths in bits, float counting 32; lower is better."""
        return total_bits(self.bit_widths)

    @property
    def mean_bits(self) -> float:
        """Bits of a quantizer on average; lower is better."""
        return self.total_bits / len(self.bit_widths)


class Evaluator:
    """Measures bit widths on one fixed set of images: always all of them, in the same batches, in
    the same order.

    Args:
        qmodel: The quantized model to measure.
        images: The search set, shape ``(N, ...)``, on the model's device.
        labels: The right class of each image, integers of shape ``(N,)``.
        batch_size: Images in one forward pass. Another batch size may round a sum differently,
            and a result with it.

    Raises:
        DataError: The set is empty, images and labels differ in length, images are not finite
            floating-point numbers, or labels are not integers.
        DeviceError: The images are not where the model is.

    Example:
        >>> evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels)
        >>> evaluator.evaluate([4] * 17).images
        4096
    """

    def __init__(
        self, qmodel: QuantizedActivationsModel, images: Tensor, labels: Tensor, batch_size: int = 128
    ) -> None:
        _check_set(images, labels, batch_size)
        qmodel.check_usable()
        qmodel.check_device(images)
        self.qmodel = qmodel
        self.batch_size = batch_size
        self.images = len(images)
        labels = labels.to(images.device)
        self._largest_label = int(labels.max())
        self._batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))

    def check_measures(self, qmodel: QuantizedActivationsModel) -> None:
        """Raises ``DataError`` unless ``qmodel`` is the model that this evaluator measures."""
        if self.qmodel is not qmodel:
            raise DataError(
                "the evaluator measures another quantized model than the one given: make one for it, "
                "Evaluator(qmodel, images, labels)"
            )

    def evaluate(self, bit_widths: BitWidths) -> Evaluation:
        """Measures one setting of the bit widths on all images.

        The model gets these widths for as long as the measurement lasts, and its own again
        afterwards. Measurements from several threads wait for one another.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that differ
                from the model's present ones; None is float.

        Raises:
            BitWidthError: The widths do not fit the model.
            NotCalibratedError: A quantizer that is switched on has no ``amax``.
            DataError: The model does not return one row of logits for each image.
        """
        self.qmodel.check_usable()
        self.qmodel.check_calibrated(bit_widths)
        with (
            self.qmodel.temporary_bit_widths(bit_widths),
            self.qmodel.evaluation_mode(),
            torch.inference_mode(),
        ):
            widths = self.qmodel.bit_widths
            start = time.perf_counter()
            correct = sum(int(self._correct(images, labels)) for images, labels in self._batches)
            seconds = time.perf_counter() - start
        return Evaluation(widths, correct, self.images, complete=True, seconds=seconds)

    def evaluate_uniform(self, num_bits: int | None) -> Evaluation:
        """Measures the same width for every quantizer; None gives the float model's accuracy."""
        return self.evaluate([num_bits] * len(self.qmodel.names))

    def _correct(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.qmodel(images)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise DataError(
                f"for {len(images)} images the model returns {given}; accuracy needs logits of "
                f"shape ({len(images)}, classes)"
            )
        if self._largest_label >= logits.shape[1]:
            raise DataError(
                f"the largest label is {self._largest_label}, but the model has {logits.shape[1]} classes, "
                f"0 to {logits.shape[1] - 1}: labels and model do not belong together"
            )
        return (logits.argmax(dim=1) == labels).sum()


def _check_set(images: Tensor, labels: Tensor, batch_size: int) -> None:
    for name, value in (("images", images), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise DataError(f"{name} is {type(value).__name__}; give a tensor")
    if not images.dim() or not labels.dim() or len(images) != len(labels) or labels.dim() != 1:
        raise DataError(
            f"images have shape {tuple(images.shape)}, labels {tuple(labels.shape)}; "
            "give one label for each image"
        )
    if not len(images):
        raise DataError("the set of images is empty: an accuracy needs at least one")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"labels are {labels.dtype}; give integer class numbers")
    if int(labels.min()) < 0:
        raise DataError(f"the smallest label is {int(labels.min())}; class numbers begin at 0")
    if not images.is_floating_point():
        raise DataError(f"images are {images.dtype}; give what the model takes: images.float() / 255, say")
    if not images.is_meta and not bool(torch.isfinite(images).all()):
        raise DataError("images hold NaN or infinity: leave those images out")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise DataError(f"batch_size is {batch_size!r}; give a whole number from 1 up")
