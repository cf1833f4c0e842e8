"""Who of a cluster's workers can be believed."""

import time
import warnings
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from qa_lib.errors import ClusterError, QAWarning
from qa_lib.evaluation.cluster.kit import Proof
from qa_lib.evaluation.cluster.shipment import Shipment
from qa_lib.evaluation.cluster.worker import Failure, take_in, what_is_known

# Nobody there is said after so many seconds, and again after so many.
_SAY_AFTER, _SAY_AGAIN = 5.0, 600.0
# How long what counts is not decided for workers that have not answered, in seconds.
_PATIENCE = 15.0


class Greeting:
    """Who is there, who is being asked, who can be believed.

    Args:
        client: ``distributed.Client``.
        theirs: Whether what counts is what most workers measure, whatever this machine does.

    Attributes:
        present: Address -> threads of the workers.
        believed: Address -> threads of those that measure what counts.
        standard: What counts; None until workers have shown what they measure.
        key: Of what it was shown with.
    """

    def __init__(self, client: Any, *, theirs: bool = False) -> None:
        self.client, self.theirs = client, theirs
        self.present: dict[str, int] = {}
        self.believed: dict[str, int] = {}
        self.standard: Proof | None = None
        self.key = ""
        self._shown: dict[str, Proof] = {}  # by those of whom nobody has decided yet
        self._first_shown = 0.0
        self._asked: dict[str, tuple[str, Any]] = {}  # address -> what was asked, and the answer to come
        self._left_out: dict[str, str] = {}
        self._alone_since = time.monotonic()
        self._said = -_SAY_AGAIN

    @property
    def has_news(self) -> bool:
        """Whether a worker has answered."""
        return any(answer.done() for _, answer in self._asked.values())

    def look(self, shipment: Shipment) -> None:
        """Sees who has come and gone, and greets who is new.

        Raises:
            ClusterError: There are workers, and none can be believed; or the client is closed.

        Warns:
            QAWarning: A worker is left out; or there is none.
        """
        if shipment.key != self.key:
            self.key, self.believed, self._asked, self._left_out, self._shown = shipment.key, {}, {}, {}, {}
            self.standard = None if self.theirs else shipment.proof
        self.present = self._nthreads()
        for known in (self.believed, self._asked, self._left_out, self._shown):
            for gone in [address for address in known if address not in self.present]:
                del known[gone]
        greeted = {*self.believed, *self._asked, *self._left_out, *self._shown}
        for address in [address for address in self.present if address not in greeted]:
            known = self._submit(address, what_is_known, shipment.key, shipment.data_key)
            self._asked[address] = "known", known
        for address, (asked, answer) in list(self._asked.items()):
            if answer.done():
                del self._asked[address]
                with suppress(OSError, TimeoutError, CancelledError):  # it is gone; if not, it is asked again
                    self._take_answer(shipment, address, asked, answer)
        self._decide(shipment)
        if self.present and len(self._left_out) == len(self.present):
            why, self._left_out = next(iter(self._left_out.values())), {}  # who asks again asks them again
            if self.theirs and self.standard is not None:
                raise ClusterError(
                    f"the workers whose numbers count have gone, and none of the {len(self.present)} that are here finds them: {why}. With "
                    'evaluator.on(client, numbers_of="workers") what these find counts, and is archived apart'
                )
            raise ClusterError(f"none of the {len(self.present)} workers can stand for this machine: {why}")
        self._say_if_alone()

    def doubt(self, address: str) -> None:
        """This worker has failed: it is greeted anew."""
        self.believed.pop(address, None)

    def _submit(self, address: str, function: Any, *args: Any) -> Any:
        return self.client.submit(
            function, *args, workers=[address], allow_other_workers=False, pure=False, retries=0, priority=10
        )

    def _take_answer(self, shipment: Shipment, address: str, asked: str, answer: Any) -> None:
        if answer.status == "error":
            self._leave_out(address, _failure(answer.exception()))
            return
        found = answer.result()
        if isinstance(found, Failure):
            self._leave_out(address, _failure(found.error))
            return
        if asked == "known":
            proof, has_data = found
            if proof is None:
                sent = self.client.scatter(
                    [shipment.model, b"" if has_data else shipment.data], workers=[address], hash=False
                )
                args = shipment.key, shipment.data_key, *sent
                self._asked[address] = "proof", self._submit(address, take_in, *args)
                return
            found = proof
        self._first_shown = self._first_shown if self._shown else time.monotonic()
        self._shown[address] = found

    def _decide(self, shipment: Shipment) -> None:
        """Believes who has shown what counts. What counts is what most of those show who are there when nobody is still being asked."""
        waited = time.monotonic() - self._first_shown > _PATIENCE
        if self.standard is None and self._shown and (waited or not self._asked):
            if self._asked:
                warnings.warn(
                    f"{', '.join(self._asked)} have not answered for {_PATIENCE:.0f} s: the numbers of the {len(self._shown)} others count",
                    QAWarning,
                    stacklevel=4,
                )
            own = shipment.proof
            votes = Counter(proof.key for proof in self._shown.values() if proof.data == own.data)
            best = max(votes, key=lambda key: (votes[key], key == own.key, key), default=own.key)
            self.standard = next((p for p in self._shown.values() if p.key == best), own)
        if self.standard is None:
            return
        for address, proof in self._shown.items():
            if difference := _difference(
                proof, self.standard, "where numbers count" if self.theirs else "here"
            ):
                self._leave_out(address, difference)
            else:
                self.believed[address] = self.present[address]
        self._shown = {}

    def _leave_out(self, address: str, why: str) -> None:
        self._left_out[address] = f"{address}: {why}"
        warnings.warn(f"a worker is left out, {address}: {why}", QAWarning, stacklevel=4)

    def _nthreads(self) -> dict[str, int]:
        """Address -> threads of the workers; none if the scheduler does not answer."""
        self.check_open()
        try:
            return {address: max(1, threads) for address, threads in self.client.nthreads().items()}
        except (OSError, TimeoutError, ValueError):
            return {}

    def check_open(self) -> None:
        """Raises ``ClusterError`` if the client is closed."""
        if self.client.status in ("closing", "closed"):
            raise ClusterError(
                "the client of the cluster is closed: make a new one, Client('tcp://...:8786'), and start again; what was finished is in the "
                "archive"
            )

    def _say_if_alone(self) -> None:
        now = time.monotonic()
        if self.believed:
            self._alone_since = now
        elif not self.present and now - self._alone_since > _SAY_AFTER and now - self._said > _SAY_AGAIN:
            self._said = now
            warnings.warn(
                f"the cluster {self.client.scheduler.address if self.client.scheduler else ''} has no workers: waiting for one (Ctrl-C, or the "
                "notebook's stop button, ends that; a cluster that adapts starts none for this: cluster.scale(4), say)",
                QAWarning,
                stacklevel=4,
            )


def _failure(error: BaseException) -> str:
    """What a worker has failed with."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it has no module {error.name!r}: install it there, or client.upload_file(...) what defines it, and evaluate again"
    return f"it fails with {type(error).__name__}: {error}"


def _difference(found: Proof, expected: Proof, where: str) -> str:
    """How a worker measures otherwise than is expected from what is found ``where``; "" if it does not."""
    others = [
        f"{name} is {found.environment.get(name)!r} there, {value!r} {where}"
        for name, value in expected.environment.items()
        if found.environment.get(name) != value
    ]
    if others:
        return f"its numbers may be others ({', '.join(others)})"
    if found.data != expected.data:
        return "it has another search set: the files that it reads differ from those here"
    if found.outputs != expected.outputs:
        return "it finds other numbers on the first batches, although it says the same of itself"
    return ""
