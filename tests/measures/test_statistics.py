"""Statistics against closed forms, enumerations and definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import t

from bregbench.measures.statistics import bootstrap_interval, equivalent, holm, joint_sign_flips
from bregbench.tables.verdicts import sign_flip


def test_bootstrap_of_two_values_is_the_binomial_of_their_mean():
    # Resampled means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([0, 1], level=0.95) == (0, 1)
    assert bootstrap_interval([0, 1], level=0.4) == (0.5, 0.5)
    assert bootstrap_interval([3.0]) == (3.0, 3.0)


def test_bootstrap_approaches_the_normal_interval_of_the_plug_in_deviation():
    values = np.random.default_rng(1).normal(size=200)
    low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std() / math.sqrt(200)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert bootstrap_interval(values.tolist()) == (low, high)


@pytest.mark.parametrize(("values", "level"), [([], 0.9), ([1.0], 1.0)])
def test_bootstrap_refuses_nonsense(values, level):
    with pytest.raises(ValueError, match="at level"):
        bootstrap_interval(values, level=level)


def test_holm_is_the_step_down_rule():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(size=6) ** 3
        alpha = rng.uniform(0.01, 0.3)
        rejected = set()
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > alpha / (6 - rank):
                break
            rejected.add(int(index))
        assert {i for i, q in enumerate(holm(p.tolist())) if q <= alpha} == rejected


def test_equivalence_is_two_one_sided_t_tests():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.normal(rng.uniform(-0.3, 0.3), 0.2, size=8)
        error = values.std(ddof=1) / math.sqrt(8)
        above = t.sf((values.mean() + 0.3) / error, 7)
        below = t.cdf((values.mean() - 0.3) / error, 7)
        assert equivalent(values.tolist(), 0.3) == (max(above, below) < 0.05)
    assert not equivalent([0.0], 0.3)


def test_one_comparison_is_the_exact_sign_flip_test():
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.normal(0.5, 1, size=7).tolist()
        assert joint_sign_flips({"a": values})["a"] == pytest.approx(sign_flip(values))


def test_many_comparisons_are_the_enumeration_of_the_largest():
    rng = np.random.default_rng(0)
    table = {name: rng.normal(shift, 1, size=6).tolist() for name, shift in (("a", 0), ("b", 2))}

    def size(values):
        values = np.array(values)
        deviation = values.std(ddof=1)
        return abs(values.mean()) / deviation

    choices = list(itertools.product((1, -1), repeat=6))
    largest = [max(size(np.multiply(c, v)) for v in table.values()) for c in choices]
    for name, p in joint_sign_flips(table).items():
        assert p == np.mean([value >= size(table[name]) - 1e-12 for value in largest])


def test_joint_test_rejects_where_holm_cannot():
    rng = np.random.default_rng(0)
    table = {str(k): (1 + 0.1 * rng.normal(size=10)).tolist() for k in range(60)}
    single = [sign_flip(values) for values in table.values()]
    assert min(holm(single)) > 0.05
    assert max(joint_sign_flips(table).values()) < 0.05


def test_equal_rows_do_not_differ():
    assert joint_sign_flips({"a": [0.0] * 5, "b": [1.0, 2, 1, 2, 1]})["a"] == 1.0
    assert joint_sign_flips({}) == {}
    with pytest.raises(ValueError, match="the same 2 to 16 seeds"):
        joint_sign_flips({"a": [1.0, 2.0], "b": [1.0]})
