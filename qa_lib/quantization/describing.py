"""What an object is, in words that are the same in every process: its class, its code, and what it holds."""

import argparse
import dis
import functools
import hashlib
import re
import sys
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from fractions import Fraction
from operator import itemgetter
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qa_lib.batches.digests import tensor_digest
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, range)
_SAID_BY_REPR = (*_PLAIN, Decimal, Fraction, PurePath, date, time, timedelta, re.Pattern)
_NAMESPACES = (SimpleNamespace, argparse.Namespace)
# What says something by what is in it, in a class or where a function looks it up.
_KNOWN = (
    *_SAID_BY_REPR, *_NAMESPACES, Tensor, np.ndarray, np.generic, dict, list, tuple, set, frozenset, FunctionType, MethodType,
    functools.partial, nn.Module,
)  # fmt: skip
_LIBRARIES = {"torch", "torchvision", "pytorch_quantization", "numpy", "builtins"}
# What evaluating sets itself, and what every module has.
_NOT_DESCRIBED = {"training", "_num_bits", "_disabled", "_removed", "negatives"} | set(vars(nn.Module()))


def described(value: Any) -> str:
    """A digest of ``value``: of a function the code, its defaults, what it closes over and the constants, functions and modules that it
    finds in its file; of an object of a user's own class what it holds; of another's the class."""
    return _Describer().text(value)


def module_settings(name: str, module: nn.Module) -> dict[str, str]:
    """What ``module`` is beside its parameters, buffers and submodules: ``name`` and the attribute -> digest."""
    describer = _Describer()
    found = {name: describer.kind(type(module))}
    found |= {
        f"{name}.{key}": describer.text(value)
        for key, value in sorted(vars(module).items())
        if key not in _NOT_DESCRIBED
    }
    if isinstance(module, toolkit_nn.TensorQuantizer) and not isinstance(module, TensorQuantizer):
        # One of the user's network, whose width no evaluation sets.
        disabled, num_bits = vars(module)["_disabled"], vars(module)["_num_bits"]
        found[f"{name}.num_bits"] = "float" if disabled else repr(num_bits)
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return found | {f"{name}, hook {index}": described(hook) for index, hook in enumerate(hooks)}


class _Describer:
    """Goes through what an object holds, each object once."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, Any]] = {}
        self.kinds: set[type] = set()

    def text(self, value: Any) -> str:
        if isinstance(value, _SAID_BY_REPR):
            return repr(value)
        if isinstance(value, Tensor):
            return tensor_digest(value).hex()
        if isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
            if array.dtype == object:
                return _sha(repr((array.shape, [self.text(item) for item in array.ravel().tolist()])))
            return _sha(f"{array.dtype}{array.shape}", array.tobytes())
        if id(value) in self.seen:  # held, so that the id is nobody else's
            return f"#{self.seen[id(value)][0]}"
        self.seen[id(value)] = len(self.seen), value
        return _sha(self._parts(value))

    def kind(self, kind: type) -> str:
        """The name of a class, and the code of a user's own: the same weights through another ``forward`` are another model."""
        package = kind.__module__.partition(".")[0]
        if package == "qa_lib":  # without the file, which may change its name
            return f"qa_lib.{kind.__qualname__}"
        name = f"{kind.__module__}.{kind.__qualname__}"
        if _is_installed(package):
            return f"{name} {_version(package)}".rstrip()
        if kind in self.kinds:
            return name
        self.kinds.add(kind)
        parts = [name]
        for base in kind.__mro__:
            if not _is_installed(base.__module__.partition(".")[0]):
                parts += [f"{key}={self._member(value)}" for key, value in sorted(vars(base).items())]
        return _sha(repr(parts))

    def _member(self, value: Any) -> str:
        """Of a class: its methods of all kinds, properties, and constants; nothing of what Python adds."""
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            return repr([self.text(f) for f in (value.fget, value.fset) if f is not None])
        return self.text(value) if isinstance(value, _KNOWN) else ""

    def _parts(self, value: Any) -> str:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return f"method {self.text(value.__func__)} of {self.text(value.__self__)}"
        if isinstance(value, functools.partial):
            return f"partial {self.text(value.func)} {self.text(value.args)} {self.text(value.keywords)}"
        if isinstance(value, (BuiltinFunctionType, ModuleType)):
            return getattr(value, "__qualname__", value.__name__)
        if isinstance(value, type):
            return self.kind(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Mapping):
            return repr(sorted((self.text(key), self.text(item)) for key, item in value.items()))
        if isinstance(value, Set):
            return repr(sorted(map(self.text, value)))
        if isinstance(value, Sequence):
            return repr([self.text(item) for item in value])
        held = _held(value)
        return f"{self.kind(type(value))} {[(key, self.text(item)) for key, item in sorted(held.items())]}"

    def _module(self, module: nn.Module) -> str:
        """One that is held outside of the modules: with its weights."""
        tensors = [*module.named_parameters(), *module.named_buffers()]
        kinds = [f"{name}={self.kind(type(each))}" for name, each in module.named_modules()]
        return repr((kinds, [(name, tensor_digest(tensor).hex()) for name, tensor in tensors]))

    def _function(self, function: FunctionType) -> str:
        if function.__module__ and _is_installed(package := function.__module__.partition(".")[0]):
            return f"{function.__qualname__} {_code(function.__code__)} {_version(package)}".rstrip()
        cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
        used = self._looked_up(_globals(function.__code__), _names(function.__code__), function.__globals__)
        defaults = [function.__defaults__, function.__kwdefaults__]
        own = [vars(function)] if vars(function) else []
        return repr((_code(function.__code__), [*map(self.text, (*defaults, *cells, *own))], used))

    def _looked_up(
        self, here: Collection[str], names: Collection[str], where: Mapping[str, Any]
    ) -> list[tuple[str, Any]]:
        """Of what a function that looks up ``here``, with these ``names`` in its code, finds in its file, or in another of the user's own
        files, what says something by what is in it: a user's own class by its constants, an object of one by what it holds."""
        found: list[tuple[str, Any]] = []
        for name, value in sorted(((name, where[name]) for name in here if name in where), key=itemgetter(0)):
            if isinstance(value, ModuleType):
                if not _is_installed(value.__name__.partition(".")[0]) and id(value) not in self.seen:
                    self.seen[id(value)] = len(self.seen), value
                    found.append((name, self._looked_up(names, names, vars(value))))
                    del self.seen[id(value)]
            elif isinstance(value, _KNOWN) or not _is_others(
                value if isinstance(value, type) else type(value)
            ):
                found.append((name, self.text(value)))
        return found


def _is_others(kind: type) -> bool:
    """Whether a class is a library's, whose objects say nothing by what is in them."""
    package = kind.__module__.partition(".")[0]
    return package in _LIBRARIES | {"qa_lib"} or package in sys.stdlib_module_names - {"__main__"}


@functools.cache
def _is_installed(package: str) -> bool:
    """Whether a package is Python's, or was installed: then its classes and functions are what they are called, in its version."""
    if package in _LIBRARIES | {"qa_lib"} or package in sys.stdlib_module_names - {"__main__"}:
        return True
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(PurePath(file).parts))


def _version(package: str) -> str:
    """What an installed package says of itself; nothing for those that the environment's facts hold, or Python's."""
    return "" if package in _LIBRARIES else str(getattr(sys.modules.get(package), "__version__", ""))


def _held(value: Any) -> dict[str, Any]:
    """The attributes of an object that a user can have put there, slots among them."""
    if isinstance(value, _NAMESPACES) or is_dataclass(value):
        held = dict(getattr(value, "__dict__", {}))
    elif _is_others(type(value)):
        return {}
    else:
        held = dict(getattr(value, "__dict__", {}))
    slots = (slot for kind in type(value).__mro__ for slot in _listed(vars(kind).get("__slots__", ())))
    return held | {
        slot: getattr(value, slot) for slot in slots if slot != "__dict__" and hasattr(value, slot)
    }


def _listed(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _sha(text: str, more: bytes = b"") -> str:
    return hashlib.sha256(text.encode() + more).hexdigest()


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def _names(code: CodeType) -> set[str]:
    """What a function may look up, the functions within it, too."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


@functools.lru_cache(4096)
def _globals(code: CodeType) -> frozenset[str]:
    """Of these the names that it looks up in its own file, and not in something else: ``self.weight`` is no ``weight`` of the file."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    own = {
        str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return frozenset(own.union(*map(_globals, inner)))


def _code(code: CodeType) -> str:
    # Not its file or line: defining the same class again further down changes no number.
    return _sha(repr((code.co_code, code.co_names, [_constant(constant) for constant in code.co_consts])))


def _constant(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _code(constant)
    # The order in which a set shows its items differs from process to process.
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
