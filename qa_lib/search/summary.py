"""A search in five sentences that could stand in a paper."""

from typing import TYPE_CHECKING

import numpy as np

from qa_lib.costs import amount, parts
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.quantization.calibration_record import AS_IT_CAME
from qa_lib.search.checked_front import CheckedFront, check_checked
from qa_lib.search.pareto import knee

if TYPE_CHECKING:
    from qa_lib.search.exploration import Exploration


def summarize(exploration: "Exploration", checked: CheckedFront | None = None) -> str:
    """What was searched, on what, what it cost, what was found, and how sure that is: five sentences.

    Args:
        exploration: The search.
        checked: What ``exploration.check(holdout)`` returned, if the front was checked.

    Raises:
        SearchError: ``checked`` is another front.

    Example:
        >>> summarize(exploration).count(". ")
        4
    """
    check_checked(checked, exploration.front_evaluations)
    parts = (
        _searched(exploration),
        _measured(exploration),
        _cost(exploration),
        _found(exploration),
        _sure(exploration, checked),
    )
    return " ".join(parts)


def _searched(exploration: "Exploration") -> str:
    lower, upper = exploration.num_bits_limits
    made = exploration.made
    of = f" of {made.model}" if made else ""
    method = made.calibration.method if made and made.calibration else None
    calibrated = (
        ", with the amax that came with it,"
        if method == AS_IT_CAME
        else f", calibrated by {method!r},"
        if method
        else ""
    )
    seed = f" (seed {made.settings['seed']})" if made and "seed" in made.settings else ""
    kept = " within the rules that were given" if exploration.space and not exploration.space.plain else ""
    count = len(exploration.names)
    weights = sum(each.type.endswith(" weight") for each in made.quantizers) if made else 0
    if weights:
        quantizers = f"{count - weights} activation and {weights} weight quantizers"
    else:
        quantizers = f"{count} activation quantizers" if count > 1 else "one activation quantizer"
    between = f"between {lower} and {upper} bits" if lower < upper else f"at {upper} bits"
    return (
        f"The widths of the {quantizers}{of}{calibrated} were searched {between}{kept} "
        f"for {exploration.scale.name} against {' and '.join(cost.name for cost in parts(exploration.cost))}{seed}."
    )


def _measured(exploration: "Exploration") -> str:
    model = exploration.float_evaluation
    least = exploration.min_score
    asked = (
        f", and {exploration.scale.text(least)} is the least that its front allows"
        if least > exploration.scale.worst
        else ""
    )
    name, images = exploration.scale.name, f"all {model.search_images:,} items of the search set"
    return f"Each {name} that is not called expected was measured on {images}, where the float model has {model.text}{asked}."


def _cost(exploration: "Exploration") -> str:
    stopped = len(exploration.stopped)
    saved = f"{exploration.images_saved:.0%} of the images saved"
    early = f"{stopped:,} of them stopped early as hopeless ({saved}), " if stopped else ""
    seconds = (
        f" ({exploration.made.seconds:,.0f} s)" if exploration.made and exploration.made.seconds >= 1 else ""
    )
    asked = len(exploration.candidates)
    settings = f"{asked:,} settings were" if asked != 1 else "One setting was"
    ended = ", before it was interrupted" if exploration.interrupted else ""
    known = len(exploration.archived)
    more = f"; {known:,} more {'was' if known == 1 else 'were'} known from earlier searches" if known else ""
    return (
        f"{settings} asked for, {early}at the cost of {exploration.full_passes:.1f} passes over the search "
        f"set{seconds}{ended}{more}."
    )


def _found(exploration: "Exploration") -> str:
    front, scale, cost = exploration.front_evaluations, exploration.scale, exploration.cost
    if not front:
        nearest = exploration.nearest
        lucky = nearest.complete and nearest.score >= exploration.min_score
        why = (
            f", which is {scale.difference(exploration.shortfall)} too lucky: less is expected of it"
            if lucky
            else ""
        )
        bound = "" if nearest.complete else "at most "
        return f"None was feasible: the nearest has {bound}{nearest.text} at {amount(cost, nearest.bit_widths)}{why}."
    by = (
        "how far their outputs are from the float model's"
        if exploration.by == "divergence"
        else f"measured {scale.name}"
    )
    ends = " to ".join(_told(exploration, e) for e in dict.fromkeys((front[0], front[-1])))
    chosen = knee(front, cost, exploration.yardstick)
    knees = f", with its knee at {_told(exploration, chosen)}" if chosen and len(front) > 2 else ""
    if exploration.by == "divergence" and exploration.yardstick.kept > 0.5:
        by += f", which says little of the {scale.name} here (by='score' may find more)"
    settings = f"{len(front)} settings" if len(front) > 1 else "one setting"
    return (
        f"The front, of settings compared by {by}, has {settings}, from {ends}{knees}."
        if len(front) > 1
        else f"The front has {settings}, {ends}."
    )


def _sure(exploration: "Exploration", checked: CheckedFront | None) -> str:
    scale = exploration.scale
    if checked is None:
        return "None of this was checked on items that chose nothing, so that what was measured is partly luck, and what is expected an estimate."
    least, most = float(checked.drops.min()), float(checked.drops.max())
    away = float(np.maximum(checked.high - checked.drops, checked.drops - checked.low).max())
    lost = (
        f"loses {scale.difference(least)} to {scale.difference(most)}"
        if least >= 0
        else f"loses up to {scale.difference(most)}"
        if most > 0
        else "loses nothing"
    )
    return (
        f"On {checked.float_held_out.search_images:,} items that chose nothing the front {lost} against the float model's "
        f"{checked.float_held_out.text}; the true drops are within {scale.difference(away)} of those, with {checked.sureness} confidence for all "
        "together."
    )


def _told(exploration: "Exploration", evaluation: Evaluation) -> str:
    expected = exploration.expected_scores([evaluation])[0]
    estimate = f" ({exploration.scale.text(expected)} expected)" if expected == expected else ""
    return f"{evaluation.text}{estimate} at {amount(exploration.cost, evaluation.bit_widths)}"
