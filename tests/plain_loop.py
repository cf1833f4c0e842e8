"""A loop of one's own, with the toolkit's own quantizers in hooks: what everything is compared with."""

import torch

from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


def run_plainly(qmodel, widths, batches):
    """What the model returns for each batch, a tensor; ``qmodel`` is a ``QuantizedActivationsModel``, and stays as it is. Without
    widths what the float model returns."""
    quantizers, ours_by_name = {}, qmodel.activation_fake_quantizers if widths else {}
    for (name, ours), num_bits in zip(ours_by_name.items(), widths or (), strict=True):
        described = QuantDescriptor(
            num_bits=num_bits, amax=float(ours.amax_at(num_bits)), unsigned=ours.unsigned
        )
        quantizers[name] = toolkit_nn.TensorQuantizer(described)
    before = qmodel.bit_widths
    qmodel.bit_widths = [None] * len(before)
    handles = [
        module.register_forward_hook(lambda m, i, out, q=quantizers[name]: q(out))
        for name, module in qmodel.chosen_modules.items()
        if widths
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return [qmodel.model(quantizers["input"](batch) if widths else batch) for batch in batches]
    finally:
        torch.set_num_threads(threads)
        for handle in handles:
            handle.remove()
        qmodel.bit_widths = before
