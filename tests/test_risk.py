"""Risk, coverage and the error budget: against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from healdag.errors import UsageError
from healdag.trust.risk import (
    augrc,
    aurc,
    coverage_at,
    fixed_sequence,
    grid_of,
    p_value,
    risk_coverage,
    sequence,
    upper_bound,
)


def test_the_curve_of_four_answers_by_hand():
    curve = risk_coverage([0.9, 0.5, 0.8, 0.7], [False, True, False, True])
    assert curve.confidence.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert curve.errors.tolist() == [0, 0, 1, 2]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert aurc([0.9, 0.5, 0.8, 0.7], [False, True, False, True]) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert augrc([0.9, 0.5, 0.8, 0.7], [False, True, False, True]) == pytest.approx((1 / 4 + 2 / 4) / 4)


def test_equally_sure_answers_count_alike_in_any_order():
    wrong = np.array([True, False, False, True, False])
    one, other = aurc([0.5] * 5, wrong), aurc([0.5] * 5, wrong[::-1])
    assert one == pytest.approx(other) == pytest.approx(wrong.mean())
    # A threshold takes all five or none.
    assert coverage_at([0.5] * 5, wrong, 0.3) == 0.0
    assert coverage_at([0.5] * 5, wrong, 0.4) == 1.0


def test_a_perfect_order_is_the_oracle_and_a_reversed_one_the_worst():
    wrong = np.arange(100) >= 80
    assert coverage_at(-np.arange(100.0), wrong, 0.0) == 0.8
    assert coverage_at(np.arange(100.0), wrong, 0.0) == 0.0
    assert aurc(-np.arange(100.0), wrong) < wrong.mean() < aurc(np.arange(100.0), wrong)


def test_clopper_pearson_at_known_points():
    # No error in n: 1 - (1 - certainty) ** (1 / n).
    assert upper_bound(0, 59, 0.95) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(0, 58, 0.95) > 0.05 > upper_bound(0, 59, 0.95)
    assert upper_bound(3, 3, 0.95) == 1.0
    assert p_value(0, 0, 0.05) == 1.0
    # The test at level 5 % and the bound at 95 % are two sides of one thing.
    for errors in range(20):
        assert (p_value(errors, 200, 0.05) <= 0.05) == (upper_bound(errors, 200, 0.95) <= 0.05)


@pytest.mark.parametrize("slope", [0.5, 0.9])
@pytest.mark.parametrize("max_error", [0.05, 0.1])
def test_the_budget_holds_in_95_percent_of_1000_draws(slope: float, max_error: float):
    """Confidence s is uniform on 0..1 and an answer wrong with chance slope (1 - s)²: risk(t) = slope (1 - t)² / 3."""
    generator = np.random.default_rng(13)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        sure = generator.random(n)
        return sure, generator.random(n) < slope * (1 - sure) ** 2

    broken, coverages, n = 0, [], 1500
    for _ in range(1000):
        thresholds = sequence(grid_of(*draw(800), 100), n, max_error)
        found = fixed_sequence(*draw(n), thresholds, max_error, 0.95)
        if found is not None:
            assert found.bound <= max_error
            broken += slope * (1 - found.threshold) ** 2 / 3 > max_error
        coverages.append(0.0 if found is None else 1 - found.threshold)
    assert broken <= 50
    # It is not bought with silence: the mean coverage comes near the largest that keeps the risk.
    best = min(1.0, (3 * max_error / slope) ** 0.5)
    assert np.mean(coverages) > 0.55 * best


def test_a_hopeless_model_gets_no_threshold():
    generator = np.random.default_rng(5)
    sure, wrong = generator.random(500), generator.random(500) < 0.5
    assert fixed_sequence(sure, wrong, sequence(grid_of(sure, wrong), 500, 0.05), 0.05, 0.95) is None


def test_a_model_without_error_is_accepted_whole():
    sure, wrong = np.linspace(0.5, 1, 300), np.zeros(300, dtype=bool)
    found = fixed_sequence(sure, wrong, sequence(grid_of(sure, wrong), 300, 0.05), 0.05, 0.95)
    assert found is not None
    assert (found.threshold, found.n, found.errors) == (0.0, 300, 0)


def test_the_sequence_goes_from_strict_to_loose_and_tests_nothing_twice():
    generator = np.random.default_rng(7)
    sure = np.round(generator.random(1000), 2)
    thresholds = sequence(grid_of(sure, generator.random(1000) < 0.3 * (1 - sure)), 1000, 0.05)
    assert list(thresholds) == sorted(set(thresholds), reverse=True)


@pytest.mark.parametrize(
    ("confidence", "wrong"), [([], []), ([0.5], [True, False]), ([float("nan")], [True]), ([[0.5]], [[True]])]
)
def test_what_is_no_curve_is_refused(confidence, wrong):
    with pytest.raises(UsageError):
        risk_coverage(confidence, wrong)


def test_a_confidence_that_reaches_less_far_up_on_other_rows_still_passes():
    """A grid is of cross-validated confidences; the fitted model's own are a little closer together."""
    generator = np.random.default_rng(11)
    sure = generator.random(1000)
    wrong = generator.random(1000) < 0.6 * (1 - sure) ** 2
    grid = grid_of(sure, wrong)
    lower = np.minimum(sure, 0.93)[:450]
    found = fixed_sequence(lower, wrong[:450], sequence(grid, 450, 0.1), 0.1, 0.95)
    assert found is not None
    assert found.n > 200
