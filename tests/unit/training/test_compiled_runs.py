"""Steps in compiled layers: the same arithmetic, in the steps alone."""

from functools import partial

import pytest
import torch

from tests.unit.training.runs import make_recipe, make_training
from whisper_peft.errors import ModelError
from whisper_peft.model.adapters.attaching import enable_gradient_checkpointing
from whisper_peft.recipe.overrides import apply_overrides

# torch's tracer warns of what it does itself, and an error would end it
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def traced(monkeypatch):
    """Compile by torch's tracer alone: its code generator takes half a minute."""
    calls = []

    def compiled(forward, **options):
        traced = real(forward, backend="aot_eager", **options)

        def counted(*args, **more):
            calls.append(forward)
            return traced(*args, **more)

        return counted

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compiled)
    torch.compiler.reset()
    return calls


def first_losses(rows, folder, *, parts=(), prepare=lambda run: None, **train):
    """Return the losses of two steps, and the run."""
    losses = []
    made = apply_overrides(make_recipe(max_steps=2, **train), dict(parts))
    run = make_training(rows, folder, made)
    prepare(run)
    run.callbacks = (lambda event: losses.append(event.row["loss"]) if event.kind == "step" else None,)
    run.run()
    return losses, run


def test_compiled_layers_take_the_same_steps(rows, tmp_path, traced):
    plain, _ = first_losses(rows, tmp_path / "plain")
    assert not traced
    compiled, run = first_losses(rows, tmp_path / "compiled", compile=True)
    assert compiled == pytest.approx(plain, rel=1e-5)
    layers = [*run.whisper.core.model.encoder.layers, *run.whisper.core.model.decoder.layers]
    assert len(set(traced)) == len(layers)


def test_gradient_checkpointing_changes_nothing(rows, tmp_path, traced):
    def prepare(run):
        enable_gradient_checkpointing(run.whisper)

    plain, _ = first_losses(rows, tmp_path / "plain", prepare=prepare)
    compiled, _ = first_losses(rows, tmp_path / "compiled", prepare=prepare, compile=True)
    assert traced
    assert compiled == pytest.approx(plain, rel=1e-5)


def test_scoring_and_saving_meet_plain_layers(rows, tmp_path, traced):
    found = []
    made = apply_overrides(make_recipe(max_steps=2, compile=True), {"eval": {"steps": 1}})
    run = make_training(rows, tmp_path, made)
    layers = [*run.whisper.core.model.encoder.layers, *run.whisper.core.model.decoder.layers]
    run.callbacks = (lambda event: found.append(any("forward" in vars(layer) for layer in layers)),)
    run.run()
    assert traced
    assert found
    assert not any(found)


def test_a_missing_compiler_is_one_sentence(rows, tmp_path, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/no/such/compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    with pytest.raises(ModelError, match=r"cannot be compiled(.|\n)*train\.compile"):
        first_losses(rows, tmp_path, compile=True)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_generated_code_takes_the_same_steps(rows, tmp_path, precision):
    torch.compiler.reset()
    parts = {"model": {"precision": precision}}
    losses = partial(first_losses, rows, parts=parts)
    plain, _ = losses(tmp_path / "plain")
    compiled, _ = losses(tmp_path / "compiled", compile=True)
    # AdamW's first step enlarges what sums in another order differ by
    assert compiled == pytest.approx(plain, rel=1e-4 if precision == "fp32" else 0.02)
