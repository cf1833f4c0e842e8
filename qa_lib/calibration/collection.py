"""One pass over the calibration images, for all that calibration needs to know."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.batches.forward import evaluation_mode, forward, try_forward
from qa_lib.batches.reading import input_batches
from qa_lib.batches.structure import check_plain, count_items, floating, on_device
from qa_lib.compiled import compiled
from qa_lib.errors import CalibrationError
from qa_lib.quantization.activation_statistics import (
    KEY_SHIFT,
    KEYS,
    MANTISSA_BITS,
    ActivationStatistics,
    LayerStatistics,
)
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.fake_quantize import flat_view
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

_MOST = 2**32 - 1  # activations that a table of 32-bit counts takes
_BLOCK = 4096  # numbers that stay in the first-level cache between the loops over them


def collect_statistics(qmodel: QuantizedActivationsModel, batches: Iterable[Any]) -> ActivationStatistics:
    """What every fake quantizer of ``qmodel`` is given for these images while none of them quantizes.

    Takes as much memory for a million images as for one. The widths stay as they are.

    Args:
        qmodel: The model; its modules' training modes are put back afterwards.
        batches: Image tensors of shape ``(N, ...)``, or (images, labels, ...) tuples as a
            ``DataLoader`` gives them; a single tensor is taken as one batch.

    Raises:
        CalibrationError: There are no images, they are not floating-point tensors, or a NaN or infinity
            appears in them or in a layer's activations.
        LayerError: A chosen module is never reached, or returns what cannot be quantized.
        DeviceError: The images are on another device than the model, and not in this machine's memory.

    Example:
        >>> statistics = collect_statistics(qmodel, workload.calibration_loader())
        >>> statistics.to_frame().columns.tolist()
        ['name', 'minimum', 'maximum', 'mean', 'zero_share', 'count']
    """
    check_qmodel(qmodel)
    count = 0
    collectors: dict[str, _Collector] = {}
    # The batches come from the user's own code, which runs in none of the modes that the model is put into.
    for index, given in enumerate(input_batches(batches, qmodel.model, any_call=qmodel.has_own_forward)):
        inputs = on_device(given, qmodel.device)
        _check_inputs(qmodel, inputs, index)
        if index == 0:
            qmodel.learn_inputs(inputs)
            collectors = {name: _Collector() for name in qmodel.activation_fake_quantizers}
        items = count_items(inputs)
        recording = qmodel.recording(items) if index == 0 else nullcontext()
        with qmodel.lock, _watching(qmodel, collectors), evaluation_mode(qmodel), torch.no_grad(), recording:
            if index == 0:
                try_forward(qmodel, inputs, CalibrationError)
            else:
                forward(qmodel, inputs)
        if index == 0:
            qmodel.learn_dataflow(inputs)
        count += items
    names = list(qmodel.activation_fake_quantizers)  # in the order of the pass
    empty = [name for name in names if not collectors[name].count]
    if empty:
        raise CalibrationError(
            f"{', '.join(empty)} returned no activations for these images: leave these layers out of the predicate"
        )
    layers = {name: collectors[name].statistics() for name in names}
    endless = [name for name, layer in layers.items() if not np.isfinite(layer.largest_magnitude)]
    if endless:
        raise CalibrationError(
            f"the activations of {', '.join(endless)} hold NaN or infinity (or numbers beyond float32) on these "
            "images: check the model's weights and that the images are scaled as in training"
        )
    return ActivationStatistics(layers, count)


class _Collector:
    """The statistics of one quantizer so far."""

    def __init__(self) -> None:
        self.count, self.minimum, self.maximum = 0, np.inf, -np.inf
        # Small numbers, so that what is touched of them stays in the cache; moved on before they overflow.
        self.recent, self.room = np.zeros(KEYS, np.uint32), _MOST
        self.before: np.ndarray | None = None

    def __call__(self, quantizer: TensorQuantizer, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        if not values.numel():
            return
        if self.room < values.numel():
            self.before = self.recent.astype(np.int64) + (0 if self.before is None else self.before)
            self.recent[:] = 0
            self.room = _MOST
        self.room -= values.numel()
        self.count += values.numel()
        if values.device.type == "cpu":
            smallest, largest = _scan(flat_view(values).numpy(), self.recent)
        else:
            smallest, largest = _scan_on_device(values.contiguous(), self.recent)
        # Not min() and max(): a NaN, once there, is to stay.
        self.minimum, self.maximum = np.minimum(self.minimum, smallest), np.maximum(self.maximum, largest)

    def statistics(self) -> LayerStatistics:
        counts = self.recent if self.before is None else self.before + self.recent
        keys = _full_bins(counts, self.count, max(-self.minimum, self.maximum))
        ends = float(self.minimum), float(self.maximum)
        return LayerStatistics(self.count, *ends, keys, counts[keys].astype(np.int64))


def _full_bins(counts: np.ndarray, count: int, largest: float) -> np.ndarray:
    """The bins that hold something. Looks at the octaves from that of ``largest`` down, until all activations
    are found: most of the table was never touched, and looking there would be slow."""
    half, step = KEYS // 2, 8 << MANTISSA_BITS
    end = (int(np.float32(largest).view(np.uint32)) >> KEY_SHIFT) + 1
    # Zeros, which are far below everything else, first.
    found: dict[int, list[np.ndarray]] = {
        sign: [sign + np.flatnonzero(counts[sign : sign + 1])] for sign in (0, half)
    }
    count -= int(counts[0]) + int(counts[half])
    while count > 0 and end > 1:
        start = max(1, end - step)
        for sign, runs in found.items():
            run = counts[sign + start : sign + end]
            runs.insert(1, sign + start + np.flatnonzero(run > 0))
            count -= int(run.sum(dtype=np.int64))
        end = start
    return np.concatenate([*found[0], *found[half]])


def _scan(values: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Counts ``values`` in, and returns the smallest and the largest."""
    smallest, largest = _scan_bits(values.view(np.int32), counts, np.uint32(KEY_SHIFT))
    return _from_ordered(int(smallest)), _from_ordered(int(largest))


def _from_ordered(ordered: int) -> float:
    """The float32 whose place among all numbers is ``ordered``, that of 0 being 0."""
    return struct.unpack("f", struct.pack("i", ordered if ordered >= 0 else ordered ^ 0x7FFFFFFF))[0]


def _scan_on_device(values: Tensor, counts: np.ndarray) -> tuple[float, float]:
    keys = (values.view(torch.int32) >> KEY_SHIFT) & (KEYS - 1)
    counts += torch.bincount(keys.flatten(), minlength=KEYS).cpu().numpy().astype(np.uint32)
    return tuple(torch.stack(torch.aminmax(values)).tolist())


@compiled
def _scan_bits(bits: np.ndarray, counts: np.ndarray, shift: np.uint32) -> tuple[np.int32, np.int32]:
    smallest, largest = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        # A loop of its own, so that the compiler makes vectors of it. As integers in the order of the numbers,
        # NaN beyond infinity.
        for index in range(block.size):
            ordered = block[index] ^ ((block[index] >> 31) & np.int32(0x7FFFFFFF))
            smallest, largest = min(smallest, ordered), max(largest, ordered)
        for index in range(block.size):
            counts[np.uint32(block[index]) >> shift] += np.uint32(1)
    return smallest, largest


@contextmanager
def _watching(qmodel: QuantizedActivationsModel, collectors: dict[str, _Collector]) -> Iterator[None]:
    """Quantizers that show a collector each what they are given, and do not quantize."""
    # By quantizer, not by position: a pass may put the quantizers in another order.
    widths = {quantizer: quantizer.num_bits for quantizer in qmodel.fake_quantizers.values()}
    handles = [
        quantizer.register_forward_pre_hook(collectors[name])
        for name, quantizer in qmodel.activation_fake_quantizers.items()
    ]
    try:
        for quantizer in widths:
            quantizer.num_bits = None
        yield
    finally:
        for handle in handles:
            handle.remove()
        for quantizer, num_bits in widths.items():
            quantizer.num_bits = num_bits


def _check_inputs(qmodel: QuantizedActivationsModel, inputs: Any, index: int) -> None:
    check_plain("calibration images", inputs)
    qmodel.check_device(inputs)
    if isinstance(inputs, Tensor) and not inputs.is_floating_point() and qmodel.takes_numbers:
        raise CalibrationError(
            f"calibration images are {inputs.dtype}; give what the model takes: images.float() / 255, say"
        )
    if isinstance(inputs, Tensor) and inputs.dim() < 2:
        raise CalibrationError(
            f"calibration batch {index} has shape {tuple(inputs.shape)}; give batches of images, shape (N, ...)"
        )
    for images in floating(inputs):
        bad = ~torch.isfinite(images).reshape(len(images), -1).all(dim=1)
        if bad.any():
            first = int(bad.nonzero()[0])
            raise CalibrationError(
                f"{int(bad.sum())} of the {len(images)} images in calibration batch {index} hold NaN or "
                f"infinity (the first is image {first} of the batch): leave them out"
            )
