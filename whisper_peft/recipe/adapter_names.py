"""What a method is called where it is read: in tables, reports and cards."""

from __future__ import annotations

from whisper_peft.recipe.sections import AdapterSection

METHODS = {"lora": "LoRA", "adalora": "AdaLoRA", "ia3": "IA3", "vera": "VeRA", "full": "full fine-tuning"}
STARTS = {"pissa": "PiSSA", "eva": "EVA", "loftq": "LoftQ"}


def adapter_name(section: AdapterSection) -> str:
    """Return the name under which a method was published.

    Example:
        >>> adapter_name(AdapterSection()), adapter_name(AdapterSection(use_dora=True))
        ('LoRA', 'DoRA')
        >>> adapter_name(AdapterSection(init_lora_weights="eva", use_rslora=True))
        'rsLoRA, EVA'
    """
    if section.config is not None:
        kind = type(section.config).__name__.removesuffix("Config")
        return METHODS.get(kind.lower(), kind)
    if section.method != "lora":
        return METHODS[section.method]
    kinds = {"rsLoRA": section.use_rslora, "DoRA": section.use_dora}
    start = STARTS.get(section.init_lora_weights)
    parts = [*(name for name, is_so in kinds.items() if is_so), *([start] if start else [])]
    return ", ".join(parts) or "LoRA"
