"""Every evaluation, durable: what was measured once is never lost, and never measured again."""

from qa_lib.archive.archive import Archive
from qa_lib.archive.checking import ArchiveCheck, check_archive, save_what_is_whole
from qa_lib.archive.copying import Merged, copy_archive
from qa_lib.archive.row import Row

__all__ = ["Archive", "ArchiveCheck", "Merged", "Row", "check_archive", "copy_archive", "save_what_is_whole"]
