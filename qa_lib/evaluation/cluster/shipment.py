"""What workers are sent, and what they have to find with it."""

import warnings
from dataclasses import dataclass

from qa_lib.errors import QAWarning
from qa_lib.evaluation.cluster.kit import Kit, Proof
from qa_lib.evaluation.cluster.parcel import pack_data, pack_model, unpack
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.source import Source
from qa_lib.forward.replica_check import check_replica
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# More than that is better read by the workers themselves, in bytes.
_LARGE = 256 << 20


@dataclass(frozen=True)
class Shipment:
    """What workers are sent.

    Attributes:
        key: Digest of all that a score depends on.
        data_key: Digest of the search set.
        model: The model, packed.
        data: The search set, packed.
        proof: What is measured with them here.
    """

    key: str
    data_key: str
    model: bytes
    data: bytes
    proof: Proof

    @classmethod
    def of(
        cls,
        key: str,
        qmodel: QuantizedActivationsModel,
        meter: Meter,
        source: Source | None,
        before: "Shipment | None",
    ) -> "Shipment":
        """The model as it is; what ``before`` holds of the same search set is taken from there.

        Raises:
            ClusterError: It cannot be sent.
            ReplicaError: What arrives would do something else than the model.
        """
        search_set, model = meter.search_set, pack_model(qmodel, meter)
        same = before is not None and before.data_key == search_set.digest
        data = before.data if before is not None and same else pack_data(search_set, source)
        if len(data) > _LARGE and not same:
            warnings.warn(
                f"the search set, {len(data) / 2**20:,.0f} MiB, is sent to each worker: give the evaluator a Dataset, a DataLoader or a "
                "numpy.memmap of files that the workers see, too, and each reads it by itself",
                QAWarning,
                stacklevel=2,
            )
        arrived, arrived_meter = unpack(model, search_set)
        check_replica(qmodel, arrived, search_set.first_two)
        return cls(key, search_set.digest, model, data, Kit(arrived, arrived_meter).proof())
