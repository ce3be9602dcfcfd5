"""Settings chosen on speakers held out of training, never on a test split: the search behind two recipes.

    python tests/benchmarks/held_out_search.py accented ACCENTED LIBRI FOLDER
    python tests/benchmarks/held_out_search.py librispeech ACCENTED LIBRI FOLDER --noise NOISE --rooms ROOMS

ACCENTED is a folder with `metadata.jsonl`, LIBRI a LibriSpeech folder; of both only the training splits are
read. Held out are a quarter of ACCENTED's speakers, 30 of LIBRI's drawn at random ("ordinary") and, for
`librispeech`, the 50 others that the untuned model gets most words of wrong ("hard"). Any change brings such
a choice nearer to the mean, so "hard" compares trials with each other; "spoiled", the ordinary ones with
noise or in a room, and "accented" are chosen by no score. Each trial of `held_out_trials.json` is
trained once, in bf16, and scored on all sets; what is finished is kept in FOLDER and not done again. Prints a
table: WER, and its change from the untuned model over the same utterances.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile

from whisper_peft import finetune, load
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.effects.waveform_effects import add_noise, draw_stretch, reverberate
from whisper_peft.data.sources.opening import open_source
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.evaluation.scoring import Counts, paired_interval
from whisper_peft.model.adapters.scales import scaled
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.runs.transcript_store import take_over_transcripts
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import DataSection, EvalSection, Recipe
from whisper_peft.reporting.figures import percent, points
from whisper_peft.types import SAMPLING_RATE, Prediction, Utterance

TRIALS = Path(__file__).with_name("held_out_trials.json")
UNTUNED = "untuned"
TUNED = "openai/whisper-tiny.en"
ACCENTED_SPEAKERS, ORDINARY_SPEAKERS, HARD_SPEAKERS = 15, 30, 50
SPOILED_SNR_DB = (5.0, 10.0)

Rows = Sequence[Utterance]


@dataclass(frozen=True)
class Places:
    """What is read, and where results are kept."""

    accented: Path
    librispeech: Path
    folder: Path
    noise: Path | None
    rooms: Path | None


def rows_in(source: Path, split: str) -> Rows:
    """Return the rows of a split."""
    return list(open_source(DataSection(source=source), split))


def drawn_speakers(rows: Rows, count: int) -> set[str]:
    """Return so many speakers, drawn evenly, the same ones each time."""
    return set(random.Random(0).sample(speakers_of_few(rows), count))


def speakers_of_few(rows: Rows) -> list[str]:
    """Return the speakers that have no large part of a corpus."""
    utterances = Counter(str(row.speaker_id) for row in rows)
    return sorted(name for name, number in utterances.items() if number <= 2 * median(utterances.values()))


def hardest_speakers(rows: Rows, count: int, kept: Path) -> set[str]:
    """Return the speakers of whom the untuned model gets most words wrong."""
    if not kept.is_file():
        keep_predictions(kept, score(load(TUNED), rows))
    counts: dict[str, list[Counts]] = defaultdict(list)
    for one in kept_predictions(kept):
        counts[str(one.speaker_id)].append(Counts.of(one))
    rates = {name: Counts.total(counts[name]).rate for name in speakers_of_few(rows)}
    return set(sorted(rates, key=lambda name: (-rates[name], name))[:count])


def spoiled(rows: Rows, places: Places) -> Rows:
    """Return rows of which every second has noise at 5 to 10 dB, and the others are in a room."""
    if places.noise is None or places.rooms is None:
        raise SystemExit("the search behind lora-librispeech needs --noise and --rooms")
    noises, rooms = (
        [read(file) for file in sorted(at.glob("*.flac"))] for at in (places.noise, places.rooms)
    )
    rng, folder = np.random.default_rng(0), places.folder / "spoiled"
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        clean = decode(row).waveform
        if number % 2:
            heard = reverberate(clean, rooms[rng.integers(len(rooms))])
        else:
            noise = draw_stretch(noises[rng.integers(len(noises))], len(clean), rng)
            heard = add_noise(clean, noise, rng.uniform(*SPOILED_SNR_DB))
        soundfile.write(
            folder / f"{number}.flac", heard / max(1.0, float(np.abs(heard).max())), SAMPLING_RATE
        )
    return [
        Utterance(row.id, folder / f"{number}.flac", row.text, speaker_id=row.speaker_id)
        for number, row in enumerate(rows)
    ]


def read(file: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the samples of a recording at 16 kHz."""
    return decode(Utterance(file.stem, file, "")).waveform


def write_manifest(path: Path, splits: Mapping[str, Iterable[Utterance]]) -> str:
    """Write rows with their splits, and return where."""
    rows = [
        {"id": row.id, "audio": str(row.audio), "text": row.text, "speaker_id": row.speaker_id, "split": name}
        for name, split in splits.items()
        for row in split
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@dataclass(frozen=True)
class Search:
    """A family of trials: what they have in common, and what they are scored on."""

    name: str
    base: Mapping[str, Any]
    trials: Mapping[str, Mapping[str, Any]]
    sets: Mapping[str, Rows]
    folder: Path
    replay: str


def open_search(name: str, places: Places) -> Search:
    """Part the speakers of both corpora, and read the trials."""
    described = json.loads(TRIALS.read_text(encoding="utf-8"))[name]
    folder = places.folder / name
    accented, libri = rows_in(places.accented, "train"), rows_in(places.librispeech, "train-clean-100")
    away, ordinary = drawn_speakers(accented, ACCENTED_SPEAKERS), drawn_speakers(libri, ORDINARY_SPEAKERS)
    (dev, learned), (plain, others) = parted(accented, away), parted(libri, ordinary)
    replay = write_manifest(folder / "libri.jsonl", {"train": others, "test": plain})
    if name == "accented":
        main = write_manifest(folder / "accented.jsonl", {"train": learned, "test": dev})
        sets = {"accented": dev, "ordinary": plain}
    else:
        heard = places.folder / "untuned.json"
        hard, others = parted(others, hardest_speakers(others, HARD_SPEAKERS, heard))
        main = write_manifest(folder / "main.jsonl", {"train": others, "test": hard})
        sets = {"ordinary": plain, "hard": hard, "spoiled": spoiled(plain, places), "accented": dev[::2]}
    common = {"data.source": main, "data.train": "train", "data.eval": "test", **described["base"]}
    return Search(name, common, described["trials"], sets, folder, replay)


def parted(rows: Rows, speakers: set[str]) -> tuple[Rows, Rows]:
    """Return the rows of some speakers, and those of the others."""
    return [row for row in rows if row.speaker_id in speakers], [
        row for row in rows if row.speaker_id not in speakers
    ]


def trained(search: Search, trial: str) -> Path:
    """Train a trial unless it is there, and return its run folder."""
    run = search.folder / "runs" / trial
    if (run / "adapter").is_dir():
        return run
    take_over_transcripts(run, run.parent.glob("*"))
    fields = {**search.base, **search.trials[trial]}
    if "data.mix" in fields:
        fields["data.mix"] = [word.replace("REPLAY", search.replay) for word in fields["data.mix"]]
    finetune(apply_overrides(Recipe(), {"name": trial, **fields}), output_dir=run, resume="auto")
    return run


def score(whisper: Whisper, rows: Rows, *, context: str = "full") -> list[Prediction]:
    """Transcribe rows and return what came out of each."""
    section = EvalSection.model_validate({"audio_context": context, "bootstrap_samples": 100})
    result = evaluate_utterances(whisper, rows, section=section, language=None, task="transcribe")
    return list(result.predictions)


def keep_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write what was scored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([one.to_dict() for one in predictions]), encoding="utf-8")


def kept_predictions(path: Path) -> list[Prediction]:
    """Read what was scored."""
    return [Prediction(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def score_trial(search: Search, trial: str, scale: float) -> None:
    """Score a trial on each set that it was not scored on before."""
    wanted = {(name, "full"): rows for name, rows in search.sets.items()}
    if trial != UNTUNED and scale == 1:
        wanted |= {("ordinary", "cut"): search.sets["ordinary"]}
    missing = {
        key: rows for key, rows in wanted.items() if not scores_file(search, trial, scale, *key).is_file()
    }
    if not missing:
        return
    bf16 = {"precision": "bf16"}
    whisper = load(TUNED, model=bf16) if trial == UNTUNED else load(trained(search, trial))
    with scaled(whisper, scale):
        for (name, context), rows in missing.items():
            found = score(whisper, rows, context=context)
            keep_predictions(scores_file(search, trial, scale, name, context), found)


def scores_file(search: Search, trial: str, scale: float, name: str, context: str) -> Path:
    """Return where the scores of a set are kept."""
    return search.folder / "scores" / f"{trial} at {scale:g}" / f"{name}-{context}.json"


def table(search: Search) -> str:
    """Return all that was scored: WER, change from the untuned model with its 95 % interval, insertions."""
    names = [(name, "full") for name in search.sets] + [("ordinary", "cut")]
    lines = ["| trial | " + " | ".join(f"{name}, {context} context" for name, context in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for place in sorted((search.folder / "scores").iterdir(), key=lambda path: path.stat().st_ctime):
        cells = [cell(search, place / f"{name}-{context}.json", name, context) for name, context in names]
        lines.append(f"| {place.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(search: Search, scores: Path, name: str, context: str) -> str:
    """Return a set's WER and how it changed; nothing where it was not scored."""
    if not scores.is_file():
        return ""
    after = [Counts.of(one) for one in kept_predictions(scores)]
    total = Counts.total(after)
    untuned = scores_file(search, UNTUNED, 1, name, "full")
    if context == "cut" or scores == untuned or not untuned.is_file():
        return percent(total.rate)
    before = [Counts.of(one) for one in kept_predictions(untuned)]
    paired = paired_interval(before, after, samples=1000)
    low, high = paired.interval
    return f"{percent(total.rate)} ({points(paired.difference)[:-7]}, {low * 100:+.2f} to {high * 100:+.2f})"


def main() -> None:
    """Train and score the trials that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("search", choices=("accented", "librispeech"))
    parser.add_argument("accented", type=Path)
    parser.add_argument("librispeech", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--rooms", type=Path)
    parser.add_argument("--only", nargs="*", help="names of trials; else all. NAME@0.5 scales its update")
    words = parser.parse_args()
    places = Places(words.accented, words.librispeech, words.folder, words.noise, words.rooms)
    search = open_search(words.search, places)
    names = words.only if words.only is not None else [UNTUNED, *search.trials]
    for named in names:
        trial, _, scale = named.partition("@")
        score_trial(search, trial, float(scale or 1))
        print(table(search), flush=True)


if __name__ == "__main__":
    main()
