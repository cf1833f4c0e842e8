"""Which modules of a model get a fake quantizer behind them.

A predicate takes a module and returns a bool. Any function of that shape will do; the ones here
cover the usual choices and can be combined::

    all_of(any_of(conv2d_predicate, linear_predicate), not_(name_matches("blocks.0.*")))
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

import numpy as np
from torch import nn

from qa_lib.checks import naming, shown
from qa_lib.errors import PredicateError
from qa_lib.quantization.toolkit import toolkit_nn

Predicate = Callable[[nn.Module], bool]


def conv2d_predicate(module: nn.Module) -> bool:
    """Chooses every ``torch.nn.Conv2d``, and the toolkit's ``QuantConv2d``, which is none."""
    return isinstance(module, (nn.modules.Conv2d, toolkit_nn.QuantConv2d))


def linear_predicate(module: nn.Module) -> bool:
    """Chooses every ``torch.nn.Linear``."""
    return isinstance(module, nn.modules.Linear)


class name_matches:  # noqa: N801 - used like the functions beside it
    """Chooses modules by their qualified name, as ``model.named_modules()`` gives it.

    The pattern is a shell pattern: ``*`` stands for anything, dots included, so
    ``"blocks.*"`` means everything inside ``blocks``, containers and activation functions as
    well. Combine it with a type to be more precise: ``all_of(conv2d_predicate,
    name_matches("blocks.*"))``.

    Args:
        *patterns: One or more patterns, case-sensitive; a module is chosen if any matches.
    """

    def __init__(self, *patterns: str) -> None:
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise PredicateError(
                f"name_matches takes one or more patterns such as 'blocks.*', not {shown(patterns)}"
            )
        self.patterns = patterns

    def bind(self, model: nn.Module) -> Predicate:
        """The predicate with the names of ``model``'s modules filled in."""
        chosen = {
            module
            for name, module in model.named_modules()
            if any(fnmatchcase(name, pattern) for pattern in self.patterns)
        }
        return lambda module: module in chosen

    def __call__(self, module: nn.Module) -> bool:
        raise PredicateError(
            "name_matches needs the model that a name belongs to: "
            "call name_matches(...).bind(model), and ask the predicate that it returns"
        )


class _Combination:
    """Several predicates under one rule; hands the model's names on to those that ask for them."""

    def __init__(self, rule: Callable[[Iterable[bool]], bool], predicates: tuple[Predicate, ...]) -> None:
        for predicate in predicates:
            check_predicate(predicate)
        if not predicates:
            raise PredicateError("a combination needs at least one predicate")
        self.rule = rule
        self.predicates = predicates

    def bind(self, model: nn.Module) -> Predicate:
        bound = tuple(bind_predicate(predicate, model) for predicate in self.predicates)
        return _Combination(self.rule, bound)

    def __call__(self, module: nn.Module) -> bool:
        return self.rule(predicate(module) for predicate in self.predicates)


def any_of(*predicates: Predicate) -> Predicate:
    """Chooses what at least one of ``predicates`` chooses."""
    return _Combination(any, predicates)


def all_of(*predicates: Predicate) -> Predicate:
    """Chooses what every one of ``predicates`` chooses."""
    return _Combination(all, predicates)


def not_(predicate: Predicate) -> Predicate:
    """Chooses what ``predicate`` does not choose."""
    return _Combination(lambda answers: not any(answers), (predicate,))


def check_predicate(predicate: object) -> None:
    """Raises ``PredicateError`` unless ``predicate`` can be asked about a module."""
    if not callable(predicate) or isinstance(predicate, (nn.Module, type)):
        raise PredicateError(
            f"a predicate is a function from a module to a bool, not {shown(predicate)}; "
            "take conv2d_predicate, or write: lambda module: isinstance(module, nn.Conv2d)"
        )


def bind_predicate(predicate: Predicate, model: nn.Module) -> Predicate:
    """``predicate`` with the names of ``model``'s modules filled in, where it asks for them."""
    return predicate.bind(model) if hasattr(predicate, "bind") else predicate


def choose_modules(model: nn.Module, predicate: Predicate) -> dict[str, nn.Module]:
    """The modules inside ``model`` that ``predicate`` chooses, by qualified name.

    The model itself is not asked about, only what it contains. A module that stands in several
    places appears once, under its first name.

    Raises:
        PredicateError: ``predicate`` is not callable, does not answer with a bool, or chooses
            nothing.
    """
    check_predicate(predicate)
    asked = bind_predicate(predicate, model)
    chosen = {}
    kinds = set()
    for name, module in model.named_modules():
        if not name:
            continue
        with naming(
            f"the predicate {shown(predicate)}, asked about '{name}' ({type(module).__name__}),",
            PredicateError,
        ):
            answer = asked(module)
        if not isinstance(answer, (bool, np.bool_)):
            raise PredicateError(
                f"the predicate answered {shown(answer)} for '{name}'; it has to answer True or False"
            )
        kinds.add(type(module).__name__)
        if answer:
            chosen[name] = module
    if not chosen:
        inside = f"it contains {', '.join(sorted(kinds))}" if kinds else "it contains no modules"
        hint = "choose among those" if kinds else "wrap it: torch.nn.Sequential(model)"
        raise PredicateError(f"the predicate chooses no module of {type(model).__name__}; {inside}: {hint}")
    return chosen
