"""A workload that takes no time."""

import copy
import dataclasses

import pytest


@pytest.fixture
def tiny_workload(tiny_model, images, labels, monkeypatch):
    """The only one that is known by name."""
    from qa_lib import Workload, conv2d_predicate
    from qa_lib.cli.arguments import types
    from qa_lib.workloads import workload as workloads

    tiny = Workload("tiny", tiny_model, conv2d_predicate, *[images, labels] * 3, class_names=tuple("abcde"))
    fresh = lambda: dataclasses.replace(tiny, model=copy.deepcopy(tiny_model))  # noqa: E731
    monkeypatch.setattr(workloads, "_builders", {"tiny": fresh})
    monkeypatch.setattr(types, "WORKLOADS", ("tiny",))
    return tiny
