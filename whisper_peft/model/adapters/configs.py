"""From the recipe's fields to the `peft.PeftConfig` of an adapter."""

from __future__ import annotations

import copy
from collections.abc import Callable

from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftConfig, VeraConfig
from transformers import WhisperForConditionalGeneration

from whisper_peft.errors import AdapterError
from whisper_peft.model.adapters.folders import is_adapter_folder, read_adapter_config
from whisper_peft.model.adapters.targets import target_modules
from whisper_peft.recipe.sections import AdapterSection

Modules = list[str] | str
"""Names of modules, or a regular expression over their full names, as `peft` takes them."""

ADALORA_EXCESS = 1.5
"""AdaLoRA starts with so many times the rank that it ends with (Zhang et al., 2023, section 4)."""

FEED_FORWARD = r".*\.fc2"
"""Where IA3 scales what goes in instead of what comes out (Liu et al., 2022, section 3.3)."""


def adapter_config(core: WhisperForConditionalGeneration, section: AdapterSection) -> PeftConfig:
    """Return the adapter's config: of the folder to go on from, the one given, or made from the fields.

    Args:
        core: The model that it is for; its weights are not read.
        section: What is wanted.

    Raises:
        AdapterError: If the section does not fit the model, or has fields that its method does not know.
    """
    if section.init is not None:
        return _config_to_go_on(section)
    if section.config is not None:
        return _given_config(core, section)
    _refuse_idle_fields(section)
    return CONFIGS[section.method](section, target_modules(section.targets, core))


def _lora(section: AdapterSection, modules: Modules) -> PeftConfig:
    return LoraConfig(
        r=section.r,
        lora_alpha=section.lora_alpha,  # type: ignore[arg-type]  # PEFT only multiplies by it
        lora_dropout=section.lora_dropout,
        target_modules=modules,
        use_rslora=section.use_rslora,
        use_dora=section.use_dora,
        init_lora_weights="pissa" if section.init_lora_weights == "pissa" else True,
    )


def _adalora(section: AdapterSection, modules: Modules) -> PeftConfig:
    return AdaLoraConfig(
        init_r=round(ADALORA_EXCESS * section.r),
        target_r=section.r,
        lora_alpha=section.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=section.lora_dropout,
        target_modules=modules,
        total_step=1,  # the run knows, and says so when it begins
    )


def _ia3(section: AdapterSection, modules: Modules) -> PeftConfig:
    return IA3Config(target_modules=modules, feedforward_modules=FEED_FORWARD)


def _vera(section: AdapterSection, modules: Modules) -> PeftConfig:
    return VeraConfig(r=section.r, vera_dropout=section.lora_dropout, target_modules=modules)


CONFIGS: dict[str, Callable[[AdapterSection, Modules], PeftConfig]] = {
    "lora": _lora,
    "adalora": _adalora,
    "ia3": _ia3,
    "vera": _vera,
}
"""By method; `full` has none."""

UNKNOWN_TO: dict[str, tuple[str, ...]] = {
    "adalora": ("use_rslora", "use_dora", "init_lora_weights"),
    "ia3": ("use_rslora", "use_dora", "init_lora_weights"),
    "vera": ("use_rslora", "use_dora", "init_lora_weights"),
}
"""What is asked of LoRA alone. A rank or scale that a named recipe brings along is no mistake."""


def _refuse_idle_fields(section: AdapterSection) -> None:
    default = AdapterSection()
    for field in UNKNOWN_TO.get(section.method, ()):
        if (value := getattr(section, field)) != getattr(default, field):
            raise AdapterError(
                f"adapter.{field} is {value} and adapter.method is {section.method}",
                "only lora has it",
                f"use --adapter.method lora, or leave {field} out",
            )


def _config_to_go_on(section: AdapterSection) -> PeftConfig:
    if section.init is None or not is_adapter_folder(section.init):
        raise AdapterError(
            f"adapter.init is {section.init}",
            "the folder has no adapter_config.json",
            "give the adapter/ folder of a run",
        )
    config = read_adapter_config(section.init)
    config.inference_mode = False
    return config


def _given_config(core: WhisperForConditionalGeneration, section: AdapterSection) -> PeftConfig:
    if not isinstance(section.config, PeftConfig):
        raise AdapterError(
            f"adapter.config is a {type(section.config).__name__}",
            "an adapter is described by a peft.PeftConfig",
            "give one, such as peft.LoraConfig(r=8)",
        )
    config = copy.deepcopy(section.config)
    if config.is_prompt_learning:
        raise AdapterError(
            f"adapter.config is a {type(config).__name__}",
            "it prepends learned text embeddings, and Whisper's input is sound",
            "use one that adapts weights, such as peft.LoraConfig, AdaLoraConfig or IA3Config",
        )
    if isinstance(config, LoraConfig):
        _refuse_unfit_start(config)
    config.task_type = None
    if getattr(config, "target_modules", None) is None:
        config.target_modules = target_modules(section.targets, core)  # type: ignore[attr-defined]
    return config


def _refuse_unfit_start(config: LoraConfig) -> None:
    """Refuse starts that PEFT leaves to its caller, or that could not be found again when it is loaded."""
    start = str(config.init_lora_weights)
    if start in ("eva", "loftq"):
        raise AdapterError(
            f"adapter.config has init_lora_weights={start!r}",
            "PEFT leaves that start to its caller",
            f"leave it out and use --adapter.init-lora-weights {start}",
        )
    if start.startswith("pissa_niter"):
        raise AdapterError(
            f"adapter.config has init_lora_weights={start!r}",
            "it draws at random what it takes out of the base, and would draw otherwise when it is loaded",
            "use init_lora_weights='pissa'",
        )
