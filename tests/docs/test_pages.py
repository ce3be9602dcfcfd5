"""The runner of pages: what it runs, what it compares, and that a broken snippet fails."""

import textwrap

import pytest

from tests.docs.pages import compare, run_page, shape, steps_of


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def page(text):
    return textwrap.dedent(text)


RUNS = page(
    """
    ```console
    $ printf 'one\\ntwo\\nthree\\n' > words.txt
    $ cat words.txt \\
        | head -2
    one
    two
    $ whisper-peft --version
    whisper-peft ...
    ```

    ```python
    from pathlib import Path

    count = len(Path("words.txt").read_text().split())
    ```

    ```python
    print(count, "words in 1.25 s")
    ```

    ```text
    3 words in 9.75 s
    ```

    ```bash
    exit 1
    ```
    """
)


def test_a_page_runs_from_top_to_bottom_in_one_folder():
    run_page(RUNS)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("one\n    two", "one\n    too"),
        ("    two\n    $ whisper", "    $ whisper"),
        ("whisper-peft --version", "whisper-peft --versoin"),
        ("head -2", "head --no-such-flag"),
        ("count, ", "cuont, "),
        ("3 words in 9.75 s", "4 words in 9.75 s"),
        ("3 words in 9.75 s", "3 words in 9.75 MB"),
        ("words in 9.75 s", "words"),
    ],
)
def test_a_broken_snippet_fails(good, bad):
    good, bad = good.replace("\n    ", "\n"), bad.replace("\n    ", "\n")
    good, bad = good.removeprefix("    "), bad.removeprefix("    ")
    broken = RUNS.replace(good, bad, 1)
    assert broken != RUNS
    with pytest.raises(AssertionError):
        run_page(broken)


def test_an_error_that_is_shown_may_happen_and_one_that_is_not_may_not():
    shown = "```console\n$ whisper-peft fintune\nerror: fintune is not a verb of whisper-peft...\n```\n"
    run_page(shown)
    with pytest.raises(AssertionError):
        run_page("```console\n$ whisper-peft fintune\n```\n")


def test_a_here_document_is_one_command():
    (step,) = steps_of("```console\n$ cat > a.csv <<'EOF'\npath,text\n$ 5\nEOF\n```\n")
    assert step.code == "cat > a.csv <<'EOF'\npath,text\n$ 5\nEOF"
    assert step.shown == ""


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("WER 12.09 % in 1 min 05 s", "WER 9.1 % in 59.2 s"),
        ("peak 998 MiB, lr 3e-4", "peak 1.02 GiB, lr 0.0002"),
        ("change -11.72 points", "change +3.40 points"),
        ("a    b ", "a b"),
    ],
)
def test_figures_of_a_machine_are_compared_by_shape(line, other):
    assert shape(line) == shape(other)


@pytest.mark.parametrize(
    ("line", "other"),
    [("49 utterances", "48 utterances"), ("whisper-base", "whisper-tiny"), ("1 s", "1 MiB")],
)
def test_counts_names_and_units_are_compared_as_they_are(line, other):
    assert shape(line) != shape(other)


def test_dots_stand_for_any_lines_and_for_the_rest_of_one():
    (step,) = steps_of("```console\n$ run\n...\nwrote a...\n...\nend\n```\n")
    compare(step, "start\nmore\nwrote a.txt\nend\n")
    compare(step, "wrote all\nbetween\nend\n")
    with pytest.raises(AssertionError):
        compare(step, "start\nwrote a.txt\nend\nafter\n")
