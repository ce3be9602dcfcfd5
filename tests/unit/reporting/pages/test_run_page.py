"""The page of a run says what the report says, to everybody, and runs nothing of others."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.reporting.pages.rendered_page import Page, leaves, printed_number, render
from whisper_peft.reporting.pages.recordings import Clip, Recordings
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import read_report
from whisper_peft.reporting.values.augmentation_values import SoundClip


def test_every_figure_equals_the_report(run_folder: Path) -> None:
    report = leaves(json.loads((run_folder / "report.json").read_text()))
    figures = [one for one in render(run_folder).figures if "data-path" in one.attributes]
    assert len(figures) > 60
    for figure in figures:
        path, exact = figure.attributes["data-path"], float(figure.attributes["value"])
        if path.startswith("difference."):
            name = path.removeprefix("difference.")
            expected = report[f"evaluation.after.{name}"] - report[f"evaluation.before.{name}"]
        else:
            expected = report[path]
        assert exact == expected, path
        assert printed_number(figure.text) == pytest.approx(expected, rel=1e-2, abs=5e-5), path


def test_every_measured_number_is_on_the_page(run_folder: Path) -> None:
    report = leaves(json.loads((run_folder / "report.json").read_text()))
    shown = {one.attributes.get("data-path") for one in render(run_folder).figures}
    measured = {
        path
        for path, value in report.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and not path.startswith("train.skipped")
        and not re.fullmatch(r"curves\.\w+\.\w+\.(steps|values|low|high)\.\d+", path)
        and not re.fullmatch(r"augmentation\.examples\.\d+\.epoch", path)
    }
    undrawn = {f"curves.training.{name}" for name in ("epoch", "elapsed_s")}
    missing = {path for path in measured - shown if path.rpartition(".")[0] not in undrawn}
    whole = {path for path in missing if not path.endswith(".not_finite")}
    assert whole == {"evaluation.before.skipped.unreadable"}


def test_every_curve_is_drawn_from_the_points_of_the_report(run_folder: Path) -> None:
    report = json.loads((run_folder / "report.json").read_text())
    page = render(run_folder)
    drawn = {
        attributes["data-path"]: attributes["d"]
        for tag, attributes in page.tags
        if tag == "path" and attributes.get("class") == "curve"
    }
    assert len(drawn) == 7
    for path, outline in drawn.items():
        _, table, name = path.split(".")
        curve = report["curves"][table][name]
        places = np.array([one.split() for one in re.findall(r"[\d.]+ [\d.]+", outline)], dtype=float)
        assert len(places) == len(curve["values"])
        # a straight line from values to heights: no point lies anywhere else
        (slope, start), *_ = np.polyfit(curve["values"], places[:, 1], 1, full=True)
        assert slope < 0
        assert np.abs(slope * np.array(curve["values"]) + start - places[:, 1]).max() < 0.15, path


def test_the_map_of_the_adapter_equals_the_report(run_folder: Path) -> None:
    layers = json.loads((run_folder / "report.json").read_text())["adapter"]["updates"]["layers"]
    page = render(run_folder)
    labels = [label for label in re.findall(r"<title>(.*?)</title>", page.source) if ".layers." in label]
    norms, ranks = labels[: len(layers)], labels[len(layers) :]
    assert norms == [f"{one['layer']}: {one['norm']:.3g}" for one in layers]
    assert ranks == [f"{one['layer']}: {one['effective_rank']:.3g}" for one in layers]
    shades = [float(one["fill-opacity"]) for _, one in page.tags if one.get("class") == "cell"]
    highest = max(one["norm"] for one in layers)
    assert shades[: len(layers)] == [
        pytest.approx(0.07 + 0.93 * one["norm"] / highest, abs=1e-3) for one in layers
    ]


def test_augmented_speech_is_played_and_shown_where_it_is_told_of(run_folder: Path) -> None:
    sounds = {
        (0, 0): SoundClip(b"dry", b"png"),
        (0, 1): SoundClip(b"noisy", b"png"),
        (0, 2): SoundClip(None, b"png"),
    }
    page = Page(write_page(run_folder, sounds=sounds).read_text(encoding="utf-8"))
    played = [attributes["aria-label"] for tag, attributes in page.tags if tag == "audio"]
    assert played == ["<i>first</i>, as recorded", "<i>first</i>, noise"]
    pictures = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 3
    assert pictures[2].startswith("Log-mel spectrogram of <i>first</i>")
    assert "<b>fan</b>.wav at an SNR of 12.3 dB" in page.text
    assert "gain is not shown" in page.text


def test_every_kind_of_error_is_on_the_page(run_folder: Path) -> None:
    breakdown = json.loads((run_folder / "report.json").read_text())["evaluation"]["breakdown"]
    assert {"duration", "snr", "speaking_rate", "speaker", "rarity", "kind", "writing"} <= set(
        breakdown["slices"]
    )
    assert set(breakdown["confusions"]) == {"substituted", "left_out", "added", "characters"}
    assert set(breakdown["calibration"]) == {"before", "after"}
    page = render(run_folder)
    assert f"Language: {breakdown['not_measured']['language']}." not in page.text
    for why in breakdown["not_measured"].values():
        assert why in page.text


def test_of_many_speakers_the_first_are_drawn_and_the_others_folded(
    make_run: Callable[..., Path], run_folder: Path
) -> None:
    evaluation = read_report(run_folder).evaluation
    one = evaluation.breakdown.slices["speaker"][0]
    speakers = tuple(replace(one, name=f"speaker {number}", utterances=number) for number in range(20))
    many = replace(evaluation.breakdown, slices={"speaker": speakers})
    page = render(make_run(evaluation=evaluation.model_copy(update={"breakdown": many})))
    (drawn,) = [a["aria-label"] for tag, a in page.tags if tag == "svg" and "by speaker" in a["aria-label"]]
    assert "speaker 11, " in drawn
    assert "speaker 12, " not in drawn
    before, folded = page.source.split("<summary>8 more</summary>")
    assert [f'<th scope="row">{one.name}<' in before for one in speakers] == [True] * 12 + [False] * 8
    for number in range(12, 20):
        assert f'<th scope="row">speaker {number}<' in folded
        path = f"evaluation.breakdown.slices.speaker.{number}.utterances"
        assert page.value(path) == str(number)


def test_rates_of_utterances_equal_the_predictions(run_folder: Path) -> None:
    rows = [json.loads(line) for line in (run_folder / "predictions.jsonl").read_text().splitlines()]
    scored = {f"{row['when']}/{row['id']}": row for row in rows}
    for row in rows:
        row["confidence"] = math.exp(row["mean_log_probability"])
    shown = [one for one in render(run_folder).figures if "data-prediction" in one.attributes]
    assert {one.attributes["data-field"] for one in shown} == {"wer", "duration_s", "snr_db", "confidence"}
    for one in shown:
        row = scored[one.attributes["data-prediction"]]
        assert float(one.attributes["value"]) == row[one.attributes["data-field"]]


def test_every_utterance_is_on_the_page_the_worst_first(run_folder: Path) -> None:
    page = render(run_folder)
    rows = [json.loads(line) for line in (run_folder / "predictions.jsonl").read_text().splitlines()]
    after = {
        row["id"]: row["substitutions"] + row["deletions"] + row["insertions"]
        for row in rows
        if row["when"] == "after"
    }
    listed = [attributes for tag, attributes in page.tags if tag == "li" and "data-kinds" in attributes]
    assert len(listed) == len(after)
    headings = re.findall(r"<h4>(.*?)</h4>", page.source)
    assert [after[name] for name in headings] == sorted(after.values(), reverse=True)
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    inside = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert inside
    assert inside <= {one["id"] for one in listed}


def test_each_side_is_shown_with_the_count_that_it_is_of(
    make_run: Callable[..., Path], run_folder: Path
) -> None:
    evaluation = read_report(run_folder).evaluation
    one = evaluation.breakdown.slices["speaker"][0]
    marks = replace(one, name="marks added", units=52, before=replace(one.before, units=11))
    found = replace(evaluation.breakdown, slices={"writing": (marks,)})
    page = render(make_run(evaluation=evaluation.model_copy(update={"breakdown": found})))
    path = "evaluation.breakdown.slices.writing.0"
    assert page.value(f"{path}.before.units") == "11"
    assert page.value(f"{path}.units") == "52"
    assert "utterances, " not in page.source[page.source.index("marks added<") :].split("</th>")[0]


def test_page_needs_nothing_from_outside(run_folder: Path) -> None:
    clip = Clip(b"sound", b"picture")
    page = Page(write_page(run_folder, Recordings({"markup": clip})).read_text(encoding="utf-8"))
    names = {tag for tag, _ in page.tags}
    assert not names & {"link", "iframe", "object"}
    addresses = [
        attributes[name]
        for tag, attributes in page.tags
        for name in ("src", "href")
        if name in attributes and tag != "a"
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not re.search(r"url\(|@import|fetch|https?:", re.sub(r'<a href="https:[^"]*">', "", page.source))


def test_nothing_runs_but_the_lines_that_the_policy_names(run_folder: Path) -> None:
    page = render(run_folder)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page.source, flags=re.DOTALL)
    (policy,) = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    (script,) = scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_recordings_are_played_where_they_are_told_of(run_folder: Path) -> None:
    recordings = Recordings(
        {"markup": Clip(b"sound", b"picture"), "empty": Clip(b"other")}, notes=("51 no.",)
    )
    page = Page(write_page(run_folder, recordings).read_text(encoding="utf-8"))
    played = [attributes for tag, attributes in page.tags if tag == "audio"]
    assert len(played) == 2
    assert all(one["preload"] == "none" for one in played)
    assert {one["aria-label"] for one in played} == {"Recording of markup", "Recording of empty"}
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [one["alt"].partition(":")[0] for one in pictures] == ["Spectrogram of markup"]
    assert "51 no." in page.text


def test_tables_and_pictures_speak_to_screen_readers(run_folder: Path) -> None:
    page = render(run_folder)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {attributes["aria-labelledby"] for _, attributes in page.tags if "aria-labelledby" in attributes}
    assert named <= set(ids)


def test_markup_in_texts_is_shown_and_not_run(make_run: Callable[..., Path], run_folder: Path) -> None:
    evil = "\"><script>alert('x')</script><img src=x onerror=y>{{ 7 * 7 }}"
    report = read_report(run_folder)
    folder = make_run(
        run=report.run.model_copy(update={"name": evil, "command": evil, "folder": evil}),
        data=report.data.model_copy(update={"source": evil, "text_style": evil, "skipped": {evil: 3}}),
        train=replace(report.train, stopped_by=evil),
        merge=replace(report.merge, folder=evil, differing=(evil,), transcripts_equal=False),
    )
    (folder / "recipe.yaml").write_text(f"name: {evil}\n")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    for row in rows:
        row.update(id=evil + row["id"], speaker_id=evil, reference=evil + row["reference"])
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = render(folder)
    assert "img" not in {tag for tag, _ in page.tags}
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert page.text.count(evil) > 20
    assert "49" not in page.value("data.skipped." + evil)


def test_words_carry_marks_besides_colour(run_folder: Path) -> None:
    page = render(run_folder)
    classes = [attributes.get("class") for _, attributes in page.tags]
    assert {"deleted", "inserted", "substituted"} <= set(classes)
    assert '.deleted::before { content: "−"' in page.source
    assert '.inserted::before { content: "+"' in page.source
    assert "→" in page.text


def test_plots_say_what_they_show(run_folder: Path) -> None:
    page = render(run_folder)
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    labels = [label for label in drawn if " over training steps" in label]
    assert any(label.startswith("WER by duration. under 2 s, ") and "; after " in label for label in drawn)
    assert [label.split(" over ")[0] for label in labels] == [
        "Loss",
        "WER",
        "Learning rate",
        "Gradient norm",
        "Audio-seconds per second",
    ]
    timed = [label.split(" over ")[0] for label in drawn if " over training time" in label]
    assert timed == ["Data wait", "Memory"]
    assert sum(attributes.get("class") == "whisker" for _, attributes in page.tags) == 2
    report = read_report(run_folder)
    assert f"scored on test: {report.evaluation.before.wer * 100:.3g} % at step 0" in labels[1]
