"""Every command that a page shows exists: its verb, its recipe, each of its flags, its model's language."""

import itertools
import re
import shlex
import tomllib
from functools import cache

import pytest

from generated_reference.command_line import help_of
from tests.docs.pages import PAGES, ROOT
from whisper_peft.commands import VERBS
from whisper_peft.commands.adapter_verbs import ACTIONS
from whisper_peft.recipe.catalog import named_recipe, recipe_names

BLOCK = re.compile(r"^ *```(?:console|bash|text)?\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ *(?:[$!] ?)?(?:[A-Z_]+=\S+ )?(whisper-peft [a-z].*)$", flags=re.MULTILINE)
SCRIPT = re.compile(r"^ *(?:accelerate launch|torchrun|python) .*?recipes/(\w+)\.py(.*)$", flags=re.MULTILINE)


def commands(page):
    """Yield the words of each command in a page's blocks."""
    for body in BLOCK.findall(page):
        joined = re.sub(r"\\\n\s*", "", body)
        for line in COMMAND.findall(joined):
            yield shlex.split(line, comments=True)[1:]
        for name, rest in SCRIPT.findall(joined):
            if "..." not in rest:
                yield ["finetune", name.replace("_", "-"), *shlex.split(rest, comments=True)]


@cache
def flags(verb, action=""):
    """Return the flags that a verb has by its own help."""
    run = ACTIONS[action] if action else VERBS[verb]
    return set(re.findall(r"--[\w.-]+", help_of(run)))


@cache
def offered():
    """Return the recipes that the example of a plug-in offers."""
    example = ROOT / "docs" / "how-to" / "plug-in-example" / "pyproject.toml"
    groups = tomllib.loads(example.read_text(encoding="utf-8"))["project"]["entry-points"]
    return set(groups["whisper_peft.recipes"])


TOLD = ("finetune", "check", "benchmark", "evaluate", "transcribe", "label")
"""Verbs whose model is told the language; a server detects it, and `inspect` asks the tokenizer alone."""

ROWS_WITH_LANGUAGE = ("tests/data/prompts/",)
"""How sources begin whose rows name their language."""


def given(flag, words):
    """Return what is typed behind a flag, or nothing."""
    return next((after for word, after in itertools.pairwise(words) if word == flag), None)


def model_and_language(words):
    """Return what a command names: its model, in words of its own or of its recipe, and the language."""
    first = words[0] if words else ""
    own = named_recipe(first).model if first in recipe_names() else None
    by_name = first if first.startswith("openai/whisper-") else own and own.name
    return (
        given("--model.name", words) or by_name,
        given("--model.language", words) or (own and own.language),
    )


def unspoken(verb, words):
    """Yield a language that a command's model does not know, or a multilingual model that is told none."""
    model, language = model_and_language(words)
    if verb not in TOLD or not str(model).startswith("openai/whisper-"):
        return
    if model.endswith(".en") and language not in (None, "en"):
        yield f"{language} for {model}"
    rows_say = (given("--data.source", words) or "").startswith(ROWS_WITH_LANGUAGE)
    if not (model.endswith(".en") or language or rows_say):
        yield f"no language for {model}"


def faults(page):
    """Yield what is wrong with the commands of a page as they stand."""
    for verb, *words in commands(page):
        if verb not in VERBS:
            yield verb
            continue
        action = words[0] if verb == "adapters" else ""
        typed = {word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
        yield from typed - {flag.replace("_", "-") for flag in flags(verb, action)}
        if verb in ("finetune", "check") and re.fullmatch(r"[a-z-]+", words[0]):
            yield from {words[0]} - {*recipe_names(), *offered()}
        yield from unspoken(verb, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page):
    assert not list(faults(page.read_text(encoding="utf-8")))


def test_a_command_is_found_wherever_it_stands():
    page = "1. so:\n\n   ```\n   whisper-peft merge RUN \\\n       --scale 0.7\n   ```\n"
    page += "```bash\n!whisper-peft doctor\n```\n"
    assert list(commands(page)) == [["merge", "RUN", "--scale", "0.7"], ["doctor"]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("whisper-peft merg RUN", "merg"),
        ("whisper-peft merge RUN --scael 0.7", "--scael"),
        ("whisper-peft finetune lora-libri --train.max-steps 2", "lora-libri"),
        ("whisper-peft adapters average RUN --first 3", "--first"),
        ("torchrun --nproc_per_node 2 recipes/lora_librispeech.py --train.max-step 2", "--train.max-step"),
        (
            "whisper-peft check lora-librispeech --model.name openai/whisper-small",
            "no language for openai/whisper-small",
        ),
        (
            "whisper-peft evaluate openai/whisper-base --data.source my.csv",
            "no language for openai/whisper-base",
        ),
        ("whisper-peft finetune qlora-librispeech --model.language es", "es for openai/whisper-tiny.en"),
    ],
)
def test_a_command_that_does_not_exist_is_named(line, fault):
    assert list(faults(f"```bash\n{line}\n```\n")) == [fault]
