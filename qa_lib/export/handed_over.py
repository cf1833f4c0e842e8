"""A setting that was handed over, and how it is read back."""

import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qa_lib.bit_widths import Widths, check_num_bits
from qa_lib.checks import shown
from qa_lib.errors import BitWidthError, DataError
from qa_lib.export.grid import Grid
from qa_lib.export.verification import Verification
from qa_lib.files import checked_path
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.handing_back import weight_of, write_into_toolkit
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.toolkit_state import check_others

FORMAT, VERSION = "qa_lib.setting", 1


@dataclass(frozen=True)
class HandedOver:
    """A setting with all that the quantizers of a model need to be as they were.

    Attributes:
        grids: Name of the quantizer -> its grid, in order.
        facts: What else the file says: the model, the score, the fingerprint that it was measured under, shapes.
        verified: What an exported model returned, where that was asked for.
    """

    grids: dict[str, Grid]
    facts: dict[str, Any] = field(repr=False)
    verified: Verification | None = None

    @property
    def bit_widths(self) -> Widths:
        """The setting."""
        return tuple(grid.num_bits for grid in self.grids.values())

    @property
    def in_float(self) -> tuple[str, ...]:
        """The quantizers that are switched off: what they stand behind is left in float."""
        return tuple(name for name, grid in self.grids.items() if grid.num_bits is None)

    def apply(self, qmodel: QuantizedActivationsModel | nn.Module) -> None:
        """Gives ``qmodel``, calibrated or not, these widths and grids: it returns then what the model did that was handed over. Of each quantizer the file
        knows the ``amax`` of one width, which from then on serves all; what calibration had found for others is gone, and with it ``calibration``.
        A plain model of NVIDIA's toolkit takes those of an adopted one as well, as with ``Exploration.apply``.

        Raises:
            DataError: It has other quantizers, or the file knows no ``amax`` of one that is switched on.
            LayerError: Quantizers of the toolkit that the file says nothing of are not what they were.
        """
        others = self.facts.get("others", {})
        if isinstance(qmodel, nn.Module) and not isinstance(qmodel, QuantizedActivationsModel):
            own = {name: grid.quantizer(weight_of(qmodel, name)) for name, grid in self.grids.items()}
            return write_into_toolkit(
                dict(zip(self.grids, self.bit_widths, strict=True)), own, qmodel, others
            )
        check_qmodel(qmodel)
        if list(self.grids) != list(qmodel.names):
            raise DataError(
                f"the setting is of quantizers {shown(list(self.grids))}; this model has {shown(list(qmodel.names))}: wrap the same model with the "
                "same predicate"
            )
        check_others(qmodel.other_quantizers, others)
        shapes = {name: _amax_shape(qmodel, name, grid) for name, grid in self.grids.items()}
        with qmodel.lock:
            for name, grid in self.grids.items():
                quantizer = qmodel.fake_quantizers[name]
                quantizer.unsigned, quantizer.narrow_range = grid.unsigned, grid.narrow_range
                if grid.amax is not None:
                    quantizer.amax = torch.tensor(grid.amax).reshape(shapes[name])
                quantizer.num_bits = grid.num_bits
            qmodel.calibration = None


def load_setting(path: str | Path) -> HandedOver:
    """What ``export_setting`` wrote.

    Raises:
        DataError: There is no such file, it is something else, damaged, or of a later version.
    """
    file = checked_path(path, DataError)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"'{file}' cannot be read as a setting ({error}): give what export_setting wrote"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"'{file}' is no setting that was handed over: give what export_setting wrote")
    if content.get("version") != VERSION or isinstance(content.get("version"), bool):
        raise DataError(
            f"'{file}' is version {shown(content.get('version'))} of a setting, and this qa_lib reads {VERSION}: export it anew"
        )
    try:
        grids = {str(row["name"]): _read(row) for row in content["quantizers"]}
        if len(grids) != len(content["quantizers"]) or not grids:
            raise ValueError("names twice, or none")
    except (AttributeError, KeyError, TypeError, ValueError, BitWidthError) as error:
        raise DataError(
            f"'{file}' is a damaged setting ({type(error).__name__}: {error}): export it anew"
        ) from error
    facts = {key: value for key, value in content.items() if key not in ("format", "version", "quantizers")}
    return HandedOver(grids, facts)


@cache
def setting_schema() -> dict[str, Any]:
    """The JSON schema of what ``export_setting`` writes."""
    return json.loads(Path(__file__).with_name("setting.schema.json").read_text(encoding="utf-8"))


def _amax_shape(qmodel: QuantizedActivationsModel, name: str, grid: Grid) -> tuple[int, ...]:
    """The shape of the ``amax`` that the quantizer ``name`` of ``qmodel`` takes; raises ``DataError`` unless ``grid`` has so many."""
    quantizer, shape = qmodel.fake_quantizers[name], qmodel.amax_shapes.get(name, ())
    if grid.amax is not None and (quantizer.axis != grid.axis or math.prod(shape) != len(grid.amax)):
        raise DataError(
            f"the setting has {len(grid.amax)} scales of {name!r} on axis {grid.axis}, and this model {math.prod(shape)} on axis {quantizer.axis}: wrap the "
            "same model with the same per_channel="
        )
    return shape


def _read(row: dict[str, Any]) -> Grid:
    amax, axis = row["amax"], row["axis"]
    numbers = amax if isinstance(amax, list) else [amax]
    grid = Grid(
        check_num_bits(row["num_bits"]),
        None if amax is None else tuple(numbers),
        not row["signed"],
        bool(row["narrow_range"]),
        axis,
    )
    if (
        row["zero_point"] != 0
        or row["kind"] not in ("activation", "weight")
        or (row["kind"] == "activation" and axis is not None)
    ):
        raise ValueError(f"a grid of {row['name']!r} that no quantizer here has")
    known = all(isinstance(n, float | int) and 0 <= n < math.inf for n in numbers) and numbers
    if (
        not isinstance(row["signed"], bool)
        or not (known or amax is None)
        or isinstance(amax, list) != (axis is not None)
        or not (axis is None or (isinstance(axis, int) and axis >= 0))
    ):
        raise ValueError(f"a grid of {row['name']!r} that is none")
    if grid.num_bits is not None:
        if grid.amax is None:
            raise ValueError(f"no amax of {row['name']!r}")
        if (
            any(float(np.float32(n)) != n for n in numbers)
            or row["scale"] != grid.said(grid.scale)
            or tuple(row["levels"]) != grid.levels
        ):
            raise ValueError(f"amax, scale and levels of {row['name']!r} do not belong together")
    return grid
