"""Every setting of a small network's widths, measured: the truth that a search can be compared with."""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from qa_lib.batches.forward import one_torch_thread
from qa_lib.batches.items import BatchInputs
from qa_lib.bit_widths import Widths, check_limits
from qa_lib.errors import SearchError
from qa_lib.evaluation.check_evaluator import check_evaluator
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.forward.incremental import IncrementalForward
from qa_lib.forward.replica_check import checked_replicas
from qa_lib.forward.tasks import Measured
from qa_lib.progress_bar import progress_bar
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# Beyond that, what one has in mind is a search.
MOST_SETTINGS = 200_000
# So many of the last layers are run through while what comes before them is kept.
_KEPT_FOR = 2


def enumerate_settings(
    evaluator: Evaluator,
    *,
    num_bits_lower_limit: int = 2,
    num_bits_upper_limit: int = 8,
    progress: bool = True,
) -> list[Evaluation]:
    """Measures every setting of the widths within the limits on the whole search set.

    What settings have in common is run once (``IncrementalForward``): those that differ in the last layers only share all
    that comes before. The numbers are those of ``Evaluator.evaluate``, and are in its archive afterwards, so that
    searches on the same evaluator show no image to the model any more.

    Args:
        evaluator: Measures the settings; its workers share them.
        num_bits_lower_limit: Smallest width.
        num_bits_upper_limit: Largest width.
        progress: Show a progress bar.

    Returns:
        One evaluation for each setting, in the order of ``itertools.product``.

    Raises:
        BitWidthError, SearchError: The limits are no range of allowed widths, or there are more than 200,000 settings.
        NotCalibratedError: A quantizer has no ``amax`` yet.
        ArchiveError: The archive cannot be read or written.

    Example:
        >>> evaluations = enumerate_settings(evaluator, num_bits_lower_limit=7)
        >>> len(evaluations)  # two widths, five quantizers
        32
    """
    lower, upper = check_limits(num_bits_lower_limit, num_bits_upper_limit)
    qmodel, widths = check_evaluator(evaluator).qmodel, range(lower, upper + 1)
    layers = len(qmodel.names)
    count = len(widths) ** layers
    if count > MOST_SETTINGS:
        raise SearchError(
            f"{layers} quantizers with {len(widths)} widths each have {count:,} settings; up to {MOST_SETTINGS:,} can be "
            "enumerated: narrow the limits, or search with explore()"
        )
    qmodel.check_usable()
    evaluator.check_measures_here()
    for width in widths:
        qmodel.check_calibrated([width] * layers)
    first = max(0, layers - _KEPT_FOR)
    prefixes = list(itertools.product(widths, repeat=first))
    endings = list(itertools.product(widths, repeat=layers - first))
    facts = evaluator.facts()
    evaluator.keep_up()
    some, _ = evaluator.search_set.batches[0]
    replicas = checked_replicas(qmodel, min(evaluator.workers, len(prefixes)), some)
    evaluations: list[Evaluation] = []
    with progress_bar(count, " settings", shown=progress) as bar, one_torch_thread():
        workers = [_Worker(evaluator, replica) for replica in replicas]
        with ThreadPoolExecutor(len(workers)) as pool:
            for start in range(0, len(prefixes), len(workers)):
                share = prefixes[start : start + len(workers)]
                for rows in pool.map(_Worker.run, workers, share, itertools.repeat(endings)):
                    evaluations += evaluator.record(rows, facts)
                    bar.update(len(rows))
    return evaluations


class _Worker:
    """Runs settings on a copy of the model, and keeps what they have in common."""

    def __init__(self, evaluator: Evaluator, replica: QuantizedActivationsModel) -> None:
        self.evaluator, search_set = evaluator, evaluator.search_set
        batches = BatchInputs(search_set.batches, range(len(search_set.batches)))
        self.forward = IncrementalForward(replica, batches, network_may_change=False)

    def run(self, prefix: Widths, endings: Sequence[Widths]) -> list[tuple[Widths, list[Measured], float]]:
        torch.set_num_threads(1)
        rows = []
        for ending in endings:
            start = time.perf_counter()
            if all(width == endings[0][-1] for width in ending[1:]):
                self.forward.rebase((*prefix, *ending))
            outputs = self.forward.batches_of((*prefix, *ending))
            measured = [
                self.evaluator.measure_batch(index, part, (*prefix, *ending))
                for index, part in enumerate(outputs)
            ]
            rows.append(((*prefix, *ending), measured, time.perf_counter() - start))
        return rows
