"""How ``amax`` follows from the statistics of a layer: one small function a method, by name."""

import inspect
import numbers
from collections.abc import Callable

from qa_lib.calibration.entropy import least_divergence_amax
from qa_lib.calibration.squared_error import least_squared_error_amax
from qa_lib.checks import shown
from qa_lib.errors import CalibrationError
from qa_lib.quantization.activation_statistics import LayerStatistics

# (statistics of the layer, num_bits, whether the grid is unsigned, options by keyword) -> amax
Method = Callable[..., float]

OUTPUT = "output"  # the one method that works from images


def register_calibration_method(name: str) -> Callable[[Method], Method]:
    """Makes ``calibrate(qmodel, batches, method=name)`` call the decorated function.

    The function is called as ``method(layer, num_bits, unsigned, **options)`` for each quantizer and width:
    ``layer`` is a ``LayerStatistics``, ``num_bits`` 2..16, ``unsigned`` whether the grid begins at 0. It returns
    ``amax``, a finite number from 0 up. ``calibrate`` hands its own keyword options on to it. Layers are worked on
    in several threads at once.

    Raises:
        CalibrationError: ``name`` is that of a method of the library, or the function does not take these arguments.

    Example:
        >>> @register_calibration_method("three_sigma")
        ... def three_sigma(layer, num_bits, unsigned):
        ...     return 3 * layer.mean_square**0.5
        >>> calibrate(qmodel, workload.calibration_loader(), method="three_sigma").method
        'three_sigma'
    """
    if not isinstance(name, str):
        raise CalibrationError(f'write @register_calibration_method("name"): {shown(name)} is not a name')
    if name in BUILT_IN or name == OUTPUT:
        raise CalibrationError(f"method {name!r} is there already: choose another name")

    def register(method: Method) -> Method:
        try:
            inspect.signature(method).bind(None, 8, False)
        except (TypeError, ValueError) as error:
            raise CalibrationError(
                f"method {name!r} has to take (layer, num_bits, unsigned), and options with defaults: {error}"
            ) from error
        _methods[name] = method
        return method

    return register


def known_methods() -> tuple[str, ...]:
    """The names of the methods that work from statistics."""
    return tuple(_methods)


def find_method(name: str) -> Method:
    """The method called ``name``, which has to be known."""
    return _methods[name]


def options_of(name: str) -> list[str] | None:
    """The options that the method called ``name`` takes; None is any."""
    parameters = list(inspect.signature(_methods[name]).parameters.values())[3:]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return None if takes_any else [parameter.name for parameter in parameters]


def largest_magnitude(layer: LayerStatistics, num_bits: int, unsigned: bool) -> float:
    """The largest magnitude, the same for all widths, as the toolkit's ``MaxCalibrator`` finds it."""
    return layer.largest_magnitude


def percentile_of_magnitudes(
    layer: LayerStatistics, num_bits: int, unsigned: bool, percentile: float = 99.99
) -> float:
    """The magnitude below which ``percentile`` % of the activations are, the same for all widths.

    Within one bin of the histogram, as in the toolkit's ``HistogramCalibrator`` (whose default is 99.99).
    """
    if isinstance(percentile, bool) or not isinstance(percentile, numbers.Real) or not 0 <= percentile <= 100:
        raise CalibrationError(
            f"percentile is {shown(percentile)}; give a number from 0 to 100, such as 99.9"
        )
    lower, upper, seen = layer.magnitudes
    wanted = percentile / 100 * layer.count
    place = min(int(seen.searchsorted(wanted)), len(seen) - 1)
    before = seen[place - 1] if place else 0.0
    share = (wanted - before) / (seen[place] - before)
    return float(lower[place] + share * (upper[place] - lower[place]))


def least_squared_error(layer: LayerStatistics, num_bits: int, unsigned: bool) -> float:
    """The ``amax`` with which quantized activations have the least mean squared error (Sung et al. 2015)."""
    return least_squared_error_amax(layer, num_bits, unsigned=unsigned)


def least_divergence(
    layer: LayerStatistics, num_bits: int, unsigned: bool, stride: int = 1, start_bin: int = 128
) -> float:
    """The ``amax`` with which the histogram of the quantized magnitudes diverges least from that of the
    float ones (Migacz, "8-bit inference with TensorRT", 2017), as the toolkit's ``HistogramCalibrator`` finds it."""
    return least_divergence_amax(layer, num_bits, unsigned=unsigned, stride=stride, start_bin=start_bin)


_methods: dict[str, Method] = {
    "mse": least_squared_error,
    "max": largest_magnitude,
    "percentile": percentile_of_magnitudes,
    "entropy": least_divergence,
}
BUILT_IN = tuple(_methods)  # "output" begins with the first
