"""From statistics, or images, to the ``amax`` of each quantizer and width."""

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qa_lib.batches.reading import input_batches
from qa_lib.batches.structure import count_items, map_tensors, on_device, take
from qa_lib.bit_widths import WIDTHS, Widths
from qa_lib.calibration.methods import BUILT_IN, OUTPUT, find_method, known_methods, options_of
from qa_lib.calibration.output import OutputCalibration
from qa_lib.checks import check_count, shown
from qa_lib.errors import CalibrationError, QAError
from qa_lib.metrics.divergence import output_divergence
from qa_lib.progress_bar import progress_bar
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

IMAGES = 256  # that it compares outputs on
_OUTPUT_WIDTHS = range(2, 9)
# The width whose amax serves all widths where a quantizer is switched off and there is to be one only.
_WIDTH_OF_A_SWITCHED_OFF = 8

AmaxByWidth = dict[int, float]


@dataclass(frozen=True)
class Given:
    """What a method finds ``amax`` from.

    Attributes:
        qmodel: The model, with the widths that it has now.
        statistics: What the calibration images showed.
        kept: As many of the images as the method has asked for.
        unsigned: Whether each quantizer's grid begins at 0, by its name.
        per_width: Whether there is to be an ``amax`` for each width.
        options: The method's own.
    """

    qmodel: QuantizedActivationsModel
    statistics: ActivationStatistics
    kept: "KeptImages"
    unsigned: Mapping[str, bool]
    per_width: bool
    options: Mapping[str, Any]


class AmaxFinder:
    """How a method comes to ``amax``.

    Attributes:
        unsigned: What grids are unsigned unless it is said: "auto" are those of quantizers that were given nothing negative.
    """

    unsigned: bool | str = "auto"

    def check(self, options: Mapping[str, Any]) -> None:
        """Raises ``CalibrationError`` if it does not take one of ``options``."""

    def images(self, options: Mapping[str, Any]) -> int:
        """How many of the calibration images it needs beside the statistics."""
        return 0

    def find(self, given: Given) -> tuple[dict[str, AmaxByWidth], float]:
        """Name of the quantizer -> width -> ``amax``; and the passes over the calibration images that it took."""
        raise NotImplementedError


def finder(method: str) -> AmaxFinder:
    """How the method of this name works.

    Raises:
        CalibrationError: There is none.
    """
    known = all_methods()
    if not isinstance(method, str) or method not in known:
        raise CalibrationError(f"method is {shown(method)}; known are {', '.join(known)}")
    return FromOutputs() if method == OUTPUT else FromStatistics(method)


def all_methods() -> tuple[str, ...]:
    """The methods that ``calibrate`` knows."""
    return (*known_methods(), OUTPUT)


class FromStatistics(AmaxFinder):
    """A method that is a function of what each layer's activations were."""

    def __init__(self, method: str) -> None:
        self.method = method
        if method == "max":
            self.unsigned = False  # as the toolkit has it

    def check(self, options: Mapping[str, Any]) -> None:
        _check_known(self.method, options, options_of(self.method))

    def find(self, given: Given) -> tuple[dict[str, AmaxByWidth], float]:
        g = given
        found = amax_by_method(g.qmodel, g.statistics, self.method, g.unsigned, g.per_width, g.options)
        return found, 0.0


class FromOutputs(AmaxFinder):
    """The method that looks at what the network returns."""

    def check(self, options: Mapping[str, Any]) -> None:
        _check_known(OUTPUT, options, ["images", "divergence", "progress"])
        check_count("images", self.images(options), CalibrationError)
        if not callable(options.get("divergence", output_divergence)):
            raise CalibrationError(
                f"divergence is {options['divergence']!r}; give a function, qa_lib.metrics.divergence.mean_squared_error, say"
            )

    def images(self, options: Mapping[str, Any]) -> int:
        return options.get("images", IMAGES)

    def find(self, given: Given) -> tuple[dict[str, AmaxByWidth], float]:
        qmodel, unsigned, per_width = given.qmodel, given.unsigned, given.per_width
        others = {
            method: amax_by_method(qmodel, given.statistics, method, unsigned, per_width, {})
            for method in BUILT_IN
        }
        found = {name: dict(amax) for name, amax in others["mse"].items()}
        activations = len(qmodel.activation_fake_quantizers)
        in_float = (None,) * len(qmodel.weight_fake_quantizers)
        asked = (
            [(w,) * activations for w in _OUTPUT_WIDTHS] if per_width else [qmodel.bit_widths[:activations]]
        )
        settings: list[Widths] = [(*widths, *in_float) for widths in asked]
        divergence = given.options.get("divergence", output_divergence)
        images = [on_device(inputs, qmodel.device) for inputs in given.kept.images]
        search = OutputCalibration(qmodel, images, unsigned, divergence)
        total = sum(map(search.trials, settings))
        with progress_bar(total, "comparison", shown=given.options.get("progress", True)) as bar:
            for widths in settings:
                at = {
                    name: width or _WIDTH_OF_A_SWITCHED_OFF
                    for name, width in zip(
                        qmodel.activation_fake_quantizers, widths[:activations], strict=True
                    )
                }
                candidates = {
                    method: {name: amax[name][num_bits] for name, num_bits in at.items()}
                    for method, amax in others.items()
                }
                for name, value in search.find(widths, candidates, bar.update).items():
                    found[name] |= {at[name]: value} if per_width else dict.fromkeys(WIDTHS, value)
        return found, search.forward.passes * given.kept.count / given.statistics.images


def _check_known(method: str, options: Mapping[str, Any], allowed: Sequence[str] | None) -> None:
    for option in options:
        if allowed is not None and option not in allowed:
            known = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
            raise CalibrationError(f"method {method!r} does not know the option {option!r}; {known}")


def amax_by_method(
    qmodel: QuantizedActivationsModel,
    statistics: ActivationStatistics,
    method: str,
    unsigned: Mapping[str, bool],
    per_width: bool,
    options: Mapping[str, Any],
) -> dict[str, AmaxByWidth]:
    """What ``method`` takes as ``amax``: name of the quantizer -> width -> ``amax``.

    Raises:
        CalibrationError: The method returned something else than a finite number from 0 up.
    """
    function = find_method(method)
    widths = dict(zip(qmodel.names, qmodel.bit_widths, strict=True))

    def amax(name: str) -> AmaxByWidth:
        wanted = WIDTHS if per_width else [widths[name] or _WIDTH_OF_A_SWITCHED_OFF]
        found = {}
        for num_bits in wanted:
            where = f"amax of '{name}' at {num_bits} bits"
            try:
                value: Any = function(statistics[name], num_bits, unsigned[name], **options)
            except QAError:
                raise
            except Exception as error:  # a user's own method may raise anything
                raise CalibrationError(
                    f"method {method!r} failed to find {where}: {type(error).__name__}: {error}"
                ) from error
            one = isinstance(value, (Tensor, np.ndarray)) and math.prod(value.shape) == 1
            number = value.item() if one else value
            if isinstance(number, bool) or not isinstance(number, numbers.Real):
                number = math.nan
            if not math.isfinite(number) or number < 0:
                raise CalibrationError(
                    f"method {method!r} returned {value!r} as {where}; it has to return a finite number from 0 up"
                )
            found[num_bits] = float(number)
        return found if per_width else dict.fromkeys(WIDTHS, found[wanted[0]])

    # The inner loops of the methods let go of the interpreter's lock.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return dict(zip(statistics.layers, pool.map(amax, statistics.layers), strict=True))


class KeptImages:
    """Batches that are gone through once, and the first ``count`` images of them, kept for later.

    Args:
        batches: What ``calibrate`` takes.
        count: How many images to keep.
        model: What they are for.
        any_call: Whether the user says how the model is run on them.
    """

    def __init__(
        self, batches: Iterable[Any], count: int, model: nn.Module | None = None, *, any_call: bool = False
    ) -> None:
        self.batches, self.wanted, self.model, self.any_call = batches, count, model, any_call
        self.images: list[Any] = []

    @property
    def count(self) -> int:
        """How many images are kept."""
        return sum(map(count_items, self.images))

    def __iter__(self) -> Iterator[Any]:
        for inputs in input_batches(self.batches, self.model, any_call=self.any_call):
            if self.count < self.wanted:
                # A copy: whoever made the batch may use its memory again.
                some = take(inputs, slice(0, self.wanted - self.count))
                self.images.append(map_tensors(lambda tensor: tensor.detach().clone(), some))
            yield inputs, None
