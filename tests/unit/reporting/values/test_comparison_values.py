"""Runs beside each other: honest pairs, all figures from the JSON, and errors that name what to do."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from whisper_peft import compare, main
from whisper_peft.errors import RecipeError, StorageError, WhisperPeftError
from whisper_peft.pipeline.comparing.run_comparison import short_names
from whisper_peft.reporting.plots.scatter_plots import RADIUS, ScatterPoint, scatter_plot
from whisper_peft.reporting.values.comparison_values import Pair


@pytest.fixture
def two(run_folder, tmp_path):
    """Return two runs of the same recipe and scores."""
    folders = [tmp_path / name for name in ("lora", "dora")]
    for folder in folders:
        shutil.copytree(run_folder, folder)
    return folders


def predictions(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def rewrite(folder, change):
    """Put the rows after training through a function; None leaves one out."""
    rows = [change(dict(row)) if row["when"] == "after" else row for row in predictions(folder)]
    text = "".join(json.dumps(row) + "\n" for row in rows if row)
    (folder / "predictions.jsonl").write_text(text)


def change_report(folder, path, value):
    report = json.loads((folder / "report.json").read_text())
    place = report
    *parents, last = path.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    (folder / "report.json").write_text(json.dumps(report))


def perfect(row):
    hits = row["hits"] + row["substitutions"] + row["deletions"]
    return row | {"hits": hits, "substitutions": 0, "deletions": 0, "insertions": 0}


def test_a_run_that_hears_everything_is_clearly_lower(two, tmp_path):
    rewrite(two[1], perfect)
    found = compare(two, output_dir=tmp_path / "out")
    (pair,) = found.pairs
    rows = [row for row in predictions(two[0]) if row["when"] == "after"]
    errors = sum(row["substitutions"] + row["deletions"] + row["insertions"] for row in rows)
    words = sum(row["hits"] + row["substitutions"] + row["deletions"] for row in rows)
    assert pair.difference == pytest.approx(-errors / words)
    assert pair.interval[1] < 0
    assert pair.share_lower == 1
    assert (pair.verdict, pair.turned().verdict) == ("clearly lower", "clearly higher")
    assert pair.turned().turned() == pair


def test_equal_runs_are_not_told_apart(two, tmp_path):
    found = compare(two, output_dir=tmp_path / "out")
    assert found.pairs[0].difference == 0
    assert found.pairs[0].verdict == "not told apart"
    assert "Not told apart from it: dora" in found.verdict()


def test_character_errors_have_intervals_around_what_the_transcripts_say(two, tmp_path):
    run = compare(two, output_dir=tmp_path / "out").runs[0]
    low, high = run.after.cer_interval
    assert 0 < low < high < 1
    (two[0] / "predictions.jsonl").unlink()
    run = compare(two, output_dir=tmp_path / "out").runs[0]
    assert run.after.cer_interval is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"id": f"other-{row['id']}"}, "no utterance was scored in both"),
        (lambda row: row | {"reference": row["reference"] + " non"}, "have other texts"),
        (lambda row: None, "has no predictions after training"),
    ],
)
def test_runs_on_other_utterances_are_not_compared_and_it_is_said_why(change, said, two, tmp_path):
    rewrite(two[1], change)
    found = compare(two, output_dir=tmp_path / "out")
    assert found.pairs[0].difference is None
    assert said in found.pairs[0].refused
    for view in (found.text(), found.markdown(), (tmp_path / "out/comparison.html").read_text()):
        assert said in view


def test_other_normalisers_are_not_compared(two, tmp_path):
    change_report(two[1], "evaluation.after.normalizer", "basic")
    found = compare(two, output_dir=tmp_path / "out")
    assert "normalisers marks and basic" in found.pairs[0].refused
    assert "Not comparable with it" in found.verdict()


def test_of_different_selections_what_both_heard_is_compared_and_said(two, tmp_path):
    names = [row["id"] for row in predictions(two[0]) if row["when"] == "after"]
    rewrite(two[1], lambda row: row if row["id"] in names[:20] else None)
    (pair,) = compare(two, output_dir=tmp_path / "out").pairs
    assert pair.utterances == 20
    assert (
        f"on the 20 utterances that both were scored on, of {len(names)} of lora and 20 of dora" in pair.note
    )


def test_too_few_utterances_give_no_interval(two, tmp_path):
    names = [row["id"] for row in predictions(two[0]) if row["when"] == "after"]
    rewrite(two[1], lambda row: perfect(row) if row["id"] in names[:19] else None)
    (pair,) = compare(two, output_dir=tmp_path / "out").pairs
    assert "only 19 utterances were scored in both" in pair.refused
    assert pair.verdict == "not compared"


def test_only_fields_that_differ_are_shown(two, tmp_path):
    recipe = two[1] / "recipe.yaml"
    changed = recipe.read_text().replace("r: 32", "r: 8\n  use_dora: true")
    recipe.write_text(changed.replace("name: lora-demo", "name: other"))
    found = compare(two, output_dir=tmp_path / "out")
    assert found.differences == {"adapter.r": ("32", "8"), "adapter.use_dora": ("false", "true")}


def test_long_values_are_cut_in_a_terminal_only(two, tmp_path):
    recipe = two[1] / "recipe.yaml"
    path = "speech/" * 20 + "fr"
    recipe.write_text(recipe.read_text().replace("tests/data/prompts/fr", path))
    found = compare(two, output_dir=tmp_path / "out")
    assert path not in found.text()
    assert path in found.markdown()


def test_runs_on_other_machines_are_noted(two, tmp_path):
    change_report(two[1], "meta.cpu", "another")
    found = compare(two, output_dir=tmp_path / "out")
    assert any("different machines" in note for note in found.notes)


def test_every_fault_of_every_run_is_told_at_once(two, tmp_path):
    change_report(two[0], "evaluation.after", None)
    with pytest.raises(StorageError) as error:
        compare([*two, tmp_path / "none"], output_dir=tmp_path / "out")
    assert "2 runs cannot be compared" in str(error.value)
    assert f"--resume --output-dir {two[0]}" in str(error.value)
    assert f"{tmp_path / 'none'} has no report.json" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_damaged_report_or_recipe_is_an_error_of_ours(two, tmp_path):
    (two[0] / "report.json").write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        compare(two, output_dir=tmp_path / "out")
    shutil.copy(two[1] / "report.json", two[0])
    (two[0] / "recipe.yaml").unlink()
    with pytest.raises(WhisperPeftError, match=r"recipe\.yaml"):
        compare(two, output_dir=tmp_path / "out")


def test_one_run_or_the_same_twice_is_refused(two):
    with pytest.raises(RecipeError, match="a comparison needs two runs"):
        compare(two[:1])
    with pytest.raises(RecipeError, match="given twice"):
        compare([two[0], two[0].parent / "lora"])


def test_a_folder_that_holds_something_else_is_not_touched(two):
    with pytest.raises(StorageError, match="is in use"):
        compare(two, output_dir=two[0])


class Numbers(HTMLParser):
    """Collect the figures of a page by their path, and what it would load or run."""

    def __init__(self):
        super().__init__()
        self.found, self.loads, self.tags = {}, [], set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.loads += [given[name] for name in ("src", "href") if name in given]
        if tag == "data":
            self.found[given["data-path"]] = float(given["value"])


def test_the_page_shows_figures_of_the_json_only_and_loads_nothing(two, tmp_path):
    recipe = two[1] / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: openai/whisper-base", "name: <script>x</script>"))
    compare(two, output_dir=tmp_path / "out")
    plain = json.loads((tmp_path / "out/comparison.json").read_text())
    page = Numbers()
    page.feed((tmp_path / "out/comparison.html").read_text())
    assert len(page.found) > 30
    for path, shown in page.found.items():
        value = plain
        for part in path.split("."):
            value = value[int(part) if part.isdigit() else part]
        assert shown == value, path
    assert page.loads == []
    assert "script" not in page.tags


def test_markdown_has_a_row_for_each_run(two, tmp_path):
    compare(two, output_dir=tmp_path / "out")
    lines = (tmp_path / "out/comparison.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert [re.split(r" *\| *", line)[1] for line in table] == ["run", "---", "lora", "dora"]
    assert len({line.count("|") for line in table}) == 1


def test_the_verb_prints_the_table_and_where_the_page_is(two, tmp_path, capsys):
    rewrite(two[1], perfect)
    main(args=["compare", *map(str, two), "--output-dir", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "clearly lower" in printed
    assert printed.rstrip().endswith(str(tmp_path / "out" / "comparison.html"))


def test_the_verb_without_runs_is_a_user_error(capsys):
    with pytest.raises(SystemExit) as stop:
        main(args=["compare"])
    assert stop.value.code == 2
    assert "a comparison needs two runs" in capsys.readouterr().err


def test_names_are_as_short_as_they_can_be(tmp_path):
    folders = [tmp_path / name for name in ("a/run", "b/run", "other")]
    assert short_names(folders) == ["a/run", "b/run", "other"]


@pytest.mark.parametrize("cost", [1.0, 5.0, 100.0])
def test_marks_at_one_cost_stand_side_by_side_within_the_plot(cost):
    points = [ScatterPoint(number, "run", cost, 0.1, (0.05, 0.2)) for number in (1, 2, 3)]
    plot = scatter_plot("WER", "s", [*points, ScatterPoint(4, "run", 100.0, 0.1, (0.05, 0.2))], str)
    places = sorted(mark.x for mark in plot.marks)
    assert all(later - earlier >= 2 * RADIUS for earlier, later in itertools.pairwise(places))
    assert plot.left <= places[0] <= places[-1] <= plot.right


def test_a_wide_range_of_costs_has_a_logarithmic_axis():
    points = [ScatterPoint(n, "run", cost, 0.1, (0.05, 0.2)) for n, cost in enumerate((2e4, 2e6, 2e7), 1)]
    plot = scatter_plot("WER", "weights", points, str)
    first, second, third = (mark.x for mark in plot.marks)
    assert second - first == pytest.approx(2 * (third - second), abs=0.5)
    assert "logarithmic" in plot.below


def test_a_pair_without_figures_has_no_verdict():
    assert Pair("a", "b", refused="because").verdict == "not compared"
    assert Pair("a", "b", refused="because").turned().refused == "because"
