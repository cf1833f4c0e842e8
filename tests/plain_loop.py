"""A loop of one's own, with the toolkit's own quantizers in hooks: what everything is compared with."""

import inspect

import torch

from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


def run_plainly(qmodel, widths, batches, input_of="right"):
    """What the model returns for each batch, a tensor; ``qmodel`` is a ``QuantizedActivationsModel``, and stays as it is. Without
    widths what the float model returns. ``input_of`` is the argument that a lone "input" of several stands for."""
    quantizers, ours_by_name = {}, qmodel.activation_fake_quantizers if widths else {}
    for (name, ours), num_bits in zip(ours_by_name.items(), widths or (), strict=True):
        described = QuantDescriptor(
            num_bits=num_bits, amax=float(ours.amax_at(num_bits)), unsigned=ours.unsigned
        )
        quantizers[name] = toolkit_nn.TensorQuantizer(described)
    before = qmodel.bit_widths
    qmodel.bit_widths = [None] * len(before)

    def first_of(output, quantizer):
        """Of a tuple its first tensor is quantized."""
        return (quantizer(output[0]), *output[1:]) if isinstance(output, tuple) else quantizer(output)

    def pass_in(value, name):
        quantizer = quantizers.get(name)
        if isinstance(value, list):
            return [quantizer(each) for each in value]
        return value if quantizer is None else quantizer(value)

    def one_by_one(batch):
        batch = clone(batch)
        if not widths:
            return batch
        if isinstance(batch, (tuple, dict)):
            names = list(inspect.signature(qmodel.model.forward).parameters)
            parts = batch if isinstance(batch, dict) else dict(zip(names, batch, strict=False))
            only = [name for name in parts if f"input.{name}" in quantizers]
            chosen = {name: f"input.{name}" for name in only} or (
                {input_of: "input"} if "input" in quantizers and input_of in parts else {}
            )
            passed = {name: pass_in(part, chosen.get(name)) for name, part in parts.items()}
            return passed if isinstance(batch, dict) else tuple(passed.values())
        return pass_in(batch, "input")

    handles = [
        module.register_forward_hook(lambda m, i, out, q=quantizers[name]: first_of(out, q))
        for name, module in qmodel.chosen_modules.items()
        if widths
    ]
    run = qmodel._run or (lambda model, batch: call(model, batch))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return [run(qmodel.model, one_by_one(batch)) for batch in batches]
    finally:
        torch.set_num_threads(threads)
        for handle in handles:
            handle.remove()
        qmodel.bit_widths = before


def call(model, batch):
    if isinstance(batch, tuple):
        return model(*batch)
    return model(**batch) if isinstance(batch, dict) else model(batch)


def clone(batch):
    if isinstance(batch, (tuple, list)):
        return type(batch)(map(clone, batch))
    return {key: clone(part) for key, part in batch.items()} if isinstance(batch, dict) else batch.clone()
