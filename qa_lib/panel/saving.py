"""Taking a setting away: saved by name, as code, as a picture, as a table."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import ipywidgets

from qa_lib.errors import DataError
from qa_lib.evaluation.tables import write_csv
from qa_lib.export import FORMATS, export_setting
from qa_lib.export.settings import as_code, load_settings, save_setting
from qa_lib.files import checked_path
from qa_lib.panel.controls import button, field, row
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
        self.name = field("", "170px", placeholder="name of the setting")
        self.file = field(
            str(checked_path(folder, DataError) / "bit_widths.json"),
            "230px",
            label="file of saved settings",
        )
        self.save = button("save", "into the file, under this name")
        self.saved = ipywidgets.Dropdown(options=[], layout=ipywidgets.Layout(width="170px"))
        self.load = button("load", "put the chosen setting on the sliders")
        self.list = button("look into the file", "list what the file holds")
        self.copy = button("copy as code", "Python code that sets these widths, to the clipboard")
        self.png = button("PNG", "a picture of the setting, beside the file")
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
        self.code = ipywidgets.Textarea(
            layout=ipywidgets.Layout(width="98%", height="130px"),
            placeholder="code appears here",
            disabled=True,
        )
        self.widget = ipywidgets.VBox(
            [row(ipywidgets.Label("file"), self.file, self.list), row(self.name, self.save),
             row(self.saved, self.load), row(self.copy, self.png, self.csv),
             row(ipywidgets.Label("hand over as"), *self.exports.values()), self.code]
        )  # fmt: skip
        self.actions: dict[ipywidgets.Button, Callable[[], object]] = {
            self.save: self._save,
            self.list: self._list,
            self.load: self._load,
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

    def _save(self) -> None:
        save_setting(self._path(), self.name.value, self._names, self.session.settled())
        self._say(f"saved as {self.name.value!r} in {self._path()}")
        self._list()

    def _list(self) -> None:
        names = list(load_settings(self._path(), self._names))
        self.saved.options = names
        self.saved.value = names[-1] if names else None

    def _load(self) -> None:
        settings = load_settings(self._path(), self._names)
        if self.saved.value not in settings:
            raise DataError("choose a saved setting first: look into the file")
        self.session.load(settings[self.saved.value])

    def _copy(self) -> None:
        self.code.value = as_code(self._names, self.session.bit_widths)
        self._to_clipboard(self.code.value)

    def _draw(self) -> None:
        path = self._path().with_suffix(".png")
        save_figure(plot_setting(self._names, self.session.settled()), path)
        self._say(f"written: {path}")

    def _export(self, format: str) -> None:
        called = re.sub(r"[^\w.-]+", "_", self.name.value) or "setting"
        path = self._path().with_name(f"{called}_{format}{FORMATS[format]}")
        evaluator = self.session.evaluator
        verify = (
            evaluator if format == "onnx" else evaluator.sample_images(128) if format == "qonnx" else None
        )
        self._say(f"writing {path} …")
        written = export_setting(path, self.session.qmodel, self.session.settled(), format, verify=verify)
        said = [f"written: {path}"]
        said += [f"left in float: {', '.join(written.in_float)}"] if written.in_float else []
        said += [f"run again from there, {written.verified}"] if written.verified else []
        self._say("; ".join(said))

    def _write_table(self) -> None:
        path = self._path().with_suffix(".csv")
        write_csv(self.session.points.to_frame(self._names), path, "the table")
        self._say(f"written: {path}")
