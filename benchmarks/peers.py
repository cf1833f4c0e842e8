"""What a user would search with instead: Optuna's NSGA-II and TPE, and a random forest. They ask, the engine measures, all on all images."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from search_runs import Bench, Points
from sklearn.ensemble import RandomForestRegressor

from qa_lib.evaluation import Evaluation
from qa_lib.search.pareto import non_dominated

# Settings that a peer begins with and asks for at a time.
BEGINNING, AT_A_TIME = 20, 8
BROOD = 2000

Ask = Callable[[list[int]], Evaluation]
# (ask, layers, least score, how often to ask, seed)
Search = Callable[[Ask, int, float, int, int], None]


def run_peer(bench: Bench, peer: str, seed: int, full_passes: float) -> Points:
    """The candidates of one peer, each measured on all images; one pass went into the float model."""
    points, known = Points(bench.box), {}

    def ask(widths: list[int]) -> Evaluation:
        evaluation = known[tuple(widths)] = bench.evaluator.evaluate(widths)
        points.take(1.0 + len(points.rows) + 1, np.nan, evaluation)
        return evaluation

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    warnings.simplefilter("ignore", FutureWarning)  # of constraints_func, which version 4 needs
    PEERS[peer](ask, len(bench.qmodel.names), bench.box.min_score, int(full_passes) - 1, seed)
    bench.known += points.front
    return points


def _optuna(sampler: Callable[..., optuna.samplers.BaseSampler], **options: Any) -> Search:
    """A study of two objectives with a constraint, as its documentation shows it."""

    def search(ask: Ask, layers: int, min_score: float, count: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        how = {"seed": seed, "constraints_func": lambda trial: (min_score - trial.user_attrs["score"],)}
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(**how, **options))

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            evaluation = ask([trial.suggest_int(f"layer {layer}", 2, 8) for layer in range(layers)])
            trial.set_user_attr("score", evaluation.score)
            return evaluation.score, evaluation.total_bits

        study.optimize(objective, n_trials=count)

    return search


def _random_forest(ask: Ask, layers: int, min_score: float, count: int, seed: int) -> None:
    """Uniform widths and random ones; then what a forest of what was measured expects to be furthest above the front, of its neighbours."""
    random = np.random.default_rng(seed)
    asked = [[n] * layers for n in range(8, 1, -1)]
    asked += random.integers(2, 8, (BEGINNING - len(asked), layers), endpoint=True).tolist()
    found = {tuple(widths): ask(widths) for widths in asked[:count]}
    while len(found) < count:
        rows = np.array([*found])
        scores = np.array([e.score for e in found.values()])
        forest = RandomForestRegressor(200, random_state=seed, n_jobs=1).fit(rows, scores)
        feasible = [e for e in found.values() if e.score >= min_score] or [*found.values()]
        front = np.array([e.bit_widths for e in non_dominated(feasible)])
        brood = front[random.integers(len(front), size=BROOD)]
        moved = random.random(brood.shape) < 2 / layers
        brood = np.clip(brood + moved * random.choice([-1, 1], brood.shape), 2, 8)
        brood = np.array([w for w in dict.fromkeys(map(tuple, brood.tolist())) if w not in found])
        if not len(brood):
            return
        expected, costs = forest.predict(brood), brood.sum(axis=1)
        best_below = np.array(
            [
                max(
                    (e.score for e in found.values() if e.total_bits <= cost and e.score >= min_score),
                    default=min_score,
                )
                for cost in costs
            ]
        )
        for index in np.argsort(best_below - expected, kind="stable")[: min(AT_A_TIME, count - len(found))]:
            widths = tuple(brood[index].tolist())
            found[widths] = ask(list(widths))


PEERS = {
    "Optuna NSGA-II": _optuna(optuna.samplers.NSGAIISampler, population_size=40),
    "Optuna TPE": _optuna(optuna.samplers.TPESampler),
    "random forest": _random_forest,
}
