"""`peft.PeftConfig` values as plain fields and back. PEFT is imported only when there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from whisper_peft.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from peft import PeftConfig


def peft_config_fields(config: PeftConfig) -> dict[str, Any]:
    """Return the type of a PEFT config and its fields that differ from the type's defaults.

    Raises:
        RecipeError: If it is not a config that PEFT knows.
    """
    known = _known_types()
    name = next((name for name, kind in known.items() if kind is type(config)), None)
    if name is None:
        raise RecipeError(
            f"adapter.config is a {type(config).__name__}",
            "PEFT has no such type of config",
            "give a peft.PeftConfig, such as peft.LoraConfig(r=8)",
        )
    changed = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if _is_changed(config, f)}
    return {"peft_type": name, **{field: _plain(value) for field, value in changed.items()}}


def peft_config_from(fields: object) -> PeftConfig:
    """Return the PEFT config that has this type and these fields.

    Raises:
        RecipeError: If the type or a field is unknown, or a value unfit.
    """
    if not isinstance(fields, Mapping) or "peft_type" not in fields:
        raise RecipeError(
            f"adapter.config is {fields!r}",
            "it should be a PEFT type and its fields",
            "begin with `peft_type: LORA`",
        )
    known = _known_types()
    name = str(fields["peft_type"]).upper()
    if name not in known:
        raise RecipeError(
            f"adapter.config.peft_type is {name!r}", "PEFT has no such type", did_you_mean(name, known)
        )
    values = {field: value for field, value in fields.items() if field != "peft_type"}
    allowed = [field.name for field in dataclasses.fields(known[name]) if field.init]
    for field in values:
        if field not in allowed:
            raise RecipeError(
                f"adapter.config.{field} is not a field of {name}", todo=did_you_mean(field, allowed)
            )
    try:
        return known[name](**values)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"adapter.config of type {name} is refused by PEFT", str(error)) from None


def _known_types() -> dict[str, type[PeftConfig]]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}


def _is_changed(config: PeftConfig, field: dataclasses.Field[Any]) -> bool:
    if field.name in ("peft_type", "peft_version") or not field.init:
        return False
    default = field.default_factory() if callable(field.default_factory) else field.default
    return bool(getattr(config, field.name) != default)


def _plain(value: Any) -> Any:
    """Return a config's value as YAML can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value
