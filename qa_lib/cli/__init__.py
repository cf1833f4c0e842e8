"""The commands of ``python -m qa_lib``, a file each."""
