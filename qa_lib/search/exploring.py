"""``explore()``: search per-layer bit widths with NSGA-II and keep everything that was measured."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any

from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize

from qa_lib.archive import Archive
from qa_lib.checks import call_back, check_count, check_kind, check_positive, kind_of, naming, shown
from qa_lib.costs import Cost, costs_of, total_bits
from qa_lib.errors import QAError, SearchError
from qa_lib.evaluation.check_evaluator import check_evaluator
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.interrupts import uninterrupted
from qa_lib.search.algorithms import default_algorithm
from qa_lib.search.budgets import StalledHypervolume, termination
from qa_lib.search.exploration import Exploration
from qa_lib.search.forecast import forecast
from qa_lib.search.preparing import count_for_sensitivities, measure_sensitivities, warn_if_costly
from qa_lib.search.problem import LayerwiseQuantizationProblem
from qa_lib.search.progress import search_progress_bar
from qa_lib.search.provenance import Provenance
from qa_lib.search.run import SearchRun
from qa_lib.search.yardstick import check_by
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# How many full passes a search goes on without finding anything if nothing is said. On images that no search has seen, its
# front is then worth what one after 60 passes is, or more.
DEFAULT_PATIENCE = 20.0
# With nothing feasible, the search for the nearest may cost such a share of what the search has cost.
_NEAREST_SHARE = 0.1
_INSTEAD = ". Give one for whole numbers, two objectives and a constraint, such as pymoo's NSGA2 with integer operators"


def explore(
    evaluator: Evaluator,
    *,
    num_bits_lower_limit: int = 2,
    num_bits_upper_limit: int = 8,
    min_accuracy: float | None = None,
    min_score: float | None = None,
    full_passes: float | None = None,
    seconds: float | None = None,
    evaluations: int | None = None,
    patience: float | None = None,
    population_size: int = 20,
    seed: int = 1,
    cost: Cost | str | Path | Sequence[Cost | str | Path] = total_bits,
    other_costs: Iterable[Cost | str | Path] = (),
    widths: Iterable[int] | Mapping[str, Iterable[int]] | None = None,
    fixed: Mapping[str, int] | None = None,
    tied: Iterable[Iterable[str]] = (),
    by: str | None = None,
    sensitivities: SensitivityTable | None = None,
    algorithm: Algorithm | None = None,
    archive: Archive | str | Path | None = None,
    client: Any = None,
    progress: bool = True,
    on_evaluation: Callable[[Evaluation], object] | None = None,
) -> Exploration:
    """Searches for the bit widths that trade the score, an accuracy say, against total bits best.

    It stands for this plain pymoo code, and beside it measures the float model and the uniform
    widths, and shows progress::

        table = sensitivity(evaluator.qmodel, evaluator.sample_images(128))
        problem = LayerwiseQuantizationProblem(evaluator.qmodel, evaluator, 2, 8, min_accuracy, by="divergence")
        algorithm = ScreenedNSGA2(
            table,
            pop_size=population_size,
            sampling=SensitivitySampling(table),  # uniform widths, the front that the table predicts, random ones
            crossover=TwoPointCrossover(),
            mutation=StepMutation(table),
        )
        result = minimize(problem, algorithm, FullPasses(full_passes), seed=seed)

    Candidates that can no longer matter are stopped early, exactly (``StopRule``). The answer is the front
    of everything measured, not only of the last population. Stopping it (Ctrl-C, or the notebook's stop
    button) gives the exploration so far.

    With an archive on disk nothing is ever measured twice, in this process or a later one: a search that
    was stopped or killed, started again with the same seed, asks for the same candidates, has those that
    were finished at once, and ends as if it had never been stopped. A larger budget goes on where a smaller
    one ended.

    A search ends with the generation in which the first of ``full_passes``, ``seconds``, ``evaluations`` and ``patience`` is used
    up; if none is given, once the front has stood still for 20 full passes, when more would mostly be luck. One *full pass* is as many images as
    the search set has. All count: the
    float model's, the sensitivities' (as if nothing of them were reused), those of stopped candidates and those that
    the archive answers. With nothing feasible it may cost a tenth more, to make sure of the nearest.

    Args:
        evaluator: Measures candidates of its calibrated model; the exploration's accuracies are on its images.
        num_bits_lower_limit: Smallest width to use.
        num_bits_upper_limit: Largest width to use.
        min_accuracy: ``min_score`` where the score is an accuracy, 0 to 1.
        min_score: Score below which a setting is infeasible, in the metric's unit (a share 0 to 1, dB, ...); None asks for none.
        full_passes: Passes over the search set that it may cost. More go on raising the front as measured, which from some point on is
            luck on the search set's images (figures/search_held_out.png), and hardly what is expected of it.
        seconds: How long it may take; how far it comes then depends on the machine.
        evaluations: Candidates to ask for. Those that come up again are answered from memory and count.
        patience: For how many full passes the hypervolume, of what is expected if candidates are compared by divergence, may stand still:
            grow by less than half a percent.
        population_size: Candidates in the first generation, and what the population keeps.
        seed: The same seed asks for the same candidates.
        cost: What is minimised beside the error, less is better: one of ``qa_lib.costs`` (``ActivationTraffic``, ``PeakActivationMemory``,
            ``BitOperations``, ``CostTable``, ...), its name, ``"bit_operations"`` say, the name of a table, ``"energy.csv"``, or any function of
            the widths. Of a list of two both are: the front holds what no other beats in the score and both costs at once.
        other_costs: More of them, which tables and views show beside it.
        widths: The widths that quantizers may have, ``[2, 4, 8]``, or by name those of some, ``{"classifier": [8]}``; None allows
            all within the limits.
        fixed: Name -> the width that a quantizer keeps: ``{"input": 8}``.
        tied: Lists of names that share a width, such as the inputs of a sum: ``[["conv1", "shortcut"]]``.
        by: What candidates are compared by, stopped by, and put on the recommended front by: ``"divergence"``, how far the outputs are
            from the float model's, of which less lets expect a higher score, or ``"score"``, the measured one, which a long search
            makes more and more of luck. None takes the divergence where the metric has one. Scores that are shown are measured.
        sensitivities: What ``sensitivity`` returned; None measures them on up to 128 images of the search set.
        algorithm: A pymoo algorithm of your own with integer operators in place of the one above.
        archive: Where evaluations and sensitivities are kept, in place of the evaluator's own archive.
        client: A ``distributed.Client``: candidates are measured on the workers of a cluster, with the same results (``Evaluator``).
        progress: Show a progress bar with the best so far, on standard error (in a notebook, under
            the cell; in a log, lines), and before it how long it will take and how much memory: an estimate.
        on_evaluation: Called with each evaluation as soon as it is there, in this thread.

    Returns:
        The ``Exploration``; its ``front`` is empty if nothing measured reaches the least score,
        and then ``nearest``, ``shortfall`` and ``layers_to_relax`` say how close it came, and what to do.

    Raises:
        BitWidthError: A limit is no allowed width.
        SearchError: The limits, ``min_score``, a budget, ``population_size`` or ``seed`` is out of range, ``cost``
            is none, ``on_evaluation`` raises, or the model is changed meanwhile.
        DataError: ``evaluator`` is none, or ``sensitivities`` are another model's.
        NotCalibratedError: A quantizer has no ``amax`` yet.
        ArchiveError: The archive cannot be read or written.
        ClusterError: ``client`` is none, or none of its workers can be believed.

    Any error that is raised once the search runs has what was measured by then as its ``exploration``.

    Example:
        >>> exploration = explore(evaluator, min_accuracy=0.85, full_passes=40, progress=False)
        >>> exploration.front.columns[:3].tolist()
        ['accuracy', 'expected_score', 'total_bits']
    """
    budgets = {"full_passes": full_passes, "seconds": seconds, "evaluations": evaluations}
    if evaluations is not None:
        check_count("evaluations", evaluations, SearchError)
    if patience is not None:
        check_positive("patience", patience, SearchError)
    elif all(budget is None for budget in budgets.values()):
        patience = DEFAULT_PATIENCE
    if on_evaluation is not None and not callable(on_evaluation):
        raise SearchError(
            f"on_evaluation is {kind_of(on_evaluation)}; give a function of an evaluation, or None"
        )
    check_count("population_size", population_size, SearchError, smallest=2)
    check_count("seed", seed, SearchError, smallest=0)
    evaluator = check_evaluator(evaluator)
    qmodel, tied = (
        evaluator.qmodel,
        list(tied) if isinstance(tied, Iterable) and not isinstance(tied, str) else tied,
    )
    if archive is not None:
        evaluator = evaluator.using(archive)
    if client is not None:
        evaluator = evaluator.on(client)
    problem = LayerwiseQuantizationProblem(
        qmodel, evaluator, num_bits_lower_limit, num_bits_upper_limit, min_accuracy, cost, min_score,
        widths=widths, fixed=fixed, tied=tied, by=check_by(by, evaluator),
    )  # fmt: skip
    space, limits = problem.space, problem.space.limits
    run = problem.run
    others = costs_of(qmodel, other_costs, space.uniform.values())
    stalled = StalledHypervolume(patience) if patience is not None else None
    stop = termination(budgets, stalled)  # before anything is measured: seconds count from here
    check_kind(
        "sensitivities",
        sensitivities,
        (SensitivityTable, NoneType),
        SearchError,
        "what sensitivity() returns, or None",
    )
    check_kind(
        "algorithm", algorithm, (Algorithm, NoneType), SearchError, "an object of pymoo's Algorithm, or None"
    )
    check_kind("progress", progress, bool, SearchError, "True or False")
    if sensitivities is not None:
        sensitivities.check_fits(qmodel.names, space.widths)
    begun = time.perf_counter()
    asked: dict[str, Any] = {
        "seed": seed,
        **budgets,
        "patience": patience,
        "population_size": population_size,
        "by": run.by,
    }
    rules = {
        "widths": widths,
        "fixed": fixed,
        "tied": tied if len(problem.space.groups) < problem.n_var else None,
    }
    asked |= {name: shown(rule) for name, rule in rules.items() if rule is not None}
    made = Provenance.begin(evaluator, asked | {"algorithm": algorithm and type(algorithm).__name__})
    uniform = space.uniform
    archived: tuple[Evaluation, ...] = ()

    def exploration(*, interrupted: bool) -> Exploration:
        return Exploration(
            names=qmodel.names,
            candidates=tuple(run.evaluations.values()),
            float_evaluation=run.float_evaluation,
            uniform_evaluations={n: run.evaluations[w] for n, w in uniform.items() if w in run.evaluations},
            min_score=problem.min_score,
            num_bits_limits=limits,
            space=space,
            interrupted=interrupted,
            archived=archived,
            sensitivities=sensitivities,
            full_passes=run.full_passes,
            cost=run.cost,
            other_costs=others,
            by=run.by,
            metric=evaluator.metric if evaluator.metric.additive else None,
            made=replace(made, seconds=time.perf_counter() - begun),
        )

    run.float_evaluation  # noqa: B018 measured here, so that an interrupted search has it
    with search_progress_bar(budgets, run, stalled, shown=progress) as bar:

        def take(evaluation: Evaluation) -> None:
            bar.take(evaluation)
            if on_evaluation is not None:
                call_back(on_evaluation, evaluation)

        run.on_evaluation = take
        try:
            run.evaluate_many(uniform.values())
            if progress:
                given = sensitivities is not None or algorithm is not None
                images = 0 if given else count_for_sensitivities(evaluator, len(space.widths))
                bar.say(forecast(run, budgets, patience, images))
            if sensitivities is not None:
                run.passes_before = sensitivities.divergence.size * sensitivities.images / evaluator.images
                warn_if_costly(run.passes_before, budgets["full_passes"])
            if algorithm is None:
                if sensitivities is None:
                    sensitivities = measure_sensitivities(run, space, budgets["full_passes"], bar)
                size = population_size if evaluations is None else min(population_size, evaluations)
                algorithm = default_algorithm(sensitivities, size, run.cost)
            with naming(f"the algorithm {type(algorithm).__name__}", SearchError, _INSTEAD):
                minimize(
                    problem, algorithm, stop, seed=seed, copy_termination=False
                )  # which the bar looks at
            archived = _archived(evaluator, run, space)
            if not exploration(interrupted=False).front_evaluations:
                run.complete_nearest(_NEAREST_SHARE * run.full_passes)
                archived = _archived(evaluator, run, space)
            bar.conclude(archived, exploration(interrupted=False).yardstick)
        except KeyboardInterrupt:
            with uninterrupted():
                archived = _archived(evaluator, run, space)
                return exploration(interrupted=True)
        except QAError as error:
            error.exploration = exploration(interrupted=True)
            raise
    return exploration(interrupted=False)


def _archived(evaluator: Evaluator, run: SearchRun, space: Space) -> tuple[Evaluation, ...]:
    """What the archive knows within the space and the run has not measured itself."""
    measured = {widths for widths, e in run.evaluations.items() if e.complete}
    known = evaluator.best_known(cost=run.cost, limits=space.limits)
    return tuple(e for e in known if e.bit_widths not in measured and (space.plain or e.bit_widths in space))
