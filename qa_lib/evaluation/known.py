"""What is measured on, what an archive knows of it, and what that depends on."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from qa_lib.archive import Archive
from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.digests import forget_digests
from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.checks import check_count
from qa_lib.costs import Cost, total_bits
from qa_lib.errors import ClusterError, DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.records import Records
from qa_lib.evaluation.runner import Runner
from qa_lib.forward.tasks import Measured
from qa_lib.quantization.digests import digest_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class Known:
    """The part of an ``Evaluator`` that measures nothing: what is known, and what it is known under."""

    qmodel: QuantizedActivationsModel
    _records: Records
    _runner: Runner

    @property
    def images_forwarded(self) -> int:
        """Images that went through the model so far, those for the order and for checks of replicas included."""
        return self._runner.images_forwarded

    @property
    def workers(self) -> int:
        """Candidates at a time."""
        return self._runner.workers

    @property
    def search_set(self) -> BatchedSet:
        """The items, in the batches in which they are shown."""
        return self._runner.search_set

    def sample_images(self, count: int) -> Any:
        """The inputs of ``count`` items of the search set, or all if there are fewer, evenly from the hardest to the easiest (with
        ``hardest_first``, otherwise from the first to the last)."""
        return self.search_set.sample(check_count("count", count, DataError))

    @property
    def archive(self) -> Archive:
        """Where evaluations are kept."""
        return self._records.archive

    def close(self) -> None:
        """Closes the archive if it was opened here, by its path."""
        self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def record(
        self, measured: Iterable[tuple[Widths, Sequence[Measured], float]], facts: dict[str, Any]
    ) -> list[Evaluation]:
        """Puts what was measured elsewhere, on this model and in the batches of ``search_set``, into the archive.

        Args:
            measured: Bit widths, what each batch adds (``measure_batch``), and seconds.
            facts: ``facts()`` of the model that it was measured on, as it was then.

        Raises:
            ClusterError: Numbers are those of other machines.
        """
        self.check_measures_here()
        return [self._records.write_measured(*row, facts) for row in measured]

    @property
    def measures_divergence(self) -> bool:
        """Whether evaluations come with their divergence from the float model's outputs: whether the metric has such a companion."""
        return self._runner.measures_divergence

    def measure_batch(self, index: int, outputs: Any, bit_widths: Widths) -> Measured:
        """What batch ``index`` of ``search_set`` adds if the setting ``bit_widths`` returns ``outputs`` for it; ``keep_up`` before the
        first."""
        targets = self.search_set.batches.targets_of(index)
        return self._runner.meter.measured(index, outputs, targets, bit_widths)

    def keep_up(self) -> None:
        """Has divergences measured from what the float model returns now, if its weights have changed.

        Raises:
            ClusterError: Numbers are those of other machines.
        """
        self.check_measures_here()
        facts = self.facts(at_once=True)
        self._runner.keep_up(facts["model"], facts["behaviour"])

    @property
    def measures_elsewhere(self) -> bool:
        """Whether candidates are measured on a cluster."""
        return self._runner.remote is not None

    def check_measures_here(self) -> None:
        """Raises ``ClusterError`` if numbers are those of other machines, beside which none of this one's may stand."""
        if self._runner.numbers_are_the_workers:
            raise ClusterError(
                "the evaluator's numbers are those of its workers, and here this machine would measure: give evaluator.on(None)"
            )

    def facts(self, *, at_once: bool = False) -> dict[str, Any]:
        """All that an accuracy depends on, the model as it is now: digests of model and data, metric and environment, and of what the
        model returns for two images; ``at_once`` as it was when it was run last, unless something else has changed since."""
        return self._records.facts(at_once=at_once)

    def unchanged(self, facts: dict[str, Any]) -> bool:
        """Whether all that can be seen without running the model is as in ``facts``."""
        return self._records.unchanged(facts)

    def fingerprint(self, *, at_once: bool = False) -> str:
        """The digest of ``facts()``, which the archive keeps evaluations under (SHA-256, hexadecimal)."""
        return digest_of(self.facts(at_once=at_once))

    def refresh(self) -> None:
        """Looks at every weight anew, and at what the model returns. In between versions, places and a sample of the weights are
        watched, which what is written through ``parameter.data`` can escape; and what is known is answered without running the
        model, so that what nothing but its outputs shows is seen with the next measurement."""
        forget_digests()
        self.facts()

    def recall(self, bit_widths: BitWidths, facts: dict[str, Any] | None = None) -> Evaluation | None:
        """The evaluation of one setting if the archive has it complete, and None if not: nothing is measured. ``facts`` are those under
        which it is looked for; None takes the model's present ones."""
        return self._records.recall(self.qmodel.check_bit_widths(bit_widths), facts)

    def known(self) -> list[Evaluation]:
        """Everything that the archive knows of this model on this search set, complete or stopped."""
        return self._records.all()

    def best_known(
        self, most: int = 2_000, *, cost: Cost = total_bits, limits: tuple[int, int] | None = None
    ) -> list[Evaluation]:
        """What the archive knows of this model on this search set, measured to the end: all of it, or what is best of much.

        Args:
            most: So many at most, those that lack the least score to be on the front; the front among them.
            cost: What the front trades the score against.
            limits: Smallest and largest width; None for any, float included.
        """
        return self._records.best(most, cost, limits)
