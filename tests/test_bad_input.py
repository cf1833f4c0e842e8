"""Whatever is given where something else belongs: an error of the library's own, short, that says what was given."""

import os

import numpy as np
import pytest
import torch
from tiny import make_tiny_model
from torch import nn

from qa_lib import (
    Archive,
    Evaluator,
    IncrementalForward,
    LayerwiseQuantizationProblem,
    QAError,
    QAWarning,
    QuantizedActivationsModel,
    all_of,
    calibrate,
    conv2d_predicate,
    explore,
    load_workload,
    name_matches,
    plots,
    sensitivity,
)
from qa_lib.calibration import collect_statistics, register_calibration_method
from qa_lib.costs import WeightedBits
from qa_lib.errors import DataError, PredicateError, SearchError
from qa_lib.evaluation import LiveEvaluator, enumerate_settings
from qa_lib.export.settings import load_settings, save_setting
from qa_lib.panel import BitWidthPanel, Equalizer
from qa_lib.panel.session import Session
from qa_lib.report import write_page
from qa_lib.search import FullPasses, ScreenedNSGA2, SensitivitySampling, StepMutation

pytestmark = pytest.mark.slow


class World:
    """A model that is calibrated, searched, and known."""

    def __init__(self):
        self.images = torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.labels = make_tiny_model()(self.images).argmax(dim=1)
        self.qmodel = self.fresh()
        self.evaluator = Evaluator(self.qmodel, self.images, self.labels, batch_size=40)
        self.table = sensitivity(self.qmodel, self.images, progress=False)
        self.exploration = self.explore()
        self.session = Session(self.evaluator)
        self.known = self.evaluator.evaluate([4] * 4)

    def fresh(self):
        qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
        calibrate(qmodel, self.images.split(40))
        return qmodel

    def explore(self, **options):
        defaults = {"evaluations": 5, "population_size": 2, "progress": False}
        return explore(self.evaluator, **defaults | options)


def boom(*given, **named):
    raise KeyError("boom")


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def things(world):
    """One of each kind that may be taken for another."""
    plain = {
        "None": None, "text": "text", "3": 3, "10**12": 10**12, "-1": -1, "1.5": 1.5, "NaN": float("nan"), "True": True, "[]": [],
        "{}": {}, "object": object(), "bytes": b"x", "class": int, "tensor": torch.zeros(2), "array": np.zeros(3),
    }  # fmt: skip
    model = make_tiny_model()
    return plain | {
        "model": model, "qmodel": world.qmodel, "evaluator": world.evaluator, "exploration": world.exploration,
        "table": world.table, "evaluation": world.known, "function": lambda *given: None,
    }  # fmt: skip


# What is called with each of the things -> which of these it may take.
CALLS = {
    "the model to quantize": (lambda w, v: QuantizedActivationsModel(v, conv2d_predicate), "model"),
    "predicate": (lambda w, v: QuantizedActivationsModel(make_tiny_model(), v), ""),
    "num_bits": (lambda w, v: QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, v), "None 3"),
    "device": (lambda w, v: QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, 8, v), "None"),
    "all_of": (lambda w, v: QuantizedActivationsModel(make_tiny_model(), all_of(v)), ""),
    "name_matches": (lambda w, v: QuantizedActivationsModel(make_tiny_model(), name_matches(v)), ""),
    "bit_widths": (lambda w, v: w.fresh().check_bit_widths(v), "{}"),
    "load_state_dict": (lambda w, v: w.fresh().load_state_dict(v, strict=False), "{}"),
    "calibrate": (lambda w, v: calibrate(v, w.images), "qmodel"),
    "calibration images": (lambda w, v: calibrate(w.fresh(), v), ""),
    "method": (lambda w, v: calibrate(w.fresh(), w.images, method=v), ""),
    "per_width": (lambda w, v: calibrate(w.fresh(), w.images, method="mse", per_width=v), "True"),
    "percentile": (lambda w, v: calibrate(w.fresh(), w.images, method="percentile", percentile=v), "3 1.5"),
    "collect_statistics": (lambda w, v: collect_statistics(v, w.images), "qmodel"),
    "register_calibration_method": (lambda w, v: register_calibration_method(v), "text"),
    "Evaluator": (lambda w, v: Evaluator(v, w.images, w.labels), "qmodel"),
    "images": (lambda w, v: Evaluator(w.qmodel, v, w.labels), ""),
    "labels": (lambda w, v: Evaluator(w.qmodel, w.images, v), ""),
    "batch_size": (lambda w, v: Evaluator(w.qmodel, w.images, w.labels, v), "None 3 10**12"),
    "workers": (lambda w, v: Evaluator(w.qmodel, w.images, w.labels, workers=v), "None 3 10**12"),
    "channels_last": (lambda w, v: Evaluator(w.qmodel, w.images, w.labels, channels_last=v), "None True"),
    "archive": (lambda w, v: Evaluator(w.qmodel, w.images, w.labels, archive=v), "None text"),
    "evaluate": (lambda w, v: w.evaluator.evaluate(v), "{}"),
    "evaluate_uniform": (lambda w, v: w.evaluator.evaluate_uniform(v), "None 3"),
    "evaluate_many": (lambda w, v: w.evaluator.evaluate_many(v), "[]"),
    "stop": (lambda w, v: w.evaluator.evaluate_many([[3] * 4], stop=v), "None"),
    "on_evaluation": (lambda w, v: w.evaluator.evaluate_many([[3] * 4], on_evaluation=v), "None function"),
    "sample_images": (lambda w, v: w.evaluator.sample_images(v), "3 10**12"),
    "explore": (lambda w, v: explore(v, evaluations=5, population_size=2, progress=False), "evaluator"),
    "sensitivity": (lambda w, v: sensitivity(v, w.images, progress=False), "qmodel"),
    "sensitivity's images": (lambda w, v: sensitivity(w.qmodel, v, progress=False), ""),
    "problem's model": (lambda w, v: LayerwiseQuantizationProblem(v, w.evaluator), "qmodel"),
    "problem's evaluator": (lambda w, v: LayerwiseQuantizationProblem(w.qmodel, v), "evaluator"),
    "FullPasses": (lambda w, v: FullPasses(v), "3 10**12 1.5"),
    "ScreenedNSGA2": (lambda w, v: ScreenedNSGA2(v), "table"),
    "StepMutation": (lambda w, v: StepMutation(v), "None table"),
    "SensitivitySampling": (lambda w, v: SensitivitySampling(v), "table"),
    "WeightedBits": (lambda w, v: WeightedBits(v), "tensor array bytes"),
    "enumerate_settings": (lambda w, v: enumerate_settings(v, num_bits_upper_limit=3, progress=False), "evaluator"),
    "LiveEvaluator": (lambda w, v: LiveEvaluator(v), "evaluator"),
    "IncrementalForward": (lambda w, v: IncrementalForward(v, w.images), "qmodel"),
    "its batches": (lambda w, v: IncrementalForward(w.qmodel, v), ""),
    "Session": (lambda w, v: Session(v), "evaluator"),
    "its exploration": (lambda w, v: Session(w.evaluator, exploration=v), "None exploration"),
    "its sensitivities": (lambda w, v: Session(w.evaluator, sensitivities=v), "None table"),
    "its min_accuracy": (lambda w, v: Session(w.evaluator, min_accuracy=v), "None True"),
    "its setting": (lambda w, v: w.session.set_bit_widths(v), "{}"),
    "take": (lambda w, v: w.session.take(v), "evaluation"),
    "hold": (lambda w, v: w.session.hold(v), ""),
    "lock": (lambda w, v: w.session.lock(v), "[]"),
    "Equalizer": (lambda w, v: Equalizer(v), "[]"),
    "its widths": (lambda w, v: Equalizer(["a", "b"], bit_widths=v), "None"),
    "groups": (lambda w, v: Equalizer(["a", "b"], groups=v), "None {}"),
    "class_names": (lambda w, v: BitWidthPanel(w.evaluator, class_names=v).close(), "None []"),
    "folder": (lambda w, v: BitWidthPanel(w.evaluator, folder=v).close(), "text"),
    "write_page": (lambda w, v: write_page(v, "page.html"), "exploration"),
    "its path": (lambda w, v: write_page(w.exploration, v), "text"),
    "to_csv": (lambda w, v: w.exploration.to_csv(v), "text"),
    "Archive": (lambda w, v: Archive(v).close(), "None text"),
    "load_workload": (lambda w, v: load_workload(v), ""),
    "save_setting": (lambda w, v: save_setting(v, "name", w.qmodel.names, w.known), "text"),
    "its name": (lambda w, v: save_setting("settings.json", v, w.qmodel.names, w.known), "text"),
    "its evaluation": (lambda w, v: save_setting("settings.json", "name", w.qmodel.names, v), "evaluation"),
    "load_settings": (lambda w, v: load_settings(v, w.qmodel.names), ""),
    "plot_objective_space": (lambda w, v: plots.plot_objective_space(v), "exploration"),
    "plot_bit_width_map": (lambda w, v: plots.plot_bit_width_map(v), "exploration"),
    "plot_search_progress": (lambda w, v: plots.plot_search_progress(v), "exploration"),
    "plot_hypervolume_by_cost": (lambda w, v: plots.plot_hypervolume_by_cost(v), ""),
    "plot_held_out": (lambda w, v: plots.plot_held_out(v), ""),
    "plot_sensitivities": (lambda w, v: plots.plot_sensitivities(v), "table"),
    "plot_setting": (lambda w, v: plots.plot_setting(w.qmodel.names, v), "evaluation"),
    "plot_uniform_widths": (lambda w, v: plots.plot_uniform_widths(v, w.known), ""),
    "plot_activation_histogram": (lambda w, v: plots.plot_activation_histogram(v, w.images, "conv1", 4), "qmodel"),
    "its quantizer": (lambda w, v: plots.plot_activation_histogram(w.qmodel, w.images, v, 4), ""),
}  # fmt: skip
OPTIONS = {
    "num_bits_lower_limit": "3", "num_bits_upper_limit": "3", "min_accuracy": "None True", "min_score": "None True", "full_passes": "None 3 1.5 10**12",
    "seconds": "None 3 1.5 10**12", "evaluations": "None 3 10**12", "patience": "None 3 1.5 10**12", "population_size": "3 10**12",
    "seed": "3 10**12", "widths": "None {}", "fixed": "None {}", "tied": "[] {}", "cost": "", "sensitivities": "None table", "algorithm": "None", "archive": "None text", "progress": "True",
    "on_evaluation": "None function",
}  # fmt: skip
CALLS |= {
    f"explore's {name}": (lambda w, v, name=name: w.explore(**{name: v}), allowed)
    for name, allowed in OPTIONS.items()
}


@pytest.mark.filterwarnings("ignore::qa_lib.QAWarning")
@pytest.mark.parametrize(("call", "allowed"), CALLS.values(), ids=CALLS)
def test_what_belongs_elsewhere_is_refused_in_words(world, things, call, allowed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # An interpreter's lifetime of searches is not what this is about.
    skipped = {"10**12"} if "10**12" in allowed else set()
    for name, thing in things.items():
        if name in skipped:
            continue
        if name in allowed.split():
            call(world, thing)
            continue
        with pytest.raises(QAError) as error:
            call(world, thing)
            pytest.fail(f"took {name}")
        assert 15 < len(str(error.value)) < 500, (name, str(error.value))


WRONG = {
    "three channels": lambda w: Evaluator(w.qmodel, torch.rand(96, 3, 6, 6), w.labels),
    "another size": lambda w: Evaluator(w.qmodel, torch.rand(96, 1, 9, 9), w.labels),
    "no channels": lambda w: Evaluator(w.qmodel, torch.rand(96, 6, 6), w.labels),
    "another dtype": lambda w: Evaluator(w.qmodel, w.images.double(), w.labels),
    "sparse": lambda w: Evaluator(w.qmodel, w.images.to_sparse(), w.labels),
    "no data": lambda w: Evaluator(w.qmodel, w.images.to("meta"), w.labels),
    "calibration with three channels": lambda w: calibrate(w.fresh(), torch.rand(4, 3, 6, 6)),
    "calibration without channels": lambda w: calibrate(w.fresh(), torch.rand(4, 6)),
    "calibration with bytes": lambda w: calibrate(w.fresh(), torch.zeros(4, 1, 6, 6, dtype=torch.uint8)),
    "an option that is none": lambda w: calibrate(w.fresh(), w.images, method="mse", nonsense=3),
    "a device that is not here": lambda w: QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, 8, "cuda:77"),
    "a device that does not exist": lambda w: QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, 8, "tpu"),
    "a zero byte": lambda w: Archive("zero\0byte"),
    "a long name": lambda w: Archive("x" * 300),
    "a folder": lambda w: Archive(os.getcwd()),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_in_words(world, call):
    with pytest.raises(QAError) as error:
        call(world)
    assert 15 < len(str(error.value)) < 500, str(error.value)


def test_a_model_that_is_converted_after_its_evaluator_was_made(world):
    qmodel = world.fresh()
    evaluator = Evaluator(qmodel, world.images, world.labels)
    qmodel.double()
    with pytest.raises(DataError, match=r"torch.float32 \(its weights are torch.float64\)"):
        evaluator.evaluate([4] * 4)


def test_functions_that_raise_are_named_and_nothing_is_lost(world):
    with pytest.raises(PredicateError, match=r"boom.*, asked about 'conv1' \(Conv2d\), raised KeyError"):
        QuantizedActivationsModel(make_tiny_model(), boom)
    with pytest.raises(SearchError, match=r"boom.* raised KeyError"):
        world.evaluator.evaluate_many([[3, 3, 3, 4]], on_evaluation=boom)
    with pytest.raises(SearchError, match="KeyError"):
        world.explore(cost=boom)
    calls = []

    def later(evaluation):
        calls.append(evaluation)
        if len(calls) > 3:
            boom()

    with pytest.raises(SearchError, match=r"later.* raised KeyError") as error:
        world.explore(on_evaluation=later, seed=5)
    assert error.value.exploration.candidates and error.value.exploration.interrupted


def test_a_model_of_another_kind_that_carries_state_is_refused(world):
    other = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), conv2d_predicate)
    with pytest.raises(QAError, match="wrap the same model with the same predicate"):
        other.load_state_dict(world.qmodel.state_dict())


def test_images_of_another_range_than_those_of_the_calibration_are_said(world):
    with pytest.warns(QAWarning, match=r"254.* where the calibration images go from .* to 0.99"):
        Evaluator(world.qmodel, world.images * 255, world.labels)
