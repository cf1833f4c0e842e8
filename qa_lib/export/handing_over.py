"""A setting as the next tool needs it: the width, the grid and the place of each quantizer, in one JSON file."""

import io
import json
import math
from pathlib import Path
from typing import Any

import torch

from qa_lib.batches.structure import count_items, take, tensors
from qa_lib.bit_widths import BitWidths
from qa_lib.checks import shown
from qa_lib.costs import total_bits
from qa_lib.errors import CalibrationError, DataError, LayerError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.export.aimet_encodings import aimet_encodings
from qa_lib.export.grid import grid_of
from qa_lib.export.handed_over import FORMAT, VERSION, HandedOver
from qa_lib.export.modelopt_config import modelopt_config
from qa_lib.export.onnx_file import write_onnx
from qa_lib.export.settings import as_code
from qa_lib.export.verification import verify as verification
from qa_lib.files import checked_path, write_whole
from qa_lib.forward.toolkit_check import check_toolkit
from qa_lib.quantization.adopting import left_on, switched_on
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import is_of_this_model
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# What can be written, and what its file is called.
FORMATS = {
    "json": ".json", "onnx": ".onnx", "qonnx": ".onnx", "state_dict": ".pt", "code": ".py", "modelopt": ".modelopt", "aimet": ".encodings",
}  # fmt: skip
# Those that are whole models, which can be run.
RUN = ("onnx", "qonnx")


def files_of(path: Path, format: str) -> tuple[Path, ...]:
    """What ``export_setting`` writes: the file ``path``, and for all but ``"json"`` the JSON file ``path.json``."""
    return (path,) if format == "json" else (path, path.with_name(path.name + ".json"))


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
      to 8 bits (opset 18) and 16-bit types beyond (opset 21); weights that have quantizers are stored as integers, and others stay
      float (a ``Clip`` before their layer keeps onnxruntime from rounding them). On a processor without
      VNNI instructions onnxruntime's 8-bit sums saturate, unless its session is given ``session.x64quantprecision`` as ``"1"``: ``verified`` says so.
    - ``"qonnx"``: the whole model with ``Quant`` nodes, as FINN, hls4ml and Brevitas read it.
    - ``"modelopt"``: for NVIDIA ModelOpt, a JSON file with ``"config"``, which ``mtq.quantize(model, config)`` takes, and ``"amax"``: name of a quantizer of the model
      that this returns -> what to set there, ``model.get_submodule(name).amax = torch.tensor(amax)``. ``model`` is the float one, of an adopted model the same
      network of torch's own layers with its weights. The input's quantizer becomes that of the layers that read it.
    - ``"aimet"``: AIMET's encodings, in version 0.6.1 of its specification, of widths from 4 on: bitwidth, min, max, scale and offset of each tensor, by the names of modules
      and parameters; a runtime of another graph wants those of its tensors.
    - ``"code"``: Python that sets the widths by name.
    - ``"state_dict"``: what ``qmodel.state_dict()`` is at this setting; ``torch.load(path, weights_only=True)`` reads it.

    For all but ``"json"`` the JSON file is written as well, beside it: ``setting.onnx.json``. Layers in float stay float.

    Args:
        path: The file; replaced if it is there, as is the JSON file of its name.
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
    if file.suffix != FORMATS[format] and format != "json":
        raise DataError(f"'{file}': give a name that ends in {FORMATS[format]}; the JSON file lies beside it")
    if not (
        verify is None
        or isinstance(verify, Evaluator)
        or (any(True for _ in tensors(verify)) and count_items(verify))
    ):
        raise DataError(
            f"verify is {shown(verify)}; give an evaluator, or inputs: tensors of at least one item"
        )
    measured = setting if isinstance(setting, Evaluation) else None
    widths = qmodel.check_bit_widths(measured.bit_widths if measured else setting)  # type: ignore[arg-type]
    qmodel.check_calibrated(widths)
    if measured and measured.fingerprint and not is_of_this_model(measured.fingerprint, qmodel):
        raise DataError(
            "this evaluation is of another model, or of this one before a calibration or another change: measure the setting again, "
            "evaluator.evaluate(evaluation.bit_widths), or give its widths, which have no score"
        )
    if channels := [n for n, q in qmodel.activation_fake_quantizers.items() if q.axis is not None]:
        raise DataError(
            f"{', '.join(channels)} have an amax for each channel of an activation, which none of these formats holds: give qmodel.state_dict() to torch.save"
        )
    if graph and (on := list(switched_on(qmodel.model))):
        raise DataError(
            f"{shown(on)} of pytorch-quantization are switched on and part of the network, which {format!r} cannot hold: adopt them as well, or disable() them"
        )
    some = _inputs(qmodel, inputs, verify) if graph else None
    if graph:
        check_toolkit(qmodel, take(some, slice(0, 32)))
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
    other: dict[str, Any] = {}
    if format == "modelopt":
        other = modelopt_config(qmodel, widths, _left_on(qmodel, format))
    elif format == "aimet":
        other = aimet_encodings(qmodel, grids, _left_on(qmodel, format))
    others = {"others": found} if (found := qmodel.other_quantizers) else {}
    content = {"format": FORMAT, "version": VERSION, **facts, **others, "quantizers": rows}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(files_of(file, format)[-1], text + "\n", "the setting", DataError)
    verified = None
    if other:
        text = json.dumps(other, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(file, text + "\n", f"the {format} file", DataError)
    if format == "code":
        write_whole(file, as_code(qmodel.names, widths) + "\n", "the code", DataError)
    if format == "state_dict":
        written = io.BytesIO()
        with qmodel.temporary_bit_widths(widths):
            torch.save(qmodel.state_dict(), written)
        write_whole(file, written.getvalue(), "the state dict", DataError)
    if graph:
        is_qonnx = format == "qonnx"
        said = {**facts, "bit_widths": json.dumps(dict(zip(qmodel.names, widths, strict=True)))}
        write_onnx(file, qmodel, grids, some, said, qonnx=is_qonnx)
        if verify is not None:
            verified = verification(file, qmodel, widths, verify, qonnx=is_qonnx)
    return HandedOver(grids, facts | others, verified)


def _left_on(qmodel: QuantizedActivationsModel, format: str) -> dict[str, TensorQuantizer]:
    """The quantizers that are part of the network, which the file names as well."""
    try:
        return left_on(qmodel.model)
    except (LayerError, CalibrationError) as error:
        raise DataError(
            f"{format!r} has to hold all quantizers that are switched on, those that were not adopted, too, and cannot: {str(error).partition(': ')[0]}; disable() it, or "
            "take 'json', which says what was adopted alone"
        ) from error


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
