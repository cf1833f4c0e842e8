"""From images to statistics to ``amax``."""

from qa_lib.calibration.calibrating import calibrate
from qa_lib.calibration.collection import collect_statistics
from qa_lib.calibration.methods import register_calibration_method

__all__ = [
    "calibrate",
    "collect_statistics",
    "register_calibration_method",
]
