"""A model with a fake quantizer on its inputs and behind each chosen module."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from qa_lib.batches.reading import check_inputs
from qa_lib.bit_widths import check_num_bits
from qa_lib.checks import kind_of
from qa_lib.errors import AlreadyQuantizedError, PredicateError, RemovedError
from qa_lib.graph.call_order import traced_call_order
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.adopting import choose_toolkit_quantizers
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.inputs import INPUT, ArgumentsSeen, Inputs
from qa_lib.quantization.layer_table import layer_table
from qa_lib.quantization.learning import LearnedQuantizers
from qa_lib.quantization.predicates import Predicate
from qa_lib.quantization.quantize_output import QuantizeOutput, check_outputs
from qa_lib.quantization.quantize_weight import QuantizeWeight, axis_of, choose_weights, hook_of, layer_of
from qa_lib.quantization.sites import check_sites, checked_device, choose_sites, device_of
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit_state import as_they_came, changed_since, other_quantizers


class QuantizedActivationsModel(LearnedQuantizers):
    """``model`` with its inputs and the output of each chosen module fake-quantized.

    The quantizers are called in forward hooks on the modules of ``model`` itself, in place, until
    ``remove()``. The input goes through its own quantizer first: ``nn.Sequential(input_quantizer,
    model)``; of several inputs each through one of its own, and those that are no floating-point numbers (tokens) through none.
    Which these are, the first batch of the calibration shows. Weights are left as they are, unless ``weights`` asks for fake quantizers of them, too:
    then a module runs with what its weight's quantizer makes of it, and the weight itself stays.

    Attributes:
        statistics: What the calibration images showed of each quantizer's activations; None before
            calibration. Saved with the model.
        calibration: How ``amax`` was found the last time; None before calibration. Saved with the model.
        volatile: What changes as the model runs and changes nothing that it returns, by name.

    Args:
        model: Takes a tensor of images, shape ``(N, ...)``, or whatever else its forward takes.
        predicate: Takes a module and returns whether its output is quantized; asked about each
            module inside ``model``.
        num_bits: Width of every quantizer to begin with, 2..16, or None for float.
        weights: Which weights get a quantizer, called "conv1.weight", behind those of the activations: True for those of the chosen convolutions and linear
            layers, a predicate for those of other ones, False for none. A weight is quantized while its own module runs; a forward that takes it from there,
            ``functional.linear(x, self.layer.weight)``, gets it as it is.
        weight_num_bits: Width of these to begin with.
        per_channel: Whether these have an ``amax`` for each output channel (of a transposed convolution with groups: of a group's), or one for all.
        device: Where to move the model; None leaves it where it is.
        inputs: Names of the arguments of the model's forward that get a quantizer, ``()`` for none; None chooses all that are
            given floating-point numbers. The one is called "input", of several each "input.name".
        outputs: Name of a chosen module that returns several tensors -> which of its floating-point ones is quantized, from 0
            on; 0 for those that it does not name.
        forward: How the model is run on a batch, ``(model, inputs) -> outputs``; None calls ``model(inputs)``, with a tuple
            ``model(*inputs)``, with a dict ``model(**inputs)``. It is handed this model or a copy of it, and has to call that.

    Raises:
        AlreadyQuantizedError: ``model`` has fake quantizers already.
        PredicateError: ``predicate`` is not one, or chooses nothing, ``weights`` is not one, or chooses what has no weight that can be quantized, or
            ``inputs`` or ``outputs`` name what is not there.
        BitWidthError: ``num_bits`` is not an allowed width.

    Example:
        >>> qmodel = QuantizedActivationsModel(model, conv2d_predicate)
        >>> record = calibrate(qmodel, workload.calibration_loader())
        >>> qmodel.bit_widths = {"features.0": 4}
        >>> qmodel.bit_widths
        (8, 4, 8, 8)
        >>> qmodel(images).shape
        torch.Size([256, 10])
    """

    def __init__(
        self,
        model: nn.Module,
        predicate: Predicate,
        num_bits: int | None = 8,
        device: torch.device | str | None = None,
        *,
        weights: Predicate | bool = False,
        weight_num_bits: int | None = 8,
        per_channel: bool = True,
        inputs: Sequence[str] | None = None,
        outputs: Mapping[str, int] | None = None,
        forward: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        super().__init__()
        chosen = choose_sites(model, predicate)
        check_num_bits(num_bits)
        check_outputs(outputs, chosen)
        if not (forward is None or callable(forward)):
            raise PredicateError(
                f"forward is {kind_of(forward)}; give a function of a model and inputs, or None"
            )
        weighted = choose_weights(model, chosen, weights)
        check_num_bits(weight_num_bits)
        if taken := set(weighted) & set(chosen):
            raise PredicateError(
                f"a chosen module is called {', '.join(taken)}, as the quantizer of a weight is: rename it"
            )
        self._inputs, self._run = Inputs(model, inputs), forward
        quantizers = {name: TensorQuantizer(num_bits) for name in (*self._inputs.sites.values(), *chosen)}
        for name, module in weighted.items():
            axis = axis_of(module) if per_channel else None
            quantizers[name] = TensorQuantizer(weight_num_bits, axis=axis)
        self._set_up(model, chosen, weighted, quantizers, outputs or {})
        self.to(device_of(model) if device is None else checked_device(device))

    @classmethod
    def adopt(
        cls,
        model: nn.Module,
        predicate: Predicate | None = None,
        *,
        forward: Callable[[Any, Any], Any] | None = None,
    ) -> "QuantizedActivationsModel":
        """The fake quantizers that ``model`` has of pytorch-quantization's own, those of ``quant_modules.initialize()`` and ``QuantConv2d`` say, as those
        of a quantized model: nothing is added, and every setting returns what setting ``num_bits`` on the toolkit's modules would, bit for bit.

        Their names are the model's, ``"layer1.0.conv1._input_quantizer"``: those of activations in the order of the forward pass (where it cannot be traced, of
        ``named_modules``), then those of weights; there is no ``"input"``. Width, axis, sign and ``amax`` are as they stand. The one ``amax`` that came along
        serves all widths, until ``calibrate`` finds one for each. Quantizers of other layers, and those that are switched off, stay as they are: part of the
        network. Until ``remove()``, which leaves the model as it came, the toolkit's quantizers are switched off, and ours work in their place: a pass after
        something was set on them, or loaded into them, is refused. Before anything is measured, the model is compared with the toolkit's own.

        Args:
            model: Calibrated or trained with the toolkit, or neither, and then ``calibrate`` it here.
            predicate: Which layers' quantizers, of a quantizer that is a module of its own which ones; None is all.
            forward: As of the class.

        Raises:
            AlreadyQuantizedError: ``model`` has fake quantizers of this library.
            PredicateError: ``model`` or ``predicate`` is none, or there is no quantizer that is switched on.
            LayerError: A quantizer does what cannot be taken over: it learns its amax, say.
            CalibrationError: Some have an ``amax`` and others do not, or one of another shape than its axis asks; or they are being calibrated.
            BitWidthError: A width is none of 2 to 16.

        Example:
            >>> from pytorch_quantization.nn import QuantConv2d
            >>> toolkit_model = torch.nn.Sequential(QuantConv2d(1, 4, 3), torch.nn.ReLU(), QuantConv2d(4, 4, 3))
            >>> QuantizedActivationsModel.adopt(toolkit_model).names
            ('0._input_quantizer', '2._input_quantizer', '0._weight_quantizer', '2._weight_quantizer')
        """
        if not (forward is None or callable(forward)):
            raise PredicateError(
                f"forward is {kind_of(forward)}; give a function of a model and inputs, or None"
            )
        adopted = choose_toolkit_quantizers(model, predicate)
        qmodel = cls.__new__(cls)
        super(QuantizedActivationsModel, qmodel).__init__()
        qmodel._inputs, qmodel._run = Inputs(model, ()), forward
        qmodel._set_up(model, adopted.activations, adopted.weights, adopted.ours, {})
        qmodel._adopted, qmodel.calibration = adopted.theirs, adopted.record
        qmodel._in_order = adopted.record is not None
        for theirs in adopted.theirs.values():
            theirs.disable()
        qmodel.to(device_of(model))
        qmodel._came = as_they_came(adopted.theirs)
        return qmodel

    def _set_up(
        self,
        model: nn.Module,
        chosen: Mapping[str, nn.Module],
        weighted: Mapping[str, nn.Module],
        quantizers: Mapping[str, TensorQuantizer],
        outputs: Mapping[str, int],
    ) -> None:
        """Puts ``quantizers`` on the outputs of ``chosen`` modules and around ``weighted`` ones."""
        self.lock = threading.RLock()
        self._chosen = {name: chosen[name] for name in traced_call_order(model, chosen)}
        layers = {layer_of(name): module for name, module in weighted.items()}
        order = {name: place for place, name in enumerate(traced_call_order(model, layers))}
        self._weights = {name: weighted[name] for name in sorted(weighted, key=lambda n: order[layer_of(n)])}
        self._learning, self._removed, self._calls, self._dataflow = 0, False, {}, None
        self._adopted: Mapping[str, Any] = {}
        self._came: Mapping[str, Any] = {}
        self._in_order = False
        self.volatile: frozenset[str] = frozenset()
        self.statistics: ActivationStatistics | None = None
        self.calibration: CalibrationRecord | None = None
        self._quantizers = {name: quantizers[name] for name in self.names}
        self.quantizers, self.sequential = nn.ModuleDict(), nn.Sequential(nn.Identity(), model)
        self._register()
        self._handles = [
            module.register_forward_hook(QuantizeOutput(name, self._quantizers[name], outputs.get(name, 0)))
            for name, module in self._chosen.items()
        ]
        for name, module in self._weights.items():
            self._handles += QuantizeWeight(name, self._quantizers[name]).hook(module)

    @property
    def chosen_modules(self) -> dict[str, nn.Module]:
        """The modules with a quantizer on their output, by name, in order."""
        return dict(self._chosen)

    @property
    def weighted_modules(self) -> dict[str, nn.Module]:
        """The modules whose weight has a quantizer, by the name of that, in order."""
        return dict(self._weights)

    @property
    def adopted(self) -> Mapping[str, nn.Module]:
        """Name -> the toolkit's quantizer that one of ours stands for; empty unless ``adopt`` made this model."""
        return MappingProxyType(self._adopted)

    @property
    def other_quantizers(self) -> dict[str, str]:
        """Place -> what a quantizer of the toolkit does there that is switched on and none of this model's own, as a digest, or whose it is as well."""
        return other_quantizers(self.model, self._adopted)

    def toolkit_copy(self) -> nn.Module:
        """A copy of an adopted model as it came, without anything of ours; parameters are shared. Raises what a user's module raises when it is copied."""
        with self.lock:
            twin = copy.deepcopy(self, {id(tensor): tensor for tensor in self.parameters()})
        return twin.remove()

    @property
    def has_own_forward(self) -> bool:
        """Whether ``forward=`` says how the model is run."""
        return self._run is not None

    @property
    def takes_numbers(self) -> bool:
        """Whether its one input has to be floating-point numbers: none of its modules makes them of tokens, and nobody says how it
        is run."""
        tokens = any(isinstance(module, (nn.Embedding, nn.EmbeddingBag)) for module in self.model.modules())
        return not (tokens or self.has_own_forward or self._inputs.chosen == ())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What ``model`` returns for these arguments, images of shape ``(N, ...)`` say, with quantized activations."""
        if not torch.compiler.is_compiling():  # which looks through modules of its own
            self.check_usable()
            self.check_device(args[0] if len(args) == 1 and not kwargs else (*args, *kwargs.values()))
        if self._learning == threading.get_ident():  # and not in another thread, which waits
            raise ArgumentsSeen(self._inputs.named(args, kwargs))
        with self.lock:  # not while another thread has other widths in it
            one = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
            if one and self.first_is_the_input:
                # Nothing that the model does to its input is to reach the caller's images.
                float_input = self._quantizers[INPUT].num_bits is None
                return self.sequential(args[0].clone() if float_input else args[0])
            passed, named = self._inputs.quantized(args, kwargs, self._quantizers)
            return self.model(*passed, **named)

    def check_usable(self) -> None:
        """Raises ``RemovedError`` after ``remove()``, ``LayerError`` if a quantized module was replaced by another."""
        if self._removed:
            raise RemovedError(
                "the fake quantizers of this model were removed: make a new QuantizedActivationsModel"
            )
        check_sites(self.model, self._chosen | {layer_of(n): m for n, m in self._weights.items()})
        if changed := changed_since(self._came, self._adopted) if self._adopted else []:
            raise AlreadyQuantizedError(
                f"'{changed[0]}' of the toolkit was changed after it was adopted (set, loaded, switched on or converted), and has no effect here: set widths on this "
                "model, or remove() it, change the toolkit's model, and adopt that again"
            )

    def check_device(self, inputs: Any) -> None:
        """Raises ``DeviceError`` unless ``inputs`` are where the model is, ``DataError`` unless there are tensors in them."""
        check_inputs(inputs, self.device)

    def layer_table(self, *, all_widths: bool = False) -> pd.DataFrame:
        """One row for each quantizer, in order.

        Args:
            all_widths: Add the ``amax`` of every width, as columns ``amax_2`` to ``amax_16``.

        Returns:
            A frame with the columns ``name``, ``type`` (class of the module), ``output_shape``
            (for one image), ``elements_per_image`` (over all calls), ``calls`` (in one forward
            pass), ``num_bits`` (missing is float), ``unsigned``, ``amax`` (at this width; NaN before
            calibration), ``negatives`` (values below zero that an unsigned quantizer was given while
            measuring, and returned as 0), ``macs`` (multiply-adds of one image that make what it writes), ``weights`` (numbers in the weights
            of these) and ``fed_by`` (the quantizers that write what these read, "float" for none). What a pass shows is known once the model
            is calibrated, and missing before.
        """
        modules = self._chosen | self._weights
        types = {n: type(modules[n]).__name__ if n in modules else INPUT for n in self.names}
        types |= {name: f"{types[name]} weight" for name in self._weights}
        for name in self._adopted:
            layer, _, attribute = name.rpartition(".")
            if attribute == "_input_quantizer":
                types[name] = f"{type(self.model.get_submodule(layer)).__name__} input"
        known = self._calls, self.weight_elements, self._dataflow
        return layer_table(types, self.fake_quantizers, *known, all_widths=all_widths)

    def replace_quantizers(self, others: Mapping[str, Any]) -> None:
        """Puts ``others`` in the place of all quantizers, by name, in place: for a copy that is to be written down, and not to be measured."""
        own = {quantizer: name for name, quantizer in self._quantizers.items()}
        self._quantizers = dict(others)
        self._register()
        for module in self.model.modules():
            for hook in (*module._forward_hooks.values(), hook_of(module)):
                if isinstance(hook, (QuantizeOutput, QuantizeWeight)):
                    hook.quantizer = self._quantizers[own[hook.quantizer]]
                if isinstance(hook, QuantizeWeight):
                    hook.kept = None

    def remove(self) -> nn.Module:
        """Takes the hooks off in place and returns ``model`` as it was before."""
        with self.lock:
            for handle in self._handles:
                handle.remove()
            for theirs in () if self._removed else self._adopted.values():
                theirs.enable()
            self._removed = True
        return self.model
