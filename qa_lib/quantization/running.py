"""Running a quantized model for its numbers, and leaving it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from qa_lib.batches.forward import evaluation_mode, forward
from qa_lib.bit_widths import BitWidths
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


@contextmanager
def running(qmodel: QuantizedActivationsModel, bit_widths: BitWidths) -> Iterator[None]:
    """In the ``with`` block ``qmodel`` has ``bit_widths``, is in evaluation mode, and records no gradients."""
    with qmodel.temporary_bit_widths(bit_widths), evaluation_mode(qmodel), torch.inference_mode():
        yield


def run_float(qmodel: QuantizedActivationsModel, inputs: Any) -> Any:
    """What the float model returns for ``inputs``: all quantizers are switched off meanwhile."""
    with running(qmodel, [None] * len(qmodel.names)):
        return forward(qmodel, inputs)
