"""Adapters combined, averaged, taken out of a model and extracted from one, checked on the weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor
from transformers import WhisperForConditionalGeneration

import whisper_peft
from whisper_peft.deploy.adapters.combination import combination_types
from whisper_peft.errors import AdapterError, StorageError
from whisper_peft.model.adapters.attaching import adapter_model, attach_adapter, save_adapter
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.library_noise import no_false_alarms_of_peft
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection, Recipe, TrainSection
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.training.checkpoints import RunState, save_checkpoint, trainable_weights

NAME = "openai/whisper-tiny.en"
Updates = dict[str, Tensor]


def copy_of(shared: Whisper) -> Whisper:
    return replace(shared, model=copy.deepcopy(shared.model))


def layers_of(model: torch.nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            yield name.removeprefix("base_model.model."), layer


def draw(whisper: Whisper, seed: int) -> None:
    """Give the adapter an update."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in trainable_weights(whisper.model).values():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)


def written(tiny_en: Whisper, folder: Path, seed: int, **fields: object) -> Path:
    whisper = copy_of(tiny_en)
    section = AdapterSection.model_validate({"r": 4, "lora_alpha": 6, "targets": ("q_proj",), **fields})
    attach_adapter(whisper, section, seed=0)
    draw(whisper, seed)
    save_adapter(whisper, folder)
    return folder


@pytest.fixture(scope="module")
def folders(tiny_en: Whisper, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    top = tmp_path_factory.mktemp("adapters")
    return written(tiny_en, top / "a", 1), written(tiny_en, top / "b", 2)


@pytest.fixture
def base_model(tiny_en: Whisper) -> WhisperForConditionalGeneration:
    return copy.deepcopy(tiny_en.core)


def load_by_peft(core: WhisperForConditionalGeneration, folder: Path) -> peft.PeftModel:
    with no_false_alarms_of_peft():
        return peft.PeftModel.from_pretrained(copy.deepcopy(core), str(folder))


def updates(folder: Path, core: WhisperForConditionalGeneration) -> Updates:
    """Return the updates of an adapter folder as PEFT alone loads it."""
    model = load_by_peft(core, folder)
    return {name: layer.get_delta_weight("default") for name, layer in layers_of(model)}


def distance(found: Updates, wanted: Updates) -> float:
    wrong = sum(float((found[name] - wanted[name]).square().sum()) for name in wanted)
    return (wrong / sum(float(update.square().sum()) for update in wanted.values())) ** 0.5


def weighted_sum(a: Updates, b: Updates, weights: tuple[float, float]) -> Updates:
    return {name: weights[0] * a[name] + weights[1] * b[name] for name in a}


@pytest.mark.parametrize("use_rslora", [False, True])
def test_cat_is_the_weighted_sum_of_the_updates(
    tiny_en: Whisper, base_model: WhisperForConditionalGeneration, tmp_path: Path, use_rslora: bool
) -> None:
    a, b = (written(tiny_en, tmp_path / n, seed, use_rslora=use_rslora) for seed, n in enumerate("ab"))
    result = whisper_peft.combine_adapters(
        [a, b], weights=(0.7, -0.4), how="cat", output_dir=tmp_path / "out"
    )
    wanted = weighted_sum(updates(a, base_model), updates(b, base_model), (0.7, -0.4))
    assert distance(updates(tmp_path / "out", base_model), wanted) < 1e-6
    assert (result.r, result.warning) == (8, None)
    assert result.away_from_sum < 1e-6


@pytest.mark.parametrize("how", combination_types())
def test_every_way_of_peft_writes_an_adapter_that_peft_loads(
    how: str, folders: tuple[Path, Path], base_model: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    density = None if how in ("svd", "cat", "linear") else 0.5
    result = whisper_peft.combine_adapters(folders, how=how, density=density, output_dir=tmp_path / "out")
    wanted = weighted_sum(*(updates(one, base_model) for one in folders), (0.5, 0.5))
    found = updates(tmp_path / "out", base_model)
    assert distance(found, wanted) == pytest.approx(result.away_from_sum, abs=1e-4)
    assert any(bool(update.any()) for update in found.values())
    config = peft.PeftConfig.from_pretrained(str(tmp_path / "out"))
    assert config.base_model_name_or_path == NAME
    assert set(config.target_modules) == {"q_proj"}


def test_dare_draws_the_same_again_and_something_else_for_another_seed(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    states = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        whisper_peft.combine_adapters(folders, how="dare_linear", density=0.5, seed=seed, output_dir=out)
        states.append((out / "adapter_model.safetensors").read_bytes())
    assert states[0] == states[1] != states[2]


def test_adapters_of_several_targets_are_joined(
    tiny_en: Whisper,
    folders: tuple[Path, Path],
    base_model: WhisperForConditionalGeneration,
    tmp_path: Path,
) -> None:
    other = written(tiny_en, tmp_path / "other", 3, targets="encoder-only", r=2)
    whisper_peft.combine_adapters([folders[0], other], how="cat", output_dir=tmp_path / "out")
    found = updates(tmp_path / "out", base_model)
    a, b = updates(folders[0], base_model), updates(other, base_model)
    wanted = {name: 0.5 * a.get(name, torch.zeros(1)) + 0.5 * b.get(name, torch.zeros(1)) for name in a | b}
    assert distance(found, wanted) < 1e-6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"how": "tie"}, r"'tie' - PEFT combines adapters in no such way - did you mean ties\?"),
        ({"weights": (1.0,)}, "1 weights for 2 adapters"),
        ({"how": "ties"}, r"density is None - ties keeps that share"),
        ({"how": "dare_ties", "density": 1.5}, r"density is 1\.5"),
        ({"how": "cat", "density": 0.5}, "cat drops no values"),
        ({"how": "cat", "rank": 3}, "rank is 3 - cat gives"),
    ],
)
def test_a_combination_that_contradicts_itself_is_refused_before_the_base_is_loaded(
    fields: dict[str, object], words: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(AdapterError, match=words):
        whisper_peft.combine_adapters(folders, output_dir=tmp_path / "out", model={"name": "none"}, **fields)


def test_what_cannot_be_combined_is_refused_and_leaves_nothing(
    tiny_en: Whisper, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    dora = written(tiny_en, tmp_path / "dora", 1, use_dora=True)
    with pytest.raises(AdapterError, match="use_dora=True cannot be combined"):
        whisper_peft.combine_adapters([folders[0], dora], output_dir=tmp_path / "out")
    wide = written(tiny_en, tmp_path / "wide", 1, r=8)
    with pytest.raises(AdapterError, match=r"combine them by linear .*same r.*--how cat or svd"):
        whisper_peft.combine_adapters([folders[0], wide], how="linear", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(StorageError, match="is in use"):
        whisper_peft.combine_adapters(folders, output_dir=dora)


@pytest.fixture
def run(tiny_en: Whisper, tmp_path: Path) -> Path:
    """Return a run folder with three checkpoints whose weights are 1, 2 and 6 times a drawn adapter."""
    folder = tmp_path / "run"
    folder.mkdir()
    section = AdapterSection(r=2, targets=("q_proj",))
    recipe = Recipe(model=ModelSection(name=NAME, device="cpu"), adapter=section, train=TrainSection(seed=3))
    write_recipe(recipe, folder / "recipe.yaml")
    whisper = copy_of(tiny_en)
    attach_adapter(whisper, section, seed=3)
    draw(whisper, 4)
    drawn = {name: weight.detach().clone() for name, weight in trainable_weights(whisper.model).items()}
    for step, factor in enumerate((1, 2, 6), start=1):
        with torch.no_grad():
            for name, weight in trainable_weights(whisper.model).items():
                weight.copy_(drawn[name] * factor)
        state = RunState(step=step)
        save_checkpoint(
            folder / "checkpoints", state=state, model=whisper.model, optimizer_state={}, keep=None
        )
    return folder


def test_the_average_is_the_mean_of_the_last_checkpoints(run: Path, tmp_path: Path) -> None:
    result = whisper_peft.average_checkpoints(run, last=2, output_dir=tmp_path / "mean")
    assert result.steps == (2, 3)
    first = load_file(run / "checkpoints" / "step-000001" / "trainable.safetensors")
    found = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    assert len(found) == len(first) == 24
    for name, weight in first.items():
        assert torch.allclose(found[name.replace(".default", "")], 4 * weight, rtol=1e-6), name
    assert whisper_peft.describe_adapter(tmp_path / "mean").base == NAME


def test_a_damaged_checkpoint_is_passed_over_and_said(run: Path, tmp_path: Path) -> None:
    damaged = run / "checkpoints" / "step-000002" / "trainable.safetensors"
    damaged.write_bytes(damaged.read_bytes() + b"x")
    result = whisper_peft.average_checkpoints(run, last=2, output_dir=tmp_path / "mean")
    assert result.steps == (1, 3)
    assert "step-000002 is damaged" in result.sentence()


def test_too_few_checkpoints_are_refused_before_the_base_is_loaded(run: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"has 3 whole checkpoints - the mean of 4.*--train.keep-check"):
        whisper_peft.average_checkpoints(run, last=4, output_dir=tmp_path / "mean", model={"name": "none"})
    with pytest.raises(AdapterError, match="last is 1 - a mean needs 2"):
        whisper_peft.average_checkpoints(run, last=1, output_dir=tmp_path / "mean")


def write_model(whisper: Whisper, folder: Path) -> Path:
    whisper.core.save_pretrained(folder)
    save_companions(whisper.companions, folder)
    return folder


def test_unmerging_gives_the_base_back_to_rounding(
    tiny_en: Whisper, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = load_by_peft(tiny_en.core, folders[0])
    merged = replace(tiny_en, model=whole.merge_and_unload())
    write_model(merged, tmp_path / "merged")
    result = whisper_peft.unmerge(tmp_path / "merged", folders[0], output_dir=tmp_path / "base")
    assert result.base == NAME
    assert result.layers == 12
    assert (result.max_weight_difference or 0.0) < 1e-6
    assert (result.equal_weights or 0.0) > 0.97
    back = load_file(tmp_path / "base" / "model.safetensors")
    for name, weight in tiny_en.core.named_parameters():
        if "q_proj.weight" not in name and name != "proj_out.weight":
            assert torch.equal(back[name], weight), name
    other = whisper_peft.unmerge(tmp_path / "merged", folders[1], output_dir=tmp_path / "wrong")
    assert (other.max_weight_difference or 0.0) > 0.01
    assert "none differs by more than" in other.sentence()


def test_a_base_that_is_not_at_hand_is_not_claimed(
    tiny_en: Whisper, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tiny_en, tmp_path / "merged")
    name = "whisper_peft.pipeline.adapter_algebra.base_name"
    monkeypatch.setattr(name, lambda folder: "openai/whisper-medium")
    result = whisper_peft.unmerge(tmp_path / "merged", folders[0], output_dir=tmp_path / "base")
    assert (result.base, result.equal_weights) == (None, None)
    assert "not at hand to compare with" in result.sentence()


@pytest.fixture
def fully_tuned(tiny_en: Whisper, tmp_path: Path) -> Path:
    """Return a model whose q_proj moved by a rank of 3, and whose layer norm moved a little."""
    whisper = copy_of(tiny_en)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in whisper.core.named_parameters():
            if name.endswith("q_proj.weight"):
                left = torch.randn(384, 3, generator=generator) * torch.tensor([0.04, 0.02, 0.01])
                weight += left @ torch.randn(3, 384, generator=generator) * 0.1
        whisper.core.model.encoder.layer_norm.bias += 0.01
    return write_model(whisper, tmp_path / "tuned")


def test_extraction_at_the_full_rank_is_the_update_and_loads_by_peft_alone(
    tiny_en: Whisper, fully_tuned: Path, base_model: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    result = whisper_peft.extract_adapter(
        fully_tuned, base=NAME, r=3, targets="q_proj", output_dir=tmp_path / "lora"
    )
    tuned = load_file(fully_tuned / "model.safetensors")
    before = dict(tiny_en.core.named_parameters())
    found = updates(tmp_path / "lora", base_model)
    wanted = {name: tuned[f"{name}.weight"] - before[f"{name}.weight"] for name in found}
    assert len(found) == 12
    assert distance(found, wanted) < 1e-4
    assert result.energy_kept == pytest.approx(1, abs=1e-6)
    assert 0 < result.left_out < 0.2


def test_a_smaller_rank_keeps_the_share_of_the_energy_that_it_says(
    tiny_en: Whisper, fully_tuned: Path, base_model: WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    result = whisper_peft.extract_adapter(
        fully_tuned, base=NAME, r=1, targets="q_proj", output_dir=tmp_path / "lora"
    )
    tuned, before = load_file(fully_tuned / "model.safetensors"), dict(tiny_en.core.named_parameters())
    found = updates(tmp_path / "lora", base_model)
    for name, kept in result.layers.items():
        wanted = tuned[f"{name}.weight"] - before[f"{name}.weight"]
        assert 1 - distance({name: found[name]}, {name: wanted}) ** 2 == pytest.approx(kept, abs=1e-4)
    assert 0.5 < result.energy_kept < 0.99


def test_models_of_two_shapes_and_models_that_are_equal_are_refused(
    tiny_en: Whisper, fully_tuned: Path, tmp_path: Path
) -> None:
    with pytest.raises(AdapterError, match=r"not of one shape - .*512.* in the base and .*384"):
        whisper_peft.extract_adapter(fully_tuned, base="openai/whisper-base", output_dir=tmp_path / "lora")
    with pytest.raises(AdapterError, match="no update to extract"):
        whisper_peft.extract_adapter(fully_tuned, base=NAME, r=1, targets="fc1", output_dir=tmp_path / "lora")
    with pytest.raises(AdapterError, match=r"r is 500 - a layer of \(384, 384\) has rank 384 at most"):
        whisper_peft.extract_adapter(
            fully_tuned, base=NAME, r=500, targets="q_proj", output_dir=tmp_path / "lora"
        )
    with pytest.raises(AdapterError, match="--base NAME"):
        whisper_peft.extract_adapter(fully_tuned, output_dir=tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_a_description_tells_what_a_folder_holds(folders: tuple[Path, Path], tmp_path: Path) -> None:
    shown = whisper_peft.describe_adapter(folders[0])
    assert (shown.kind, shown.base, shown.r, shown.lora_alpha) == ("LORA", NAME, 4, 6)
    assert (shown.layers, shown.targets, shown.empty_layers) == (12, {"q_proj": 12}, 0)
    assert shown.weights == 12 * 4 * (384 + 384)
    with pytest.raises(AdapterError, match="has no adapter"):
        whisper_peft.describe_adapter(tmp_path)


def test_an_empty_layer_is_told(tiny_en: Whisper, tmp_path: Path) -> None:
    whisper = copy_of(tiny_en)
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",)), seed=0)
    save_adapter(whisper, tmp_path)
    assert "untrained" in whisper_peft.describe_adapter(tmp_path).text()
    assert adapter_model(whisper) is whisper.model
