"""A setting as Qualcomm's AIMET writes it: an encoding for each tensor, in version 0.6.1 of its specification."""

from collections.abc import Mapping, Sequence
from typing import Any

from qa_lib.errors import DataError
from qa_lib.export.grid import Grid, grid_of
from qa_lib.quantization.adopting import all_places
from qa_lib.quantization.quantize_weight import layer_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

VERSION = "0.6.1"
# What the specification allows.
SMALLEST, LARGEST = 4, 32


def aimet_encodings(
    qmodel: QuantizedActivationsModel, grids: Mapping[str, Grid], fixed: Mapping[str, TensorQuantizer]
) -> dict[str, Any]:
    """The content of an encodings file: activations by the name of the module that writes them, or ``"conv1.input"`` where a quantizer stands before a
    layer; weights by that of the parameter.

    Raises:
        DataError: A width is below 4, which the specification does not allow.
    """
    every = {**grids, **{name: grid_of(ours, ours.num_bits) for name, ours in fixed.items()}}
    weights = [n for n in every if n in qmodel.weighted_modules or n.endswith("._weight_quantizer")]
    if low := [
        name for name, grid in every.items() if grid.num_bits is not None and grid.num_bits < SMALLEST
    ]:
        raise DataError(
            f"AIMET's encodings hold widths from {SMALLEST} to {LARGEST}, and {', '.join(low)} have fewer: search with num_bits_lower_limit={SMALLEST}, or "
            "take another format"
        )
    shared = all_places(qmodel.model)
    activations = {
        _tensor(place): _encodings(grid)
        for name, grid in every.items()
        if name not in weights
        for place in shared.get(name, [name])
    }
    parameters = {f"{layer_of(name)}.weight": _encodings(every[name]) for name in weights}
    return {
        "version": VERSION,
        "activation_encodings": activations,
        "param_encodings": parameters,
        "quantizer_args": {
            "activation_bitwidth": _widest([grid for name, grid in every.items() if name not in weights]),
            "dtype": "int",
            "is_symmetric": "True",
            "param_bitwidth": _widest([every[name] for name in weights]),
            "per_channel_quantization": str(any(every[name].axis is not None for name in weights)),
            "quant_scheme": "post_training_tf",
        },
    }


def _tensor(name: str) -> str:
    layer, _, attribute = name.rpartition(".")
    return f"{layer}.input" if attribute == "_input_quantizer" else name


def _widest(grids: Sequence[Grid]) -> int:
    return max((grid.num_bits or LARGEST for grid in grids), default=LARGEST)


def _encodings(grid: Grid) -> list[dict[str, Any]]:
    """One, or one for each channel: of level 0 that of ``min``, which is ``offset`` steps from zero."""
    if grid.num_bits is None or grid.scale is None:
        return [{"bitwidth": LARGEST, "dtype": "float"}]
    low, high = grid.levels
    return [
        {
            "bitwidth": grid.num_bits,
            "dtype": "int",
            "is_symmetric": str(not grid.unsigned),
            "max": scale * high,
            "min": scale * low,
            "offset": low,
            "scale": scale,
        }
        for scale in grid.scale
    ]
