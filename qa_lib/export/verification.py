"""Whether a written model returns what was measured."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.batches.structure import count_items, tensors
from qa_lib.bit_widths import Widths
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Metric
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running

# What makes onnxruntime's 8-bit products exact on processors without VNNI, too.
EXACT = ("session.x64quantprecision", "1")


@dataclass(frozen=True)
class Verification:
    """What a written model returned beside the quantized one.

    Attributes:
        items: How many were run through both.
        differing: How many of them have another answer: a largest output elsewhere, or, where outputs are no classes, a number that is off by more
            than a thousandth of the largest.
        largest_difference: Of any output, as a share of the largest.
        score: What the written model scores on an evaluator's search set; None where that is not known.
        expected: What the quantized model scores there.
        saturates: Whether onnxruntime's default session returns something else on this processor: without VNNI instructions its 8-bit products of
            unsigned and signed numbers saturate. The others are of a session with ``session.x64quantprecision`` set to ``"1"``, which is exact.
    """

    items: int
    differing: int
    largest_difference: float
    score: float | None = None
    expected: float | None = None
    saturates: bool = False

    def __str__(self) -> str:
        found = f"{self.differing} of {self.items:,} items have another answer, no output is off by more than {self.largest_difference:.1%} of the largest"
        if self.score is not None:
            found += f"; it scores {self.score:.6g}, and {self.expected:.6g} was measured here"
        if self.saturates:
            found += (
                f". On this processor onnxruntime does so only with options.add_session_config_entry({EXACT[0]!r}, {EXACT[1]!r}): without VNNI its 8-bit sums "
                "saturate otherwise"
            )
        return found


def package(name: str) -> Any:
    """An optional package; raises ``DataError`` where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        raise DataError(
            f"this export needs the package {name} ({error}): pip install 'qa_lib[export]'"
        ) from error


def verify(
    path: Path, qmodel: QuantizedActivationsModel, widths: Widths, given: Any, *, qonnx: bool
) -> Verification:
    """Runs what was written beside the quantized model.

    Raises:
        DataError: There is nothing to run.

    Args:
        path: The file.
        qmodel: The model; it stays as it is.
        widths: The setting.
        given: An evaluator, whose whole search set is run and scored, or inputs: a tensor, or whatever the model takes.
        qonnx: Run it by the ``qonnx`` package, otherwise by onnxruntime.
    """
    run = _qonnx_runner(path) if qonnx else _onnx_runner(path, EXACT)
    run_default = None if qonnx else _onnx_runner(path)
    saturates = False
    metric: Metric | None = given.metric if isinstance(given, Evaluator) and given.metric.additive else None
    sums, ours_sums = np.zeros(()), np.zeros(())
    items, differing, largest = 0, 0, 0.0
    for inputs, targets in _batches(given):
        with running(qmodel, widths):
            returned = qmodel.run(inputs)
        found = run(inputs)
        if run_default and not saturates:
            saturates = not all(map(np.array_equal, run_default(inputs), found))
        ours, theirs = list(tensors(returned)), [torch.from_numpy(np.array(each)) for each in found]
        count = count_items(inputs)
        unlike = torch.zeros(count, dtype=torch.bool)
        for mine, other in zip(ours, theirs, strict=True):
            mine, other = mine.detach().cpu().double(), other.double().reshape(mine.shape)
            top = float(mine.abs().max())
            difference = (mine - other).abs() / (top or 1.0)
            largest = max(largest, float(difference.max()))
            classes = mine.dim() > 1 and mine.shape[1] > 1
            other_answer = mine.argmax(1) != other.argmax(1) if classes else difference > 1e-3
            if len(mine) == count:
                unlike |= other_answer.reshape(count, -1).any(1)
        items, differing = items + count, differing + int(unlike.sum())
        if metric is not None:
            leaves, structure = pytree.tree_flatten(returned)
            kept = iter(theirs)
            again = [
                next(kept).to(leaf.dtype).reshape(leaf.shape) if isinstance(leaf, Tensor) else leaf
                for leaf in leaves
            ]
            sums = sums + np.asarray(metric.measure(pytree.tree_unflatten(again, structure), targets), float)
            ours_sums = ours_sums + np.asarray(metric.measure(returned, targets), float)
    if metric is None:
        return Verification(items, differing, largest, saturates=saturates)
    score, expected = (float(metric.score(torch.as_tensor(s))) for s in (sums, ours_sums))
    return Verification(items, differing, largest, score, expected, saturates)


def _batches(given: Any) -> Iterator[tuple[Any, Any]]:
    yield from given.search_set.batches if isinstance(given, Evaluator) else [(given, None)]


def _onnx_runner(path: Path, *entries: tuple[str, str]) -> Callable[[Any], list[np.ndarray]]:
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    for entry in entries:
        options.add_session_config_entry(*entry)
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Any) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, (t.cpu().numpy() for t in tensors(inputs)), strict=True)))

    return run


def _qonnx_runner(path: Path) -> Callable[[Any], list[np.ndarray]]:
    wrapper, execution = package("qonnx.core.modelwrapper"), package("qonnx.core.onnx_exec")
    infer = package("qonnx.transformation.infer_shapes")
    model = wrapper.ModelWrapper(str(path))
    names = [each.name for each in model.graph.input]
    outputs = [each.name for each in model.graph.output]

    def run(inputs: Any) -> list[np.ndarray]:
        given = dict(zip(names, (t.cpu().numpy() for t in tensors(inputs)), strict=True))
        sized = wrapper.ModelWrapper(str(path))
        for name, values in given.items():
            sized.set_tensor_shape(name, list(values.shape))
        found = execution.execute_onnx(sized.transform(infer.InferShapes()), given)
        return [found[name] for name in outputs]

    return run
