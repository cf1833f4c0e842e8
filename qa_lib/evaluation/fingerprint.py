"""What evaluations depend on: a changed fingerprint never reads an old result."""

from typing import Any

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.forward.replica_check import behaviour_digest
from qa_lib.metrics import Metric
from qa_lib.quantization.digests import environment, model_digest, object_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def fingerprint_facts(
    qmodel: QuantizedActivationsModel, search_set: BatchedSet, metric: Metric, model_key: str = ""
) -> dict[str, Any]:
    """All that evaluations of ``qmodel`` on ``search_set`` depend on: digests of model, data and metric, environment, and what the
    user knows beside."""
    own = {"model_key": model_key} if model_key else {}
    return own | {
        # Run before it is looked at: what it remembers of its last input is that of this one.
        "behaviour": behaviour_digest(qmodel, search_set.batches[0][0][:2]),
        "model": model_digest(qmodel),
        "data": search_set.digest,
        "metric": metric.name,
        "metric_digest": object_digest(metric),
        "environment": environment(qmodel.device),
    }


def archived_facts(qmodel: QuantizedActivationsModel, search_set: BatchedSet) -> dict[str, Any]:
    """What an archive keeps beside these facts: what a reader knows them by, and how its rows are to be read."""
    images, _ = search_set.batches[0]
    return {
        "names": qmodel.names,
        "batch_size": search_set.batch_size,
        "images": search_set.images,
        "image_shape": tuple(images.shape[1:]),
        "network": type(qmodel.model).__name__,
    }
