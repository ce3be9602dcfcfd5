"""Names that stand for objects: found where they are named, and told where they are not."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from whisper_peft.errors import RecipeError
from whisper_peft.recipe import plug_ins
from whisper_peft.recipe.catalog import resolve_recipe
from whisper_peft.recipe.plug_ins import find_plug_in, load_plug_in, offering_package, qualified_name
from whisper_peft.recipe.sections import Recipe


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages: one whose effect and tracker are there, one whose effect is gone."""
    entries = EntryPoints(
        [
            EntryPoint("halves", "operator:neg", "whisper_peft.augmentations"),
            EntryPoint("gone", "no_such_package:effect", "whisper_peft.augmentations"),
            EntryPoint("a-number", "math:pi", "whisper_peft.trackers"),
            EntryPoint("prints", "builtins:print", "whisper_peft.trackers"),
        ]
    )
    monkeypatch.setattr(plug_ins, "entry_points", lambda **wanted: entries.select(**wanted))


def test_names_of_installed_packages_become_their_objects() -> None:
    recipe = resolve_recipe(
        Recipe(), {"augment.custom": ("halves", "math:floor"), "train.trackers": ("prints",)}
    )
    assert [effect(1.5) for effect in recipe.augment.custom] == [-1.5, 1]
    assert recipe.train.trackers == (print,)


@pytest.mark.parametrize(
    ("named", "group", "sentence"),
    [
        (
            "halvs",
            "augmentations",
            r"augment.custom is 'halvs' - it is no module:name.*did you mean halves\?",
        ),
        ("gone", "augmentations", "gone of no_such_package:effect cannot be imported"),
        ("a-number", "trackers", "augment.custom holds 'a-number', a float - it cannot be called"),
        (3, "trackers", "augment.custom holds 3, a int"),
        ("math:no_such", "trackers", "which cannot be imported"),
    ],
)
def test_what_a_name_does_not_stand_for_is_told(named: Any, group: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        find_plug_in(named, group, field="augment.custom")


def test_a_name_of_another_group_is_unknown() -> None:
    with pytest.raises(RecipeError, match="there is no 'prints' in sources - Known: none"):
        load_plug_in("sources", "prints")


def test_a_package_is_named_without_being_imported() -> None:
    assert offering_package("augmentations", "gone") == "no_such_package"


def test_what_has_no_name_of_its_own_is_named_by_its_type() -> None:
    class Effect:
        def __call__(self) -> None: ...

    assert qualified_name(Effect()).endswith("Effect()")
