"""Negative values that reach an unsigned quantizer: not an error in the middle of a search, but reported."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qa_lib.errors import QAWarning
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class NegativesReport:
    """Adds what replicas of ``qmodel`` met to the counts of its own quantizers, and warns of each once."""

    def __init__(self, qmodel: QuantizedActivationsModel) -> None:
        self.qmodel = qmodel
        self._warned_of: set[str] = set()

    @contextmanager
    def counting(self, replicas: Sequence[QuantizedActivationsModel]) -> Iterator[None]:
        """For the ``with`` block in which ``replicas`` run.

        Warns:
            QAWarning: Negative values reached an unsigned quantizer.
        """
        before = count_negatives(replicas)
        try:
            yield
        finally:
            for name, count in (count_negatives(replicas) - before).items():
                self.report(name, count, by_itself=self.qmodel in replicas)

    def report(self, name: str, count: int, *, by_itself: bool = False) -> None:
        """So many more reached the quantizer ``name``, which counts them ``by_itself`` or not.

        Warns:
            QAWarning: The first time.
        """
        if not by_itself:
            self.qmodel.activation_fake_quantizers[name].negatives += count
        if name not in self._warned_of:
            self._warned_of.add(name)
            warnings.warn(
                f"{count} negative values reached '{name}', whose quantizer is unsigned because there were none "
                "among the calibration images, or came like that; they count as 0. Calibrate with more images, or with "
                "unsigned=False. layer_table() goes on counting",
                QAWarning,
                stacklevel=2,
            )


def count_negatives(replicas: Sequence[QuantizedActivationsModel]) -> Counter[str]:
    """How many negative values each unsigned quantizer of ``replicas`` has met so far, by name."""
    quantizers = [replica.activation_fake_quantizers for replica in replicas]
    return Counter({name: sum(each[name].negatives for each in quantizers) for name in quantizers[0]})
