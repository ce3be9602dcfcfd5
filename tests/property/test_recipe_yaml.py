import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.recipe.sections import (
    AdapterSection,
    AugmentSection,
    DataSection,
    EvalSection,
    ModelSection,
    Noise,
    Recipe,
    Speed,
    TrainSection,
)
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe

paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(Path)
small = st.floats(min_value=1e-12, max_value=1.0)

recipes = st.builds(
    Recipe,
    name=st.text(min_size=1),
    model=st.builds(
        ModelSection,
        name=st.text(min_size=1),
        language=st.none() | st.text(min_size=1),
        quantize=st.sampled_from(["none", "int8", "nf4"]),
    ),
    data=st.builds(
        DataSection, source=st.text(min_size=1), train=st.text(min_size=1), max_duration_s=st.floats(0.5, 30)
    ),
    augment=st.builds(
        AugmentSection,
        noise=st.builds(
            Noise, p=small, source=st.none() | paths, snr_db=st.tuples(st.floats(-50, 50), st.floats(-50, 50))
        ),
        speed=st.builds(Speed, factors=st.lists(st.floats(0.1, 10)).map(tuple)),
    ),
    adapter=st.builds(
        AdapterSection,
        r=st.integers(1, 4096),
        targets=st.text(min_size=1) | st.lists(st.text(min_size=1)).map(tuple),
    ),
    train=st.builds(
        TrainSection,
        max_steps=st.none() | st.integers(1, 10**12),
        learning_rate=small,
        tensorboard=st.booleans(),
        seed=st.integers(),
    ),
    eval=st.builds(EvalSection, steps=st.none() | st.integers(1, 10**6)),
    output_dir=st.none() | paths,
)


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_any_recipe_reads_back_equal(recipe):
    with tempfile.TemporaryDirectory() as folder:
        write_recipe(recipe, Path(folder) / "recipe.yaml")
        assert read_recipe(Path(folder) / "recipe.yaml") == recipe
