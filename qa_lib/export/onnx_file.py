"""A setting as an ONNX or QONNX model."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from qa_lib.batches.structure import count_items, map_tensors, take, tensors
from qa_lib.errors import DataError
from qa_lib.export.grid import Grid
from qa_lib.export.onnx_graph import DOMAIN, MARKER, WIDEST_8_BIT, QuantizedGraph
from qa_lib.export.verification import package
from qa_lib.files import write_whole
from qa_lib.forward.replicas import make_replicas
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# The first that has 16-bit types, and one before it that everything reads.
_OPSET, _OPSET_16_BIT = 18, 21
_FIRST_TORCH = (2, 6)
_ITEMS = 2  # that the model is watched on


@torch.library.custom_op("qa_lib::fake_quantize", mutates_args=())
def _marker(values: Tensor, number: int) -> Tensor:
    return values.clone()


@_marker.register_fake
def _(values: Tensor, number: int) -> Tensor:
    return torch.empty_like(values)


class _Marked(nn.Module):
    """Stands for a quantizer while torch writes down what is done."""

    num_bits = WIDEST_8_BIT  # it is switched on

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, values: Tensor) -> Tensor:
        return torch.ops.qa_lib.fake_quantize(values, self.number)

    quantize_in_place = forward


class _OfTensors(nn.Module):
    """A model as a function of the tensors in a batch's inputs."""

    def __init__(self, qmodel: QuantizedActivationsModel, structure: Any) -> None:
        super().__init__()
        self.qmodel, self.structure = qmodel, structure

    def forward(self, *leaves: Any) -> list[Tensor]:
        return list(tensors(self.qmodel.run(pytree.tree_unflatten(leaves, self.structure))))


def write_onnx(
    path: Path,
    qmodel: QuantizedActivationsModel,
    grids: Mapping[str, Grid],
    inputs: Any,
    facts: Mapping[str, Any],
    *,
    qonnx: bool,
) -> None:
    """Writes ``qmodel`` with these ``grids`` as an ONNX model, or a QONNX one.

    Args:
        path: The file; replaced if it is there.
        qmodel: It stays as it is.
        grids: Name of the quantizer -> its grid.
        inputs: Of a batch, to watch the model on.
        facts: Written beside it.
        qonnx: ``Quant`` nodes in place of ``QuantizeLinear``, ``Clip`` and ``DequantizeLinear``.

    Raises:
        DataError: A package is missing, torch cannot export the model, or the file cannot be written.
    """
    onnx, _ = package("onnx"), package("onnxscript")
    if tuple(map(int, torch.__version__.split(".")[:2])) < _FIRST_TORCH:
        raise DataError(
            f"torch {torch.__version__} cannot write what quantizers do as ONNX: this needs {'.'.join(map(str, _FIRST_TORCH))} or newer"
        )
    others = {
        str(t.dtype)
        for t in (*qmodel.model.parameters(), *qmodel.model.buffers())
        if t.is_floating_point() and t.dtype != torch.float32
    }
    if others:
        raise DataError(
            f"the model has {', '.join(sorted(others))} numbers, and what quantizers do is written in float32 only: export model.float()"
        )
    wide = any(grid.num_bits is not None and grid.num_bits > WIDEST_8_BIT for grid in grids.values())
    model = _exported(qmodel, inputs, _OPSET_16_BIT if wide and not qonnx else _OPSET)
    QuantizedGraph(model, grids, onnx).replace(qonnx=qonnx)
    for key, value in facts.items():
        model.metadata_props.add(key=f"qa_lib.{key}", value=str(value))
    model.producer_name = "qa_lib"
    if not qonnx:
        onnx.checker.check_model(model)
    write_whole(path, model.SerializeToString(), "the model", DataError)


def _exported(qmodel: QuantizedActivationsModel, inputs: Any, opset: int) -> Any:
    (replica,) = make_replicas(qmodel, 1)
    if replica is qmodel:
        raise DataError("the model cannot be copied, and so not be exported: the JSON file has been written")
    replica.eval().replace_quantizers({name: _Marked(number) for number, name in enumerate(qmodel.names)})
    if count_items(inputs) == 1:  # torch would take the number of items for fixed
        inputs = map_tensors(lambda tensor: torch.cat([tensor, tensor]), inputs)
    some = map_tensors(lambda tensor: tensor.contiguous(), take(inputs, slice(0, _ITEMS)))
    leaves, structure = pytree.tree_flatten(some)
    names = _input_names(inputs)
    items = count_items(inputs)
    batched = [isinstance(leaf, Tensor) and leaf.dim() > 0 for leaf in leaves]
    dynamic = tuple({0: "batch"} if each and items > 1 else None for each in batched)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                _OfTensors(replica, structure).eval(), tuple(leaves), dynamo=True, opset_version=opset, verbose=False,
                input_names=names, dynamic_shapes=(dynamic,), custom_translation_table={torch.ops.qa_lib.fake_quantize.default: _translation()},
                optimize=True,
            )  # fmt: skip
            return program.model_proto
    except Exception as error:  # torch's exporter may raise anything
        reason = (
            str(error).partition("## Exception summary")[2].partition("(Refer")[0]
            or f"{type(error).__name__}: {error}"
        )
        raise DataError(
            f"torch cannot export this model as ONNX ({' '.join(reason.split())[:300]}): the JSON file has been written"
        ) from error


def _translation() -> Callable[..., Any]:
    """A marker as a node of its own, of which the exporter knows no more than that it keeps the shape."""
    onnx, values = package("onnx"), package("onnxscript").values
    schema = onnx.defs.OpSchema
    given, returned = schema.FormalParameter("values", "T"), schema.FormalParameter("result", "T")
    number = schema.Attribute("number", schema.AttrType.INT, "")
    marker = values.Op(
        values.Opset(DOMAIN, 1), MARKER,
        schema(MARKER, DOMAIN, 1, inputs=[given], outputs=[returned], type_constraints=[("T", ["tensor(float)"], "")], attributes=[number]),
    )  # fmt: skip

    def translate(values: Any, number: int) -> Any:
        return marker(values, number=number)

    return translate


def _input_names(inputs: Any) -> list[str]:
    paths = [path for path, leaf in pytree.tree_flatten_with_path(inputs)[0] if isinstance(leaf, Tensor)]
    names = [
        "_".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path) or "input"
        for path in paths
    ]
    return [f"input_{name}" if name.isdecimal() else name for name in names]
