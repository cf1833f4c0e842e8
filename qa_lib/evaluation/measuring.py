"""What a batch's outputs add to a metric's sums; NaN among them is never taken for an answer."""

import warnings
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.bit_widths import Widths
from qa_lib.errors import DataError, QAWarning
from qa_lib.metrics import Metric


class Measuring:
    """A metric that looks at what it is given.

    Args:
        metric: What is measured.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._said = False

    def sums(self, outputs: Any, targets: Tensor, bit_widths: Widths) -> np.ndarray:
        """What one batch adds, shape ``(k,)``.

        Args:
            outputs: What the model returns.
            targets: What it should.
            bit_widths: The setting that was run.

        Raises:
            DataError: The float model returns NaN, or what the metric cannot measure.

        Warns:
            QAWarning: A quantized model returns NaN; said once.
        """
        self.look_for_nan(outputs, bit_widths)
        return self.metric.measure(outputs, targets).cpu().numpy()

    def look_for_nan(self, outputs: Any, bit_widths: Widths) -> None:
        """Raises, or warns, as ``sums`` does."""
        tensors = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))
        if not any(tensor.is_floating_point() and bool(tensor.isnan().any()) for tensor in tensors):
            return
        if not any(bit_widths):
            raise DataError(
                "the float model returns NaN for some of the images: check its weights, and leave those images out"
            )
        if not self._said:
            self._said = True
            warnings.warn(
                f"the model returns NaN at bit widths {bit_widths}, and may at others: such outputs count as wrong",
                QAWarning,
                stacklevel=2,
            )
