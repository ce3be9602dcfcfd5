"""Whatever a transcript holds, the page shows it and no element comes of it."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.evaluation.error_analysis.alignment import align
from whisper_peft.evaluation.units import separate_words
from whisper_peft.reporting.json_lines import Predictions
from whisper_peft.reporting.pages.run_page import render_page
from whisper_peft.reporting.plots.line_plots import Series, decades, line_plot, thin
from whisper_peft.reporting.run_report import EvaluationRecord, RunRecord, RunReport, environment_meta
from whisper_peft.reporting.values.curve_values import curve_of
from whisper_peft.types import EvalResult, Prediction

SCORES = EvalResult(0.1, 0.1, 0.1, 0.1, (0.05, 0.2), 1, "none", None, "full", 1.0, 1, 1, 0, 0, 0, 0)
META = environment_meta(0)

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40
) | st.sampled_from(
    ["</p><script>x</script>", "{{ 1 }}{% raw %}", "&amp;&lt;", "<!--", "]]>", "'\" onload=x"]
)
finite_or_not = st.floats(min_value=0, max_value=1e12) | st.sampled_from([float("nan"), float("inf")])


class Elements(HTMLParser):
    """The names of the elements of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(reference: str, hypothesis: str) -> Elements:
    run = RunRecord(name=reference, folder=reference, command=reference, started_at="2025-01-01")
    evaluation = EvaluationRecord(before=SCORES, after=SCORES, scored_split=reference)
    row = Prediction(reference, reference, hypothesis, 1.0, 1.0, 1, 0, 0, 0, speaker_id=hypothesis)
    page = Elements()
    page.feed(
        render_page(
            RunReport(run=run, evaluation=evaluation, meta=META),
            Predictions(after={row.id: row}),
            recipe_text=hypothesis,
        )
    )
    return page


PLAIN = page_of("plain", "plain")


@settings(max_examples=25, deadline=None)
@given(texts, texts)
def test_texts_never_become_elements(reference: str, hypothesis: str) -> None:
    page = page_of(reference, hypothesis)
    assert page.names - PLAIN.names <= {"del", "ins", "span"}
    assert same_newlines(reference) in same_newlines(page.text)


def same_newlines(text: str) -> str:
    """Return text with every line ending as the line feed that HTML makes of it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(texts, texts)
def test_alignment_loses_no_word(reference: str, hypothesis: str) -> None:
    words = align(reference, hypothesis, str)
    # characters of scripts without spaces are words of their own
    assert [word.reference for word in words if word.reference] == separate_words(reference).split()
    assert "".join(word.reference or "" for word in words) == "".join(reference.split())
    assert "".join(word.hypothesis or "" for word in words) == "".join(hypothesis.split())


@given(st.lists(finite_or_not, max_size=60))
def test_plots_take_any_numbers(values: list[float]) -> None:
    plot = line_plot(
        "x", [Series("x", tuple((float(step), value) for step, value in enumerate(values)))], str
    )
    if plot is not None:
        assert "nan" not in plot.drawings[0].path
        assert "inf" not in plot.drawings[0].path


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300), st.integers(2, 40))
def test_thinning_keeps_extremes_and_order(values: list[float], most: int) -> None:
    points = tuple((float(step), value) for step, value in enumerate(values))
    kept = thin(points, most)
    assert list(kept) == sorted(kept)
    assert {min(values), max(values)} <= {value for _, value in kept}


@given(st.lists(finite_or_not, min_size=1, max_size=200), st.integers(1, 40))
def test_curves_of_any_length_keep_extremes_mean_and_ends(values: list[float], most: int) -> None:
    curve = curve_of(range(1, len(values) + 1), values, most)
    finite = [value for value in values if math.isfinite(value)]
    assert len(curve.steps) == len(curve.values) <= most
    assert curve.steps[-1] == len(values)
    assert curve.rows - curve.not_finite == len(finite)
    assert (curve.lowest, curve.highest) == (min(finite, default=None), max(finite, default=None))
    drawn = curve.high or curve.values
    if finite:
        assert values[curve.highest_step - 1] == curve.highest
        assert max(one for one in drawn if math.isfinite(one)) == pytest.approx(curve.highest, rel=1e-5)
        assert min(finite) <= curve.mean <= max(finite) or curve.mean == pytest.approx(min(finite))


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30))
def test_a_logarithmic_axis_holds_every_value(values: list[float]) -> None:
    ticks = decades(min(values), max(values))
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= min(values) <= max(values) <= ticks[-1]
    assert len(ticks) > 1
