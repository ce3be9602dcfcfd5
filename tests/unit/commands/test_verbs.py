"""Each verb hands its words to the function of its name, prints the result, and writes it where asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import whisper_peft
from whisper_peft import compose
from whisper_peft.cli import main
from whisper_peft.commands.publishing import push_text
from whisper_peft.errors import RefusedExportError
from whisper_peft.export_types import ExportResult, Verification
from whisper_peft.recipe.parts import schedule

Called = Callable[..., SimpleNamespace]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    """Return what replaces a public function by one that gives a result, and remembers its call."""

    def replace(name: str, result: Any) -> SimpleNamespace:
        call = SimpleNamespace(args=(), kwargs={})

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            call.args, call.kwargs = args, kwargs
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setitem(vars(whisper_peft), name, stand_in)
        return call

    return replace


def result(text: str, **fields: Any) -> SimpleNamespace:
    """A result as most functions return one."""
    plain = {"said": text}
    return SimpleNamespace(
        text=lambda: text, sentence=lambda: text, folder="made", to_dict=lambda: plain, **fields
    )


def run(*words: str | Path, code: int = 0) -> None:
    """Run a command line that should end with an exit code."""
    ended = 0
    try:
        main(args=[str(word) for word in words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == code


ADAPTER_VERBS = {
    "describe_adapter": (["show", "runs/a"], ("runs/a",), {}),
    "combine_adapters": (
        ["combine", "a", "b", "--output-dir", "c", "--weights", "0.5", "1", "--how", "cat", "--base", "tiny"],
        (("a", "b"),),
        {"weights": (0.5, 1.0), "how": "cat", "model": {"name": "tiny"}, "output_dir": Path("c")},
    ),
    "average_checkpoints": (
        ["average", "runs/a", "--output-dir", "c", "--last", "2"],
        ("runs/a",),
        {"last": 2},
    ),
    "unmerge": (
        ["unmerge", "merged", "runs/a", "--output-dir", "c", "--scale", "0.7"],
        ("merged", "runs/a"),
        {"scale": 0.7, "base": None},
    ),
    "extract_adapter": (
        ["extract", "runs/full", "--output-dir", "c", "--r", "8", "--targets", "q_proj", "v_proj"],
        ("runs/full",),
        {"r": 8, "targets": ("q_proj", "v_proj")},
    ),
}


@pytest.mark.parametrize("function", ADAPTER_VERBS)
def test_adapters_are_handed_on_and_their_result_is_written(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path, function: str
) -> None:
    words, args, kwargs = ADAPTER_VERBS[function]
    call = called(function, result("fine"))
    run("adapters", *words, "--json", tmp_path / "found.json")
    assert call.args == args
    assert {name: call.kwargs[name] for name in kwargs} == kwargs
    assert capsys.readouterr().out.startswith("fine")
    assert json.loads((tmp_path / "found.json").read_text()) == {"said": "fine"}


def test_a_preset_of_targets_is_one_word(called: Called) -> None:
    call = called("extract_adapter", result("fine"))
    run("adapters", "extract", "runs/full", "--output-dir", "c", "--targets", "attention")
    assert call.kwargs["targets"] == "attention"


def test_a_scale_curve_is_drawn_where_it_is_asked_for(
    called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from whisper_peft.reporting.values import scale_curve_values

    drawn = []
    monkeypatch.setattr(scale_curve_values, "write_scale_plot", lambda curve, path: drawn.append(path))
    call = called("scale_curve", result("use 0.7"))
    speech = ["--retention.source", "LibriSpeech", "--eval.max-utterances", "9"]
    run("adapters", "scale-curve", "runs/a", "--scales", "0", "1", "--plot", tmp_path / "curve.png", *speech)
    assert call.kwargs["scales"] == (0.0, 1.0)
    assert call.kwargs["retention"] == {"source": "LibriSpeech"}
    assert call.kwargs["eval"] == {"max_utterances": 9}
    assert drawn == [tmp_path / "curve.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapters", "sum"], "adapters sum is not a command"),
        (["adapters", "scale-curve", "a", "--retention.eval", "test"], "--retention has no source"),
        (["health", "a", "--retention.eval", "test"], "--retention has no source"),
        (["augmentations"], "augmentations was given no recipe"),
        (["check"], "check was given no recipe"),
        (["serve", "a", "--adapter", "legal"], "it names no model and folder"),
        (["serve", "a", "--adapter", "x=1", "--adapter", "x=2"], "--adapter x is given twice"),
        (["serve", "a", "--api-key-file", "no/such"], "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_message(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    run(*words, code=2)
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_adapters_alone_lists_its_actions(capsys: pytest.CaptureFixture[str]) -> None:
    run("adapters")
    said = capsys.readouterr().out
    assert all(action in said for action in ("show", "scale-curve", "combine", "average", "unmerge"))


TABLE = SimpleNamespace(rows=(), model=None)


def exported(**fields: Any) -> ExportResult:
    return SimpleNamespace(table=(), remarks=("one remark",), exported=("exports/a",), **fields)  # type: ignore[return-value]


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of parity have tests of their own."""
    monkeypatch.setattr("whisper_peft.commands.exporting.parity_markdown", lambda table: "| format |")


@pytest.mark.usefixtures("no_table")
def test_export_takes_formats_and_says_what_was_made(
    called: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    call = called("export", exported())
    words = ["--format", "ggml", "onnx", "--quantize", "int8", "--clips", "3", "--data.eval", "test"]
    run("export", "runs/a", "--output-dir", "exports", *words)
    assert call.args == ("runs/a",)
    assert (call.kwargs["format"], call.kwargs["quantize"]) == (("ggml", "onnx"), ("int8",))
    assert call.kwargs["data"] == {"eval": "test"}
    assert capsys.readouterr().out.splitlines() == ["| format |", "one remark", "exports/a"]
    call.kwargs["on_exported"](SimpleNamespace(folder="exports/a"))
    assert capsys.readouterr().err == "made exports/a\n"


@pytest.mark.usefixtures("no_table")
def test_a_refused_export_shows_its_table_and_has_exit_code_2(
    called: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = RefusedExportError("one of two was refused", "it says something else", result=exported())
    called("export", refusal)
    run("export", "runs/a", "--output-dir", "exports", code=2)
    said = capsys.readouterr()
    assert "| format |" in said.out
    assert "one of two was refused" in said.err


def verification(*faults: str) -> Verification:
    return Verification(
        folder="exports/a",
        format="ggml",
        quantization="f16",
        against="runs/a",
        tensors=167,
        files=2,
        faults=faults,
    )


def test_verify_says_what_is_as_it_should_be(called: Called, capsys: pytest.CaptureFixture[str]) -> None:
    call = called("verify", [verification()])
    run("verify", "exports/a", "--against", "runs/a")
    assert (call.args, call.kwargs["against"]) == ((Path("exports/a"),), "runs/a")
    assert "167 tensors and 2 files are as they should be" in capsys.readouterr().out


def test_verify_names_every_fault_and_has_exit_code_2(
    called: Called, capsys: pytest.CaptureFixture[str]
) -> None:
    called("verify", [verification("a tensor differs"), verification()])
    run("verify", "exports", code=2)
    said = capsys.readouterr()
    assert "1 faults\n  a tensor differs" in said.out
    assert "1 of 2 exports are not what they should be" in said.err


def test_serve_takes_adapters_limits_and_a_key(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("secret\n")
    call = called("serve", None)
    words = ["--adapter", "a=runs/a", "--adapter=b=runs/b", "--max-upload-mib", "2", "--page", "no"]
    run("serve", "runs/base", *words, "--api-key-file", tmp_path / "key", "--model.language", "fr")
    assert call.kwargs["adapters"] == {"a": "runs/a", "b": "runs/b"}
    assert call.kwargs["limits"]["max_upload_bytes"] == 2 << 20
    assert (call.kwargs["api_key"], call.kwargs["page"]) == ("secret", False)
    assert call.kwargs["model"] == {"language": "fr"}
    call.kwargs["on_listening"]("http://127.0.0.1:8000", ("base", "a"))
    assert "base, a at http://127.0.0.1:8000/v1" in capsys.readouterr().err
    monkeypatch.setenv("WHISPER_PEFT_API_KEY", "from the environment")
    run("serve", "runs/base")
    assert (call.kwargs["api_key"], call.kwargs["page"]) == ("from the environment", None)


def test_an_empty_key_is_no_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" \n")
    run("serve", "runs/base", "--api-key-file", tmp_path / "key", code=2)
    assert "is empty" in capsys.readouterr().err


def test_label_says_what_to_train_on(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = result("", rows=40, hours=1.5, left_out={"too unsure": 3}, heard=30, found=10)
    call = called("label", made)
    words = ["--workers", "2", "--min-confidence", "0.5", "--json", tmp_path / "made.json"]
    run("label", "runs/a", "recordings", "--output-dir", "labelled", *words, "--model.language", "es")
    assert call.args == ("runs/a", "recordings")
    assert (call.kwargs["workers"], call.kwargs["min_confidence"]) == (2, 0.5)
    said = capsys.readouterr().out
    assert "40 to learn from, 1.5 h" in said
    assert "too unsure" in said
    assert "--data.source made --data.train all" in said
    assert (tmp_path / "made.json").is_file()
    call.kwargs["on_shard"](12)
    assert capsys.readouterr().err == "12 rows heard\n"


def pushed(commit_url: str | None) -> SimpleNamespace:
    file = SimpleNamespace(path="adapter_model.safetensors", size_bytes=1234, sha256="ab" * 32)
    return SimpleNamespace(
        what="adapter",
        repo="me/mine",
        private=True,
        files=(file,),
        card={"license": "apache-2.0"},
        notes=("no merged model",),
        commit_url=commit_url,
        to_dict=lambda: {"repo": "me/mine"},
    )


def test_push_shows_what_would_go_up(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call = called("push", pushed(None))
    run("push", "runs/a", "--repo", "me/mine", "--dry-run", "--private", "--json", tmp_path / "list.json")
    assert (call.kwargs["what"], call.kwargs["dry_run"], call.kwargs["private"]) == (None, True, True)
    said = capsys.readouterr().out
    assert "adapter would go to me/mine (private): 1 files, 1,234 bytes" in said
    assert "note: no merged model" in said
    assert json.loads((tmp_path / "list.json").read_text()) == {"repo": "me/mine"}
    assert push_text(pushed("https://hub/commit/1")).endswith("https://hub/commit/1")  # type: ignore[arg-type]


def test_health_prints_a_line_for_each_verdict(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whisper_peft.commands.health_verb.health_lines", lambda _: [("target", "better")])
    call = called("health", result(""))
    words = ["--retention.source", "LibriSpeech", "--eval.health", "full"]
    run("health", "runs/a", *words, "--json", tmp_path / "health.json")
    assert call.kwargs == {"retention": {"source": "LibriSpeech"}, "eval": {"health": "full"}}
    assert capsys.readouterr().out == "target        better\n"
    assert (tmp_path / "health.json").is_file()


def test_augmentations_tell_where_the_page_is(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call = called("show_augmentations", result("speed 0.9"))
    run("augmentations", "lora-librispeech", "--augment.speed.p", "1", "--output-dir", "heard")
    assert call.args == ("lora-librispeech",)
    assert call.kwargs["augment"] == {"speed": {"p": 1.0}}
    assert capsys.readouterr().out.endswith("heard/augmentations.html\n")
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    (run_folder / "recipe.yaml").write_text("name: mine\n")
    run("augmentations", run_folder)
    assert call.args == (str(run_folder),)


def test_check_has_exit_code_2_where_something_would_stop_the_run(
    called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("whisper_peft.commands.planning.plan_text", lambda plan: "it is too large")
    call = called("check", result("", fits=False))
    run("check", "demo", "--train.max-steps", "3", "--json", tmp_path / "plan.json", code=2)
    assert call.args[0].train.max_steps == 3
    called("check", result("", fits=True))
    run("check", "demo")


def test_benchmark_gives_each_side_its_own_fields(
    called: Called, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("whisper_peft.commands.comparing.benchmark_text", lambda made: "3 times as fast")
    call = called("benchmark", result(""))
    words = ["--ours", "model.precision=bf16", "--rounds", "1", "--train.epochs", "1"]
    run("benchmark", *words, "--json", tmp_path / "speed.json")
    assert call.kwargs["ours"] == {"model.precision": "bf16"}
    assert call.kwargs["train"] == {"epochs": 1.0}
    assert capsys.readouterr().out == "3 times as fast\n"
    assert (tmp_path / "speed.json").is_file()


@pytest.mark.parametrize(
    "words",
    [[], ["--help"], ["list", "--help"], ["show", "--help"], ["copy", "-h"], ["copy", "demo", "--help"]],
)
def test_recipes_helps_wherever_it_is_asked_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("recipes", *words)
    said = capsys.readouterr().out
    assert all(action in said for action in ("list", "show NAME", "copy NAME [FOLDER]"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "folder"), [([], Path()), (["--folder", "/mnt/runs"], Path("/mnt/runs"))])
def test_doctor_looks_at_the_disk_where_runs_would_be(called: Called, words: list[str], folder: Path) -> None:
    checks = (SimpleNamespace(name="disk", works=True, detail="200 GB free", todo=""),)
    call = called("doctor", SimpleNamespace(checks=checks))
    run("doctor", *words)
    assert call.kwargs == {"folder": folder}


def test_doctor_prints_and_writes_what_it_found(
    called: Called, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = SimpleNamespace(
        checks=(SimpleNamespace(name="nf4", works=False, detail="no kernel", todo="upgrade"),),
        to_dict=lambda: {"checks": []},
    )
    called("doctor", found)
    run("doctor", "--json", tmp_path / "doctor.json")
    assert capsys.readouterr().out == "no  nf4  no kernel\n         -> upgrade\n"
    assert json.loads((tmp_path / "doctor.json").read_text()) == {"checks": []}


@pytest.mark.parametrize(
    ("study", "function", "words", "expected"),
    [
        (
            "learning-curve",
            "learning_curve",
            ["--shares", "0.5", "1", "--seeds", "1", "2"],
            {"shares": (0.5, 1.0), "seeds": (1, 2)},
        ),
        ("search", "search", ["--trials", "4", "--vary", "rank"], {"trials": 4, "vary": ("rank",)}),
    ],
)
def test_a_study_is_given_its_recipe_and_its_own_words(
    called: Called,
    capsys: pytest.CaptureFixture[str],
    study: Any,
    function: str,
    words: list[str],
    expected: dict[str, Any],
) -> None:
    call = called(function, result("a table"))
    main(compose(schedule(epochs=1), name="mine"), [*words, "--train.seed", "3"], study=study)
    assert (call.args[0].name, call.args[0].train.seed) == ("mine", 3)
    assert call.kwargs == expected
    assert capsys.readouterr().out.startswith("a table")
