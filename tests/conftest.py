"""Small models and sets that the tests share."""

import os

import pytest
import torch
from browser import browser, open_page  # noqa: F401 fixtures
from torch import Tensor, nn

from qa_lib import Evaluator, QuantizedActivationsModel, Workload, calibrate, conv2d_predicate, load_workload

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores test side by side; more threads than cores cost more than they bring.
    torch.set_num_threads(1)


class TinyNet(nn.Module):
    """Three convolutions, a residual that is reached before they are, and a classifier: enough to
    tell definition order from call order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.shortcut = nn.Conv2d(1, 4, 1)
        self.classifier = nn.Linear(4 * 6 * 6, 5)

    def forward(self, images: Tensor) -> Tensor:
        residual = self.shortcut(images)
        features = self.conv2(self.relu(self.conv1(images)))
        return self.classifier((features + residual).flatten(1))


def make_tiny_model() -> TinyNet:
    torch.manual_seed(0)
    return TinyNet().eval()


@pytest.fixture
def tiny_model() -> TinyNet:
    return make_tiny_model()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels(images: Tensor) -> Tensor:
    """What the float model says: float accuracy is 1, and fewer bits lose some of it."""
    with torch.no_grad():
        return make_tiny_model()(images).argmax(dim=1)


@pytest.fixture
def qmodel(tiny_model: TinyNet, images: Tensor) -> QuantizedActivationsModel:
    """Calibrated; quantizers: input, shortcut, conv1, conv2."""
    quantized = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    calibrate(quantized, images.split(40), method="max")
    return quantized


@pytest.fixture
def evaluator(qmodel: QuantizedActivationsModel, images: Tensor, labels: Tensor) -> Evaluator:
    return Evaluator(qmodel, images, labels, batch_size=40)


@pytest.fixture(scope="session")
def workload() -> Workload:
    """For reading only: tests that wrap the model load their own."""
    return load_workload("fashion_mnist")


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
