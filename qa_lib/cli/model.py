"""The model that the command line names, calibrated as it says."""

import argparse
import pickle
from pathlib import Path

import torch

from qa_lib.batches.digests import tensor_digest
from qa_lib.calibration.calibrating import calibrate
from qa_lib.cli.arguments.choices import CALIBRATIONS
from qa_lib.errors import ArchiveError, CalibrationError, DataError, QAError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.workloads.workload import Workload, load_workload


def wrapped_workload(options: argparse.Namespace) -> tuple[Workload, QuantizedActivationsModel]:
    """The workload, and its model with quantizers."""
    workload = load_workload(options.workload)
    return workload, QuantizedActivationsModel(
        workload.model,
        workload.predicate,
        forward=workload.forward,
        weights=options.weights,
        device=options.device,
    )


def calibrated_workload(options: argparse.Namespace) -> tuple[Workload, QuantizedActivationsModel]:
    """The workload, and its model calibrated by the method, or from the file, that the command line says."""
    workload, qmodel = wrapped_workload(options)
    if options.calibration in CALIBRATIONS:
        calibrate(qmodel, workload.calibration_loader(), method=options.calibration)
    else:
        _restore(qmodel, Path(options.calibration).expanduser())
    return workload, qmodel


def evaluator_of(
    workload: Workload,
    qmodel: QuantizedActivationsModel,
    archive: Path | None = None,
    *,
    holdout: bool = False,
) -> Evaluator:
    """What measures the model on the workload's search set, or its hold-out set.

    Args:
        workload: Which.
        qmodel: Its model, calibrated.
        archive: Where evaluations are kept; its folder is made if it is missing.
        holdout: On the hold-out set.

    Raises:
        DataError: The workload has none.
    """
    where = (workload.holdout_images, workload.holdout_labels)
    if not holdout:
        where = (workload.search_images, workload.search_labels)
    elif where[0] is None:
        raise DataError(f"the workload {workload.name!r} has no hold-out set: leave --holdout out")
    if archive is not None:
        try:
            archive.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArchiveError(
                f"--archive '{archive}' lies in no folder that can be made ({error.strerror}): give another one"
            ) from error
    try:
        return Evaluator(
            qmodel, *where, metric=workload.metric, transform=workload.transform, archive=archive
        )
    except QAError as error:
        if not holdout:
            raise
        raise type(error)(f"the hold-out set of the workload: {error}") from error


def _restore(qmodel: QuantizedActivationsModel, file: Path) -> None:
    """Gives ``qmodel`` the calibration that a file holds."""
    try:
        state = torch.load(file, map_location=qmodel.device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CalibrationError(
            f"'{file}' cannot be read as a calibration ({str(error).splitlines()[0]}): give what calibrate --out wrote"
        ) from error
    before = _weights(qmodel)
    try:
        qmodel.load_state_dict(state)
    except RuntimeError as error:
        raise CalibrationError(
            f"'{file}' is no calibration of this model ({' '.join(str(error).split())}): give the --workload, and --weights, that it was made with"
        ) from error
    if _weights(qmodel) != before:
        raise CalibrationError(
            f"'{file}' was made for other weights than the workload's: calibrate again, calibrate --out"
        )
    if qmodel.calibration is None:
        raise CalibrationError(
            f"'{file}' holds a model that was not calibrated: give what calibrate --out wrote"
        )


def _weights(qmodel: QuantizedActivationsModel) -> list[bytes]:
    return [tensor_digest(tensor) for tensor in qmodel.model.state_dict().values()]
