"""What follows from what a search has measured."""

import dataclasses

import explorations
import numpy as np
import pytest

from qa_lib import Exploration
from qa_lib.costs import WeightedBits
from qa_lib.errors import ReportError, SearchError
from qa_lib.search.pareto import non_dominated
from qa_lib.sensitivities import SensitivityTable


def setting(widths, correct, images=100):
    return explorations.setting(widths, correct, 100, images)


@pytest.fixture
def exploration():
    """Nothing feasible; the nearest is (4, 3), and its first layer is the one to relax."""
    divergence = np.array([[4.0, 2.0, 1.0, 0.0], [4.0, 1.0, 0.25, 0.25]])
    return Exploration(
        names=("input", "conv"),
        candidates=(
            setting((2, 2), 40),
            setting((4, 3), 70),
            setting((3, 4), 60),
            setting((3, 3), 5, images=20),
        ),
        float_evaluation=setting((None, None), 90),
        uniform_evaluations={2: setting((2, 2), 40), 3: setting((3, 3), 5, images=20)},
        min_score=0.8,
        num_bits_limits=(2, 5),
        sensitivities=SensitivityTable(("input", "conv"), (2, 3, 4, 5), divergence, 10),
    )


def test_layers_to_relax(exploration):
    assert exploration.nearest.bit_widths == (4, 3) and exploration.shortfall == pytest.approx(0.1)
    relax = exploration.layers_to_relax()
    assert relax.columns.tolist() == ["layer", "num_bits", "share"]
    # Predicted: 1 from each.
    assert relax.to_numpy().tolist() == [["input", 4, 0.5], ["conv", 3, 0.5]]


def test_what_is_at_the_limit_is_named_too(exploration):
    full = Exploration(
        exploration.names, (setting((5, 5), 70),), exploration.float_evaluation, {}, 0.8, (2, 5),
        sensitivities=exploration.sensitivities,
    )  # fmt: skip
    assert full.layers_to_relax().to_numpy().tolist() == [["conv", 5, 1.0], ["input", 5, 0.0]]


def test_without_sensitivities_nobody_knows_what_to_relax():
    bare = Exploration(("input",), (setting((2,), 40),), setting((None,), 90), {}, 0.8, (2, 5))
    with pytest.raises(SearchError, match="sensitivity\\(qmodel, images\\)"):
        bare.layers_to_relax()


def test_interrupted_before_anything_was_measured_the_most_promising_is_nearest():
    stopped = (setting((2,), 3, images=20), setting((3,), 5, images=20))
    bare = Exploration(("input",), stopped, setting((None,), 90), {}, 0.9, (2, 5), interrupted=True)
    assert bare.nearest.bit_widths == (3,)
    assert bare.shortfall == pytest.approx(0.9 - 0.85)  # at least


def test_the_hypervolume_is_that_of_the_front(exploration):
    assert exploration.hypervolume == 0.0
    lower = Exploration(
        exploration.names, exploration.candidates, exploration.float_evaluation, {}, 0.5, (2, 5)
    )
    # The box: accuracy 0.5 to 0.9, total bits 4 to 10; the front is (4, 3) alone.
    assert lower.hypervolume == pytest.approx((0.2 / 0.4) * (3 / 6))


def test_another_cost_gives_another_front():
    candidates = (setting((2, 8), 70), setting((4, 4), 70), setting((8, 2), 70))
    cost = WeightedBits((1.0, 10.0))
    exploration = Exploration(
        ("input", "conv"), candidates, setting((None, None), 90), {}, 0.5, (2, 8), cost=cost
    )
    assert exploration.front.columns.tolist() == [
        "accuracy",
        "total_bits",
        "mean_bits",
        "weighted_bits",
        "input",
        "conv",
    ]
    assert exploration.front[["weighted_bits", "input", "conv"]].to_numpy().tolist() == [[28.0, 8, 2]]
    assert exploration.baselines().loc["float", "weighted_bits"] == 32 * 11
    assert exploration.hypervolume == pytest.approx(0.5 * (88 - 28) / (88 - 22))


def test_baselines_that_were_stopped_have_no_accuracy(exploration):
    baselines = exploration.baselines()
    assert baselines.index.tolist() == ["float", "2 bits", "3 bits"]
    assert baselines["accuracy"].isna().tolist() == [False, False, True]


def test_settings_that_tie_are_all_kept():
    tied = [setting((2, 4), 8), setting((4, 2), 8)]
    worse = [setting((3, 4), 8), setting((3, 3), 7)]
    assert non_dominated([*tied, *worse]) == tied
    assert non_dominated([]) == []


def test_what_was_stopped_early_never_enters_the_front():
    whole, stopped = setting((8,), 90), setting((2,), 80, images=80)
    assert stopped.estimate == 1.0
    exploration = Exploration(("input",), (whole, stopped), whole, {}, 0.0, (2, 8))
    assert (exploration.measured, exploration.stopped) == ((whole,), (stopped,))
    assert len(exploration.evaluations) == 1 and exploration.nearest is whole
    assert exploration.front["total_bits"].tolist() == [8]
    assert isinstance(exploration.front["accuracy"].iloc[0], (float, np.floating))


NAMES = ("input", "accuracy", "total_bits", "=cmd", "@x")


def test_layers_may_be_called_as_facts_are_and_headers_are_no_formulas(tmp_path):
    exploration = explorations.random_exploration(NAMES, 12)
    assert exploration.front.columns.tolist() == [
        "accuracy", "total_bits", "mean_bits", "input", "accuracy_bits", "total_bits_bits", "=cmd", "@x",
    ]  # fmt: skip
    assert exploration.evaluations["accuracy"].tolist() == [e.score for e in exploration.measured]
    assert exploration.baselines()["total_bits"].iloc[0] == 32 * len(NAMES)
    exploration.to_csv(tmp_path / "front.csv")
    header = (tmp_path / "front.csv").read_text().splitlines()[0]
    assert header == "accuracy,total_bits,mean_bits,input,accuracy_bits,total_bits_bits,'=cmd,'@x"


@pytest.mark.parametrize(
    "path", ["", "missing/front.csv", "x" * 300, "zero\0byte"], ids=["folder", "missing", "long", "zero"]
)
def test_a_table_that_cannot_be_written_says_what_to_do(tmp_path, exploration, path):
    with pytest.raises(ReportError, match="for the front"):
        exploration.to_csv(f"{tmp_path}/{path}")


def test_evaluations_of_two_models_make_no_exploration():
    ours, theirs = (dataclasses.replace(setting((2, 2), 40), fingerprint=name) for name in "ab")
    float_evaluation = dataclasses.replace(setting((None, None), 90), fingerprint="a")

    def make(**more):
        return Exploration(("input", "conv"), (ours,), float_evaluation, {2: ours}, 0.8, (2, 5), **more)

    make()
    with pytest.raises(SearchError, match="different models, images or machines"):
        make(archived=(theirs,))
    with pytest.raises(SearchError, match="different models, images or machines"):
        dataclasses.replace(make(), float_evaluation=dataclasses.replace(float_evaluation, fingerprint="b"))
