"""Models with their data, by name."""

from qa_lib.workloads.workload import Workload, load_workload, register_workload

__all__ = [
    "Workload",
    "load_workload",
    "register_workload",
]
