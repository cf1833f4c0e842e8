"""Taking a setting away: saved by name, as code, as a picture, as a table."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets

from qa_lib.errors import DataError
from qa_lib.panel.controls import button, field, row
from qa_lib.saved_settings import as_code, load_settings, save_setting

if TYPE_CHECKING:
    from qa_lib.panel.bit_width_panel import BitWidthPanel


class Keeping:
    """Names, files and buttons for taking the panel's setting away, and for bringing one back.

    Args:
        panel: Whose setting it is.
        folder: Where the files are.

    Attributes:
        widget: What to show.
        actions: Button -> what it does; what that raises is for whoever connects it to show.
    """

    def __init__(self, panel: "BitWidthPanel", folder: str | Path) -> None:
        self.panel = panel
        self.name = field("", "170px", placeholder="name of the setting")
        self.file = field(str(Path(folder) / "bit_widths.json"), "230px", label="file of saved settings")
        self.save = button("save", "into the file, under this name")
        self.saved = ipywidgets.Dropdown(options=[], layout=ipywidgets.Layout(width="170px"))
        self.load = button("load", "put the chosen setting on the sliders")
        self.list = button("look into the file", "list what the file holds")
        self.copy = button("copy as code", "Python code that sets these widths, to the clipboard")
        self.png = button("PNG", "a picture of the setting, beside the file")
        self.csv = button("CSV", "everything measured in this panel, beside the file")
        self.code = ipywidgets.Textarea(
            layout=ipywidgets.Layout(width="98%", height="130px"),
            placeholder="code appears here",
            disabled=True,
        )
        self.widget = ipywidgets.VBox(
            [row(ipywidgets.Label("file"), self.file, self.list), row(self.name, self.save),
             row(self.saved, self.load), row(self.copy, self.png, self.csv), self.code]
        )  # fmt: skip
        self.actions: dict[ipywidgets.Button, Callable[[], object]] = {
            self.save: self._save,
            self.list: self._list,
            self.load: self._load,
            self.copy: self._copy,
            self.png: lambda: self._write(".png", panel.figure().savefig),
            self.csv: lambda: self._write(".csv", lambda path: panel.to_frame().to_csv(path, index=False)),
        }

    def _save(self) -> None:
        save_setting(self.file.value, self.name.value, self.panel.qmodel.names, self.panel.evaluation)
        self.panel.readout.show_message(f"saved as {self.name.value!r} in {self.file.value}")
        self._list()

    def _list(self) -> None:
        names = list(load_settings(self.file.value, self.panel.qmodel.names))
        self.saved.options = names
        self.saved.value = names[-1] if names else None

    def _load(self) -> None:
        settings = load_settings(self.file.value, self.panel.qmodel.names)
        if self.saved.value not in settings:
            raise DataError("choose a saved setting first: look into the file")
        self.panel.load(self.panel.equalizer.check(settings[self.saved.value]))

    def _copy(self) -> None:
        self.code.value = as_code(self.panel.qmodel.names, self.panel.bit_widths)
        self.panel.equalizer.copy(self.code.value)

    def _write(self, suffix: str, write: Callable[[Path], object]) -> None:
        path = Path(self.file.value).with_suffix(suffix)
        if not path.parent.is_dir():
            raise DataError(f"there is no folder {path.parent}: name a file in one that exists")
        write(path)
        self.panel.readout.show_message(f"written: {path}")
