"""Taking a setting away: saved by name, as code, as a picture, as a table."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ipywidgets

from qa_lib.errors import DataError
from qa_lib.evaluation.tables import write_csv
from qa_lib.export import FORMATS, export_setting, files_of
from qa_lib.export.settings import (
    as_code,
    as_widths,
    delete_setting,
    load_settings,
    save_setting,
    saved_names,
    saved_note,
)
from qa_lib.files import checked_path
from qa_lib.panel.controls import button, field, labelled, row
from qa_lib.panel.session import Session
from qa_lib.plots import plot_setting
from qa_lib.plots.style import save_figure


class Saving:
    """Names, files and buttons for taking a session's setting away, and for bringing one back.

    Args:
        session: Whose setting it is.
        folder: Where the files are.
        say: Called with news for the user.
        copy: Called with text for the clipboard.

    Attributes:
        widget: What to show.
        actions: Button -> what it does; what that raises is for whoever connects it to show.
    """

    def __init__(
        self,
        session: Session,
        folder: str | Path,
        say: Callable[[str], object],
        copy: Callable[[str], object],
    ) -> None:
        self.session, self._say, self._to_clipboard = session, say, copy
        self._asked: tuple[str, str] | None = None
        self.name = field("name", "200px", placeholder="of the setting")
        self.file = field("file", "290px", str(checked_path(folder, DataError) / "bit_widths.json"))
        self.note = field("note", "230px", placeholder="kept with it")
        self.save = button("save", "into the file, under this name")
        self.saved = labelled(ipywidgets.Dropdown, "saved", "220px", options=[])
        self.load = button("load", "put the chosen setting on the sliders")
        self.delete = button("delete", "take the chosen setting out of the file")
        self.list = button("look into the file", "list what the file holds")
        self.pasted = field("widths", "340px", placeholder="8 4 4 …, or {'conv1': 4}")
        self.paste = button("put on the sliders", "these widths, in order or by name")
        self.copy = button("copy as code", "Python code that sets these widths, to the clipboard")
        self.png = button("PNG", "a picture of the setting, beside the file, under this name")
        self.csv = button("CSV", "everything measured in this panel, beside the file")
        self.exports = {
            "json": button(
                "JSON",
                "widths, scales, levels and names of each quantizer, for the next tool, beside the file",
            ),
            "onnx": button(
                "ONNX", "the whole model, run again on the search set by onnxruntime, beside the file"
            ),
            "qonnx": button("QONNX", "the whole model as FINN, hls4ml and Brevitas read it, beside the file"),
        }
        self.code = labelled(
            ipywidgets.Textarea, "code", "98%", rows=6, placeholder="appears here", disabled=True
        )
        self.widget = ipywidgets.VBox(
            [row(self.file, self.list), row(self.name, self.note, self.save),
             row(self.saved, self.load, self.delete), row(self.pasted, self.paste), row(self.copy, self.png, self.csv),
             row(ipywidgets.Label("hand over as"), *self.exports.values()), self.code]
        )  # fmt: skip
        self.actions: dict[ipywidgets.Button, Callable[[], object]] = {
            self.save: self._save,
            self.list: self._list,
            self.load: self._load,
            self.delete: self._delete,
            self.paste: self._paste,
            self.copy: self._copy,
            self.png: self._draw,
            self.csv: self._write_table,
        } | {each: partial(self._export, format) for format, each in self.exports.items()}

    @property
    def _names(self) -> tuple[str, ...]:
        return self.session.qmodel.names

    def _path(self) -> Path:
        path = Path(self.file.value).expanduser()
        if path.suffix != ".json":
            raise DataError(
                f"the file of saved settings is {self.file.value!r}; its name has to end in .json"
            )
        return path

    def _sure(self, button: str, what: str, *, there: bool) -> bool:
        """Whether ``what`` may go: it is not ``there``, or who was told that it is has pressed the button once more."""
        asked, self._asked = self._asked, None
        if not there or asked == (button, what):
            return True
        self._asked = button, what
        verb = "remove" if button == "delete" else "replace"
        self._say(f"{what} is there: press {button} once more to {verb} it")
        return False

    def _save(self) -> None:
        path, name, evaluation = self._path(), self.name.value.strip(), self.session.settled()
        if self._sure("save", f"{name!r} in {path}", there=name in saved_names(path)):
            save_setting(path, name, self._names, evaluation, note=self.note.value.strip())
            self._list()
            self._say(f"saved as {name!r} in {path}")

    def _list(self) -> None:
        names = list(load_settings(self._path(), self._names))
        self.saved.options = names
        self.saved.value = names[-1] if names else None

    def _load(self) -> None:
        settings = load_settings(self._path(), self._names)
        if self.saved.value not in settings:
            raise DataError("choose a saved setting first: look into the file")
        self.session.load(settings[self.saved.value])
        self._say(saved_note(self._path(), self.saved.value))

    def _delete(self) -> None:
        path, name = self._path(), self.saved.value
        if name is None:
            raise DataError("choose a saved setting first: look into the file")
        if self._sure("delete", f"{name!r} in {path}", there=True):
            delete_setting(path, name)
            self._list()
            self._say(f"deleted: {name!r} in {path}")

    def _paste(self) -> None:
        present = dict(zip(self._names, self.session.bit_widths, strict=True))
        given = as_widths(self.pasted.value)
        asked = present | given if isinstance(given, dict) else given
        self.session.load(self.session.qmodel.check_bit_widths(asked))

    def _copy(self) -> None:
        self.code.value = as_code(self._names, self.session.bit_widths)
        self._to_clipboard(self.code.value)
        self._say("the code is on the clipboard, and below")

    def _beside(self, ending: str) -> Path:
        """A file beside that of the settings, called as the setting is."""
        called = re.sub(r"[^\w.-]+", "_", self.name.value.strip()) or "setting"
        return self._path().with_name(called + ending)

    def _draw(self) -> None:
        path, evaluation = self._beside(".png"), self.session.settled()
        if self._sure("PNG", str(path), there=os.path.exists(path)):
            save_figure(plot_setting(self._names, evaluation), path)
            self._say(f"written: {path}")

    def _export(self, format: str) -> None:
        path, evaluation = self._beside(f"_{format}{FORMATS[format]}"), self.session.settled()
        there = any(file.exists() for file in files_of(path, format))
        if not self._sure(self.exports[format].description, str(path), there=there):
            return
        evaluator = self.session.evaluator
        verify = (
            evaluator if format == "onnx" else evaluator.sample_images(128) if format == "qonnx" else None
        )
        self._say(f"writing {path} …")
        written = export_setting(path, self.session.qmodel, evaluation, format, verify=verify)
        said = [f"written: {path}"]
        said += [f"left in float: {', '.join(written.in_float)}"] if written.in_float else []
        said += [f"run again from there, {written.verified}"] if written.verified else []
        self._say("; ".join(said))

    def _write_table(self) -> None:
        path = self._path().with_suffix(".csv")
        self.session.settled()  # what was measured before a calibration is no longer among the points
        if self._sure("CSV", str(path), there=os.path.exists(path)):
            write_csv(self.session.points.to_frame(self._names), path, "the table")
            self._say(f"written: {path}")
