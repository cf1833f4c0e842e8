"""A checkpoint of a model that NVIDIA's toolkit has quantized, loaded on whatever device the model is."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.checks import kind_of, shown
from qa_lib.errors import CalibrationError, DataError, LayerError
from qa_lib.files import checked_path
from qa_lib.quantization.adopting import check_toolkit_amax
from qa_lib.quantization.handing_back import PARALLEL
from qa_lib.quantization.saved_amax import check_saved_amax, make_room
from qa_lib.quantization.sites import check_has_none_of_ours
from qa_lib.quantization.toolkit import toolkit_nn

# Where training scripts keep the state dict.
_INSIDE = ("state_dict", "model_state_dict", "model")


def load_toolkit_checkpoint(model: nn.Module, path: str | Path) -> nn.Module:
    """Loads a state dict with ``_amax`` in it into a model of pytorch-quantization's modules, in place; no CUDA is needed, wherever it was saved.

    Args:
        model: Made as the one that was saved, ``quant_modules.initialize()`` before it, calibrated or not; it stays where it is. With and without
            ``DataParallel`` around it are the same.
        path: What ``torch.save(model.state_dict(), path)`` wrote, or a dict that has it as ``"state_dict"``, ``"model_state_dict"`` or ``"model"``. Read with
            ``weights_only=True``: nothing in it is run.

    Returns:
        ``model``.

    Raises:
        DataError: There is no such file, or it holds no state dict.
        LayerError: ``model`` has no quantizers of the toolkit, or the file is of another network. Nothing is changed then.
        CalibrationError: A quantizer that is switched on has no ``amax`` in the file, or one that is none, or that its axis cannot have. Nothing is changed then.
        AlreadyQuantizedError: ``model`` has fake quantizers of this library: load before ``adopt``.

    Example:
        >>> from pytorch_quantization.nn import QuantLinear
        >>> trained, fresh = QuantLinear(4, 2), QuantLinear(4, 2)
        >>> trained.input_quantizer.amax, trained.weight_quantizer.amax = 1.0, [[0.5], [0.25]]
        >>> torch.save(trained.state_dict(), "qat.pt")
        >>> load_toolkit_checkpoint(fresh, "qat.pt").weight_quantizer.amax.tolist()
        [[0.5], [0.25]]
    """
    check_has_none_of_ours(model)
    file = checked_path(path, DataError)
    state = _named_like(model, _state_dict(file))
    quantizers = {
        f"{name}." if name else "": module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, toolkit_nn.TensorQuantizer)
    }
    if not quantizers:
        raise LayerError(
            f"this {type(model).__name__} has no quantizers of pytorch-quantization to load into: call quant_modules.initialize() before it is made"
        )
    _check_network(model, state, file, {f"{prefix}_amax" for prefix in quantizers})
    without = [
        prefix[:-1]
        for prefix, quantizer in quantizers.items()
        if not _has_amax(state, prefix)
        and not (vars(quantizer)["_disabled"] or vars(quantizer)["_learn_amax"])
    ]
    if without:
        raise CalibrationError(
            f"'{file}' has no amax of {len(without)} of the {len(quantizers)} quantizers ({', '.join(without)}): save the model after it was calibrated, or "
            "switch these off (disable())"
        )
    for prefix in quantizers:
        if (amax := state.get(f"{prefix}_amax")) is not None:
            check_saved_amax(f"{prefix}_amax", amax)
            if _has_amax(state, prefix):
                check_toolkit_amax(model, prefix[:-1], amax)
    make_room(model, state)
    model.load_state_dict(state)
    return model


def _state_dict(file: Path) -> dict[str, Tensor]:
    save = "torch.save(model.state_dict(), path)"
    try:
        read = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"'{file}' holds more than tensors, a whole model perhaps, which cannot be read without running what is in it: load it as it was saved, and save its "
            f"state dict, {save}"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise DataError(
            f"'{file}' cannot be read as a checkpoint ({str(error).splitlines()[0]}): give what {save} wrote"
        ) from error
    if isinstance(read, Mapping):
        inner = next((read[name] for name in _INSIDE if isinstance(read.get(name), Mapping)), read)
        if inner and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in inner.items()):
            return dict(inner)
    keys = f" of {shown(list(read))}" if isinstance(read, Mapping) else ""
    raise DataError(
        f"'{file}' holds {kind_of(read)}{keys} and no state dict: give what {save} wrote, or a dict that has it as {', '.join(map(repr, _INSIDE))}"
    )


def _named_like(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with the names that ``model`` has, where data parallelism is around one of them."""
    parallel = [all(key.startswith(PARALLEL) for key in keys) for keys in (state, model.state_dict())]
    if parallel == [True, False]:
        return {key.removeprefix(PARALLEL): value for key, value in state.items()}
    return {PARALLEL + key: value for key, value in state.items()} if parallel == [False, True] else state


def _has_amax(state: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the file knows the ``amax`` of a quantizer; NaN is none."""
    amax = state.get(f"{prefix}_amax")
    return amax is not None and not bool(amax.isnan().any())


def _check_network(model: nn.Module, state: Mapping[str, Any], file: Path, amax: set[str]) -> None:
    own = {key: value for key, value in model.state_dict().items() if key not in amax}
    missing, unknown = (
        [key for key in own if key not in state],
        [k for k in state if k not in own and k not in amax],
    )
    other = [key for key, value in own.items() if key in state and value.shape != state[key].shape]
    for what, keys in (
        ("has no", missing),
        ("has, which the model has not,", unknown),
        ("has in another shape", other),
    ):
        if keys:
            raise LayerError(
                f"'{file}' is of another network than this {type(model).__name__}: it {what} {shown(keys)}: make the model as it was made when it was saved"
            )
