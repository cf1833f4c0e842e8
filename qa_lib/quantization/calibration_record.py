"""How a model was calibrated."""

from dataclasses import dataclass, field
from typing import Any

# The method of a record where nobody here has calibrated: ``amax`` came with the model.
AS_IT_CAME = "as it came"


@dataclass(frozen=True)
class CalibrationRecord:
    """What one call of ``calibrate`` did.

    Attributes:
        method: How ``amax`` was found.
        options: The options of the method; functions by name.
        per_width: Whether each width has an ``amax`` of its own.
        unsigned: Names of the quantizers whose grid begins at 0.
        images: Number of calibration images; method ``"output"`` looks at some of them for its comparisons.
        passes: What it cost, in whole forward passes over the calibration images; beyond the first one an
            estimate, as ``IncrementalForward.passes``.
        seconds: What it cost, in seconds.
        weights: How the ``amax`` of weights was found; None where none has a quantizer.
    """

    method: str
    options: dict[str, Any] = field(hash=False)
    per_width: bool
    unsigned: tuple[str, ...]
    images: int
    passes: float
    seconds: float = field(compare=False)
    weights: str | None = None
