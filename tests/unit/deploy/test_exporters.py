"""Formats by name, and exporters of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from whisper_peft.deploy.exporters import find_format, find_orders
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.errors import ExportError, RecipeError
from whisper_peft.model.loading import Whisper
from whisper_peft.testing import check_exporter


def names(whisper: Whisper, folder: Path, quantization: str) -> None:
    """Write the names of the weights."""
    (folder / "names.txt").write_text("\n".join([quantization, *whisper.core.state_dict()]), encoding="utf-8")


def test_every_format_is_complete() -> None:
    for name, form in FORMATS.items():
        assert form.name == name
        assert set(form.exact) <= set(form.quantizations)
        assert form.read is not None
        assert form.keep is not None
        assert form.runtime


def test_an_exporter_is_found_by_its_qualified_name_and_as_an_object() -> None:
    for named in (f"{__name__}:names", names):
        form = find_format(named)
        assert form.name == f"{__name__}:names"
        assert form.write is names


def test_unknown_formats_are_refused_with_the_nearest() -> None:
    with pytest.raises(ExportError, match="did you mean ctranslate2"):
        find_format("ctranslate")
    with pytest.raises(RecipeError, match="no_such_module"):
        find_format("no_such_module:export")
    with pytest.raises(ExportError, match="math:pi is a float"):
        find_format("math:pi")


def test_each_format_takes_the_quantisations_that_it_has() -> None:
    orders = find_orders(["ctranslate2", "ggml"], ["int8", "q8_0"])
    assert [order.folder for order in orders] == ["ctranslate2-int8", "ggml-q8_0"]
    with pytest.raises(ExportError, match=r"openai has no int8 - it has float16, float32"):
        find_orders(["ctranslate2", "openai"], ["int8"])
    with pytest.raises(ExportError, match="did you mean int8"):
        find_orders(["ctranslate2"], ["int88"])


def test_all_formats_take_their_default_where_they_have_none_of_those_named() -> None:
    folders = [order.folder for order in find_orders(["all"], ["int8"])]
    assert "ctranslate2-int8" in folders
    assert "openai-float16" in folders
    assert len(folders) == len(FORMATS)
    assert len(find_orders(["all"], ["all"])) == sum(len(form.quantizations) for form in FORMATS.values())


def test_a_sound_exporter_passes(narrow_whisper: Callable[[int, int], Whisper]) -> None:
    check_exporter(names, narrow_whisper(51_865, 80))


@pytest.mark.parametrize(
    ("exporter", "said"),
    [
        (lambda whisper, folder, quantization: None, "wrote nothing"),
        (
            lambda whisper, folder, quantization: (folder / "a").write_text(str(folder)),
            "wrote a otherwise the second time",
        ),
    ],
)
def test_an_exporter_that_breaks_a_promise_is_told_which(
    narrow_whisper: Callable[[int, int], Whisper], exporter: Callable[..., None], said: str
) -> None:
    with pytest.raises(AssertionError, match=said):
        check_exporter(exporter, narrow_whisper(51_865, 80))


def test_an_exporter_that_changes_the_model_is_told_so(
    narrow_whisper: Callable[[int, int], Whisper],
) -> None:
    whisper = narrow_whisper(51_864, 80)

    def halve(whisper: Whisper, folder: Path, quantization: str) -> None:
        names(whisper, folder, quantization)
        with torch.no_grad():
            whisper.core.model.encoder.conv1.bias.mul_(0.5)

    kept = whisper.core.model.encoder.conv1.bias.detach().clone()
    try:
        with pytest.raises(AssertionError, match="changed the model's weights"):
            check_exporter(halve, whisper)
    finally:
        with torch.no_grad():
            whisper.core.model.encoder.conv1.bias.copy_(kept)
