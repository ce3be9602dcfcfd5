from __future__ import annotations

import math
import re

from whisper_peft.reporting.plots.line_plots import HEIGHT, WIDTH, Series, line_plot, thin


def test_curve_without_finite_points_is_not_drawn() -> None:
    assert line_plot("Loss", [Series("loss", ())], str) is None
    assert line_plot("Loss", [Series("loss", ((1, math.nan),))], str) is None


def test_line_breaks_where_the_value_is_not_a_number() -> None:
    points = ((1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0), (5, math.inf), (6, 1.0))
    plot = line_plot("Loss", [Series("loss", points)], str)
    assert plot.drawings[0].path.count("M") == 3
    assert len(plot.drawings[0].gaps) == 2
    assert "nan" not in plot.drawings[0].path
    assert "inf" not in plot.drawings[0].path


def test_everything_lies_within_the_frame() -> None:
    points = tuple((step, 5 + math.sin(step)) for step in range(1, 5000))
    marks = Series("scored", ((0, 8.0),), marks_only=True, intervals=((7.0, 11.0),))
    plot = line_plot("x", [Series("curve", points), marks], str)
    numbers = re.findall(r"[ML]([\d.]+) ([\d.]+)", plot.drawings[0].path)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y in numbers)
    assert all(
        plot.top <= y <= plot.bottom for _, low, high in plot.drawings[1].whiskers for y in (low, high)
    )


def test_one_point_is_a_dot() -> None:
    plot = line_plot("Loss", [Series("loss", ((7, 0.5),))], str)
    assert len(plot.drawings[0].dots) == 1


def test_long_curve_keeps_its_spikes() -> None:
    points = tuple((step, 100.0 if step == 7777 else 1.0) for step in range(20_000))
    kept = thin(points)
    assert len(kept) <= 610
    assert (7777, 100.0) in kept
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_all_zero_curve_has_an_axis() -> None:
    plot = line_plot("Data wait", [Series("wait", ((1, 0.0), (2, 0.0)))], str)
    assert plot.y_ticks[0].at == plot.bottom
    assert len(plot.y_ticks) > 1


def test_band_reaches_the_lowest_and_highest_values_of_the_axis() -> None:
    series = Series("loss", ((1, 2.0), (2, 2.0)), band=((1.0, 3.0), (0.5, 9.0)))
    plot = line_plot("Loss", [series], str)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", plot.drawings[0].band)]
    assert len(heights) == 4
    assert plot.top <= min(heights) < max(heights) <= plot.bottom


def test_a_point_that_is_not_a_number_has_no_band() -> None:
    series = Series("loss", ((1, 2.0), (2, math.nan)), band=((1.0, 3.0), (math.nan, math.nan)))
    plot = line_plot("Loss", [series], str)
    assert "nan" not in plot.drawings[0].band


def test_axis_is_linear_where_a_value_is_not_above_zero() -> None:
    points = ((1, 0.0), (2, 1.0), (3, 1.0), (4, 100.0))
    assert not line_plot("x", [Series("x", points)], str, wide_range=True).is_log
