"""What a search has found, as text on the screen."""

from collections.abc import Sequence

import pandas as pd

from qa_lib.cli.output import wrapped
from qa_lib.cli.table import as_text
from qa_lib.costs import amount, name_and_unit
from qa_lib.errors import SearchError
from qa_lib.metrics import Scale
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.exploration import Exploration

# More quantizers than these are not all named, but the first ones and the last.
_MOST_NAMES, _FIRST_NAMES = 24, 3


def show_checked(checked: CheckedFront, max_drop: float | None) -> None:
    """Prints what a front is worth on a hold-out set, and the cheapest solution that loses at most ``max_drop``."""
    scale = checked.float_held_out.scale
    apart = len(checked.told_apart()) if checked.items_known else None
    print()
    said = (
        f"hold-out: {checked.held_out[0].search_images:,} items that chose nothing; drop: from the float model there "
        f"({checked.float_held_out.text}), {checked.sureness} sure of all rows together ({checked.method})."
        + (f" {apart} of {len(checked.held_out)} solutions can be told apart." if apart else "")
    )
    print(wrapped(said))
    if max_drop is not None:
        try:
            chosen = checked.cheapest(max_drop)
        except SearchError as error:
            print(wrapped(f"{str(error)[0].upper()}{str(error)[1:]}."))
        else:
            said = (
                f"The cheapest that loses at most {scale.difference(max_drop)}: {amount(checked.cost, chosen.bit_widths)}, {chosen.text} on the hold-out "
                f"set, widths {' '.join('-' if n is None else str(n) for n in chosen.bit_widths)}."
            )
            print(wrapped(said))


def show(exploration: Exploration, checked: CheckedFront | None) -> None:
    """Prints the front beside the float model and the uniform widths, and the search in five sentences."""
    scale = exploration.scale
    print(f"\n{wrapped(_quantizers(exploration.names), '  ')}\n")
    baselines = [exploration.float_evaluation, *exploration.uniform_evaluations.values()]
    settings = [e.bit_widths for e in (*baselines, *exploration.front_evaluations)]
    print(as_text(_cells(exploration, checked), settings))
    if exploration.interrupted:
        print("\nStopped early.")
    rebuilt = exploration.made is not None and exploration.made.archive
    if (answered := exploration.answered) and not rebuilt:
        asked = len(exploration.candidates)
        print(
            f"\n{answered:,} of {asked:,} evaluations answered from the archive, {asked - answered:,} measured."
        )
    if exploration.front.empty:
        nearest = exploration.nearest
        lucky = nearest.complete and nearest.score >= exploration.min_score
        short = f"{scale.difference(exploration.shortfall)} short{' by what is expected' if lucky else ''}"
        said = (
            f"None reaches the minimum {scale.name} {scale.text(exploration.min_score)}: the nearest has "
            f"{'' if nearest.complete else 'at most '}{nearest.text} ({short}) at "
            f"{amount(exploration.cost, nearest.bit_widths)}. {_what_to_do(exploration)}"
        )
        print(f"\n{wrapped(said)}")
    print(f"\n{wrapped(exploration.summary(checked))}")


def _quantizers(names: Sequence[str]) -> str:
    """What the widths are in the order of; of many the first and the last."""
    said = "quantizers, in the order of the widths: "
    if len(names) <= _MOST_NAMES:
        return said + ", ".join(names)
    return f"{len(names)} {said}{', '.join(names[:_FIRST_NAMES])}, ..., {names[-1]} (all of them head the columns of front.csv)"


def _what_to_do(exploration: Exploration) -> str:
    """With nothing feasible: what to ask for, and which layers disturb most, as sentences."""
    if exploration.float_evaluation.score < exploration.min_score:
        return f"The float model itself has {exploration.float_evaluation.text}: ask for less."
    instead = "Ask for less, or raise --upper."
    if exploration.sensitivities is None:
        return instead
    relax = exploration.layers_to_relax().head(3)
    layers = ", ".join(
        f"{row.layer} ({row.num_bits} bits, {100 * row.share:.0f} %)" for row in relax.itertuples()
    )
    return f"By the sensitivities (an estimate), these layers disturb most: {layers}. Give them more bits. {instead}"


def drop_end(scale: Scale, drop: float) -> str:
    """An end of an interval, in so many digits as scores have; never a drop where it is a gain."""
    if not scale.unit:
        return f"{drop:.4g}"
    digits = f"{scale.factor * drop:.2f}"
    return digits if drop >= 0 or digits.startswith("-") else f"-{digits}"


def named_front(exploration: Exploration) -> pd.DataFrame:
    """``exploration.front`` with the names that its rows have here: "front 1" is the cheapest."""
    front = exploration.front
    return front.set_index(pd.Index([f"front {n}" for n in range(1, len(front) + 1)]))


def _cells(exploration: Exploration, checked: CheckedFront | None) -> pd.DataFrame:
    """The float model, the uniform widths and the front, as text."""
    scale, front = exploration.scale, named_front(exploration)
    frame = pd.concat([exploration.baselines(), front] if len(front) else [exploration.baselines()])
    table = pd.DataFrame(
        {
            scale.name: frame[scale.column].map(lambda s: "infeasible" if pd.isna(s) else scale.text(s)),
            "total bits": frame["total_bits"].map("{:,}".format),
            "mean bits": frame["mean_bits"].map("{:.2f}".format),
            **{
                name_and_unit(cost): frame[column].map("{:.6g}".format)
                for column, cost in exploration.costs_shown.items()
            },
        }
    )
    if "expected_score" in frame:
        expected = frame["expected_score"].map(lambda s: "" if pd.isna(s) else scale.text(s))
        table.insert(1, "expected", expected)
    if checked is not None:
        found = pd.concat([checked.baselines(), checked.frame])  # in the order of the rows
        ends = [
            " to ".join(drop_end(scale, end) for end in (low, high))
            for low, high in zip(found["low"], found["high"], strict=True)
        ]
        at = table.columns.get_loc("total bits")
        table.insert(at, "hold-out", [scale.text(score) for score in found["holdout_score"]])
        unit = scale.difference_unit
        table.insert(at + 1, f"drop, {unit}" if unit else "drop", ["", *ends[1:]])
    return table
