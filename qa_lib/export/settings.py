"""Settings of the bit widths in a JSON file, by name."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qa_lib.bit_widths import Widths, check_bit_widths
from qa_lib.checks import check_kind, is_float_word, shown
from qa_lib.errors import BitWidthError, DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.files import checked_file, checked_path, write_whole


def save_setting(
    path: str | Path, name: str, quantizers: Sequence[str], evaluation: Evaluation, *, note: str = ""
) -> None:
    """Writes a setting and what it scored into the file, beside those that are there; one of the same name is replaced.

    Args:
        path: The file; made if there is none. Its folder has to exist.
        name: What the setting is to be called.
        quantizers: The names of the quantizers, in order.
        evaluation: The setting, measured.
        note: What is to be remembered of it.

    Raises:
        DataError: The name is empty, or the file is something else or cannot be written; it is left as it was.
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError("the setting needs a name to be saved under: text")
    check_kind("evaluation", evaluation, Evaluation, DataError, "what an evaluator returns")
    path = checked_file(path, "the settings", DataError)
    saved = _read(path) if path.exists() else {}
    saved[name.strip()] = {
        "bit_widths": dict(zip(quantizers, evaluation.bit_widths, strict=True)),
        "accuracy": evaluation.score,
        "total_bits": evaluation.total_bits,
        "images": evaluation.images,
    } | ({"note": note} if note else {})
    write_whole(path, json.dumps(saved, indent=1, ensure_ascii=False), "the settings", DataError)


def saved_note(path: str | Path, name: str) -> str:
    """What was noted of a setting when it was saved; empty if nothing was. Raises ``DataError`` if the file is something else."""
    return str(_read(checked_path(path, DataError)).get(name, {}).get("note", ""))


def as_widths(text: str) -> list[int | None] | dict[str, int | None]:
    """The widths in a text, as somebody pastes them: numbers and ``float`` or ``None`` in order, with whatever between them, or a mapping
    from names.

    Raises:
        DataError: There are none in it.

    Example:
        >>> as_widths("[8, 4, None]"), as_widths("{'conv1': 4}")
        ([8, 4, None], {'conv1': 4})
    """
    if "{" in text:
        found = re.findall(r"""["']([^"']+)["']\s*:\s*["']?(\w+)""", text)
        if found and all(_is_width(width) for _, width in found):
            return {name: _width(width) for name, width in found}
    words = re.findall(r"\w+", text)
    if not words or "{" in text or not all(map(_is_width, words)):
        raise DataError(
            f"{text!r} holds no widths: give one number for each quantizer, or float, as in '8 4 4 float', or {{'conv1': 4}} for some"
        )
    return [_width(word) for word in words]


def _is_width(word: str) -> bool:
    return is_float_word(word) or word.isdecimal()


def _width(word: str) -> int | None:
    return None if is_float_word(word) else int(word)


def saved_names(path: str | Path) -> list[str]:
    """What the settings in a file are called, of whatever model; none if there is no file. Raises ``DataError`` if it is something else."""
    path = checked_path(path, DataError)
    return list(_read(path)) if os.path.exists(path) else []


def delete_setting(path: str | Path, name: str) -> None:
    """Takes a setting out of the file, for good; the others stay.

    Raises:
        DataError: There is none of that name, or the file is something else or cannot be written; it is left as it was.
    """
    path = checked_path(path, DataError)
    saved = _read(path)
    if name not in saved:
        raise DataError(f"there is no setting {shown(name)} in {path}; it holds {', '.join(saved) or 'none'}")
    del saved[name]
    write_whole(path, json.dumps(saved, indent=1, ensure_ascii=False), "the settings", DataError)


def load_settings(path: str | Path, quantizers: Sequence[str]) -> dict[str, Widths]:
    """The settings that a file holds, by name.

    Args:
        path: The file.
        quantizers: The names of the model's quantizers, in order.

    Returns:
        Name -> one width for each quantizer; None is float. Settings of other models are left out.

    Raises:
        DataError: There is no such file, or it is something else.
        BitWidthError: All settings are those of other models, or one holds no allowed widths.
    """
    read = {name: saved["bit_widths"] for name, saved in _read(checked_path(path, DataError)).items()}
    fitting = {name: widths for name, widths in read.items() if set(widths) == set(quantizers)}
    if read and not fitting:
        name, widths = next(iter(read.items()))
        raise BitWidthError(
            f"setting {name!r} in {path} is one of another model: it has {len(widths)} quantizers, "
            f"{', '.join(list(widths)[:3])}, ...; this model has {len(quantizers)}, {', '.join(quantizers[:3])}, ..."
        )
    return {
        name: check_bit_widths([widths[q] for q in quantizers], dict.fromkeys(quantizers))
        for name, widths in fitting.items()
    }


def as_code(quantizers: Sequence[str], bit_widths: Widths) -> str:
    """Python code that gives ``qmodel`` these widths."""
    lines = [f"    {name!r}: {num_bits}," for name, num_bits in zip(quantizers, bit_widths, strict=True)]
    return "\n".join(["qmodel.bit_widths = {", *lines, "}"])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}: save a setting first") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as saved settings ({error})") from error
    if not isinstance(saved, Mapping) or not all(
        isinstance(entry, Mapping) and isinstance(entry.get("bit_widths"), Mapping)
        for entry in saved.values()
    ):
        raise DataError(f"{path} holds no saved settings: a JSON object of name -> bit_widths")
    return dict(saved)
