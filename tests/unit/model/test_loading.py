from __future__ import annotations

import copy
import logging
import shutil

import pytest
import soundfile
import torch
import yaml
from peft import PeftModel
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.errors import ModelError
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.model.log_mel import LogMel
from whisper_peft.recipe.sections import AdapterSection, ModelSection

TEXT = " Please enter your agent number."


def tiny(**fields) -> Whisper:
    return load_whisper(ModelSection(**{"precision": "fp32", "device": "cpu", **fields}))


@pytest.fixture(scope="module")
def features(prompts_en) -> torch.Tensor:
    waveform, _ = soundfile.read(prompts_en[0]["file_name"], dtype="float32")
    return LogMel(80)(torch.from_numpy(waveform)[None], frames=500)


def train(whisper: Whisper, features: torch.Tensor, steps: int, learning_rate: float = 1e-3) -> list[float]:
    ids = torch.tensor([whisper.tokenizer(TEXT).input_ids])
    weights = [weight for weight in whisper.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate)
    whisper.model.train()
    losses = []
    for _ in range(steps):
        with whisper.precision.autocast(whisper.device):
            sound = features.to(whisper.precision.weights_dtype)
            output = whisper.model(input_features=sound, decoder_input_ids=ids[:, :-1], use_cache=False)
        loss = torch.nn.functional.cross_entropy(output.logits[0].float(), ids[0, 1:])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def transcribe(whisper: Whisper, features: torch.Tensor) -> str:
    whisper.model.eval()
    config = copy.deepcopy(whisper.generation_config)
    config.max_length = 24
    with whisper.precision.autocast(whisper.device):
        sound = features.to(whisper.precision.weights_dtype)
        states = whisper.core.get_encoder()(sound).last_hidden_state
        ids = whisper.model.generate(encoder_outputs=BaseModelOutput(states), generation_config=config)
    return whisper.tokenizer.decode(ids[0], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("quantize", "precision"),
    [
        ("none", "fp32"),
        ("none", "bf16"),
        ("none", "fp16"),
        ("int8", "fp32"),
        ("int8", "bf16"),
        ("nf4", "fp32"),
        ("nf4", "bf16"),
    ],
)
def test_every_precision_learns_generates_and_learns_on(features, quantize, precision):
    whisper = tiny(precision=precision, quantize=quantize)
    attach_adapter(whisper, AdapterSection(r=4, targets=("q_proj", "v_proj")), seed=0)
    first = train(whisper, features, steps=2)
    assert len(transcribe(whisper, features)) > 0
    (last,) = train(whisper, features, steps=1)
    assert last < first[1] < first[0]


def test_dora_over_nf4_learns_and_generates(features):
    whisper = tiny(quantize="nf4")
    attach_adapter(whisper, AdapterSection(r=4, use_dora=True, targets=("q_proj",)), seed=0)
    losses = train(whisper, features, steps=2)
    assert losses[-1] < losses[0]
    assert len(transcribe(whisper, features)) > 0


def test_full_fine_tuning_in_bf16_learns_and_generates(features):
    whisper = tiny(precision="bf16")
    attach_adapter(whisper, AdapterSection(method="full"), seed=0)
    losses = train(whisper, features, steps=2, learning_rate=1e-5)
    assert losses[-1] < losses[0]
    transcribe(whisper, features)


@pytest.mark.parametrize(("quantize", "share"), [("int8", 0.70), ("nf4", 0.65)])
def test_quantised_weights_take_less_memory_and_embeddings_stay_float(tiny_en, quantize, share):
    whisper = tiny(quantize=quantize)
    assert whisper.core.get_memory_footprint() < share * tiny_en.core.get_memory_footprint()
    assert whisper.core.proj_out.weight.dtype == torch.float32
    assert whisper.core.proj_out.weight is whisper.core.model.decoder.embed_tokens.weight
    assert whisper.parameter_count == tiny_en.parameter_count


def test_evaluating_leaves_quantised_weights_as_they_are(features):
    whisper = tiny(quantize="nf4")
    before = {name: tensor.clone() for name, tensor in whisper.core.state_dict().items()}
    transcribe(whisper, features)
    for name, tensor in whisper.core.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_correct_use_of_quantised_weights_is_silent(features, caplog, capfd):
    with caplog.at_level(logging.WARNING):
        transcribe(tiny(quantize="int8", precision="bf16"), features)
    assert not [record.getMessage() for record in caplog.records if "bitsandbytes" in record.name]
    assert "Loading weights" not in capfd.readouterr().err


def test_nothing_of_the_loaded_model_learns_or_is_random(tiny_en):
    config = tiny_en.config
    assert not any(weight.requires_grad for weight in tiny_en.core.parameters())
    assert not tiny_en.core.training
    assert {config.dropout, config.attention_dropout, config.activation_dropout} == {0.0}
    assert {config.encoder_layerdrop, config.decoder_layerdrop} == {0.0}
    assert config.apply_spec_augment is False


def test_the_whole_generation_config_is_attached(base):
    assert base.is_multilingual
    assert base.core.generation_config is base.generation_config
    assert base.generation_config.lang_to_id["<|fr|>"] == 50_265


def test_fp16_on_the_cpu_holds_fp16_values():
    whisper = tiny(precision="fp16")
    for weight in whisper.core.parameters():
        assert torch.equal(weight, weight.to(torch.float16).to(weight.dtype))


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_en):
    """Return a model folder, an adapter folder, a LoRA run and a full fine-tuning run."""
    root = tmp_path_factory.mktemp("runs")
    model = root / "model"
    tiny_en.core.save_pretrained(model)
    save_companions(tiny_en.companions, model)
    whisper = tiny(name=str(model))
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",)), seed=0)
    save_adapter(whisper, root / "lora" / "adapter")
    for run in ("lora", "full", "empty"):
        (root / run).mkdir(exist_ok=True)
        recorded = {"name": str(model), "precision": "bf16", "device": "cpu"}
        (root / run / "recipe.yaml").write_text(yaml.safe_dump({"model": recorded, "train": {"seed": 1}}))
    shutil.copytree(model, root / "full" / "model")
    return root


def test_a_hugging_face_folder_is_the_same_model(folders, tiny_en):
    whisper = tiny(name=str(folders / "model"))
    for name, weight in tiny_en.core.state_dict().items():
        assert torch.equal(whisper.core.state_dict()[name], weight), name
    assert whisper.generation_config.to_dict() == tiny_en.generation_config.to_dict()


@pytest.mark.parametrize("path", ["lora", "lora/adapter"])
def test_a_run_and_an_adapter_folder_find_their_base(folders, path):
    whisper = load_run_or_model(str(folders / path), ModelSection(device="cpu"))
    assert isinstance(whisper.model, PeftModel)
    assert whisper.checkpoint.path == folders / "model"


def test_a_fully_tuned_run_is_its_own_model(folders):
    whisper = load_run_or_model(str(folders / "full"), ModelSection())
    assert whisper.checkpoint.path == folders / "full" / "model"
    assert whisper.precision.name == "bf16"


def test_set_fields_win_over_the_recorded_ones_and_defaults_do_not(folders):
    run = str(folders / "lora")
    assert load_run_or_model(run, ModelSection()).precision.name == "bf16"
    assert load_run_or_model(run, ModelSection(precision="fp32")).precision.name == "fp32"
    assert load_run_or_model(run, ModelSection(quantize="int8")).quantize == "int8"


def test_a_plain_model_is_loaded_by_its_name(folders):
    whisper = load_run_or_model("openai/whisper-tiny.en", ModelSection(device="cpu"))
    assert not isinstance(whisper.model, PeftModel)


def test_a_run_that_learned_what_no_speech_is_may_write_nothing(folders, tmp_path):
    plain = load_run_or_model(str(folders / "lora"), ModelSection())
    run = shutil.copytree(folders / "lora", tmp_path / "run")
    recorded = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recorded, "targets": {"no_speech": 0.1}}))
    quiet = load_run_or_model(str(run), ModelSection())
    end = plain.tokenizer.eos_token_id
    assert end in plain.generation_config.begin_suppress_tokens
    left = [token for token in plain.generation_config.begin_suppress_tokens if token != end]
    assert quiet.generation_config.begin_suppress_tokens == left
    assert quiet.core.generation_config.begin_suppress_tokens == left


def test_a_run_that_has_learned_nothing_says_how_to_finish_it(folders):
    with pytest.raises(ModelError, match=r"neither adapter/ nor model/.*--resume"):
        load_run_or_model(str(folders / "empty"), ModelSection())


@pytest.mark.parametrize("content", ["model: [", "model: {nmae: x}", "- 1", "targets: {no_speech: much}"])
def test_a_damaged_recipe_is_refused_in_words(tmp_path, content):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ModelError, match=r"recipe\.yaml is damaged"):
        load_run_or_model(str(tmp_path), ModelSection())


def test_weights_that_do_not_fit_their_config_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders / "model", tmp_path / "model")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"encoder_layers": 4', '"encoder_layers": 5'))
    with pytest.raises(ModelError, match=r"15 missing, such as .*encoder\.layers\.4"):
        tiny(name=str(folder))
