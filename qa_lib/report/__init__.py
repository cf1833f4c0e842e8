"""An exploration as a page for the browser."""

from qa_lib.report.page import write_page

__all__ = ["write_page"]
