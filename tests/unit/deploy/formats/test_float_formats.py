"""Writers of whole models: reading back gives the model to the bit, and each file is its runtime's own."""

from __future__ import annotations

import base64
import gzip
import stat
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from whisper_peft.deploy.export_record import file_digests
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.deploy.formats.ctranslate2 import quantize_rows
from whisper_peft.deploy.formats.vllm import lint_adapter, write_vllm_adapter
from whisper_peft.deploy.weights import keep_cast, read_back, source_weights, weight_faults
from whisper_peft.errors import ExportError, ModelError
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.checkpoints.ctranslate2_format import read_ctranslate2
from whisper_peft.model.checkpoints.generation_defaults import ALIGNMENT_HEADS
from whisper_peft.model.checkpoints.openai_format import dump_alignment_heads
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection

OURS = ("ctranslate2", "huggingface", "openai", "vllm")
WRITTEN = [(name, word, 51_866, 128) for name in OURS for word in FORMATS[name].quantizations]
WRITTEN += [(name, FORMATS[name].quantizations[0], size, 80) for name in OURS for size in (51_864, 51_865)]


@pytest.mark.parametrize(("name", "quantization", "vocab_size", "mels"), WRITTEN)
def test_reading_gives_back_every_weight_to_the_bit(
    narrow_whisper: Callable[[int, int], Whisper],
    tmp_path: Path,
    name: str,
    quantization: str,
    vocab_size: int,
    mels: int,
) -> None:
    whisper = narrow_whisper(vocab_size, mels)
    FORMATS[name].write(whisper, tmp_path, quantization)
    source = source_weights(whisper)
    found = read_back(FORMATS[name], tmp_path, tied=True)
    assert len(found) == len(source) > 80
    assert not list(weight_faults(source, found, FORMATS[name], quantization))


@pytest.mark.parametrize("name", OURS)
def test_a_model_is_written_to_the_same_bytes_each_time(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path, name: str
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        FORMATS[name].write(narrow_whisper(51_865, 80), folder, FORMATS[name].quantizations[0])
    assert file_digests(folders[0]) == file_digests(folders[1])
    for path in folders[0].rglob("*"):
        assert path.stat().st_mode & stat.S_IROTH, f"{path} is its owner's alone"


@pytest.mark.parametrize(
    ("vocab_size", "mels", "quantization"),
    [(51_864, 80, "int8"), (51_865, 80, "float16"), (51_866, 128, "float32"), (51_866, 128, "int8_float16")],
)
def test_ctranslate2_files_are_those_of_its_own_converter_but_for_rounding(
    narrow_whisper: Callable[[int, int], Whisper],
    tmp_path: Path,
    quantization: str,
    vocab_size: int,
    mels: int,
) -> None:
    converters = pytest.importorskip("ctranslate2.converters")
    whisper = narrow_whisper(vocab_size, mels)
    ours, hugging_face, theirs = tmp_path / "ours", tmp_path / "huggingface", tmp_path / "theirs"
    for folder, form, kind in ((ours, "ctranslate2", quantization), (hugging_face, "huggingface", "float32")):
        folder.mkdir()
        FORMATS[form].write(whisper, folder, kind)
    converters.TransformersConverter(str(hugging_face)).convert(str(theirs), quantization=quantization)
    is_rounded = quantization.startswith("int8")
    for file in ("config.json", "vocabulary.json", *(() if is_rounded else ("model.bin",))):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
    assert (ours / "model.bin").stat().st_size == (theirs / "model.bin").stat().st_size
    found, expected = read_ctranslate2(ours).state, read_ctranslate2(theirs).state
    assert list(found) == list(expected)
    for name, weight in expected.items():
        rows = weight.reshape(len(weight), -1)
        # half a step of theirs, and half of ours, which is at most twice as large
        steps = rows.abs().amax(dim=1, keepdim=True) / 127 * (1.5 if is_rounded else 0)
        assert bool(((found[name].reshape(rows.shape) - rows).abs() <= steps * 1.01).all()), name


@pytest.mark.parametrize("shape", [(64, 384), (64, 80, 3), (8, 7)])
def test_pairs_of_int8_weights_fit_the_sums_of_a_processor_without_vnni(shape: tuple[int, ...]) -> None:
    """Two products with activations of up to 255 are added in 16 bits, which cut off what is beyond 32767."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rounded, scale = quantize_rows(weight)
    rows = torch.nn.functional.pad(rounded.int().flatten(1).abs(), (0, prod(shape[1:]) % 2))
    sums = rows.reshape(len(rows), -1, 2).sum(dim=2)
    assert int(sums.amax(dim=1).min()) >= 126
    assert int(sums.max()) * 255 < 2**15
    assert bool(((rounded.flatten(1) - weight.flatten(1) * scale[:, None]).abs() < 0.501).all())


def test_what_ctranslate2_and_openai_files_hold_can_be_trained_from(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path
) -> None:
    whisper = load_whisper(ModelSection(name=str(narrow_whisper(51_865, 80).checkpoint.path), device="cpu"))
    whisper.generation_config.alignment_heads = [[0, 1], [1, 0]]  # not those of an unknown shape
    for name, path in (("ctranslate2", tmp_path / "ct2"), ("openai", tmp_path / "pt")):
        path.mkdir()
        FORMATS[name].write(whisper, path, "float32")
        place = path / "model.pt" if name == "openai" else path
        again = load_whisper(ModelSection(name=str(place), precision="fp32", device="cpu"))
        for key, weight in source_weights(whisper).items():
            assert torch.equal(source_weights(again)[key], weight), key
        assert again.generation_config.to_dict()["alignment_heads"] == [[0, 1], [1, 0]]


def test_alignment_heads_are_written_as_openai_writes_them() -> None:
    whisper = pytest.importorskip("whisper")
    dump = dump_alignment_heads(list(ALIGNMENT_HEADS["tiny.en"]), 4, 6)
    theirs = whisper._ALIGNMENT_HEADS["tiny.en"]
    assert gzip.decompress(base64.b85decode(dump)) == gzip.decompress(base64.b85decode(theirs))


def test_openai_whisper_loads_the_file_and_its_alignment_heads(tiny_en: Whisper, tmp_path: Path) -> None:
    whisper = pytest.importorskip("whisper")
    FORMATS["openai"].write(tiny_en, tmp_path, "float16")
    path = tmp_path / "model.pt"
    model = whisper.load_model(str(path), device="cpu")
    model.set_alignment_heads(torch.load(path, weights_only=True)["alignment_heads"])
    assert tuple(map(tuple, model.alignment_heads.indices().T.tolist())) == ALIGNMENT_HEADS["tiny.en"]


def test_weights_beyond_float16_are_refused_by_name() -> None:
    with pytest.raises(ExportError, match=r"a\.weight reaches 70000 .* float32 or bfloat16"):
        keep_cast("a.weight", torch.tensor([70_000.0]), "float16")


def test_a_vocabulary_that_openai_never_had_is_refused(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path
) -> None:
    whisper = narrow_whisper(51_865, 80)
    config = whisper.config
    kept, config.vocab_size = config.vocab_size, 52_000
    try:
        with pytest.raises(ModelError, match="52000 tokens"):
            FORMATS["openai"].write(whisper, tmp_path, "float16")
        with pytest.raises(ExportError, match="names 51865 tokens and the model has 52000"):
            FORMATS["ctranslate2"].write(whisper, tmp_path, "float16")
    finally:
        config.vocab_size = kept


def test_vllm_gets_the_adapter_and_the_command_that_serves_it(
    narrow_whisper: Callable[[int, int], Whisper], tmp_path: Path
) -> None:
    section = ModelSection(name=str(narrow_whisper(51_865, 80).checkpoint.path), device="cpu")
    whisper = load_whisper(section)
    attach_adapter(whisper, AdapterSection(r=12, targets="all-linear"), seed=0)
    save_adapter(whisper, tmp_path / "adapter")
    folder = tmp_path / "vllm"
    folder.mkdir()
    assert write_vllm_adapter(tmp_path / "adapter", folder) is None
    command = (folder / "README.md").read_text(encoding="utf-8")
    assert (
        f"vllm serve {section.name} --enable-lora --max-lora-rank 16 --lora-modules tuned=./adapter"
        in command
    )
    assert set(file_digests(folder)) == {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["proj_out"]}, "modules_to_save"),
        ({"bias": "all"}, "bias=all"),
        ({"r": 600}, "rank of 600 is over vLLM's 512"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"init_lora_weights": "pissa"}, "changed base"),
    ],
)
def test_vllm_is_not_given_an_adapter_that_it_refuses(fields: dict[str, object], said: str) -> None:
    problems = lint_adapter(LoraConfig(**{"r": 8, "target_modules": ["q_proj"], **fields}), {})
    assert len(problems) == 1
    assert said in problems[0]


def test_vllm_is_not_given_layers_that_it_does_not_adapt() -> None:
    state = {"base_model.model.model.decoder.embed_tokens.lora_embedding_A": torch.zeros(1)}
    assert "embed_tokens" in lint_adapter(LoraConfig(r=8, target_modules=["q_proj"]), state)[0]
