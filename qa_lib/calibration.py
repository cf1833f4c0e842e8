"""Calibration: find the ``amax`` of every fake quantizer from a few images."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from qa_lib.errors import CalibrationError, QAWarning
from qa_lib.fake_quantize import SMALLEST_AMAX
from qa_lib.quantized_model import QuantizedActivationsModel

METHODS = ("max",)


def calibrate(qmodel: QuantizedActivationsModel, batches: Iterable[Any], method: str = "max") -> None:
    """Sets the ``amax`` of every fake quantizer of ``qmodel`` in place.

    The batches go through the model with the quantizers watching, not quantizing: every layer sees
    float activations. No ``amax`` is changed if anything goes wrong on the way. The widths stay as
    they are, and a quantizer that is switched off is calibrated too.

    Args:
        qmodel: The model to calibrate; its modules' training modes are put back afterwards.
        batches: Image tensors of shape ``(N, ...)``, or (images, labels, ...) tuples as a
            ``DataLoader`` gives them; a single tensor is taken as one batch.
        method: ``"max"``: the largest magnitude seen, as the toolkit's ``MaxCalibrator`` finds it.

    Raises:
        CalibrationError: The method is unknown, there are no images, they are not floating-point
            tensors, or a NaN or infinity appears in them or in a layer's activations.
        LayerError: A chosen module is never reached, or returns what cannot be quantized.
        DeviceError: The images are not where the model is.

    Warns:
        QAWarning: All activations of a layer were zero.

    Example:
        >>> calibrate(qmodel, workload.calibration_loader())
        >>> float(qmodel.activation_fake_quantizers["input"].amax)
        1.0
    """
    if method not in METHODS:
        raise CalibrationError(f"method is {method!r}; known are {', '.join(METHODS)}")
    qmodel.check_usable()
    with qmodel.lock, _watching(qmodel), qmodel.evaluation_mode(), torch.no_grad():
        for index, images in enumerate(_image_batches(batches)):
            _check_images(qmodel, images, index)
            if index == 0:
                with qmodel.recording(len(images)):
                    qmodel(images)
            else:
                qmodel(images)
        found = {
            name: float(quantizer._calibrator.compute_amax())
            for name, quantizer in qmodel.activation_fake_quantizers.items()
        }
    endless = [name for name, amax in found.items() if not math.isfinite(amax)]
    if endless:
        raise CalibrationError(
            f"the activations of {', '.join(endless)} hold NaN or infinity on these images: check "
            "the model's weights and that the images are scaled as in training"
        )
    for name, amax in found.items():
        qmodel.activation_fake_quantizers[name].amax = amax
    silent = [name for name, amax in found.items() if amax <= SMALLEST_AMAX]
    if silent:
        warnings.warn(
            f"all activations of {', '.join(silent)} are zero on the calibration images, so these "
            "quantizers return zeros at every width: check that the layers are alive",
            QAWarning,
            stacklevel=2,
        )


@contextmanager
def _watching(qmodel: QuantizedActivationsModel) -> Iterator[None]:
    """Quantizers that collect and do not quantize, then whatever they did before."""
    # By quantizer, not by position: the first pass may put the quantizers in another order.
    widths = {quantizer: quantizer.num_bits for quantizer in qmodel.activation_fake_quantizers.values()}
    for quantizer in widths:
        quantizer._calibrator.reset()
        quantizer.enable()
        quantizer.enable_calib()
        quantizer.disable_quant()
    try:
        yield
    finally:
        for quantizer, num_bits in widths.items():
            quantizer.disable_calib()
            quantizer.enable_quant()
            quantizer.num_bits = num_bits


def _image_batches(batches: Iterable[Any]) -> Iterator[Tensor]:
    if not isinstance(batches, Iterable):
        raise CalibrationError(f"batches is {type(batches).__name__}; give image tensors, or a DataLoader")
    count = 0
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if not isinstance(images, Tensor) or not images.dim():
            raise CalibrationError(
                f"a calibration batch is {type(batch).__name__} without images; give image tensors, "
                "or tuples that begin with one"
            )
        count += len(images)
        if len(images):
            yield images
    if not count:
        raise CalibrationError("there are no calibration images: batches is empty (or used up)")


def _check_images(qmodel: QuantizedActivationsModel, images: Tensor, index: int) -> None:
    qmodel.check_device(images)
    if not images.is_floating_point():
        raise CalibrationError(
            f"calibration images are {images.dtype}; give what the model takes: images.float() / 255, say"
        )
    bad = ~torch.isfinite(images).flatten(1).all(dim=1)
    if bad.any():
        first = int(bad.nonzero()[0])
        raise CalibrationError(
            f"{int(bad.sum())} of the {len(images)} images in calibration batch {index} hold NaN or "
            f"infinity (the first is image {first} of the batch): leave them out"
        )
