"""How a search was made: what somebody else needs to know to believe it, or to make it again."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from platform import python_version
from typing import Any

from qa_lib.batches.structure import item_shape
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.fingerprint import MEASURED_ON
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.version import __version__

_PACKAGES = ("torch", "torchvision", "pytorch-quantization", "pymoo", "numpy")


@dataclass(frozen=True)
class QuantizerPlace:
    """Where one quantizer sits.

    Attributes:
        name: The qualified name of the module that it quantizes the output of; ``"input"`` is the model's input.
        type: The class of that module.
        elements_per_image: Values that it quantizes for one image; None if no forward pass has told.
        unsigned: Whether its grid begins at 0.
        quantizer: A copy of it, as it was when the search began, with the ``amax`` of each width.
    """

    name: str
    type: str
    elements_per_image: int | None
    unsigned: bool
    quantizer: TensorQuantizer | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Provenance:
    """How a search was made.

    Attributes:
        date: When it began, ISO 8601 in UTC.
        model: The class of the user's model.
        parameters: How many numbers its parameters hold.
        quantizers: Where they sit, in order.
        calibration: How ``amax`` was found; None if it was set or loaded without a record.
        search_images: Size of the search set.
        image_shape: Shape of one image.
        search_digest: SHA-256 of images and labels in their order and batches, hexadecimal.
        batch_size: Images in one forward pass.
        settings: What the search was asked for: its seed, budgets, population size and algorithm.
        versions: Package -> version.
        environment: What else the numbers depend on: device, instruction set, settings of torch.
        seconds: How long the search took.
        digests: Of what was searched on, ``"model"`` and ``"metric_digest"``, as ``Evaluator.facts`` has them.
        items: A digest of each item of the search set.
        others: Of an adopted model, what the toolkit's quantizers that are not searched do, by place.
        archive: The archive that it was read from, which knows neither parameters, types, calibration, settings, versions nor items; "" if a
            search has said it.
    """

    date: str
    model: str
    parameters: int
    quantizers: tuple[QuantizerPlace, ...] = field(repr=False)
    calibration: CalibrationRecord | None
    search_images: int
    image_shape: tuple[int, ...]
    search_digest: str
    batch_size: int
    settings: dict[str, Any] = field(hash=False)
    versions: dict[str, str] = field(hash=False)
    environment: dict[str, Any] = field(hash=False, repr=False)
    seconds: float = 0.0
    digests: dict[str, Any] = field(default_factory=dict, hash=False, repr=False)
    items: frozenset[bytes] = field(default=frozenset(), repr=False)
    archive: str = ""
    others: dict[str, str] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def begin(cls, evaluator: Evaluator, settings: Mapping[str, Any]) -> "Provenance":
        """What is known when a search begins: all but its seconds.

        Args:
            evaluator: What measures the candidates.
            settings: What the search was asked for.
        """
        qmodel, search_set, facts = evaluator.qmodel, evaluator.search_set, evaluator.facts(at_once=True)
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            model=type(qmodel.model).__name__,
            parameters=sum(parameter.numel() for parameter in qmodel.model.parameters()),
            quantizers=tuple(_places(evaluator)),
            calibration=qmodel.calibration,
            search_images=evaluator.images,
            image_shape=item_shape(search_set.first_two),
            search_digest=search_set.digest,
            batch_size=evaluator.search_set.batch_size,
            settings=dict(settings),
            versions=versions(),
            environment=facts.get(MEASURED_ON, facts["environment"]),
            digests={name: facts[name] for name in ("model", "metric_digest")},
            items=frozenset(search_set.item_digests),
            others=qmodel.other_quantizers,
        )


def versions() -> dict[str, str]:
    """The versions of Python, of the packages that a result depends on, and of qa_lib itself."""
    return {
        "python": python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "qa_lib": __version__,
    }


def _version(package: str) -> str:
    # A source tree on the path is as good as an installed package, but has no metadata.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _places(evaluator: Evaluator) -> list[QuantizerPlace]:
    with evaluator.qmodel.lock:
        copies = copy.deepcopy(dict(evaluator.qmodel.fake_quantizers))
        rows = evaluator.qmodel.layer_table().to_dict("records")
    return [
        QuantizerPlace(
            row["name"],
            row["type"],
            # The table's own word for missing is pandas.NA, which nothing but pandas can write down.
            row["elements_per_image"] if isinstance(row["elements_per_image"], int) else None,
            bool(row["unsigned"]),
            copies[row["name"]],
        )
        for row in rows
    ]
