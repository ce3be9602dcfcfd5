"""Formats by name, plug-ins among them.

A plug-in is any callable `(whisper, folder, quantization) -> None` that writes a whole model into an empty
folder: an object passed from Python, a `module:name`, or an entry point of `whisper_peft.exporters`.
"""

from __future__ import annotations

from collections.abc import Sequence

from whisper_peft.deploy.export_values import ExportFormat, Writer
from whisper_peft.deploy.exporting import Order
from whisper_peft.deploy.formats import FORMATS
from whisper_peft.errors import ExportError, did_you_mean
from whisper_peft.recipe.plug_ins import import_name, load_plug_in, plug_in_names, qualified_name

ALL = "all"
"""In place of formats: every one of ours; in place of quantisations: every one of each format."""

PLUG_IN_QUANTIZATION = "float32"
"""What a plug-in is asked for where nothing is said; it may know any other word."""


def find_format(named: str | Writer) -> ExportFormat:
    """Return a format by its name, or around a callable that writes one.

    Args:
        named: One of ours, `module:name`, an entry point, or the callable itself.

    Raises:
        ExportError: If there is no such format.
        RecipeError: If a plug-in cannot be imported.

    Example:
        >>> find_format("huggingface").quantizations
        ('float32', 'float16', 'bfloat16')
        >>> find_format("hugingface")
        Traceback (most recent call last):
        ...
        whisper_peft.errors.ExportError: format is 'hugingface' - there is no such format - did you mean ...
    """
    if not isinstance(named, str):
        return _plug_in(qualified_name(named), named)
    if named in FORMATS:
        return FORMATS[named]
    if ":" in named:
        return _plug_in(named, import_name(named, field="format"))
    if named in plug_in_names("exporters"):
        return _plug_in(named, load_plug_in("exporters", named))
    known = [*FORMATS, *plug_in_names("exporters")]
    raise ExportError(f"format is {named!r}", "there is no such format", did_you_mean(named, known))


def _plug_in(name: str, write: Writer) -> ExportFormat:
    if not callable(write):
        raise ExportError(
            f"{name} is a {type(write).__name__}",
            "an exporter is a callable (whisper, folder, quantization) -> None",
            "give its name, or one of " + ", ".join(FORMATS),
        )
    return ExportFormat(name, (), (), write, read=None, keep=None, runtime="")


def find_orders(formats: Sequence[str | Writer], quantizations: Sequence[str]) -> tuple[Order, ...]:
    """Return the folders to make: of each format those of the quantisations that it has.

    Args:
        formats: Names or callables; `all` for every one of ours.
        quantizations: None given: each format's default. `all`: every one of each format.

    Raises:
        ExportError: If a format or a quantisation is unknown, or a named format has none of those given.

    Example:
        >>> [order.folder for order in find_orders(["ctranslate2", "openai"], ["float16"])]
        ['ctranslate2-float16', 'openai-float16']
        >>> [order.folder for order in find_orders(["openai"], [])]
        ['openai-float16']
    """
    is_all = ALL in formats
    forms = [find_format(named) for named in (FORMATS if is_all else dict.fromkeys(formats))]
    known = {quantization for form in forms for quantization in form.quantizations}
    for quantization in quantizations:
        if quantization != ALL and quantization not in known and all(form.quantizations for form in forms):
            what = f"quantize is {quantization!r}"
            raise ExportError(what, "none of these formats has it", did_you_mean(quantization, known))
    return tuple(order for form in forms for order in _orders(form, quantizations, may_lack=is_all))


def _orders(form: ExportFormat, quantizations: Sequence[str], *, may_lack: bool) -> list[Order]:
    if not form.quantizations:
        words = [word for word in quantizations if word != ALL] or [PLUG_IN_QUANTIZATION]
        return [Order(form, word) for word in words]
    if not quantizations:
        return [Order(form, form.quantizations[0])]
    chosen = [word for word in form.quantizations if word in quantizations or ALL in quantizations]
    if not chosen and not may_lack:
        raise ExportError(
            f"{form.name} has no {', '.join(quantizations)}",
            f"it has {', '.join(form.quantizations)}",
            "name one of them too with --quantize, or leave the format out",
        )
    return [Order(form, word) for word in chosen or form.quantizations[:1]]
