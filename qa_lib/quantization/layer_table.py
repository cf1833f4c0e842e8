"""The quantizers of a model as a table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qa_lib.bit_widths import WIDTHS
from qa_lib.costs import Dataflow
from qa_lib.graph.call_order import Calls
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


def layer_table(
    types: Mapping[str, str],
    quantizers: Mapping[str, TensorQuantizer],
    calls: Mapping[str, Calls],
    weights: Mapping[str, int],
    dataflow: Dataflow | None,
    *,
    all_widths: bool,
) -> pd.DataFrame:
    """What ``QuantizedActivationsModel.layer_table`` returns.

    Args:
        types: Name of the quantizer -> class of the module that it belongs to.
        quantizers: Name -> quantizer, in order.
        calls: Name -> what a forward pass showed, as far as known.
        weights: Name of a quantizer of a weight -> the numbers in that.
        dataflow: What it stored and multiplied, if known.
        all_widths: Whether to add the ``amax`` of every width.
    """
    rows = []
    for name, quantizer in quantizers.items():
        known = calls.get(name)
        row = {
            "name": name,
            "type": types[name],
            "output_shape": known.output_shape if known else None,
            "elements_per_image": known.elements_per_image if known else None,
            "calls": known.count if known else None,
            "num_bits": quantizer.num_bits,
            "unsigned": quantizer.unsigned,
            "amax": float(quantizer.amax_in_use.max()),
            "negatives": quantizer.negatives,
            **_made_of(name, dataflow),
        }
        if name in weights:
            row |= {"elements_per_image": None, "macs": None, "weights": weights[name], "fed_by": None}
        if all_widths:
            row |= {f"amax_{num_bits}": float(quantizer.amax_at(num_bits).max()) for num_bits in WIDTHS}
        rows.append(row)
    integers = ("elements_per_image", "calls", "num_bits", "negatives", "macs", "weights")
    return pd.DataFrame(rows).astype(dict.fromkeys(integers, "Int64"))


def _made_of(name: str, dataflow: Dataflow | None) -> dict[str, Any]:
    """The multiplications that make what the quantizer ``name`` writes."""
    uncounted = () if dataflow is None else dataflow.uncounted
    if dataflow is None or not dataflow.tensors or any(each.startswith(f"{name} (") for each in uncounted):
        return {"macs": None, "weights": None, "fed_by": None}
    products = [each for each in dataflow.products if each.quantizer == name]
    fed_by = dict.fromkeys(q or "float" for each in products for operand in each.operands for q in operand)
    return {
        "macs": sum(each.macs for each in products),
        "weights": sum({each.layer: each.weights for each in products}.values()),
        "fed_by": ", ".join(fed_by),
    }
