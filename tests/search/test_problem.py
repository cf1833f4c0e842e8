import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

from qa_lib import Evaluator, LayerwiseQuantizationProblem, QuantizedActivationsModel, conv2d_predicate
from qa_lib.errors import BitWidthError, DataError, NotCalibratedError, SearchError


def test_objectives_and_constraint_are_the_measured_ones(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, min_accuracy=0.7)
    candidates = np.array([[8, 8, 8, 8], [5, 4, 5, 5], [8, 7, 6, 8]])
    out = problem.evaluate(candidates, return_as_dictionary=True)
    measured = [evaluator.evaluate(widths) for widths in candidates]
    assert out["F"].tolist() == [[-e.score, e.total_bits] for e in measured]
    assert out["G"][:, 0].tolist() == [0.7 - e.score for e in measured]
    assert (out["G"] <= 0).any()


def test_stopped_candidates_are_ranked_by_an_estimate_and_infeasible(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, min_accuracy=0.5)
    problem.evaluate(np.array([[5, 4, 5, 5]]))
    # The first falls short of the minimum, the others cost more than a better one that is known.
    candidates = np.array([[2, 2, 2, 2], [4, 4, 4, 8], [3, 4, 8, 8]])
    out = problem.evaluate(candidates, return_as_dictionary=True)
    stopped = [problem.run.evaluations[tuple(widths)] for widths in candidates.tolist()]
    assert not any(e.complete for e in stopped)
    assert (out["G"] > 0).all()
    assert out["F"][:, 0].tolist() == [-e.estimate for e in stopped]
    for evaluation in stopped:
        accuracy = evaluator.evaluate(evaluation.bit_widths).score
        assert accuracy <= evaluation.upper_bound


def test_the_bounds_are_the_limits(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, 3, 6)
    assert (problem.n_var, problem.n_obj, problem.n_ieq_constr) == (4, 2, 1)
    assert problem.xl.tolist() == [3] * 4
    assert problem.xu.tolist() == [6] * 4


def test_pymoo_minimizes_it_in_three_steps(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 6, min_accuracy=0.5)
    algorithm = NSGA2(
        pop_size=12,
        sampling=IntegerRandomSampling(),
        crossover=SBX(eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
    )
    result = minimize(problem, algorithm, ("n_gen", 6), seed=1)
    assert np.array_equal(result.X, np.rint(result.X))
    assert ((result.X >= 2) & (result.X <= 6)).all()
    for widths, (minus_accuracy, total_bits) in zip(result.X, result.F, strict=True):
        again = evaluator.evaluate(widths)
        assert (again.score, again.total_bits) == (-minus_accuracy, total_bits)
        assert again.score >= 0.5


def test_operators_for_real_numbers_are_refused_with_those_for_integers(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator)
    with pytest.raises(BitWidthError, match="IntegerRandomSampling.*RoundingRepair"):
        minimize(problem, NSGA2(pop_size=4), ("n_gen", 2), seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"num_bits_lower_limit": 8, "num_bits_upper_limit": 2}, SearchError, "is 8 .* is 2: swap them"),
        ({"num_bits_lower_limit": 1}, BitWidthError, "num_bits_lower_limit is 1"),
        ({"num_bits_upper_limit": 40}, BitWidthError, "num_bits_upper_limit is 40"),
        ({"num_bits_upper_limit": None}, SearchError, "not None"),
        ({"min_accuracy": 85}, SearchError, "min_accuracy is 85; it is a share"),
        ({"min_accuracy": -0.1}, SearchError, "it is a share"),
        ({"min_accuracy": float("nan")}, SearchError, "it is a share"),
        ({"min_accuracy": "high"}, SearchError, "it is a share"),
    ],
)
def test_limits_out_of_range_are_refused(qmodel, evaluator, arguments, error, said):
    with pytest.raises(error, match=said):
        LayerwiseQuantizationProblem(qmodel, evaluator, **arguments)


def test_an_uncalibrated_model_is_refused_before_the_search(tiny_model, images, labels):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    with pytest.raises(NotCalibratedError):
        LayerwiseQuantizationProblem(qmodel, Evaluator(qmodel, images, labels))


def test_an_evaluator_of_another_model_is_refused(evaluator, tiny_model):
    other = QuantizedActivationsModel(type(tiny_model)(), conv2d_predicate)
    with pytest.raises(DataError, match="measures another quantized model"):
        LayerwiseQuantizationProblem(other, evaluator)
