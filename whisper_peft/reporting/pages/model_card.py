"""`README.md` of a run folder: a Hugging Face model card with nothing in it that was not measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import EvalResult as CardResult
from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whisper_peft.recipe.adapter_names import adapter_name
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting import figures, health_views
from whisper_peft.reporting.learned_speech import learned_text
from whisper_peft.reporting.limits import limits
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.pages.run_page import RATES, RECIPE_FILE
from whisper_peft.reporting.probe_views import probe_rows
from whisper_peft.reporting.run_report import RunReport, write_text
from whisper_peft.reporting.style_drift import style_drift
from whisper_peft.reporting.verdict import caution, merge_sentence, short_context, training_skips, verdict
from whisper_peft.types import EvalResult

CARD_FILE = "README.md"

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")

LANGUAGE_CODE = re.compile(r"[a-z]{2,3}")

MARKUP = re.compile(r"([\\`*_\[\]<>&|#~$])")
"""Characters that Markdown, or HTML within it, would read as markup."""

TRANSFORMERS = """\
import soundfile
from transformers import pipeline

speech, sampling_rate = soundfile.read("speech.flac")  # mono, 16 kHz
recogniser = pipeline("automatic-speech-recognition", model={folder})
print(recogniser({{"raw": speech, "sampling_rate": sampling_rate}}, generate_kwargs={arguments})["text"])"""

FASTER_WHISPER = """\
from faster_whisper import WhisperModel

model = WhisperModel("{folder}/ctranslate2-float16", compute_type="default")
segments, _ = model.transcribe("speech.flac"{arguments})
print("".join(segment.text for segment in segments))"""

PEFT = """\
from peft import PeftModel
from transformers import WhisperForConditionalGeneration

model = WhisperForConditionalGeneration.from_pretrained({base})
model = PeftModel.from_pretrained(model, {adapter})"""


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a card is read that does not lie in its run folder.

    Attributes:
        repo: Repository on the Hub.
        what: What lies there; of both, the adapter lies in `adapter/`.
        base_model: The base's name on the Hub. None: it has none.
        license: Identifier of the licence of the weights. None: not said.
    """

    repo: str
    what: Literal["adapter", "merged", "both"]
    base_model: str | None = None
    license: str | None = None


def write_model_card(report: Mapping[str, Any], folder: Path) -> Path:
    """Write the model card of a run into its folder, from its report and its `recipe.yaml`.

    Raises:
        StorageError: If the report lacks fields, or the folder is full or not writable.
        RecipeError: If `recipe.yaml` is missing or damaged.

    Example:
        >>> write_model_card(run.report, run.folder)  # doctest: +SKIP
        PosixPath('runs/demo/README.md')
    """
    card = render_model_card(RunReport.from_dict(report), read_recipe(folder / RECIPE_FILE))
    return write_text(folder / CARD_FILE, card)


def hub_name(name: str) -> str | None:
    """Return a name if it is one of the Hub's, and None for a path.

    Example:
        >>> hub_name("openai/whisper-base"), hub_name("/home/me/whisper"), hub_name("tests")
        ('openai/whisper-base', None, None)
    """
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def render_model_card(report: RunReport, recipe: Recipe, published: Publication | None = None) -> str:
    """Return the card as Markdown with YAML front matter; every text in it is escaped.

    Args:
        report: What was measured.
        recipe: What was done.
        published: Where the card is read. None: in the run folder. Elsewhere no path of this machine is told.
    """
    if published is not None:
        report, recipe = _without_paths(report, recipe, published)
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scored = list(_scored(report))
    text = templates.get_template("card.md").render(
        report=report,
        form=figures,
        health=health_views,
        rates=RATES,
        scored=scored,
        front_matter=Markup(_front_matter(report, recipe, published)),
        published=published,
        base_sentence=_base_sentence(recipe),
        verdict=verdict(report.evaluation),
        short_context=short_context(report.evaluation),
        mixed_scores=mixed_scores(report),
        probe_rows=probe_rows(report.evaluation),
        caution=caution(report),
        style_drift=style_drift(report.evaluation),
        merge_sentence=merge_sentence(report.merge) if report.merge else None,
        training_skips=training_skips(report),
        learned_text=learned_text,
        limits=limits(report),
        search="greedily" if recipe.eval.num_beams == 1 else f"by {recipe.eval.num_beams} beams",
        context="Whisper's 30 s window"
        if recipe.eval.audio_context == "full"
        else "as much context as speech",
        snippets=[(title, Markup(code)) for title, code in _snippets(report, recipe, published)],
        elsewhere=[(kind, title, Markup(code)) for kind, title, code in _elsewhere(recipe, published)],
    )
    return re.sub(r"\n{3,}", "\n\n", text).lstrip()


def escape_markdown(value: object) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    Example:
        >>> print(escape_markdown("a_b <script>\n# c"))
        a\_b \<script\> \# c
    """
    if isinstance(value, Markup):
        return str(value)
    return MARKUP.sub(r"\\\1", " ".join(str(value).split("\n")))


def _scored(report: RunReport) -> Iterator[tuple[str, EvalResult]]:
    if report.evaluation and report.evaluation.before:
        yield "before", report.evaluation.before
    if report.evaluation and report.evaluation.after:
        yield "after", report.evaluation.after


def _without_paths(report: RunReport, recipe: Recipe, published: Publication) -> tuple[RunReport, Recipe]:
    """Return both with the last part of every path only: the rest is nobody else's business."""
    if report.data is not None and hub_name(report.data.source) is None:
        data = report.data.model_copy(update={"source": Path(report.data.source).name})
        report = report.model_copy(update={"data": data})
    base = published.base_model or Path(recipe.model.name).name
    return report, recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": base})})


def _front_matter(report: RunReport, recipe: Recipe, published: Publication | None) -> str:
    is_adapter = recipe.adapter.method != "full" and (published is None or published.what == "adapter")
    relation = None if published is None else "adapter" if is_adapter else "finetune"
    base_model = hub_name(recipe.model.name)
    corpus = hub_name(report.data.source) if published and report.data else None
    data = ModelCardData(
        model_name=report.run.name,
        base_model=base_model,
        base_model_relation=relation if base_model else None,
        library_name="peft" if is_adapter else "transformers",
        license=published.license if published else None,
        pipeline_tag="automatic-speech-recognition",
        language=_language_code(report, recipe),
        datasets=[corpus] if corpus else None,
        tags=["whisper", "automatic-speech-recognition", recipe.adapter.method, "whisper-peft"],
        metrics=["wer", "cer"],
        eval_results=list(_card_results(report)) or None,
    )
    return data.to_yaml().strip()


def _card_results(report: RunReport) -> Iterator[CardResult]:
    after = report.evaluation.after if report.evaluation else None
    if report.evaluation is None or after is None:
        return
    for metric, value in (("wer", after.wer), ("cer", after.cer)):
        yield CardResult(
            task_type="automatic-speech-recognition",
            task_name="Speech recognition",
            dataset_type=report.data.source if report.data else "unknown",
            dataset_name=report.data.source if report.data else "unknown",
            dataset_split=report.evaluation.scored_split,
            metric_type=metric,
            metric_name=f"{metric.upper()} in percent, {after.normalizer} normaliser",
            metric_value=round(value * 100, 2),
        )


def _language_code(report: RunReport, recipe: Recipe) -> str | None:
    """Return the code of the language: as the recipe has it, else as the rows were scored in it."""
    scored = report.evaluation.after.language if report.evaluation and report.evaluation.after else None
    if recipe.model.language is None and recipe.model.name.endswith(".en"):
        return "en"
    codes = (recipe.model.language or scored, scored)
    return next((code.lower() for code in codes if code and LANGUAGE_CODE.fullmatch(code.lower())), None)


def _base_sentence(recipe: Recipe) -> str:
    held = "" if recipe.model.quantize == "none" else f", its frozen weights held in {recipe.model.quantize}"
    language = f" for {recipe.model.language}" if recipe.model.language else ""
    return f"{recipe.model.name}, fine-tuned{language} by {adapter_name(recipe.adapter)}{held}."


def _snippets(report: RunReport, recipe: Recipe, published: Publication | None) -> Iterator[tuple[str, str]]:
    """Yield how to use what the run left: a sentence, and code to type in the run folder, or anywhere."""
    if published is None:
        yield "From the command line, in this folder:", "whisper-peft transcribe . speech.flac"
        whole = "model" if recipe.adapter.method == "full" else "merged" if report.merge else None
        adapter = json.dumps("adapter")
    elif published.what == "adapter":
        fetch = f"hf download {published.repo} --local-dir adapter"
        yield "From the command line:", f"{fetch}\nwhisper-peft transcribe adapter speech.flac"
        whole, adapter = None, json.dumps(published.repo)
    else:
        yield "From the command line:", f"whisper-peft transcribe {published.repo} speech.flac"
        whole, adapter = published.repo, f'{json.dumps(published.repo)}, subfolder="adapter"'
    if whole:
        yield (
            f"With transformers, from the whole model{'' if published else f' in {whole}/'}:",
            TRANSFORMERS.format(folder=json.dumps(whole), arguments=json.dumps(_spoken(recipe))),
        )
    if recipe.adapter.method != "full" and (published is None or published.what != "merged"):
        yield (
            "With peft, from the adapter on its base model:",
            PEFT.format(base=json.dumps(recipe.model.name), adapter=adapter),
        )


def _elsewhere(recipe: Recipe, published: Publication | None) -> Iterator[tuple[str, str, str]]:
    """Yield how to use it in runtimes that read other files: kind of code, a sentence, and the code."""
    where, speech = ".", ""
    if published is not None:
        where = "adapter" if published.what == "adapter" else published.repo
        speech = " --data.source my/speech --data.eval test"
    folder = "exports"
    yield (
        "bash",
        "faster-whisper and whisper.cpp read files of their own. Making them compares each with this model, "
        "on real speech and in its own runtime; nothing of that is measured here:",
        f"whisper-peft export {where} --format ctranslate2 ggml --output-dir {folder}{speech}",
    )
    language = _spoken(recipe).get("language")
    told = f", language={json.dumps(language)}" if language else ""
    task = ', task="translate"' if recipe.model.task == "translate" else ""
    yield "python", "With faster-whisper:", FASTER_WHISPER.format(folder=folder, arguments=told + task)
    words = [f" -l {language}" if language else "", " -tr" if recipe.model.task == "translate" else ""]
    model = f"{folder}/ggml-f16/ggml-model.bin"
    yield "bash", "With whisper.cpp:", f"whisper-cli -m {model}{''.join(words)} speech.wav"


def _spoken(recipe: Recipe) -> dict[str, str]:
    """Return what `generate` must be told, which English-only checkpoints refuse."""
    if not recipe.model.language or recipe.model.name.endswith(".en"):
        return {}
    return {"language": recipe.model.language, "task": recipe.model.task}
