"""Small models and sets that the tests share.

What is heavy is imported where it is used: the process that hands out the tests needs none of it.
"""

import os

import pytest
from browser import browser, open_page  # noqa: F401 fixtures


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As many processes as cores test side by side; more threads than cores cost more than they bring."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        torch.set_num_threads(1)


@pytest.fixture
def tiny_model():
    from tiny import make_tiny_model

    return make_tiny_model()


@pytest.fixture
def images():
    import torch

    return torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(images):
    """What the float model says: float accuracy is 1, and fewer bits lose some of it."""
    import torch
    from tiny import make_tiny_model

    with torch.no_grad():
        return make_tiny_model()(images).argmax(dim=1)


@pytest.fixture
def qmodel(tiny_model, images):
    """Calibrated; quantizers: input, shortcut, conv1, conv2."""
    from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate

    quantized = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    calibrate(quantized, images.split(40), method="max")
    return quantized


@pytest.fixture
def evaluator(qmodel, images, labels):
    from qa_lib import Evaluator

    return Evaluator(qmodel, images, labels, batch_size=40)


@pytest.fixture(scope="session")
def workload():
    """For reading only: tests that wrap the model load their own."""
    from qa_lib import load_workload

    return load_workload("fashion_mnist")


# What takes longest comes first, so that no process has much left when the other is done.
LONGEST = (
    "notebooks/", "test_benchmarks", "test_panel_in_browser", "test_cluster", "test_resume", "test_report_in_browser", "test_search.py",
    "test_bad_input", "test_terminal", "test_panel.py",
)  # fmt: skip


# Where time is short (BRIEF, as in the gate), these are left to ``make test``: of each kind another one runs, or a shorter form.
IN_FULL = (
    "test_benchmarks.py::test_search", "[disabled]", "test_any_number_of_workers", "[2>&1 | head -1]",
    "[>/dev/full 2>/dev/full]", "one_line[0.3]", "finds_the_front[three widths]", "search_finds[2-score]",
    "test_the_segmentation_network_is_as_good", "test_who_comes_late_helps", "test_interrupted_with_nobody_there",
    "whose_last_line_begins_a_session", "test_of_as_many_those_that_find", "can_use_it[settings-dark",
    "test_page.py", "test_two_searches_at_once", "can_use_it[many", "can_use_it[weights", "one_line[4.0]", "test_benchmarks.py::test_evaluation",
    "test_when_those_that_count_have_gone", "goes_to_another_and_on_all_is_an_error[one]", "test_scheduler", "test_all_are_killed", "test_each_file_is_written", "keeps_to_them", "finds_the_front[by name]", "test_other_processes_know_it", "search_finds[1-divergence]",
    "test_a_terminal_with_few_letters", "finds_the_front[fixed]", "test_what_most_find_counts", "test_of_very_many_layers", "measuring_everything[0]",
    "test_a_model_that_changes_is_sent_anew", "[>&- 2>&-]",
    "layers[shufflenet]", "layers[mobilenet_v2]", "test_models_are_as_good_as_stated[fashion_mnist_mobilenet",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    if os.environ.get("BRIEF"):
        for item in items:
            if any(part in item.nodeid for part in IN_FULL):
                item.add_marker(pytest.mark.skip(reason="`make test` without BRIEF runs it"))
    items.sort(
        key=lambda item: next((n for n, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))
    )


# A test without the mark ``slow`` should be far below that, in seconds.
TOO_SLOW = 3.0


def pytest_terminal_summary(terminalreporter, config):
    """Says after ``make quick`` which tests belong among the slow ones."""
    if config.option.markexpr == "not slow":
        passed = terminalreporter.stats.get("passed", [])
        slow = [report for report in passed if report.when == "call" and report.duration > TOO_SLOW]
        if slow:
            terminalreporter.section("these want the mark slow, or less to do")
            for report in slow:
                terminalreporter.line(f"{report.duration:.1f} s  {report.nodeid}")
