"""A run goes up whole, alone and once; whatever stands against that is one sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, constants

from tests.unit.pipeline.hub_server import COMMIT, Hub, hub_server
from whisper_peft.deploy import publishing as uploads
from whisper_peft.deploy.merge_record import write_merge_record
from whisper_peft.errors import AdapterError, MergeError, PublishingError
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.adapters.folders import write_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.pipeline.publishing import push
from whisper_peft.recipe.sections import AdapterSection, ModelSection
from whisper_peft.reporting.run_report import (
    DataRecord,
    EvaluationRecord,
    RunRecord,
    RunReport,
    environment_meta,
    write_report,
)
from whisper_peft.types import EvalResult

# huggingface_hub's own upload to a server without Xet calls its HTTP client in a way that is deprecated there
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "me/tiny-en-phone"
MODEL = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json")
PRIVATE = ("checkpoints/step-000001/optimizer.pt", "tensorboard/events.out", "log.jsonl", "report.html")


SOURCE = "/home/somebody/secret/phone"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter of tiny.en that changes what it says."""
    return make_adapter(tmp_path_factory.mktemp("adapter"), update=0.01)


def make_adapter(folder: Path, *, update: float) -> Path:
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu"))
    attach_adapter(whisper, AdapterSection(r=2, targets="attention"), seed=0)
    with torch.no_grad():
        for name, weight in whisper.model.named_parameters():
            if "lora_B" in name:
                weight.fill_(update)
    write_adapter(whisper.model, folder)
    return folder


def make_report(folder: Path) -> RunReport:
    after = EvalResult(
        wer=0.1234,
        cer=0.05,
        wer_raw=0.2,
        cer_raw=0.1,
        wer_interval=(0.1, 0.15),
        utterances=49,
        normalizer="english",
        language="en",
        audio_context="full",
        rtfx=9.0,
        peak_memory_bytes=1,
        audio_seconds=60.0,
        substitutions=1,
        deletions=1,
        insertions=1,
        hits=10,
    )
    return RunReport(
        run=RunRecord(name="phone", folder=str(folder), command="finetune", started_at="2025-01-01"),
        evaluation=EvaluationRecord(after=after, scored_split="test"),
        data=DataRecord(source=SOURCE),
        meta=environment_meta(0),
    )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path, adapter: Path) -> Path:
    """Return a run folder with all that a run leaves, and a little more."""
    folder = tmp_path / "run"
    recipe = {"name": "phone", "model": {"name": "openai/whisper-tiny.en"}, "data": {"source": SOURCE}}
    write(folder / "recipe.yaml", yaml.safe_dump(recipe))
    write_report(make_report(folder), folder)
    for name in PRIVATE:
        write(folder / name, "private")
    shutil.copytree(adapter, folder / "adapter")
    for name in (*MODEL, "vocab.json", "audio_context.json", "model.safetensors", "export.log", "clip.wav"):
        write(folder / "merged" / name, f"{{}} {name}")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a Hub on this machine, to which the way is open."""
    monkeypatch.setattr(uploads, "is_offline_mode", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with hub_server() as server:
        yield server


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token="hf_secret")


def paths(result: Any) -> list[str]:
    return [one.path for one in result.files]


def merged_now(run: Path) -> None:
    write_merge_record(run / "merged", run)


@pytest.mark.parametrize("what", ["merged", "both"])
def test_a_merged_model_of_another_adapter_is_refused(run: Path, tmp_path: Path, what: Any) -> None:
    merged_now(run)
    assert "does not tell" not in " ".join(push(run, repo=REPO, what=what, dry_run=True).notes)
    shutil.rmtree(run / "adapter")
    make_adapter(run / "adapter", update=0.02)
    with pytest.raises(MergeError, match=r"merged is stale.*merge again"):
        push(run, repo=REPO, what=what, dry_run=True)


def test_a_merged_model_that_was_changed_is_refused(run: Path) -> None:
    merged_now(run)
    write(run / "merged" / "model.safetensors", "{} other weights")
    with pytest.raises(MergeError, match="not those that were merged"):
        push(run, repo=REPO, what="merged", dry_run=True)


def test_a_merged_model_that_tells_nothing_is_noted(run: Path) -> None:
    notes = push(run, repo=REPO, what="merged", dry_run=True).notes
    assert "does not tell which adapter it holds" in notes[0]


def test_adapter_goes_up_alone_with_its_card(run: Path) -> None:
    result = push(run, repo=REPO, dry_run=True)
    assert paths(result) == ["README.md", "adapter_model.safetensors", "adapter_config.json"]
    assert result.commit_url is None


def test_merged_model_goes_up_without_what_lies_beside_it(run: Path) -> None:
    went = paths(push(run, repo=REPO, what="merged", dry_run=True))
    assert set(went) == {"README.md", "model.safetensors", "vocab.json", "audio_context.json", *MODEL}


def test_both_go_up_with_the_adapter_in_its_folder(run: Path) -> None:
    result = push(run, repo=REPO, what="both", dry_run=True)
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json", "model.safetensors"} <= set(
        paths(result)
    )
    assert (result.card["library_name"], result.card["base_model_relation"]) == ("transformers", "finetune")
    card = result.files[0].source
    assert isinstance(card, bytes)
    assert f'"{REPO}", subfolder="adapter"' in card.decode()


def test_list_tells_the_size_and_digest_of_each_file(run: Path) -> None:
    for one in push(run, repo=REPO, what="both", dry_run=True).to_dict()["files"][1:]:
        folder = run if one["path"].startswith("adapter/") else run / "merged"
        content = (folder / one["path"]).read_bytes()
        assert one["size_bytes"] == len(content)
        assert one["sha256"] == hashlib.sha256(content).hexdigest()


def test_card_tells_the_hub_base_results_language_and_licence(run: Path) -> None:
    card = push(run, repo=REPO, dry_run=True, license="apache-2.0").card
    assert card["base_model"] == "openai/whisper-tiny.en"
    assert (card["base_model_relation"], card["library_name"]) == ("adapter", "peft")
    assert (card["language"], card["license"]) == ("en", "apache-2.0")
    (result,) = card["model-index"][0]["results"]
    assert (result["metrics"][0]["type"], result["metrics"][0]["value"]) == ("wer", 12.34)
    assert result["dataset"]["name"] == "phone"


def test_notes_name_what_the_card_lacks(run: Path) -> None:
    assert any("--license" in note for note in push(run, repo=REPO, dry_run=True).notes)
    assert not push(run, repo=REPO, dry_run=True, license="mit").notes


def test_no_path_of_this_machine_goes_up(run: Path) -> None:
    result = push(run, repo=REPO, what="both", dry_run=True)
    for one in result.files:
        content = one.source if isinstance(one.source, bytes) else one.source.read_bytes()
        assert b"secret" not in content
        assert str(run).encode() not in content


def test_push_is_one_commit_of_exactly_the_listed_files(run: Path, hub: Hub) -> None:
    result = push(run, repo=REPO, what="both", private=True, api=api(hub))
    (commit,) = hub.commits
    listed = {one.path: one.sha256 for one in result.files}
    assert {path: hashlib.sha256(content).hexdigest() for path, content in commit.items()} == listed
    assert hub.repos[REPO]["private"]
    assert result.commit_url == f"{hub.endpoint}/{REPO}/commit/{COMMIT}"
    assert hub.tokens == {"Bearer hf_secret"}


def test_run_is_pushed_again_into_its_own_repository(run: Path, hub: Hub) -> None:
    push(run, repo=REPO, api=api(hub))
    push(run, repo=REPO, api=api(hub), license="mit")
    assert len(hub.commits) == 2


def test_repository_with_other_files_is_refused_unless_asked_for(run: Path, hub: Hub) -> None:
    hub.repos[REPO] = {"private": False, "files": ["README.md", "pytorch_model.bin"]}
    with pytest.raises(PublishingError, match="1 other files"):
        push(run, repo=REPO, api=api(hub))
    assert not hub.commits
    push(run, repo=REPO, api=api(hub), into_existing=True)
    assert "pytorch_model.bin" in hub.repos[REPO]["files"]


def test_public_repository_is_refused_for_a_private_push(run: Path, hub: Hub) -> None:
    hub.repos[REPO] = {"private": False, "files": []}
    with pytest.raises(PublishingError, match="is public"):
        push(run, repo=REPO, private=True, api=api(hub))
    assert not hub.commits


@pytest.mark.parametrize(("status", "says"), [(401, "does not know the token"), (403, "may not write")])
def test_refusal_of_the_hub_is_a_sentence(run: Path, hub: Hub, status: int, says: str) -> None:
    hub.refuse = status
    with pytest.raises(PublishingError, match=f"{says}.*not with this token"):
        push(run, repo=REPO, api=api(hub))


def test_network_that_is_down_is_a_sentence(run: Path, hub: Hub) -> None:
    gone = HfApi(endpoint="http://127.0.0.1:9", token="hf_secret")
    with pytest.raises(PublishingError, match="cannot be reached"):
        push(run, repo=REPO, api=gone)


def test_push_without_a_token_is_refused_before_it_begins(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "get_token", lambda: None)
    with pytest.raises(PublishingError, match="HF_TOKEN"):
        push(run, repo=REPO, api=HfApi(endpoint=hub.endpoint))
    assert not hub.repos


def test_offline_switch_stops_a_push_but_not_its_preview(run: Path) -> None:
    with pytest.raises(PublishingError, match="HF_HUB_OFFLINE"):
        push(run, repo=REPO, api=HfApi(token="hf_secret"))
    assert push(run, repo=REPO, dry_run=True).files


def test_untrained_adapter_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "adapter")
    make_adapter(run / "adapter", update=0.0)
    with pytest.raises(AdapterError, match="untrained"):
        push(run, repo=REPO, dry_run=True)


def test_adapter_on_a_local_base_needs_its_name_on_the_hub(run: Path) -> None:
    local = {"name": "phone", "model": {"name": "/home/somebody/whisper"}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(local))
    with pytest.raises(PublishingError, match="--base-model"):
        push(run, repo=REPO, dry_run=True)


def test_configuration_names_the_base_as_the_hub_does(run: Path) -> None:
    config = run / "adapter" / "adapter_config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "/home/somebody/whisper"})
    )
    went = push(run, repo=REPO, dry_run=True).files[-1].source
    assert isinstance(went, bytes)
    assert json.loads(went)["base_model_name_or_path"] == "openai/whisper-tiny.en"


@pytest.mark.parametrize(
    ("repo", "says"), [("tiny", "no owner"), ("me/ti ny", "no repository"), ("a/b/c", "no repository")]
)
def test_name_that_is_no_repository_is_refused(run: Path, repo: str, says: str) -> None:
    with pytest.raises(PublishingError, match=says):
        push(run, repo=repo, dry_run=True)


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match="is no run folder"):
        push(tmp_path, repo=REPO, dry_run=True)


@pytest.mark.parametrize("name", [*MODEL, "model.safetensors"])
def test_incomplete_merged_model_is_refused_by_what_it_lacks(run: Path, name: str) -> None:
    (run / "merged" / name).unlink()
    with pytest.raises(PublishingError, match=f"lacks {name}"):
        push(run, repo=REPO, what="merged", dry_run=True)


def test_full_fine_tuning_has_no_adapter_to_push(run: Path) -> None:
    full = {"name": "phone", "adapter": {"method": "full"}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(full))
    with pytest.raises(PublishingError, match="has no adapter"):
        push(run, repo=REPO, what="adapter", dry_run=True)
