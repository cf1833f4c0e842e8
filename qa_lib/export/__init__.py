"""A setting that is taken away."""

from qa_lib.export.handing_over import Grid, HandedOver, export_setting, load_setting, setting_schema

__all__ = ["Grid", "HandedOver", "export_setting", "load_setting", "setting_schema"]
