"""Calibration: find the ``amax`` of every fake quantizer from a few images."""

import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from qa_lib.bit_widths import WIDTHS
from qa_lib.calibration.amax import AmaxByWidth, Given, KeptImages, finder
from qa_lib.calibration.collection import collect_statistics
from qa_lib.calibration.weights import WEIGHT_METHODS, calibrate_weights
from qa_lib.checks import shown
from qa_lib.errors import CalibrationError, QAWarning
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.fake_quantize import SMALLEST_AMAX
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def calibrate(
    qmodel: QuantizedActivationsModel,
    batches: Iterable[Any] | ActivationStatistics,
    method: str = "mse",
    *,
    per_width: bool = True,
    unsigned: bool | str | None = None,
    weights: str | None = None,
    **options: Any,
) -> CalibrationRecord:
    """Sets the ``amax`` of every fake quantizer of ``qmodel`` in place.

    The batches go through the model once, with the quantizers watching, not quantizing: every layer sees
    float activations. From what they saw (``qmodel.statistics``) follows ``amax`` for all widths at once. No
    ``amax`` is changed if anything goes wrong on the way. The widths stay as they are, and a quantizer that
    is switched off is calibrated too.

    Args:
        qmodel: The model to calibrate; its modules' training modes are put back afterwards.
        batches: Image tensors of shape ``(N, ...)``, or (images, labels, ...) tuples as a
            ``DataLoader`` gives them; a single tensor or array, a ``Dataset``. Or statistics that were
            collected before, and then no image goes through the model.
        method: From the statistics of each layer: ``"max"``, ``"percentile"``, ``"mse"``, ``"entropy"``, or
            what ``register_calibration_method`` has added; their docstrings (``qa_lib.calibration.methods``) say
            what they do. ``"max"`` is what the toolkit does unless told otherwise. From what the network
            returns: ``"output"``, better at few bits, in minutes instead of a blink; for images only.
        per_width: Find an ``amax`` for each width, which ``num_bits`` then takes along; otherwise one for
            all widths, the best for the width that each quantizer has now (8 if it is switched off).
            Method ``"output"`` tunes widths 2 to 8 with this width everywhere (``"mse"`` serves the wider), or,
            with False, the setting that the model has now.
        unsigned: Whether the grids begin at 0 and have twice as many levels above: True, False, or
            ``"auto"`` for those quantizers that were given nothing negative. None is False with method ``"max"``,
            otherwise ``"auto"``.
        weights: Where weights have quantizers, how the ``amax`` of these is found, for each output channel: ``"max"`` or ``"mse"``
            (``qa_lib.calibration.weights.weight_amax``), whose grids are always signed. None is ``"max"`` with method ``"max"``, otherwise ``"mse"``. Activations
            are those that weights in float make.
        **options: Options of the method, such as ``percentile=99.9``. For ``"output"``: ``images=256`` (how many
            of the calibration images it compares outputs on), ``divergence=output_divergence`` (how:
            Kullback-Leibler for logits; for a regression ``qa_lib.metrics.divergence.mean_squared_error``), and
            ``progress=True`` (show a bar).

    Returns:
        What was done, and what it cost; also kept as ``qmodel.calibration``.

    Raises:
        CalibrationError: The method or an option of it is unknown, there are no images, they are not
            floating-point tensors, a NaN or infinity appears in them or in a layer's activations, or a
            quantizer that is to be unsigned was given negative values.
        LayerError: A chosen module is never reached, or returns what cannot be quantized.
        DeviceError: The images are not where the model is.

    Warns:
        QAWarning: All activations of a layer were zero, or its ``amax`` is next to nothing.

    Example:
        >>> calibrate(qmodel, workload.calibration_loader(), method="percentile", percentile=99.9).images
        1024
        >>> float(qmodel.activation_fake_quantizers["input"].amax)
        1.0
    """
    start = time.perf_counter()
    if not isinstance(qmodel, QuantizedActivationsModel):
        raise CalibrationError(
            f"calibrate takes a QuantizedActivationsModel, not {type(qmodel).__name__}: wrap the model first, "
            "QuantizedActivationsModel(model, predicate)"
        )
    qmodel.check_usable()
    if channels := [n for n, q in qmodel.activation_fake_quantizers.items() if q.axis is not None]:
        raise CalibrationError(
            f"{', '.join(channels)} have an amax for each channel, and calibrate finds one for all of an activation: keep what came along, or adopt the "
            "model with axis=None in their descriptors"
        )
    how = finder(method)
    how.check(options)
    _check_one_of("per_width", per_width, (True, False))
    _check_one_of("unsigned", unsigned, (True, False, "auto", None))
    unsigned = bool(unsigned) if isinstance(unsigned, np.bool_) else unsigned
    _check_one_of("weights", weights, (*WEIGHT_METHODS, None))
    weights = weights or ("max" if method == "max" else "mse")
    if isinstance(batches, ActivationStatistics):
        statistics, passes = batches, 0.0
        _check_names(qmodel, statistics)
        kept = KeptImages((), how.images(options))
        if kept.wanted:
            raise CalibrationError(
                f"method {method!r} looks at what the network returns: give it images, not statistics"
            )
    else:
        kept = KeptImages(batches, how.images(options), qmodel.model, any_call=qmodel.has_own_forward)
        statistics, passes = collect_statistics(qmodel, kept), 1.0
    signs = _unsigned(statistics, how.unsigned if unsigned is None else unsigned)
    found, more = how.find(Given(qmodel, statistics, kept, signs, per_width, options))
    with qmodel.lock:
        calibrate_weights(qmodel, weights, per_width=per_width)
    record = CalibrationRecord(
        method=method,
        options={option: _plain(value) for option, value in options.items()},
        per_width=any(len(set(amax.values())) > 1 for amax in found.values()),
        unsigned=tuple(name for name, sign in signs.items() if sign),
        images=statistics.images,
        passes=passes + more,
        seconds=time.perf_counter() - start,
        weights=weights if qmodel.weighted_modules else None,
    )
    _take(qmodel, found, signs, statistics, record)
    _warn_of_silence(statistics, found)
    return record


def _take(
    qmodel: QuantizedActivationsModel,
    found: Mapping[str, AmaxByWidth],
    signs: Mapping[str, bool],
    statistics: ActivationStatistics,
    record: CalibrationRecord,
) -> None:
    with qmodel.lock:
        for name, amax in found.items():
            quantizer = qmodel.activation_fake_quantizers[name]
            quantizer.unsigned = signs[name]
            quantizer.negatives = 0
            if len(set(amax.values())) == 1:
                quantizer.amax = amax[WIDTHS[0]]
            else:
                quantizer.set_amax_by_width(amax)
        qmodel.statistics, qmodel.calibration = statistics, record


def _check_one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    known = isinstance(value, (bool, np.bool_, str, type(None))) and value in allowed
    if not known:
        raise CalibrationError(f"{name} is {shown(value)}; allowed are {', '.join(map(repr, allowed))}")


def _check_names(qmodel: QuantizedActivationsModel, statistics: ActivationStatistics) -> None:
    names = list(qmodel.activation_fake_quantizers)
    if set(statistics.layers) != set(names):
        raise CalibrationError(
            f"the statistics are of quantizers {', '.join(statistics.layers)}; this model has "
            f"{', '.join(names)}: collect_statistics(qmodel, batches)"
        )


def _unsigned(statistics: ActivationStatistics, unsigned: bool | str) -> dict[str, bool]:
    negative = [name for name, layer in statistics.layers.items() if layer.minimum < 0]
    if unsigned is True and negative:
        raise CalibrationError(
            f"{', '.join(negative)} were given negative values, which an unsigned grid does not have: "
            'take unsigned="auto"'
        )
    return {
        name: unsigned is True or (unsigned == "auto" and name not in negative) for name in statistics.layers
    }


def _plain(value: Any) -> Any:
    """``value`` as something that a state dict can hold: functions by name."""
    value = value.item() if isinstance(value, np.generic) else value
    known = isinstance(value, (bool, int, float, str, type(None)))
    return value if known else getattr(value, "__name__", type(value).__name__)


def _warn_of_silence(statistics: ActivationStatistics, found: Mapping[str, AmaxByWidth]) -> None:
    mute = [name for name, amax in found.items() if min(amax.values()) <= SMALLEST_AMAX]
    silent = [name for name in mute if not statistics[name].largest_magnitude]
    tiny = [name for name in mute if name not in silent]
    if tiny:
        warnings.warn(
            f"amax of {', '.join(tiny)} is so small (2^-24 or less) at one width or more that these quantizers return "
            "zeros there: layer_table(all_widths=True) shows it; check the images' scale, or take another method",
            QAWarning,
            stacklevel=3,
        )
    if silent:
        warnings.warn(
            f"all activations of {', '.join(silent)} are zero on the calibration images, so these "
            "quantizers return zeros at every width: check that the layers are alive",
            QAWarning,
            stacklevel=3,
        )
