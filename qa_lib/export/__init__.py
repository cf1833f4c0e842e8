"""A setting that is taken away."""

from qa_lib.export.grid import Grid
from qa_lib.export.handing_over import FORMATS, RUN, HandedOver, export_setting, load_setting, setting_schema

__all__ = ["FORMATS", "RUN", "Grid", "HandedOver", "export_setting", "load_setting", "setting_schema"]
