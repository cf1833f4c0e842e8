"""Whether an adopted model returns what NVIDIA's toolkit itself makes of it."""

from typing import Any

import torch

from qa_lib.batches.forward import one_torch_thread
from qa_lib.bit_widths import Widths
from qa_lib.errors import NotReproducibleError
from qa_lib.forward.comparing import negatives_as_before, run_at, said_at, same, some_of, widths_at
from qa_lib.quantization.handing_back import set_like
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# At few bits little may be left to compare, at many all numbers pass through.
_TRIED = (None, 2, 4, 8)


def check_toolkit(qmodel: QuantizedActivationsModel, inputs: Any) -> int:
    """Raises ``NotReproducibleError`` if an adopted model returns something else for ``inputs`` than the toolkit's own model, a copy without anything of
    ours, at the same widths; returns how often the two were run. Of other models it looks at none."""
    if not qmodel.adopted:
        return 0
    try:
        twin = qmodel.toolkit_copy().eval()
    except Exception as error:  # a user's module may raise anything when it is copied
        raise NotReproducibleError(
            f"the adopted model cannot be copied ({type(error).__name__}: {error}), and so not be compared with the toolkit's own: keep out of its modules what "
            "copy.deepcopy refuses"
        ) from error
    with qmodel.lock, negatives_as_before(qmodel), one_torch_thread():
        unlike = [n for n in _TRIED if not _is_toolkits(qmodel, twin, widths_at(qmodel, n), inputs)]
        alone = {name: tuple(2 if n == name else None for n in qmodel.names) for name in qmodel.names}
        each = [
            name
            for name, quantizer in qmodel.fake_quantizers.items()
            if unlike and quantizer.calibrated and not _is_toolkits(qmodel, twin, alone[name], inputs)
        ]
    if unlike:
        raise NotReproducibleError(
            f"the adopted model returns other numbers than the toolkit's own {said_at(unlike[0])}"
            + (f", because of {some_of(each)}" if each else "")
            + ": a quantizer is used in a way that is not seen from outside (a hook sits on it, its forward() or num_bits is used, a weight's is called with more than "
            "the weight), or torch takes a faster way past it (nn.TransformerEncoderLayer): leave it out of the predicate, or use it as the toolkit's layers do"
        )
    return 2 * len(_TRIED)


def _is_toolkits(
    qmodel: QuantizedActivationsModel, twin: torch.nn.Module, widths: Widths, inputs: Any
) -> bool:
    before = _negatives(qmodel)
    found = run_at(qmodel, widths, inputs)
    if _negatives(qmodel) != before:
        return True  # the toolkit's raise, where ours count
    set_like(qmodel, dict(zip(qmodel.names, widths, strict=True)), twin)
    with torch.inference_mode():
        return same(qmodel.run(inputs, twin), found)


def _negatives(qmodel: QuantizedActivationsModel) -> int:
    return sum(quantizer.negatives for quantizer in qmodel.fake_quantizers.values())
