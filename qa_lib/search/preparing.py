"""The sensitivities that a search begins with, within what it may spend on them."""

import warnings
from typing import Any

from qa_lib.batches.structure import count_items
from qa_lib.errors import QAWarning
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.search.progress import SearchProgressBar
from qa_lib.search.run import SearchRun
from qa_lib.sensitivities.measuring import sensitivity
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# Images of the search set for the sensitivities: fewer for many layers on a small search set, so that they cost at most so
# many full passes, but not so few that they say nothing.
_SENSITIVITY_IMAGES, _FEWEST_SENSITIVITY_IMAGES = 128, 16
_SENSITIVITY_PASSES = 15.0


def count_for_sensitivities(evaluator: Evaluator, widths: int) -> int:
    """On how many images of the search set each layer is measured at so many ``widths``."""
    settings = len(evaluator.qmodel.names) * widths
    affordable = max(_FEWEST_SENSITIVITY_IMAGES, int(_SENSITIVITY_PASSES * evaluator.images / settings))
    return min(_SENSITIVITY_IMAGES, affordable)


def images_for_sensitivities(evaluator: Evaluator, widths: int) -> Any:
    """These images, from the hardest to the easiest."""
    return evaluator.sample_images(count_for_sensitivities(evaluator, widths))


def measure_sensitivities(
    run: SearchRun, space: Space, budget: float | None, bar: SearchProgressBar
) -> SensitivityTable:
    """On images of the search set, counted as passes as if nothing were reused."""
    evaluator = run.evaluator
    images = images_for_sensitivities(evaluator, len(space.widths))
    share = count_items(images) / evaluator.images
    warn_if_costly(len(evaluator.qmodel.names) * len(space.widths) * share, budget)

    def count() -> None:
        run.passes_before += share
        bar.update()

    return sensitivity(
        evaluator.qmodel,
        images,
        widths=space.widths,
        archive=evaluator.archive,
        progress=False,
        on_setting=count,
    )


def warn_if_costly(passes: float, budget: float | None) -> None:
    """Warns if the sensitivities, of so many ``passes``, take more than half of the ``budget``."""
    if budget is not None and passes > budget / 2:
        warnings.warn(
            f"the sensitivities count as {passes:.1f} full passes (layers x widths x images / images of the search set), "
            f"and the budget is {budget:g}: give a larger one, or in Python sensitivities=sensitivity(qmodel, fewer_images)",
            QAWarning,
            stacklevel=3,
        )
