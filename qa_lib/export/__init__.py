"""A setting that is taken away."""

from qa_lib.export.grid import Grid
from qa_lib.export.handed_over import HandedOver, load_setting, setting_schema
from qa_lib.export.handing_over import FORMATS, RUN, export_setting, files_of

__all__ = [
    "FORMATS",
    "RUN",
    "Grid",
    "HandedOver",
    "export_setting",
    "files_of",
    "load_setting",
    "setting_schema",
]
