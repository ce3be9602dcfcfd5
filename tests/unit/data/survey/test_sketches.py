import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.survey.sketches import HISTOGRAM_BARS, Sketch

POSITIVE = st.lists(st.floats(0.001, 10_000), min_size=1, max_size=200)


@given(values=POSITIVE, probability=st.floats(0, 1))
def test_quantiles_are_within_half_a_percent_of_numpys(values, probability):
    sketch = Sketch(0.01, is_log=True)
    for value in values:
        sketch.add(value)
    true = np.quantile(values, probability, method="lower")
    assert math.isclose(sketch.quantile(probability), true, rel_tol=0.0051)


@given(values=POSITIVE)
def test_every_value_is_in_one_bar_of_the_histogram(values):
    sketch = Sketch(0.01, is_log=True)
    for value in values:
        sketch.add(value)
    summary = sketch.summary()
    assert sum(summary.counts) == summary.count == len(values)
    assert len(summary.edges) == len(summary.counts) + 1 <= HISTOGRAM_BARS + 3


def test_memory_depends_on_the_range_of_values_and_not_on_their_number():
    rng = np.random.default_rng(0)
    sketch = Sketch(0.01, is_log=True)
    for value in rng.uniform(0.1, 30, size=50_000):
        sketch.add(float(value))
    assert len(sketch.bins) < 700


def test_robust_z_is_the_z_score_of_a_normal_distribution_and_outliers_do_not_widen_it():
    rng = np.random.default_rng(0)
    sketch = Sketch(0.01)
    for value in [*rng.normal(10, 2, size=20_000), *[1000.0] * 2_000]:
        sketch.add(float(value))
    assert sketch.robust_z(16.0) == pytest.approx(3, abs=0.5)


def test_nothing_counted_has_no_summary():
    assert Sketch(0.1).summary() is None
