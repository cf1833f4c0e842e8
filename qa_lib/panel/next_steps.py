"""Which single layer to change next: what gains most, and what saves most."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, known_amount, total_bits
from qa_lib.space import Space

# As a share of all that there is to lose: less than one image of most sets.
LEAST_LOSS = 1e-4
# Where there is nothing to lose, of a model that is never right say.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Step:
    """A change of one layer, and what it is expected to do.

    Attributes:
        layers: The quantizer, or those that share a width.
        before: Its width now; None is float.
        after: Its width then.
        cost: What it adds to the cost; negative if it saves.
        score: What it is predicted to add to the score. An estimate.
        bit_widths: The whole setting then.
    """

    layers: tuple[str, ...]
    before: int | None
    after: int | None
    cost: float
    score: float
    bit_widths: Widths

    @property
    def layer(self) -> str:
        """``layers`` in words."""
        return " + ".join(self.layers)


@dataclass(frozen=True)
class NextSteps:
    """The two steps that are worth most; None where there is none.

    Attributes:
        gain: The cheapest step that is predicted to gain score; of equals, the one that gains most.
        save: The step that saves most cost for the score that it is predicted to lose.
        known: Whether anything is known to predict from.
    """

    gain: Step | None
    save: Step | None
    known: bool = True


def next_steps(
    names: Sequence[str],
    bit_widths: Widths,
    space: Space,
    predict: Callable[[Sequence[Widths]], np.ndarray],
    *,
    locked: Collection[str] = (),
    cost: Cost = total_bits,
    least_loss: float = LEAST_LOSS,
) -> NextSteps:
    """The single-layer changes of ``bit_widths`` that are predicted to be worth most.

    Args:
        names: The quantizers, in order.
        bit_widths: The setting now.
        space: Which widths each may have, and which share one.
        predict: Takes settings and returns their expected scores.
        locked: Quantizers that are to stay as they are.
        cost: Of a setting; less is better.
        least_loss: What a step that loses nothing counts as losing.

    Example:
        >>> predictor = ScorePredictor(table, exploration.float_evaluation.score)
        >>> predictor.learn(exploration.measured, around=(4,) * 5)
        >>> steps = next_steps(qmodel.names, (4,) * 5, Space.of(qmodel.names, (2, 8)), predictor.predict)
        >>> steps.save.after < steps.save.before < steps.gain.after
        True
    """
    now = known_amount(cost, bit_widths)
    changes = [
        (group, width)
        for group in space.groups
        if not any(names[index] in locked for index in group)
        for width in space.allowed[group[0]]
        if any(bit_widths[index] != width for index in group)
    ]
    settings = [
        tuple(width if index in group else present for index, present in enumerate(bit_widths))
        for group, width in changes
    ]
    expected = predict([bit_widths, *settings])
    steps = [
        Step(
            tuple(names[index] for index in group), bit_widths[group[0]], width, known_amount(cost, setting) - now,
            float(score - expected[0]), setting,
        )
        for (group, width), setting, score in zip(changes, settings, expected[1:], strict=True)
        if np.isfinite(score - expected[0])
    ]  # fmt: skip
    gains = [step for step in steps if step.score > 0 and step.cost >= 0]
    saves = [step for step in steps if step.cost < 0]
    return NextSteps(
        gain=min(gains, key=lambda step: (step.cost, -step.score), default=None),
        save=max(saves, key=lambda step: -step.cost / max(-step.score, least_loss, _NOTHING), default=None),
    )
