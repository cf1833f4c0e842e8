"""What is made of a network's outputs: a score, and how far they are from the float network's."""

from qa_lib.metrics.accuracy import Accuracy, Agreement
from qa_lib.metrics.divergence import kullback_leibler, mean_squared_error, output_divergence
from qa_lib.metrics.error import PSNR, SQNR, MeanSquaredError
from qa_lib.metrics.metric import Metric, Scale
from qa_lib.metrics.overlap import MeanIoU, MultilabelF1
from qa_lib.metrics.per_item import per_item
from qa_lib.metrics.torch_metric import TorchMetric

__all__ = [
    "PSNR",
    "SQNR",
    "Accuracy",
    "Agreement",
    "MeanIoU",
    "MeanSquaredError",
    "Metric",
    "MultilabelF1",
    "Scale",
    "TorchMetric",
    "kullback_leibler",
    "mean_squared_error",
    "output_divergence",
    "per_item",
]
