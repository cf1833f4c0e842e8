"""What a search has learned about the score: predictions that choose what to measure, and are never reported.

A Gaussian process over bit widths (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006) with an additive
kernel of first and second order (Duvenaud, Nickisch and Rasmussen, "Additive Gaussian Processes", 2011). It learns
``-log(score / float score)``, both from what is worth nothing on, which grows with the divergence, from

- a trend over the sum of the one-layer sensitivities,
- a correction to each layer at each width, in proportion to its sensitivity,
- and pairs of layers, in proportion to the product of theirs.

How much each counts is found by marginal likelihood: pairs count nothing where they earn nothing.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from qa_lib.bit_widths import Widths
from qa_lib.sensitivities.table import SensitivityTable

# Scores below this share of the float model's are all the same: useless.
_LEAST_SHARE = 0.05
# Standard deviations before anything was learned: of the corrections, of the pairs, of what is left over.
_START = np.log([0.3, 0.3, 0.003])
_LEAST_NOISE = 1e-4
_JITTER = 1e-9


class ScoreModel:
    """Predicts scores of settings from those that were measured.

    Args:
        table: The sensitivities.
        float_score: The float model's.
        worst: The score of what is worth nothing.
        best: The highest score there is.
        pairs: Whether pairs of layers may count.
    """

    def __init__(
        self,
        table: SensitivityTable,
        float_score: float,
        *,
        worst: float = 0.0,
        best: float = 1.0,
        pairs: bool = True,
    ) -> None:
        self.table, self.pairs, self.worst, self.best = table, pairs, worst, best
        # A float model that gets nothing right gives no scale.
        self.height = float_score - worst or 1.0
        # Logarithmic where a layer alone ruins the output: twice ruined is no worse.
        scale = max(float(table.divergence.max()) / 5, np.finfo(float).tiny)
        self._effects = np.log1p(table.divergence / scale)
        self._scales = _START

    def fit(self, settings: Sequence[Widths], scores: Sequence[float], stopped: Sequence[bool]) -> None:
        """Learns from measurements.

        Args:
            settings: Widths; None is float.
            scores: Higher is better. For those that were stopped early their upper bound: they count as that where the model would
                have expected more, and otherwise as what it expects, so that it is not curious about them.
            stopped: Which those are.
        """
        rows = self._numbers(settings)
        values = self._to_loss(np.array(scores, float))
        bounds = np.array(stopped, bool)
        self._learn(rows[~bounds], values[~bounds], again=True)
        if bounds.any():
            expected, _ = self._predict(rows[bounds])
            values[bounds] = np.maximum(values[bounds], expected)
            self._learn(rows, values, again=False)

    def predict(self, settings: Sequence[Widths]) -> np.ndarray:
        """The score to expect of each setting. An estimate."""
        mean, _ = self._predict(self._numbers(settings))
        return self._to_score(mean)

    def draw(self, settings: Sequence[Widths], count: int, random: np.random.Generator) -> np.ndarray:
        """Scores of ``settings`` as they may turn out, shape ``(settings, count)``: a column is one draw."""
        mean, covariance = self._predict(self._numbers(settings), with_covariance=True)
        factor = cholesky(covariance + _JITTER * np.eye(len(mean)), lower=True)
        return self._to_score(mean[:, None] + factor @ random.standard_normal((len(mean), count)))

    def _numbers(self, settings: Sequence[Widths]) -> np.ndarray:
        """Widths as integers, shape ``(settings, quantizers)``; 0 is float."""
        rows = [[num_bits or 0 for num_bits in widths] for widths in settings]
        return np.array(rows, int).reshape(-1, len(self.table.names))

    def _to_loss(self, score: np.ndarray) -> np.ndarray:
        return -np.log(np.maximum((score - self.worst) / self.height, _LEAST_SHARE))

    def _to_score(self, loss: np.ndarray) -> np.ndarray:
        return np.minimum(self.best, self.worst + self.height * np.exp(-loss))

    def _learn(self, rows: np.ndarray, values: np.ndarray, *, again: bool) -> None:
        parts = self._parts(rows, rows)
        if again and len(rows) > 2:
            found = minimize(
                _negative_log_likelihood, self._scales, (parts, values, self.pairs), "L-BFGS-B", jac=True,
                bounds=[(-8.0, 3.0)] * 3, options={"maxiter": 15},
            )  # fmt: skip
            self._scales = found.x
        self._rows = rows
        self._factor = cholesky(_covariance(self._scales, parts, self.pairs), lower=True)
        self._weights = cho_solve((self._factor, True), values)

    def _predict(self, rows: np.ndarray, *, with_covariance: bool = False) -> tuple[np.ndarray, np.ndarray]:
        across = _mix(self._scales, self._parts(rows, self._rows), self.pairs)
        mean = across @ self._weights
        if not with_covariance:
            return mean, np.empty(0)
        solved = solve_triangular(self._factor, across.T, lower=True)
        return mean, _covariance(self._scales, self._parts(rows, rows), self.pairs) - solved.T @ solved

    def _parts(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The kernel's parts between two lists of settings: trend, single layers, pairs of layers."""
        (trend, single), (other_trend, other_single) = self._features(rows), self._features(others)
        first = single @ other_single.T
        second = (first**2 - (single**2) @ (other_single**2).T) / 2
        return trend @ other_trend.T, first, second

    def _features(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        layers = np.arange(rows.shape[1])
        switched_on = rows > 0
        columns = self.table.columns(np.where(switched_on, rows, self.table.widths[0]))
        effects = np.where(switched_on, self._effects[layers, columns], 0.0)
        total = effects.sum(axis=1)
        trend = np.column_stack([np.full(len(rows), 0.1), total, np.sqrt(total)])
        single = np.zeros((len(rows), *self._effects.shape))
        single[np.arange(len(rows))[:, None], layers, columns] = effects
        return trend, single.reshape(len(rows), self._effects.size)


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _mix(scales: np.ndarray, parts: Parts, pairs: bool) -> np.ndarray:
    trend, first, second = parts
    single, pair, _ = np.exp(2 * scales)
    return trend + single * first + (pair * second if pairs else 0.0)


def _covariance(scales: np.ndarray, parts: Parts, pairs: bool) -> np.ndarray:
    noise = np.exp(2 * scales[2]) + _LEAST_NOISE**2
    return _mix(scales, parts, pairs) + noise * np.eye(len(parts[0]))


def _negative_log_likelihood(
    scales: np.ndarray, parts: Parts, values: np.ndarray, pairs: bool
) -> tuple[float, np.ndarray]:
    """Of ``values``, up to a constant, and its gradient; a little weight holds the scales near their start."""
    factor = cholesky(_covariance(scales, parts, pairs), lower=True)
    solved = cho_solve((factor, True), values)
    inverse = cho_solve((factor, True), np.eye(len(values)))
    slopes = [2 * np.exp(2 * scales[0]) * parts[1], 2 * np.exp(2 * scales[1]) * parts[2] * pairs]
    gradient = [0.5 * (np.sum(inverse * slope) - solved @ slope @ solved) for slope in slopes]
    gradient.append(np.exp(2 * scales[2]) * (np.trace(inverse) - solved @ solved))
    away = scales - _START
    value = 0.5 * values @ solved + np.log(np.diag(factor)).sum() + 0.02 * away @ away
    return float(value), np.array(gradient) + 0.04 * away
