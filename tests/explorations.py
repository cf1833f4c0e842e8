"""Explorations without a search, for tests of what is made of them."""

import numpy as np

from qa_lib import Exploration
from qa_lib.evaluation import Evaluation
from qa_lib.sensitivities import SensitivityTable

IMAGES = 1000

NASTY_NAMES = (
    "input",
    "</script><script>window.harmed = true</script>",
    "<img src=x onerror='window.harmed = true'>",
    "<!-- <b>bold</b> &amp; \"quoted\", 'twice'",
    "{{plotly}} {{data}} %{x} $y$",
    "層.畳み込み\u2028nächste",
    "features.13.conv.2.a_name_that_is_longer_than_any_label_has_room_for.depthwise_separable",
)


def setting(widths, correct, images=IMAGES, shown=None):
    """One with ``correct`` right answers out of ``shown``; the rest is as good at most, and as bad as that at a guess."""
    shown = images if shown is None else shown
    upper_bound, estimate = (correct + images - shown) / images, correct / shown
    return Evaluation(tuple(widths), shown, images, upper_bound, estimate, sums=((correct, shown),))


def random_exploration(
    names, count, *, min_accuracy=0.6, sensitivities=True, seed=0, most_correct=930, **more
):
    """As many distinct settings of as many quantizers as wanted; more bits are better, more or less."""
    random = np.random.default_rng(seed)
    candidates = {(width,) * len(names): None for width in range(2, 9)}
    while len(candidates) < count:
        mean = random.uniform(2, 8)
        widths = np.clip(np.round(random.normal(mean, 1.2, len(names))), 2, 8).astype(int)
        candidates[tuple(widths.tolist())] = None
    measured = {}
    for widths in candidates:
        loss = 900 * 2.0 ** (-1.3 * (np.mean(widths) - 1.6)) + abs(random.normal(0, 25))
        measured[widths] = setting(widths, int(np.clip(most_correct - loss, 50, IMAGES)))
    uniform = {width: measured[(width,) * len(names)] for width in range(2, 9)}
    divergence = random.uniform(0.5, 2.0, (len(names), 1)) * 4.0 ** -np.arange(7.0)
    table = SensitivityTable(tuple(names), tuple(range(2, 9)), divergence, 64)
    return Exploration(
        tuple(names), tuple(measured.values()), setting([None] * len(names), most_correct), uniform, min_accuracy, (2, 8),
        sensitivities=table if sensitivities else None, full_passes=12.5, **more,
    )  # fmt: skip
