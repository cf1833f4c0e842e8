"""Fake quantizers in an ONNX graph: as QuantizeLinear, Clip and DequantizeLinear, or as QONNX's Quant."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qa_lib.export.grid import Grid

# A node with the number of a quantizer, which torch's exporter leaves where the quantizer acts.
DOMAIN, MARKER = "qa_lib", "FakeQuantize"
# QONNX's operators (Pappalardo et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022).
QONNX_DOMAIN = "qonnx.custom_op.general"
WIDEST_8_BIT = 8
# What multiplies by a weight, and may add a bias.
_LAYERS = ("Conv", "ConvTranspose", "Gemm")
# What hands numbers on as they are.
_MOVES = (
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
)  # fmt: skip
# The scale of a channel that the toolkit makes zeros of: nothing reaches a level of it.
_OF_ZEROS = 1e30


class QuantizedGraph:
    """Puts what a tool reads in the place of the markers of ``model``, in place.

    Args:
        model: A ``onnx.ModelProto`` with markers.
        grids: Name of the quantizer -> its grid, in the order of the markers' numbers.
        onnx: The package of this name.
    """

    def __init__(self, model: Any, grids: Mapping[str, Grid], onnx: Any) -> None:
        self.model, self.names, self.grids, self.onnx = model, list(grids), list(grids.values()), onnx
        self._initializers = {each.name: each for each in model.graph.initializer}
        self._constants: dict[str, Any] = {}
        self._times: Counter[str] = Counter()
        self._read: dict[str, str] = {}  # what a quantizer makes -> of what
        self._makes: dict[str, int] = {}  # the same -> its number
        self._rank_of = {name: len(each.dims) for name, each in self._initializers.items()}

    def replace(self, *, qonnx: bool) -> None:
        """Replaces all of them."""
        graph, nodes, renamed = self.model.graph, [], dict[str, str]()
        for node in graph.node:
            for place, name in enumerate(node.input):
                node.input[place] = renamed.get(name, name)
            if node.domain != DOMAIN or node.op_type != MARKER:
                nodes.append(node)
                continue
            number, (given,), (result,) = int(node.attribute[0].i), node.input, node.output
            self._read[result], self._makes[result] = given, number
            made = self._quant if qonnx else self._quantize_linear
            new = self._nothing(number, given, result) or made(number, given, result)
            nodes += new
            if not new:  # float
                renamed[result] = given
        for output in graph.output:
            if output.name in renamed:
                nodes.append(self.onnx.helper.make_node("Identity", [renamed[output.name]], [output.name]))
        nodes = [each for node in nodes for each in self._apart(node)]
        if not qonnx:
            nodes = self._in_float(nodes)
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [each for each in graph.initializer if each.name in used]
        del graph.initializer[:]
        graph.initializer.extend([*kept, *self._constants.values()])
        domains = [each for each in self.model.opset_import if each.domain != DOMAIN]
        del self.model.opset_import[:]
        self.model.opset_import.extend(domains)
        if qonnx:
            self.model.opset_import.append(self.onnx.helper.make_opsetid(QONNX_DOMAIN, 1))

    def _apart(self, node: Any) -> list[Any]:
        """Of a layer whose operands are quantized the bias by itself: onnxruntime would round one that is part of it to 32-bit integers in steps of
        both scales' product, in which it may have no place."""
        bias = (
            self._initializers.get(node.input[2]) if len(node.input) > 2 and node.op_type in _LAYERS else None
        )
        if bias is None or len(bias.dims) != 1:
            return [node]
        values = self.onnx.numpy_helper.to_array(bias)
        spatial = (
            0
            if node.op_type == "Gemm"
            else max(1, self._rank_of.get(self._read.get(node.input[1], node.input[1]), 4) - 2)
        )
        name, result, before = f"{bias.name}.apart", node.output[0], f"{node.output[0]}.before_bias"
        self._constants[name] = self.onnx.numpy_helper.from_array(values.reshape(-1, *[1] * spatial), name)
        del node.input[2]
        node.output[0] = before
        return [node, self.onnx.helper.make_node("Add", [before, name], [result], name=f"{node.name}.bias")]

    def _in_float(self, nodes: Sequence[Any]) -> list[Any]:
        """Where a layer with a float weight reads levels, what they are limited to anyway is said before it once more: without that onnxruntime
        would round the weight to 8 bits if the layer's output is quantized as well (its pass WeightBiasQuantization)."""
        made_by = {name: node for node in nodes for name in node.output}
        found = []
        for node in nodes:
            if node.op_type in _LAYERS and node.input[1] not in self._makes:  # its weight is float
                limits = [
                    np.float32(end) * np.float32(scale)
                    for grid in (self.grids[number] for number in self._levels_in(node.input[0], made_by))
                    for scale in grid.scale or ()
                    for end in grid.levels
                ]
                if limits:
                    found.append(self._limited(node, min(limits), max(limits)))
            found.append(node)
        return found

    def _limited(self, layer: Any, *limits: np.float32) -> Any:
        """A node that limits what ``layer`` reads, in place."""
        name, ends = f"{layer.name}.in_float", []
        for what, limit in zip(("low", "high"), limits, strict=True):
            ends.append(f"{name}.{what}")
            self._constants[ends[-1]] = self.onnx.numpy_helper.from_array(np.asarray(limit), ends[-1])
        given, layer.input[0] = layer.input[0], name
        return self.onnx.helper.make_node("Clip", [given, *ends], [name], name=name)

    def _levels_in(self, name: str, made_by: Mapping[str, Any]) -> set[int]:
        """The quantizers whose levels alone are in ``name``; none if anything else may be in it."""
        node = made_by.get(name)
        if node is None:
            return set()
        if node.op_type == "DequantizeLinear":
            return {self._makes[name]} if name in self._makes else set()
        if node.op_type not in _MOVES:
            return set()
        parts = node.input if node.op_type == "Concat" else node.input[:1]
        found = [self._levels_in(part, made_by) for part in parts]
        return set().union(*found) if all(found) else set()

    def _nothing(self, number: int, given: str, result: str) -> list[Any]:
        """Where all of a grid is zero, the toolkit returns zeros."""
        grid = self.grids[number]
        if grid.num_bits is None or grid.scale is None or any(grid.scale):
            return []
        return [self._node("Mul", number, [given, self._constant(number, "zero", np.float32(0))], [result])]

    def _quant(self, number: int, given: str, result: str) -> list[Any]:
        grid = self.grids[number]
        if grid.num_bits is None or grid.scale is None:
            return []
        scale = self._channels(grid, given, np.array([s or _OF_ZEROS for s in grid.scale], np.float32))
        inputs = [
            given,
            self._constant(number, "scale", scale),
            self._constant(number, "zero_point", np.float32(0)),
            self._constant(number, "num_bits", np.float32(grid.num_bits)),
        ]
        options = {
            "signed": int(not grid.unsigned),
            "narrow": int(grid.narrow_range),
            "rounding_mode": "ROUND",
        }
        return [self._node("Quant", number, inputs, [result], domain=QONNX_DOMAIN, **options)]

    def _quantize_linear(self, number: int, given: str, result: str) -> list[Any]:
        grid = self.grids[number]
        if grid.num_bits is None or grid.scale is None or grid.amax is None:
            return []
        narrow = grid.num_bits <= WIDEST_8_BIT
        kind: Any = (
            (np.uint8 if narrow else np.uint16) if grid.unsigned else (np.int8 if narrow else np.int16)
        )
        scales = np.array([s or _OF_ZEROS for s in grid.scale], np.float32)
        per_channel = {} if grid.axis is None else {"axis": grid.axis}
        scales = scales.reshape(()) if grid.axis is None else scales
        scale = self._constant(number, "scale", scales)
        zero = self._constant(number, "zero_point", np.zeros(scales.shape, kind))
        weight = self._initializers.get(given)
        if weight is not None:
            values = self.onnx.numpy_helper.to_array(weight)
            levels = self._constant(number, "levels", self._levels(grid, given, values).astype(kind))
            return [self._node("DequantizeLinear", number, [levels, scale, zero], [result], **per_channel)]
        low, high = grid.levels
        limits = np.iinfo(kind)
        clipped = (low, high) != (limits.min, limits.max)
        quantized, within = f"{result}.quantized", f"{result}.clipped"
        if narrow or not clipped:
            nodes = [self._node("QuantizeLinear", number, [given, scale, zero], [quantized], **per_channel)]
            if clipped:
                ends = [
                    self._constant(number, end, np.array(n, kind))
                    for end, n in (("low", low), ("high", high))
                ]
                nodes.append(self._node("Clip", number, [quantized, *ends], [within]))
                quantized = within
        else:  # onnxruntime clips no 16-bit integers; the ends, in float, are levels
            ends = [
                self._constant(number, end, self._channels(grid, given, np.asarray(n * scales, np.float32)))
                for end, n in (("low", low), ("high", high))
            ]
            nodes = [
                self._node("Max", number, [given, ends[0]], [f"{result}.above"]),
                self._node("Min", number, [f"{result}.above", ends[1]], [within]),
                self._node("QuantizeLinear", number, [within, scale, zero], [quantized], **per_channel),
            ]
        return [
            *nodes,
            self._node("DequantizeLinear", number, [quantized, scale, zero], [result], **per_channel),
        ]

    def _levels(self, grid: Grid, given: str, values: np.ndarray) -> np.ndarray:
        """The levels of a weight, rounded as the toolkit rounds them."""
        low, high = grid.levels
        amax = self._channels(grid, given, np.array(grid.amax, np.float32))
        live = self._channels(grid, given, np.array([bool(s) for s in grid.scale or ()], np.float32))
        steps = np.divide(np.float32(high), amax, out=np.zeros_like(amax), where=live > 0)
        return np.clip(np.rint(values.astype(np.float32) * steps), low, high)

    def _channels(self, grid: Grid, given: str, numbers: np.ndarray) -> np.ndarray:
        """One number for each channel, to be laid along the axis of those."""
        if grid.axis is None:
            return numbers.reshape(())
        shape = [1] * self._rank_of.get(given, grid.axis + 1)
        shape[grid.axis] = -1
        return numbers.reshape(shape)

    def _constant(self, number: int, what: str, value: Any) -> str:
        name = f"{self.names[number]}.{what}"
        self._constants[name] = self.onnx.numpy_helper.from_array(np.asarray(value), name)
        return name

    def _node(
        self, kind: str, number: int, inputs: Sequence[str], outputs: Sequence[str], **options: Any
    ) -> Any:
        name = f"{self.names[number]}.{kind}"
        self._times[name] += 1  # of a module that is called several times
        name += "" if self._times[name] == 1 else f".{self._times[name]}"
        return self.onnx.helper.make_node(kind, list(inputs), list(outputs), name=name, **options)
