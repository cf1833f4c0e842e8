"""A setting as the next tool needs it: the width, the grid and the place of each quantizer, in one JSON file."""

import io
import json
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qa_lib.bit_widths import BitWidths, Widths, check_num_bits
from qa_lib.checks import shown
from qa_lib.costs import total_bits
from qa_lib.errors import BitWidthError, DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.export.grid import Grid, grid_of
from qa_lib.export.onnx_file import Verification, write_onnx
from qa_lib.export.onnx_file import verify as verification
from qa_lib.files import checked_path, write_whole
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import is_of_this_model
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

FORMAT, VERSION = "qa_lib.setting", 1
# What can be written, and what its file is called.
FORMATS = {"json": ".json", "onnx": ".onnx", "qonnx": ".onnx", "state_dict": ".pt"}
# Those that are whole models, which can be run.
RUN = ("onnx", "qonnx")


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

    def apply(self, qmodel: QuantizedActivationsModel) -> None:
        """Gives ``qmodel``, calibrated or not, these widths and grids: it returns then what the model did that was handed over. Of each quantizer the file
        knows the ``amax`` of one width, which from then on serves all; what calibration had found for others is gone, and with it ``calibration``.

        Raises:
            DataError: It has other quantizers, or the file knows no ``amax`` of one that is switched on.
        """
        check_qmodel(qmodel)
        if list(self.grids) != list(qmodel.names):
            raise DataError(
                f"the setting is of quantizers {shown(list(self.grids))}; this model has {shown(list(qmodel.names))}: wrap the same model with the "
                "same predicate"
            )
        shapes = {name: _amax_shape(qmodel, name, grid) for name, grid in self.grids.items()}
        with qmodel.lock:
            for name, grid in self.grids.items():
                quantizer = qmodel.fake_quantizers[name]
                quantizer.unsigned = grid.unsigned
                if grid.amax is not None:
                    quantizer.amax = torch.tensor(grid.amax).reshape(shapes[name])
                quantizer.num_bits = grid.num_bits
            qmodel.calibration = None


def export_setting(
    path: str | Path,
    qmodel: QuantizedActivationsModel,
    setting: Evaluation | BitWidths,
    format: str = "json",
    *,
    verify: Any = None,
    inputs: Any = None,
) -> HandedOver:
    """Writes a setting of ``qmodel`` for the next tool.

    - ``"json"``: ``setting.schema.json`` beside this module is its schema. For each quantizer, in the order of the forward pass, those of weights behind the
      others, its name, the class of its module, ``num_bits``, ``amax``, ``scale``, ``zero_point`` (always 0), the lowest and highest level, signedness and the
      shape that it writes; and of an ``Evaluation`` the score, on how many items, and the fingerprint that it was measured under. Float32 values are
      written so that they are read back bit for bit.
    - ``"onnx"``: the whole model, with ``QuantizeLinear``, ``Clip`` to the levels of the width and ``DequantizeLinear`` for each quantizer, in 8-bit types up
      to 8 bits (opset 18) and 16-bit types beyond (opset 21); weights that have quantizers are stored as integers.
    - ``"qonnx"``: the whole model with ``Quant`` nodes, as FINN, hls4ml and Brevitas read it.
    - ``"state_dict"``: what ``qmodel.state_dict()`` is at this setting; ``torch.load(path, weights_only=True)`` reads it.

    For all but ``"json"`` the JSON file is written as well, beside it. Layers in float stay float.

    Args:
        path: The file; replaced if it is there.
        qmodel: Calibrated; it keeps its own widths.
        setting: What an evaluator returned of the model as it is, or widths; those that a mapping does not name are the present ones.
        format: One of these.
        verify: For ``"onnx"`` and ``"qonnx"``: an evaluator, on whose whole search set the written model is run by onnxruntime (by the qonnx package) and scored,
            or inputs to run it on. What came out is ``verified`` in what is returned.
        inputs: Of a batch, to watch the model on for ``"onnx"`` and ``"qonnx"``; None takes those of ``verify``, or makes images of the shape that calibration saw.

    Returns:
        What was written.

    Raises:
        DataError: The format is unknown, a package is missing, torch cannot export the model, or the file cannot be written.
        NotCalibratedError: A quantizer that is switched on has no ``amax``.
        BitWidthError: The widths are none of this model.

    Example:
        >>> written = export_setting("setting.json", qmodel, [8, 4, 4, 4, 8])
        >>> load_setting("setting.json").bit_widths
        (8, 4, 4, 4, 8)
    """
    check_qmodel(qmodel)
    if format not in FORMATS:
        raise DataError(f"format is {shown(format)}; give one of {', '.join(map(repr, FORMATS))}")
    file = checked_path(path, DataError)
    graph = format in RUN
    if verify is not None and not graph:
        raise DataError(f"what is written as {format!r} is not run: verify= is for 'onnx' and 'qonnx'")
    if file.suffix == ".json" and format != "json":
        raise DataError(
            f"'{file}' would be the JSON file beside the {format} one: give a name that ends in {FORMATS[format]}"
        )
    measured = setting if isinstance(setting, Evaluation) else None
    widths = qmodel.check_bit_widths(measured.bit_widths if measured else setting)  # type: ignore[arg-type]
    qmodel.check_calibrated(widths)
    if measured and measured.fingerprint and not is_of_this_model(measured.fingerprint, qmodel):
        raise DataError(
            "this evaluation is of another model, or of this one before a calibration or another change: measure the setting again, "
            "evaluator.evaluate(evaluation.bit_widths), or give its widths, which have no score"
        )
    table = qmodel.layer_table().set_index("name")
    grids = {
        name: grid_of(quantizer, width)
        for (name, quantizer), width in zip(qmodel.fake_quantizers.items(), widths, strict=True)
    }
    rows = []
    for name, grid in grids.items():
        shape = table.at[name, "output_shape"]
        rows.append(
            {
                "name": name,
                "kind": "weight" if name in qmodel.weight_fake_quantizers else "activation",
                "module": table.at[name, "type"],
                "shape": [list(each) if isinstance(each, tuple) else each for each in shape]
                if shape
                else None,
                "num_bits": grid.num_bits,
                "signed": not grid.unsigned,
                "narrow_range": grid.narrow_range,
                "axis": grid.axis,
                "amax": grid.said(grid.amax),
                "scale": grid.said(grid.scale),
                "zero_point": 0,
                "levels": None if grid.num_bits is None else list(grid.levels),
            }
        )
    score = measured and {
        "name": measured.scale.name, "unit": measured.scale.unit, "value": measured.score, "items": measured.search_images,
    }  # fmt: skip
    facts = {
        "model": type(qmodel.model).__name__,
        "total_bits": total_bits(widths),
        "score": score if measured and math.isfinite(measured.score) else None,
        "fingerprint": (measured.fingerprint or None) if measured else None,
    }
    content = {"format": FORMAT, "version": VERSION, **facts, "quantizers": rows}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(
        file if format == "json" else file.with_suffix(".json"), text + "\n", "the setting", DataError
    )
    verified = None
    if format == "state_dict":
        written = io.BytesIO()
        with qmodel.temporary_bit_widths(widths):
            torch.save(qmodel.state_dict(), written)
        write_whole(file, written.getvalue(), "the state dict", DataError)
    if graph:
        is_qonnx = format == "qonnx"
        some = _inputs(qmodel, inputs, verify)
        said = {**facts, "bit_widths": json.dumps(dict(zip(qmodel.names, widths, strict=True)))}
        write_onnx(file, qmodel, grids, some, said, qonnx=is_qonnx)
        if verify is not None:
            verified = verification(file, qmodel, widths, verify, qonnx=is_qonnx)
    return HandedOver(grids, facts, verified)


def _inputs(qmodel: QuantizedActivationsModel, inputs: Any, verify: Any) -> Any:
    """Inputs of a batch to watch the model on."""
    if inputs is not None:
        return inputs
    if isinstance(verify, Evaluator):
        return verify.search_set.batches[0][0]
    if verify is not None:
        return verify
    if not qmodel.first_is_the_input:
        raise DataError("what the model takes is not one tensor of numbers: give inputs=, those of a batch")
    shape = qmodel.layer_table().set_index("name").at[INPUT, "output_shape"]
    return torch.zeros(2, *shape, device=qmodel.device)


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
    quantizer = qmodel.fake_quantizers[name]
    shape: tuple[int, ...] = ()
    if quantizer.axis is not None:
        weight = qmodel.weighted_modules[name].get_parameter("weight")
        shape = tuple(size if dim == quantizer.axis else 1 for dim, size in enumerate(weight.shape))
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
        or isinstance(amax, list) != (axis in (0, 1))
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
