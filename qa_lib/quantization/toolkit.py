"""pytorch-quantization, imported and run without its chatter."""

import logging
import warnings

# absl, which it logs through, puts a handler of its own at the root: what others log would be on the screen.
_handlers = logging.root.handlers[:]
with warnings.catch_warnings():
    # The toolkit decorates a function with torch.jit.script, which torch 2.14 calls deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    from pytorch_quantization import nn as toolkit_nn
    from pytorch_quantization.tensor_quant import QuantDescriptor
logging.root.handlers[:] = _handlers


def _is_not_chatter(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or "pytorch_quantization" not in record.pathname


# The toolkit logs a warning, through absl, whenever it switches a stage or loads an amax.
logging.getLogger("absl").addFilter(_is_not_chatter)

__all__ = ["QuantDescriptor", "toolkit_nn"]
