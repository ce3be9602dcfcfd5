"""Command-line flags made from a recipe's own fields: `train.max_steps` is `--train.max-steps`.

tyro writes the help and reads the words into the fields' types. Only the fields that somebody typed become
overrides, and the recipe's own validation judges their values: a flag, a line of YAML and a Python call give
the same message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_args, get_type_hints

import tyro
from pydantic.fields import FieldInfo
from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from whisper_peft.errors import RecipeError
from whisper_peft.recipe.overrides import item_section, subsection, suggest_field
from whisper_peft.recipe.plug_ins import qualified_name
from whisper_peft.recipe.sections import Recipe, Section

RecipeFlags = Annotated[Recipe, arg(name="")]
"""A recipe whose fields are flags of the command itself."""

_REGISTRY = ConstructorRegistry()


class Command(Protocol):
    """A frozen data class whose fields are the arguments of a verb; `fields` may hold a section."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


CommandT = TypeVar("CommandT", bound=Command)


def parse_command(default: CommandT, args: Sequence[str], *, prog: str) -> tuple[CommandT, dict[str, Any]]:
    """Return the command with the words read into it, and the recipe fields that were typed.

    What is read into `fields` is not validated yet: the overrides are for `apply_overrides`.

    Args:
        default: The command with what its arguments are when nobody types them.
        args: The words of the command line, after the verb.
        prog: The command, for the help.

    Raises:
        RecipeError: If a flag is unknown, or a word is empty that should name something.
        SystemExit: With 0 after `--help`, with 2 after a word that is missing or of the wrong type.
    """
    known = dict(_flags(default))
    typed = [_known_flag(word, known, prog) for word in args if word.startswith("--") and word != "--help"]
    _refuse_empty(args, prog)
    command = tyro.cli(type(default), default=default, args=args, prog=prog, registry=_REGISTRY)
    overrides: dict[str, Any] = {}
    for flag in typed:
        value: Any = command
        for name in known[flag]:
            value = getattr(value, name)
        if known[flag][0] == "fields":
            overrides[".".join(known[flag][1:])] = value
    return command, overrides


def _flags(command: Command) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every flag of a command and the attributes that lead to its value."""
    hints = get_type_hints(type(command), include_extras=True)
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if isinstance(value, Section):
            yield from _section_flags(type(value), (field.name,))
        elif Positional not in get_args(hints[field.name]):
            yield from _spellings((field.name,), isinstance(value, bool), (field.name,))


def _section_flags(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in section.model_fields.items():
        inner = subsection(section, name)
        if inner is not None:
            yield from _section_flags(inner, (*path, name))
        elif _can_be_typed(field):
            yield from _spellings((*path[1:], name), field.annotation is bool, (*path, name))


def _spellings(
    names: tuple[str, ...], is_switch: bool, path: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    *sections, name = [part.replace("_", "-") for part in names]
    yield "--" + ".".join([*sections, name]), path
    if is_switch:
        yield "--" + ".".join([*sections, f"no-{name}"]), path


def _known_flag(word: str, known: dict[str, tuple[str, ...]], prog: str) -> str:
    flag = word.partition("=")[0].replace("_", "-")
    if flag not in known:
        raise RecipeError(f"{flag} is not a flag of {prog}", todo=suggest_field(flag, list(known)))
    return flag


def _refuse_empty(args: Sequence[str], prog: str) -> None:
    """Refuse an empty word, such as an unset shell variable leaves: as a path it is the current folder."""
    for before, word in zip(["", *args], args, strict=False):
        flag, _, value = word.partition("=") if word.startswith("--") and "=" in word else (before, "", word)
        if value or flag == "--prompt":
            continue
        name = flag.replace("_", "-") if flag.startswith("--") else f"an argument of {prog}"
        raise RecipeError(f"{name} is empty", "it names nothing", "give a value (. is the current folder)")


def _can_be_typed(field: FieldInfo) -> bool:
    """Tell whether words can say the value: an object of any type can only be given in Python or YAML."""
    return not (field.annotation is Any and field.default is None)


@_REGISTRY.struct_rule
def _section_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Tell tyro how to read a section: its fields, without validation."""
    section = info.type
    if not (isinstance(section, type) and issubclass(section, Section)):
        return None
    fields = [
        StructFieldSpec(
            name,
            *_type_and_default(section, name, getattr(info.default, name)),
            section.model_fields[name].description,
        )
        for name in section.model_fields
        if _can_be_typed(section.model_fields[name])
    ]
    return StructConstructorSpec(_unvalidated(section), tuple(fields))


def _unvalidated(section: type[Section]) -> Callable[..., Section]:
    """Return the section's constructor without validation, with the section's docstring for the help."""

    def construct(**values: Any) -> Section:
        return section.model_construct(**values)

    construct.__doc__ = section.__doc__
    return construct


def _type_and_default(section: type[Section], name: str, value: Any) -> tuple[Any, Any]:
    """Return the type and the default of a flag; a value of any type is typed as its name."""
    field = section.model_fields[name]
    if item_section(section, name) is not None:
        return tuple[str, ...], tuple(str(item.source) for item in value)
    if field.annotation is Any:
        return str, value if isinstance(value, str) else type(value).__name__
    if field.annotation == tuple[Any, ...]:
        return tuple[str, ...], tuple(
            item if isinstance(item, str) else qualified_name(item) for item in value
        )
    return field.annotation, value
