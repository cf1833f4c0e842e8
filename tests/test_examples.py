"""The examples in the docstrings run as they stand, with the names that ``qa_lib``'s own docstring says are there."""

import copy
import doctest
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

import qa_lib
from qa_lib import (
    Evaluator,
    LayerwiseQuantizationProblem,
    QuantizedActivationsModel,
    calibrate,
    explore,
    load_workload,
)
from qa_lib.calibration import methods
from qa_lib.panel import BitWidthPanel
from qa_lib.panel.session import Session
from qa_lib.workloads import workload as workloads

FOLDER = Path(qa_lib.__file__).parent
OTHERS = (
    *(NSGA2, PM, SBX, IntegerRandomSampling, RoundingRepair, TwoPointCrossover, minimize, Path, replace),
)
FILES = [path for path in sorted(FOLDER.rglob("*.py")) if ">>> " in path.read_text()]


def module_of(path):
    return import_module(".".join(path.relative_to(FOLDER.parent).with_suffix("").parts))


def docstrings(path):
    return [docstring for docstring in doctest.DocTestFinder().find(module_of(path)) if docstring.examples]


@pytest.fixture(scope="module")
def fresh_names():
    """Makes the names that an example may use, as if none had run before."""
    public = {each.__name__: each for each in OTHERS} | {"torch": torch}
    for module in map(module_of, FOLDER.rglob("[!_]*.py")):
        public |= {n: v for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    workload = load_workload("fashion_mnist_convnet")
    model = copy.deepcopy(workload.model)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    as_calibrated = copy.deepcopy(qmodel.state_dict())
    images, labels = workload.search_images[:256], workload.search_labels[:256]
    evaluator = Evaluator(qmodel, images, labels)
    exploration = explore(evaluator, min_accuracy=0.85, full_passes=40, progress=False)

    def make():
        qmodel.load_state_dict(as_calibrated)
        return public | {
            "workload": workload, "model": copy.deepcopy(model), "qmodel": qmodel, "images": images, "labels": labels,
            "evaluator": evaluator, "problem": LayerwiseQuantizationProblem(qmodel, evaluator),
            "exploration": exploration, "table": exploration.sensitivities,
        }  # fmt: skip

    return make


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_examples_show_what_is_returned(path, fresh_names, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(methods, "_methods", dict(methods._methods))
    monkeypatch.setattr(workloads, "_builders", dict(workloads._builders))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for docstring in docstrings(path):
        docstring.globs, said = fresh_names(), []
        runner.run(docstring, out=said.append, clear_globs=False)
        assert not runner.failures, "".join(said)
        for value in docstring.globs.values():
            if isinstance(value, (Session, BitWidthPanel)):
                assert value.wait()  # what goes on in the background belongs to this example


def test_no_example_is_left_out():
    lines = [line.lstrip() for path in FILES for line in path.read_text().splitlines()]
    examples = [each for path in FILES for docstring in docstrings(path) for each in docstring.examples]
    assert len(examples) == sum(line.startswith(">>> ") for line in lines) > 60
    assert not any(doctest.SKIP in example.options for example in examples)
