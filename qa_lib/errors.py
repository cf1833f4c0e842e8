"""The exceptions of qa_lib: one tree, with ``QAError`` at its root.

Each also derives from the built-in exception that a caller would expect, and its message says
what was given, what is allowed, and what to do next.
"""

from typing import Any


class QAError(Exception):
    """Anything that qa_lib refuses.

    Raised from a search, ``exploration`` holds what it had measured by then.
    """

    exploration: Any = None


class PredicateError(QAError, ValueError):
    """A predicate is no predicate, or chooses modules that cannot get a quantizer."""


class BitWidthError(QAError, ValueError):
    """Bit widths are too few, too many, unknown by name, or not among the allowed integers."""


class AlreadyQuantizedError(QAError, RuntimeError):
    """A model that already carries fake quantizers was to be given fake quantizers again."""


class RemovedError(QAError, RuntimeError):
    """A quantized model was used after its hooks had been removed."""


class LayerError(QAError, RuntimeError):
    """A chosen module is never reached, or returns something that cannot be quantized."""


class DeviceError(QAError, RuntimeError):
    """The images and the model are on different devices."""


class ReplicaError(QAError, RuntimeError):
    """A copy of the model does something else than the model, and must not be measured in its place."""


class NotReproducibleError(QAError, RuntimeError):
    """The model gives other numbers when it is measured again, or an adopted one than the toolkit gives."""


class ClusterError(QAError, RuntimeError):
    """What was to run on the workers of a cluster cannot be sent there, or none of them can be believed."""


class CalibrationError(QAError, ValueError):
    """The calibration images or the activations on them cannot give an ``amax``."""


class NotCalibratedError(QAError, RuntimeError):
    """A quantizer was to quantize before calibration gave it an ``amax``."""


class DataError(QAError, ValueError):
    """Images and labels are empty, of different lengths, or of the wrong kind."""


class MetricError(QAError, ValueError):
    """A metric returns what is no score, or breaks a promise that it makes."""


class SearchError(QAError, ValueError):
    """A limit, budget or accuracy of a search is out of range."""


class ArchiveError(QAError, OSError):
    """A file is no archive of evaluations, is damaged, or cannot be read or written."""


class ReportError(QAError, OSError):
    """The page about a search cannot be written where it should go, or would be too large."""


class WorkloadError(QAError, ValueError):
    """A workload is unknown, or a file of it is missing or damaged."""


class QAWarning(UserWarning):
    """Something that is allowed, and that a researcher would want to know."""
