"""What a quantized model's state dict holds beside tensors: widths, signs, and what calibration recorded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qa_lib.errors import LayerError
from qa_lib.graph.call_order import Calls
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


@dataclass(frozen=True)
class Learned:
    """What calibration left in a model beside its quantizers.

    Attributes:
        calls: How each module is called in a forward pass; empty before calibration.
        statistics: What the calibration images showed.
        calibration: How ``amax`` was found.
    """

    calls: Mapping[str, Calls]
    statistics: ActivationStatistics | None
    calibration: CalibrationRecord | None


def saved_state(quantizers: Mapping[str, TensorQuantizer], learned: Learned) -> dict[str, Any]:
    """What ``restore_state`` takes over, in plain values."""
    return {
        "bit_widths": {name: quantizer.num_bits for name, quantizer in quantizers.items()},
        "calls": {name: asdict(calls) for name, calls in learned.calls.items()},
        "unsigned": {name: quantizer.unsigned for name, quantizer in quantizers.items()},
        "statistics": learned.statistics.state() if learned.statistics else None,
        "calibration": asdict(learned.calibration) if learned.calibration else None,
    }


def restore_state(quantizers: Mapping[str, TensorQuantizer], state: Mapping[str, Any]) -> Learned:
    """Gives ``quantizers`` the widths and signs of ``state``, and returns the rest.

    Raises:
        LayerError: It is that of a model with other quantizers; nothing is changed.
    """
    if set(state["bit_widths"]) != set(quantizers):
        raise LayerError(
            f"the saved model has quantizers {', '.join(state['bit_widths'])}; this one has "
            f"{', '.join(quantizers)}: wrap the same model with the same predicate"
        )
    for name, num_bits in state["bit_widths"].items():
        quantizers[name].num_bits = num_bits
    # Models that were saved before there was more than signed grids and "max" do not say these.
    for name, unsigned in state.get("unsigned", {}).items():
        quantizers[name].unsigned = unsigned
    statistics, calibration = state.get("statistics"), state.get("calibration")
    return Learned(
        {name: Calls(**calls) for name, calls in state["calls"].items()},
        ActivationStatistics.from_state(statistics) if statistics else None,
        CalibrationRecord(**calibration) if calibration else None,
    )
