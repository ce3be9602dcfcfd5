"""A run folder as a French demo leaves it: real sentences, and scores that follow from the transcripts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import pytest

from whisper_peft.evaluation.error_analysis.breakdown import break_down
from whisper_peft.evaluation.error_analysis.groups import scored_alike
from whisper_peft.evaluation.error_analysis.rates import Resampling
from whisper_peft.evaluation.error_analysis.training_words import count_training_words, scored_words
from whisper_peft.evaluation.error_analysis.values import Breakdown
from whisper_peft.evaluation.health.values import Check, Figure, Health
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.reporting.json_lines import by_utterance, read_curves
from whisper_peft.reporting.run_report import (
    AdapterRecord,
    DataRecord,
    Environment,
    EvaluationRecord,
    RunRecord,
    RunReport,
    write_report,
)
from whisper_peft.reporting.values.augmentation_values import (
    AugmentationRecord,
    EffectFigures,
    ShownExample,
    ShownSound,
)
from whisper_peft.types import EvalResult, MergeResult, Prediction, TrainResult
from whisper_peft.update_types import LayerUpdate, WeightUpdates, sum_up

MISHEARD = {"dièse": "d'hièze", "numéro": "numero", "conférence": "conférances", "discrétion": "discretion"}
SCRIPT = "<script>alert('x')</script>"

EXTRA = [
    (
        "markup",
        f"Tapez {SCRIPT} & <b>dièse</b> trois fois",
        "Tapez <i>dièse</i>",
        f"Tape {SCRIPT} & <b> dièses",
    ),
    (
        "arabic",
        "اضغط على زر المربع الآن أو انتظر قليلا",
        "اضغط زر",
        "اضغط زر المربع الان او انتظار قليلا جدا",
    ),
    ("long-word", "Appuyez sur étoile puis dièse", "Appuyez", f"Appuyez sur {'étoile' * 22} dièses donc oui"),
    ("empty", "Aucun autre message", "", "Aucun autre message"),
]
"""Identifier, reference, hypothesis before and after: text that a page must survive."""

HEALTH = Health(
    "quick",
    (
        Check(
            "target",
            "",
            "good",
            (
                Figure("WER", "share", 0.2213, 0.1104, (-0.151, -0.063), 53, "utterances"),
                Figure("CER", "share", 0.0817, 0.0404, (-0.06, -0.02), 53, "utterances"),
            ),
            "it fell, by more than chance",
        ),
        Check(
            "retention",
            SCRIPT,
            "bad",
            (Figure("WER", "share", 0.0324, 0.2513, (0.105, 0.312), 60, "utterances"),),
            "other speech is no longer understood as before, by more than chance",
            "replay a tenth to a fifth of such speech (data.mix SOURCE=20%)",
            "forgetting",
        ),
        Check(
            "leakage",
            "",
            "watch",
            (Figure("scored rows whose recording was learned", "share", None, 0.0094, None, 53, "rows"),),
            "recordings that are scored were learned: tuned on its test set",
            "score speech that was not learned",
            "inspect-your-data",
        ),
        Check(
            "hallucination",
            "",
            "watch",
            (
                Figure("words for each clip without speech", "number", 1.25, 1.75, (0.0, 1.25), 4, "clips"),
                Figure("words for each clip of music", "number", 1.0, 3.0, (2.0, 2.0), 1, "clips"),
            ),
            "more words for each clip without speech",
            "learn windows without speech (targets.no_speech 0.1)",
            "hallucination",
        ),
        Check(
            "timestamps",
            "",
            "good",
            (
                Figure("windows with well-formed timestamps", "share", 0.75, 0.75, (0.0, 0.0), 4, "windows"),
                Figure("distance of timestamps", "seconds", 0.3812, 0.4127, (-0.12, 0.2), 4, "windows"),
            ),
            "timestamps are written at least as well as before",
        ),
        Check("context", "", "not measured", (), f"the model was not tuned on that {SCRIPT}"),
    ),
    12.6,
)
"""A check of every verdict and every unit, with text that a page must survive."""

RECIPE = """name: lora-demo
model:
  name: openai/whisper-base
  language: fr
  quantize: none
data:
  source: tests/data/prompts/fr
  train: train
  eval: test
adapter:
  r: 32
  lora_alpha: 64
train:
  epochs: 4
  batch_size: 8
"""

STEPS = 72


def mishear(sentence: str, rate: float, rng: random.Random) -> str:
    """Return the sentence as a poor recogniser writes it down."""
    words = []
    for word in sentence.split():
        draw = rng.random()
        if draw < rate / 4:
            continue
        words.append(MISHEARD.get(word, word[:-1] or word) if draw < rate else word)
        if rate * 1.15 > draw >= rate:
            words.append("euh")
    return " ".join(words)


def predict(name: str, reference: str, hypothesis: str, duration_s: float) -> Prediction:
    """Score one transcript."""
    normalize = get_normalizer("marks", "fr")
    words = jiwer.process_words(normalize(reference), normalize(hypothesis))
    return Prediction(
        id=name,
        reference=reference,
        hypothesis=hypothesis,
        duration_s=duration_s,
        wer=words.wer,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        hits=words.hits,
        speaker_id="june_wallack_fr_CA" if len(name) % 3 else "someone_else",
        language="fr",
        snr_db=10.0 + len(reference) % 37,
        mean_log_probability=-0.05 - words.wer / 2,
    )


def transcribe(rows: list[dict[str, Any]], when: str) -> list[Prediction]:
    """Return what the model is said to have written before or after training."""
    rng = random.Random(7)
    rate = {"before": 0.22, "after": 0.11}[when]
    spoken = [
        predict(Path(row["file_name"]).stem, row["text"], mishear(row["text"], rate, rng), row["duration_s"])
        for row in rows
        if row["split"] == "test"
    ]
    column = {"before": 2, "after": 3}[when]
    return spoken + [predict(str(row[0]), row[1], row[column], 3.0) for row in EXTRA]


def evaluate(predictions: list[Prediction], rtfx: float) -> EvalResult:
    """Sum up transcripts; the rates of characters are made up."""
    counts = {
        name: sum(getattr(one, name) for one in predictions)
        for name in ("substitutions", "deletions", "insertions", "hits")
    }
    said = counts["hits"] + counts["substitutions"] + counts["deletions"]
    wer = (said - counts["hits"] + counts["insertions"]) / said
    spread = 1.96 * math.sqrt(wer / said) * 1.4
    return EvalResult(
        wer=wer,
        cer=wer / 2.7,
        wer_raw=wer * 1.6,
        cer_raw=wer / 2.1,
        wer_interval=(wer - spread, wer + spread),
        utterances=len(predictions),
        normalizer="marks",
        language="fr",
        audio_context="full",
        rtfx=rtfx,
        peak_memory_bytes=1_412_345_856,
        audio_seconds=sum(one.duration_s for one in predictions),
        skipped={"unreadable": 1},
        predictions=tuple(predictions),
        **counts,
    )


def break_down_errors(rows: list[dict[str, Any]]) -> Breakdown:
    """Return the errors of the run by kind."""
    normalize = get_normalizer("marks", "fr")
    before, after = (by_utterance(transcribe(rows, when)) for when in ("before", "after"))
    wanted = scored_words((one.reference for one in after.values()), normalize)
    learned = [row["text"] for row in rows if row["split"] == "train"]
    return break_down(
        scored_alike(before, after),
        normalize=normalize,
        sources={},
        training_words=count_training_words(learned, wanted, normalize),
        resampling=Resampling(200),
    )


def log_rows() -> list[dict[str, Any]]:
    """Return the rows of a run that was killed and resumed: steps 41 to 48 stand twice."""
    rng = random.Random(3)
    rows: list[dict[str, Any]] = []
    for step in [*range(1, 49), *range(41, STEPS + 1)]:
        rows.append(
            {
                "step": step,
                "loss": 2.1 * math.exp(-step / 22) + 0.3 + 0.12 * rng.random(),
                "learning_rate": 3e-4 * min(step / 7, (STEPS - step) / (STEPS - 7)),
                "grad_norm": 0.6 + rng.random(),
                "audio_seconds_per_second": 11 + 3 * rng.random(),
                "data_wait_share": 0.02 * rng.random() + (0.2 if step in (1, 41) else 0),
                "memory_bytes": 1_500_000_000 + 3_000_000 * min(step, 20),
                "epoch": step / 18,
                "elapsed_s": 1.6 * step,
            }
        )
        if step % 18 == 0:
            rows.append({"step": step, "eval_wer": 0.24 * math.exp(-step / 40) + 0.06, "eval_cer": 0.05})
    return rows


def make_updates() -> WeightUpdates:
    """Return where the model changed: six modules of six layers on either side."""
    modules = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"]
    layers = [
        LayerUpdate(
            f"{side}.layers.{number}.{module}",
            norm=0.31 * (place + 1) * (1 + number) ** 0.5,
            effective_rank=3.7 + 2.9 * place + number / 3,
            r=32,
        )
        for side in ("encoder", "decoder")
        for number in range(6)
        for place, module in enumerate(modules)
    ]
    return sum_up("update", layers, ("DoRA also learns the length of each weight's rows",))


def make_augmentation() -> AugmentationRecord:
    """Return what was drawn for two utterances."""
    sounds = (
        ShownSound("dry", "", 3.21),
        ShownSound("noise", "<b>fan</b>.wav at an SNR of 12.3 dB", 3.21),
        ShownSound("spec_augment", "9.8 % of the cells hidden", 3.21),
    )
    effects = {"noise": EffectFigures(0.31, 44), "spec_augment": EffectFigures(0.5, 73)}
    examples = (ShownExample("<i>first</i>", 0, sounds), ShownExample("second", 1, sounds[:2]))
    return AugmentationRecord(42, 144, effects, examples, ("gain is not shown",))


def make_train_result() -> TrainResult:
    """Return what training measured."""
    return TrainResult(
        steps=STEPS,
        epochs=4.0,
        first_loss=2.4271,
        final_loss=0.3712,
        audio_seconds=1840.5,
        audio_seconds_per_second=12.34,
        data_wait_share=0.0131,
        train_seconds=149.2,
        peak_memory_bytes=2_112_345_600,
        trainable_parameters=3_538_944,
        total_parameters=76_132_352,
        world_size=1,
        best_step=54,
        best_wer=0.1222,
        skipped={"silent": 1},
    )


def make_report(rows: list[dict[str, Any]], folder: Path) -> RunReport:
    """Return the report of the run."""
    return RunReport(
        run=RunRecord(
            name="lora-demo",
            folder=str(folder),
            command="whisper-peft finetune lora-demo --data.source tests/data/prompts/fr --train.epochs 4",
            started_at="2025-03-02T10:15:00+01:00",
            finished_at="2025-03-02T10:18:42+01:00",
            seconds=222.4,
        ),
        train=make_train_result(),
        evaluation=EvaluationRecord(
            before=evaluate(transcribe(rows, "before"), 9.71),
            after=evaluate(transcribe(rows, "after"), 9.12),
            difference_interval=(-0.151, -0.063),
            breakdown=break_down_errors(rows),
            scored_split="test",
            selected_split="dev",
        ),
        merge=MergeResult(str(folder / "merged"), 2.2e-05, True, 8, (), 0.05),
        health=HEALTH,
        data=DataRecord(
            source="tests/data/prompts/fr",
            train_split="train",
            eval_split="test",
            hours=0.1279,
            utterances=144,
            skipped={"too_long": 2, "empty_text": 1},
            text_style="sentences with case and punctuation",
        ),
        adapter=AdapterRecord(
            method="LoRA",
            trainable="3,538,944 of 76,132,352 parameters learn: every linear layer, rank 32.",
            updates=make_updates(),
        ),
        augmentation=make_augmentation(),
        meta=Environment(
            versions={"whisper-peft": "0.1.0", "peft": "0.21.2", "torch": "2.13.0", "transformers": "5.23.0"},
            python="3.11.7",
            platform="Linux-6.1-x86_64",
            cpu="AMD EPYC",
            cores=2,
            memory_bytes=25_276_518_400,
            seed=42,
        ),
    )


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def make_run(prompts_fr: list[dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the run folder, with fields of its report replaced."""

    def make(**changes: Any) -> Path:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        write_lines(folder / "log.jsonl", log_rows())
        report = make_report(prompts_fr, folder).model_copy(update={"curves": read_curves(folder)})
        write_report(report.model_copy(update=changes), folder)
        predictions = [
            {"when": when, **one.to_dict()}
            for when in ("before", "after")
            for one in transcribe(prompts_fr, when)
        ]
        write_lines(folder / "predictions.jsonl", predictions)
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def run_folder(make_run: Callable[..., Path]) -> Path:
    """Return the folder of a finished run."""
    return make_run()
