"""What TensorBoard shows beside numbers, read back with its own reader."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.unit.training.runs import make_recipe, make_training, weights
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.effects.augmentation_gallery import AugmentationDraws
from whisper_peft.evaluation.word_alignment import Alignment
from whisper_peft.pipeline.runs.followed_transcripts import FOLLOWED, FollowedTranscripts, transcript_tables
from whisper_peft.pipeline.runs.learning_media import (
    AugmentedClips,
    ListenedClip,
    alignment_picture,
    listen_to,
)
from whisper_peft.recipe.sections import AugmentSection, EvalSection, Gain, Recipe, SpecAugment
from whisper_peft.training.events import Event
from whisper_peft.training.logs import TensorBoardLog
from whisper_peft.types import EvalResult, Prediction, Utterance

SECTION = AugmentSection(gain=Gain(p=1, gain_db=(-12, -6)), spec_augment=SpecAugment(p=1))
LIMITS = {"audio": 0, "images": 0, "tensors": 0, "scalars": 0}
"""Everything is kept by the reader."""


@pytest.fixture(scope="module")
def rows(prompts_en) -> tuple[Utterance, ...]:
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])[:4]
    return tuple(
        Utterance(
            Path(row["file_name"]).stem, Path(row["file_name"]), row["text"], duration_s=row["duration_s"]
        )
        for row in chosen
    )


def draws(section=SECTION) -> AugmentationDraws:
    return AugmentationDraws(build_augmentation(section), section.spec_augment, 42, 80)


def result(*wers: float, when: str = "") -> EvalResult:
    said = tuple(
        Prediction(f"u{place}", f"said | {place}", f"heard *{when}* {place}", 1.0, wer, 1, 0, 0, 1)
        for place, wer in enumerate(wers)
    )
    return EvalResult(
        0.1, 0.1, 0.1, 0.1, (0, 1), len(wers), "none", None, "full", 1.0, 1, 1, 0, 0, 1, predictions=said
    )


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), LIMITS).Reload()


def text_of(events: EventAccumulator, tag: str) -> list[str]:
    return [one.tensor_proto.string_val[0].decode() for one in events.Tensors(f"{tag}/text_summary")]


def test_clips_sound_as_the_model_hears_them_in_each_epoch(rows, tmp_path):
    log = TensorBoardLog(tmp_path, media=[AugmentedClips(draws(), rows)])
    log(Event("start", 0, 9, {}, None))
    log(Event("step", 4, 9, {"loss": 1.0, "epoch": 2}, None))
    log(Event("evaluation", 4, 9, {"eval_wer": 0.5}, None))
    log(Event("end", 4, 9, {}, None))
    events = read(tmp_path)
    (recorded,) = events.Audio("clips/1 as recorded")
    heard = events.Audio("clips/1 as heard")
    assert [one.step for one in heard] == [0, 4]
    row = next(
        row
        for row in rows
        if len(decode(row).waveform) == len(soundfile.read(io.BytesIO(recorded.encoded_audio_string))[0])
    )
    for epoch, one in ((0, heard[0]), (2, heard[1])):
        samples = soundfile.read(io.BytesIO(one.encoded_audio_string))[0]
        expected = draws().example(row, epoch=epoch).together
        np.testing.assert_allclose(samples, expected, atol=1e-3)
    tags = {
        f"clips/1 as {kind}, {what}"
        for kind, what in (("recorded", "spectrogram"), ("heard", "spectrogram"), ("heard", "log-mel"))
    }
    assert set(events.Tags()["images"]) == tags
    picture = Image.open(io.BytesIO(events.Images("clips/1 as heard, log-mel")[0].encoded_image_string))
    assert picture.height == 80


def test_a_step_makes_nothing_but_its_scalars(rows, tmp_path):
    media = (
        AugmentedClips(draws(), rows),
        FollowedTranscripts(tmp_path / "t.jsonl", None),
        ListenedClip(Recipe(), rows),
    )
    step = Event("step", 1, 9, {"loss": 1.5, "epoch": 0}, None)
    assert [list(one(step)) for one in media] == [[], [], []]
    log = TensorBoardLog(tmp_path, media=media)
    size = log.path.stat().st_size
    log(step)
    assert log.path.stat().st_size - size < 200
    assert [(one.step, one.value) for one in read(tmp_path).Scalars("train/loss")] == [(1, 1.5)]


def test_transcripts_grow_by_a_row_with_each_evaluation(tmp_path):
    follow = FollowedTranscripts(tmp_path / "transcripts.jsonl", result(0.1, 0.9, when="before"))
    log = TensorBoardLog(tmp_path, media=[follow])
    log(Event("start", 0, 9, {}, None))
    log(Event("evaluation", 3, 9, {}, None, result(0.1, 0.5, when="three")))
    log(Event("evaluation", 6, 9, {}, None, result(0.1, 0.2, when="six")))
    first, second = text_of(read(tmp_path), "transcripts")
    assert second.index("**u1**") < second.index("**u0**")
    assert "| said | | said &#124; 1 |" in second
    told = [
        line.split("|")[1].strip() for line in second.splitlines() if "heard" in line and line.endswith("1 |")
    ]
    assert told == ["before training", "step 3", "step 6"]
    assert "step 6" not in first
    assert "&#42;six&#42;" in second


def test_a_run_that_goes_on_goes_on_with_its_transcripts(tmp_path):
    path = tmp_path / "transcripts.jsonl"
    killed = FollowedTranscripts(path, result(0.9))
    for event in (
        Event("start", 0, 9, {}, None),
        *(Event("evaluation", s, 9, {}, None, result(0.5)) for s in (3, 6)),
    ):
        list(killed(event))
    resumed = FollowedTranscripts(path, result(0.9))
    list(resumed(Event("start", 3, 9, {}, None)))
    list(resumed(Event("evaluation", 6, 9, {}, None, result(0.4))))
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["wer"]) for row in kept] == [(0, 0.9), (3, 0.5), (6, 0.4)]
    fresh = FollowedTranscripts(path, None)
    list(fresh(Event("start", 0, 9, {}, None)))
    list(fresh(Event("evaluation", 2, 9, {}, None, result(0.3))))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2]


def test_the_worst_utterances_are_followed_and_the_same_ones_to_the_end(tmp_path):
    follow = FollowedTranscripts(tmp_path / "t.jsonl", None)
    list(follow(Event("start", 0, 9, {}, None)))
    list(follow(Event("evaluation", 1, 9, {}, None, result(*(place / 20 for place in range(12))))))
    list(follow(Event("evaluation", 2, 9, {}, None, result(*(1 - place / 20 for place in range(12))))))
    followed = [{row["id"] for row in follow.rows if row["step"] == step} for step in (1, 2)]
    assert followed[0] == followed[1] == {f"u{place}" for place in range(4, 12)}
    assert len(followed[0]) == FOLLOWED


def test_markup_in_transcripts_is_shown_and_not_run():
    row = {"step": 0, "id": "a", "reference": "<script>x</script>", "hypothesis": "a|b\n[c](d)", "wer": 1.0}
    table = transcript_tables([row])
    assert "&lt;script&gt;x&lt;/script&gt;" in table
    assert "a&#124;b &#91;c&#93;(d)" in table


def test_the_decoder_is_seen_to_listen_along_the_recording(tiny_en, rows, tmp_path):
    row = decode(rows[-1])
    recipe = Recipe(eval=EvalSection(audio_context="full"))
    modes = {module.training for module in tiny_en.model.modules()}
    found = listen_to(tiny_en, row, recipe)
    assert {module.training for module in tiny_en.model.modules()} == modes
    assert found.weights.shape == (max(found.rows) + 1, max(found.columns) + 1)
    starts = [word.start_s for word in found.words]
    assert starts == sorted(starts)
    assert found.words[-1].end_s <= row.duration_s
    log = TensorBoardLog(tmp_path, media=[ListenedClip(recipe, rows[-1:])])
    log(Event("evaluation", 4, 9, {}, tiny_en, None))
    log(Event("end", 4, 9, {}, tiny_en, None))
    events = read(tmp_path)
    (picture,) = events.Images("alignment/tokens down, time to the right")
    image = Image.open(io.BytesIO(picture.encoded_image_string))
    assert (image.width, image.height) == (found.weights.shape[1] * 3, found.weights.shape[0] * 14)
    assert found.words[0].text.strip() in text_of(events, "alignment/words")[0]


def test_the_first_token_is_at_the_top_and_the_way_is_brightest():
    weights = np.zeros((3, 30), np.float32)
    picture = Image.open(io.BytesIO(alignment_picture(Alignment(weights, (0,), (5,), ())))).convert("L")
    dots = np.asarray(picture)
    bright = np.argwhere(dots > dots.min() + 50)
    assert bright[:, 0].max() < 14
    assert {int(column) // 3 for column in bright[:, 1]} == {5}


def test_watching_changes_nothing_of_what_is_learned(rows, tmp_path):
    ends = []
    for name, media in (
        ("plain", ()),
        ("watched", (AugmentedClips(draws(), rows), ListenedClip(Recipe(), rows))),
    ):
        log = TensorBoardLog(tmp_path / name, media=media)
        run = make_training(rows, tmp_path / name, make_recipe(max_steps=2), callbacks=(log,))
        run.run()
        ends.append(weights(run))
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
