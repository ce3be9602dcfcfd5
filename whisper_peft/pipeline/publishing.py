"""push(): a run on the Hugging Face Hub, with its card and nothing that does not belong there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import yaml
from huggingface_hub import HfApi

from whisper_peft.deploy.merge_record import check_merge, is_recorded
from whisper_peft.deploy.publishing import (
    Published,
    PushedFile,
    PushResult,
    adapter_files,
    check_repo,
    model_files,
    upload,
)
from whisper_peft.errors import AdapterError, PublishingError, did_you_mean
from whisper_peft.model.adapters.activity import check_activity
from whisper_peft.model.adapters.folders import CONFIG_FILE
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.pipeline.context_choice import FIGURES_FILE
from whisper_peft.pipeline.runs.run_folder import ADAPTER, MERGED, MODEL, RECIPE_FILE
from whisper_peft.recipe.sections import ModelSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.pages.model_card import CARD_FILE, Publication, hub_name, render_model_card
from whisper_peft.reporting.run_report import read_report


def push(
    run: str | Path,
    *,
    repo: str,
    what: Published | None = None,
    private: bool = False,
    dry_run: bool = False,
    license: str | None = None,
    base_model: str | None = None,
    into_existing: bool = False,
    api: HfApi | None = None,
) -> PushResult:
    """Push a run to the Hugging Face Hub in one commit: weights, configuration and the card, nothing else.

    Checkpoints, logs, pages, recordings, the recipe and its paths stay here. An adapter is loaded first.

    Args:
        run: Run folder.
        repo: Repository, `OWNER/NAME`; made if it is not there.
        what: adapter, merged or both. None: adapter, and merged after full fine-tuning.
        private: Make the repository private; a public one is refused then.
        dry_run: Ask nobody and send nothing, only say what would go up.
        license: Identifier of the licence of the weights, such as apache-2.0.
        base_model: The base's name on the Hub, where the run had it from a path.
        into_existing: Take a repository that holds other files, which stay.
        api: The Hub. None: the one that HF_ENDPOINT names, with the token of HF_TOKEN or of the login.

    Raises:
        PublishingError: If something is missing, or the Hub refuses.
        AdapterError: If the adapter changes nothing.
        MergeError: If the merged model holds another adapter than the run has now.

    Example:
        >>> push("runs/demo", repo="me/whisper-base-fr", dry_run=True).files  # doctest: +SKIP
    """
    folder = Path(run)
    if not (folder / RECIPE_FILE).is_file():
        todo = f"give the folder that holds {RECIPE_FILE} and {ADAPTER}/"
        raise PublishingError(f"{folder} is no run folder", f"it has no {RECIPE_FILE}", todo)
    recipe = read_recipe(folder / RECIPE_FILE)
    learned_all = recipe.adapter.method == "full"
    chosen = what or ("merged" if learned_all else "adapter")
    base = base_model or hub_name(recipe.model.name)
    _refuse_unfit(folder, recipe, chosen, base)
    files = _files(folder, recipe, chosen, base)
    notes = () if chosen == "adapter" or learned_all else _merge_notes(folder)
    if chosen != "merged":
        _refuse_idle_adapter(folder)
    publication = Publication(check_repo(repo), chosen, base, license)
    card = render_model_card(read_report(folder), recipe, publication)
    metadata = yaml.safe_load(card.removeprefix("---\n").split("\n---\n")[0])
    push = PushResult(
        repo=repo,
        what=chosen,
        private=private,
        files=(PushedFile.of(CARD_FILE, card.encode()), *files),
        card=metadata,
        notes=(*notes, *_notes(metadata)),
    )
    return push if dry_run else replace(push, commit_url=upload(push, into_existing=into_existing, api=api))


def _refuse_unfit(folder: Path, recipe: Recipe, what: str, base: str | None) -> None:
    if what not in get_args(Published):
        raise PublishingError(
            f"--what is {what!r}", "there is no such part", did_you_mean(what, get_args(Published))
        )
    if what == "merged":
        return
    if recipe.adapter.method == "full":
        why = "every weight was tuned, so there is no adapter"
        raise PublishingError(f"the run {folder} has no adapter", why, "push --what merged")
    if base is None:
        why = f"its base is {recipe.model.name}, which is on this machine only"
        todo = "name it with --base-model OWNER/NAME, or push --what merged"
        raise PublishingError(f"nobody else could load the adapter of {folder}", why, todo)


def _files(folder: Path, recipe: Recipe, what: Published, base: str | None) -> list[PushedFile]:
    named: list[tuple[str, Path]] = []
    if what != "merged":
        named += adapter_files(folder / ADAPTER, "adapter/" if what == "both" else "")
    if what != "adapter":
        whole = MODEL if recipe.adapter.method == "full" else MERGED
        named += model_files(folder / whole, extra=(FIGURES_FILE,))
    return [
        PushedFile.of(place, _with_base(file, base) if file.name == CONFIG_FILE and base else file)
        for place, file in named
    ]


def _with_base(file: Path, base: str) -> Path | bytes:
    """Return an adapter's configuration that names its base as the Hub does: the file, if it does already."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    if fields.get("base_model_name_or_path") == base:
        return file
    return (json.dumps({**fields, "base_model_name_or_path": base}, indent=2, sort_keys=True) + "\n").encode()


def _refuse_idle_adapter(folder: Path) -> None:
    """Refuse an adapter that says what its base says; loading it refuses one that is not applied."""
    whisper = load_run_or_model(str(folder), ModelSection(precision="fp32", device="cpu", quantize="none"))
    if (warning := check_activity(whisper)) is not None:
        raise AdapterError(f"the adapter of {folder} is not pushed", warning, "train it first")


def _merge_notes(folder: Path) -> tuple[str, ...]:
    """Refuse a merged model that was left behind, and say where nothing tells."""
    merged = folder / MERGED
    if is_recorded(merged):
        check_merge(merged, folder)
        return ()
    return (f"{merged} does not tell which adapter it holds: delete it and merge again to be sure",)


def _notes(card: dict[str, object]) -> tuple[str, ...]:
    """Return what the Hub would like a card to say and this one does not."""
    wanted = {
        "license": "no licence: give --license, such as apache-2.0",
        "language": "no language: set model.language in the run",
        "base_model": "no base model: give --base-model OWNER/NAME",
        "model-index": "no word error rate: the run did not score its eval split afterwards",
    }
    return tuple(sentence for name, sentence in wanted.items() if name not in card)
