"""How a search was made, as the lines of its report: a term and what there is to say about it."""

from collections.abc import Iterable
from typing import Any

from qa_lib.quantization.calibration_record import AS_IT_CAME, CalibrationRecord
from qa_lib.search.exploration import Exploration
from qa_lib.search.provenance import Provenance, QuantizerPlace

# Digits of a SHA-256 that are enough to tell two sets of images apart at a glance.
_DIGEST_DIGITS = 12

Fact = tuple[str, str]


def report_facts(exploration: Exploration) -> list[Fact]:
    """Term and description, in the order in which they are to be read; what nobody recorded is said to be missing."""
    made = exploration.made
    if made is None:
        missing = (
            "Record",
            "None: nobody recorded model, calibration, data, seed and versions of this search.",
        )
        return [missing, ("Quantizers", f"{len(exploration.names)}"), *_search_facts(exploration)]
    if made.archive:
        return [
            (
                "Record",
                f"The archive {made.archive}: of calibration, seed and versions nothing was recorded.",
            ),
            ("Model", made.model),
            ("Quantizers", f"{len(exploration.names)}: {', '.join(exploration.names)}"),
            ("Search set", _search_set(made)),
            *_search_facts(exploration),
            ("Begun", _date(made.date) or "not recorded"),
            ("Machine", _pairs(made.environment.items(), ": ")),
        ]
    return [
        ("Model", f"{made.model}, {made.parameters:,} parameters"),
        ("Quantizers", _quantizers(made.quantizers)),
        ("Where they sit", ", ".join(map(_place, made.quantizers))),
        ("Calibration", _calibration(made.calibration)),
        ("Search set", _search_set(made)),
        *_search_facts(exploration),
        ("Time", f"{_seconds(made.seconds)}, begun {_date(made.date)}"),
        ("Versions", _pairs(made.versions.items(), " ")),
        ("Machine", _pairs(made.environment.items(), ": ")),
    ]


def _search_facts(exploration: Exploration) -> list[Fact]:
    least, most = exploration.num_bits_limits
    scale, asked = exploration.scale, exploration.min_score
    minimum = scale.text(asked).replace("%", " %") if asked > scale.worst else "none"
    facts = [
        ("Widths searched", _widths(exploration, least, most)),
        (f"Minimum {scale.name}", minimum),
        ("Minimised beside the error", exploration.cost.name),
    ]
    if exploration.made is not None and exploration.made.settings:
        facts.append(("Asked for", _settings(exploration.made.settings)))
    spent = f"{exploration.full_passes:.1f} full passes over the search set"
    if exploration.interrupted:
        spent += "; it was stopped before its budget was used up"
    return [*facts, ("Cost of the search", spent), ("Candidates", _candidates(exploration))]


def _widths(exploration: Exploration, least: int, most: int) -> str:
    space = exploration.space
    if space is None or space.plain:
        return f"{least} to {most} bits for each quantizer"
    said = []
    for group in space.groups:
        names = " and ".join(exploration.names[index] for index in group)
        choices = space.allowed[group[0]]
        said.append(f"{names} {', '.join(map(str, choices))}" + (" (one for all)" if len(group) > 1 else ""))
    alike = len(set(space.allowed)) == 1 and len(space.groups) == len(exploration.names)
    return (
        f"{', '.join(map(str, space.allowed[0]))} bits for each quantizer"
        if alike
        else f"bits by quantizer: {'; '.join(said)}"
    )


def _candidates(exploration: Exploration) -> str:
    text = (
        f"{len(exploration.measured):,} measured on the whole search set, {len(exploration.stopped):,} stopped early "
        f"because they could be neither feasible nor on the front: these have no {exploration.scale.name} and are not shown"
    )
    if exploration.archived:
        text += f"; {len(exploration.archived):,} more were measured before and came from the archive"
    return text


def _quantizers(places: Iterable[QuantizerPlace]) -> str:
    places = list(places)
    types = [place.type for place in places if place.name != "input"]
    counted = ", ".join(f"{types.count(kind)} {kind}" for kind in dict.fromkeys(types))
    text = f"{len(places)}: on the input, and on the output of {counted}" if types else f"{len(places)}"
    elements = [place.elements_per_image for place in places if place.elements_per_image is not None]
    if len(elements) == len(places):
        text += f"; they quantize {sum(elements):,} values of each image"
    return text


def _place(place: QuantizerPlace) -> str:
    return place.name if place.name == "input" else f"{place.name} ({place.type})"


def _calibration(record: CalibrationRecord | None) -> str:
    if record is None:
        return "no record: amax was set or loaded without one"
    if record.method == AS_IT_CAME:
        return f"none: the amax that came with the model, one for all widths; {len(record.unsigned)} of the grids unsigned"
    options = f" ({_pairs(record.options.items(), '=')})" if record.options else ""
    return (
        f"method “{record.method}”{options} on {record.images:,} images, "
        f"{'an amax for each width' if record.per_width else 'one amax for all widths'}, "
        f"{len(record.unsigned)} of the grids unsigned; {_seconds(record.seconds)}"
    )


def _search_set(made: Provenance) -> str:
    shape = " × ".join(map(str, made.image_shape))
    return (
        f"{made.search_images:,} images of {shape}, in batches of {made.batch_size}; "
        f"SHA-256 {made.search_digest[:_DIGEST_DIGITS]}…"
    )


def _settings(settings: dict[str, Any]) -> str:
    said = {key: value for key, value in settings.items() if value is not None}
    said.setdefault("algorithm", "qa_lib's own")
    return _pairs(((key.replace("_", " "), value) for key, value in said.items()), " ")


def _pairs(pairs: Iterable[tuple[str, Any]], between: str) -> str:
    return ", ".join(
        f"{key}{between}{f'{value:g}' if isinstance(value, float) else value}" for key, value in pairs
    )


def _date(date: str) -> str:
    return date.replace("T", " ").replace("+00:00", " UTC")


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
