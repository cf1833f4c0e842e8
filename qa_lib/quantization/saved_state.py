"""What a quantized model's state dict holds beside tensors: widths, signs, and what calibration recorded.

It may come from anybody: all of it is looked at before any of it is taken over.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from qa_lib.bit_widths import check_bit_widths
from qa_lib.checks import check_kind
from qa_lib.costs.dataflow import WEIGHT_SUFFIXES, Dataflow
from qa_lib.errors import CalibrationError, LayerError
from qa_lib.graph.call_order import Calls
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.inputs import name_sites
from qa_lib.quantization.saved_amax import check_saved_amax
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# Where torch.nn.Module keeps it.
EXTRA_STATE = "_extra_state"


@dataclass(frozen=True)
class Learned:
    """What calibration left in a model beside its quantizers.

    Attributes:
        calls: How each module is called in a forward pass; empty before calibration.
        statistics: What the calibration images showed.
        calibration: How ``amax`` was found.
        inputs: Name of each quantized argument -> name of its quantizer; None before a batch was seen.
        dataflow: What a forward pass stores and multiplies; None before it was watched.
    """

    calls: Mapping[str, Calls]
    statistics: ActivationStatistics | None
    calibration: CalibrationRecord | None
    inputs: Mapping[str, str] | None = None
    dataflow: Dataflow | None = None


def saved_state(quantizers: Mapping[str, TensorQuantizer], learned: Learned) -> dict[str, Any]:
    """What ``restore_state`` takes over, in plain values."""
    return {
        "bit_widths": {name: quantizer.num_bits for name, quantizer in quantizers.items()},
        "calls": {name: asdict(calls) for name, calls in learned.calls.items()},
        "unsigned": {name: quantizer.unsigned for name, quantizer in quantizers.items()},
        "narrow_range": {name: quantizer.narrow_range for name, quantizer in quantizers.items()},
        "statistics": learned.statistics.state() if learned.statistics else None,
        "calibration": asdict(learned.calibration) if learned.calibration else None,
        "inputs": learned.inputs and dict(learned.inputs),
        "dataflow": learned.dataflow and learned.dataflow.state(),
    }


def saved_inputs(state_dict: Any) -> dict[str, str] | None:
    """Which arguments have a quantizer, as a state dict says; None if it does not. Raises ``CalibrationError`` if it is damaged."""
    state = state_dict.get(EXTRA_STATE) if isinstance(state_dict, Mapping) else None
    sites = state.get("inputs") if isinstance(state, Mapping) else None
    if sites is None:
        return None
    if not isinstance(sites, Mapping) or dict(sites) != name_sites([str(name) for name in sites]):
        raise _damaged("inputs that are none")
    return dict(sites)


def check_state_dict(
    state_dict: Mapping[str, Any], names: Sequence[str], weights: Mapping[str, Sequence[int]]
) -> None:
    """Raises ``CalibrationError`` or ``LayerError`` unless what a state dict says of the quantizers ``names`` can be taken over. Those of
    ``weights`` have an ``amax`` of these shapes."""
    channels = {f"quantizers.{name.replace('.', '/')}": shape for name, shape in weights.items()}
    check_kind(
        "state_dict", state_dict, Mapping, LayerError, "what a state_dict() returned, or torch.load of it"
    )
    if EXTRA_STATE in state_dict:
        _parsed(state_dict[EXTRA_STATE], names)
    for key, value in state_dict.items():
        # Not those of the user's model, which its own modules look at.
        if not key.startswith("sequential.1.") and key.endswith(("._amax", "._amax_by_width")):
            check_saved_amax(key, value)
            shape = value.shape if key.endswith("._amax") else value.shape[1:]
            of_weight = channels.get(key.rpartition(".")[0])
            uncalibrated = shape.numel() == 1 and bool(value.isnan().any())
            if of_weight is not None and not uncalibrated and tuple(shape) != tuple(of_weight):
                raise CalibrationError(
                    f"{key} in the state dict has shape {tuple(value.shape)}, and the amax of this weight {tuple(of_weight)}: make the model with the same per_channel="
                )
            if of_weight is None and shape.numel() != 1:
                raise CalibrationError(
                    f"{key} in the state dict has shape {tuple(value.shape)}; activations have one amax for the whole tensor"
                )


def restore_state(quantizers: Mapping[str, TensorQuantizer], state: Mapping[str, Any]) -> Learned:
    """Gives ``quantizers`` the widths and signs of ``state``, and returns the rest.

    Raises:
        LayerError: It is that of a model with other quantizers.
        CalibrationError: It is damaged. Nothing is changed then.
    """
    widths, grids, learned = _parsed(state, list(quantizers))
    for quantizer, num_bits in zip(quantizers.values(), widths, strict=True):
        quantizer.num_bits = num_bits
    for attribute, said in grids.items():
        for name, value in said.items():
            setattr(quantizers[name], attribute, value)
    return learned


def _parsed(
    state: Any, names: Sequence[str]
) -> tuple[tuple[int | None, ...], Mapping[str, Mapping[str, bool]], Learned]:
    try:
        saved = dict(state["bit_widths"])
        if set(saved) != set(names):
            raise LayerError(
                f"the saved model has quantizers {', '.join(map(str, saved))}; this one has {', '.join(names)}: wrap the same model "
                "with the same predicate"
            )
        # Models that were saved before there was more than signed grids and "max" do not say these.
        grids = {attribute: dict(state.get(attribute, {})) for attribute in ("unsigned", "narrow_range")}
        calibration = state.get("calibration")
        for said in grids.values():
            if not set(said) <= set(names) or not all(isinstance(each, bool) for each in said.values()):
                raise ValueError("signs that are none")
        statistics = state.get("statistics") and ActivationStatistics.from_state(state["statistics"])
        if statistics and list(statistics.layers) != [
            name for name in saved if not name.endswith(WEIGHT_SUFFIXES) or name in statistics.layers
        ]:
            raise ValueError("statistics of other quantizers")
        learned = Learned(
            {str(name): _calls(**calls) for name, calls in state["calls"].items()},
            statistics or None,
            _record(**calibration) if calibration else None,
            dataflow=Dataflow.from_state(state["dataflow"], names) if state.get("dataflow") else None,
        )
        return check_bit_widths(saved, dict.fromkeys(names)), grids, learned
    except (ArithmeticError, AttributeError, LookupError, TypeError, zlib.error) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    except ValueError as error:
        if isinstance(error, CalibrationError):
            raise
        raise _damaged(str(error)) from error


def _damaged(why: str) -> CalibrationError:
    return CalibrationError(
        f"what the state dict says of the calibration is damaged, or from a later version ({why}): save it anew, or calibrate here"
    )


def _calls(output_shape: Any, elements_per_image: Any, count: Any) -> Calls:
    if not all(isinstance(number, Integral) and int(number) >= 0 for number in (elements_per_image, count)):
        raise ValueError("counts of calls that are none")
    return Calls(tuple(output_shape), elements_per_image, count)


def _record(**saved: Any) -> CalibrationRecord:
    record = CalibrationRecord(**saved | {"unsigned": tuple(saved["unsigned"])})
    numbers = (record.images, record.passes, record.seconds)
    if not isinstance(record.method, str) or not all(0 <= number < math.inf for number in numbers):
        raise ValueError("a calibration of no method, or of impossible cost")
    return record
