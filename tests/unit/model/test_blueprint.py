"""What is told of a Whisper without its weights equals the Whisper that is loaded with them."""

import pytest
from peft import IA3Config

from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.model.adapters.attaching import attach_adapter
from whisper_peft.model.blueprint import PUBLISHED, blueprint, published_config, sketch
from whisper_peft.model.checkpoints.ctranslate2_format import ctranslate2_config
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection

SIZES = ("d_model", "encoder_layers", "decoder_layers", "vocab_size", "num_mel_bins", "encoder_ffn_dim")

ADAPTERS = {
    "all-linear": AdapterSection(r=32),
    "attention": AdapterSection(r=4, targets="attention"),
    "decoder-only": AdapterSection(r=8, targets="decoder-only"),
    "dora": AdapterSection(r=8, use_dora=True),
    "full": AdapterSection(method="full"),
    "ia3": AdapterSection(
        config=IA3Config(target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"])
    ),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_counts_are_those_of_the_model_that_is_trained(kind):
    whisper = load_whisper(ModelSection(name="tiny.en"))
    base = whisper.parameter_count
    summary = attach_adapter(whisper, ADAPTERS[kind], seed=0)
    told = blueprint(published_config("tiny.en"), ADAPTERS[kind])
    assert told.base_weights == base
    assert told.trainable_weights == summary.trainable
    assert told.base_weights + told.adapter_weights == summary.total


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("quantize", ["none", "int8", "nf4"])
def test_weights_take_the_bytes_that_were_told(quantize, precision):
    whisper = load_whisper(ModelSection(name="tiny.en", quantize=quantize, precision=precision))
    seen = {weight.data_ptr(): weight.nbytes for weight in whisper.core.parameters()}
    size = 4 if precision == "fp32" else 2
    told = blueprint(published_config("tiny.en"), None).weight_bytes(quantize=quantize, float_bytes=size)
    # the scales of rounded weights are no parameters: 4 bytes a row, or 1.6 % of the weights
    assert sum(seen.values()) == pytest.approx(told, rel=0.02)


@pytest.mark.parametrize("size", ["tiny.en", "base"])
def test_published_sizes_are_those_in_the_installed_file(size):
    read, published = ctranslate2_config(installed_wheel(size).folder()), published_config(size)
    assert [getattr(read, name) for name in SIZES] == [getattr(published, name) for name in SIZES]


@pytest.mark.parametrize("size", PUBLISHED)
def test_every_published_size_has_heads_of_64(size):
    config = published_config(size)
    assert config.d_model == 64 * config.encoder_attention_heads == 64 * config.decoder_attention_heads


@pytest.mark.parametrize(
    ("size", "millions"),
    [("tiny", 37.8), ("base", 72.6), ("small", 241.7), ("medium", 763.9), ("large-v3", 1543.5)],
)
def test_sizes_have_as_many_weights_as_published(size, millions):
    assert blueprint(published_config(size), None).base_weights / 1e6 == pytest.approx(millions, abs=0.1)


def test_a_name_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ModelError, match=r"large-v3-turbo"):
        sketch("somebody/whisper-huge")


@pytest.mark.parametrize("name", ["/gone/whisper-mine", "gone/large-v3.pt", "a/b/c"])
def test_a_path_that_has_gone_is_refused_as_one(name):
    with pytest.raises(ModelError, match=rf"model.name {name} does not exist"):
        sketch(name)


def test_what_is_to_be_downloaded_is_told_and_nothing_for_installed_weights():
    assert sketch("openai/whisper-large-v3").download_bytes == pytest.approx(3.09e9, rel=0.01)
    assert sketch("openai/whisper-tiny.en").download_bytes == 0


def test_unknown_targets_are_refused_before_any_weight_is_read():
    with pytest.raises(AdapterError, match="no linear layer"):
        blueprint(published_config("tiny"), AdapterSection(targets="q_proj,kk_proj"))
