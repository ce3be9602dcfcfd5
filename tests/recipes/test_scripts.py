"""Every shipped recipe runs two steps and prints before and after."""

import pytest

STEPS = ("--train.max-steps", "2", "--train.batch-size", "2", "--train.workers", "0")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("lora_librispeech", ()),
        ("qlora_librispeech", ("--model.quantize", "int8")),
        ("qlora_librispeech", ("--model.quantize", "nf4")),
        ("full_librispeech", ("--train.learning-rate", "1e-5")),
    ],
)
def test_a_recipe_prints_before_and_after(launch, script, words):
    done = launch(script, "run", *STEPS, *words)
    assert "WER before:" in done.stdout
    assert "WER after:" in done.stdout
    assert done.stdout.rstrip().endswith(str(launch.folder / "run"))
    assert "kernels-community" not in done.stdout + done.stderr
    report = launch.report("run")
    assert report["train"]["steps"] == 2
    if script == "qlora_librispeech":
        assert report["merge"]["quantized_max_logit_difference"] > 0


def test_the_accented_recipe_tells_what_it_gained_and_what_it_kept(launch):
    done = launch("accented", "run", *STEPS, "--data.mix", f"{launch.manifest}=50%", "name=kept")
    assert "WER after:" in done.stdout
    assert "other speech  kept (50.0 % of an epoch)" in done.stdout
    assert launch.report("run")["evaluation"]["source_difference_intervals"]["kept"]
