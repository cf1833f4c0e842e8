"""What is made of a network's outputs: a score, and how far they are from the float network's."""

from qa_lib.metrics.accuracy import Accuracy
from qa_lib.metrics.divergence import kullback_leibler, mean_squared_error, output_divergence
from qa_lib.metrics.metric import Metric

__all__ = ["Accuracy", "Metric", "kullback_leibler", "mean_squared_error", "output_divergence"]
