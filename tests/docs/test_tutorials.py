"""The tutorials work as they stand: each is run in a folder of its own that has the repository's speech."""

import pytest

from tests.docs.pages import ROOT, in_place, run_page, steps_of
from tests.docs.small_speech import shortest, write_table

DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
RUN = [page for page in TUTORIALS if page.stem != "index"]
SHORT = [DOCS / "reference" / "errors.md", DOCS / "how-to" / "work-offline.md"]
"""Other pages that show what is printed."""

DATA = "--data.source prompts.csv --data.train train --data.eval test"
TINY = (
    "--train.max-steps 2 --train.workers 0 --eval.max-utterances 1 --eval.no-short-context --eval.health off"
)
IN_SMALL = {
    "qlora-on-a-colab-t4": {
        "openai/whisper-small": "openai/whisper-base",
        "check qlora-librispeech": f"check qlora-librispeech {DATA}",
        "finetune qlora-librispeech": f"finetune qlora-librispeech {DATA} {TINY} --merge.clips 1",
        "openslr/librispeech_asr --data.eval validation.clean": "prompts.csv --data.eval test",
        "--eval.max-utterances 200": "--eval.max-utterances 1",
        "200 utterances": "1 utterance",
        "/content/drive/MyDrive/": "",
    }
}
"""Pages of larger machines: what they say, in commands and in what is printed, and what is run here."""


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_shows_commands_that_are_run(page):
    assert bool(list(steps_of(page.read_text(encoding="utf-8")))) == (page in RUN)


@pytest.mark.parametrize("page", [*RUN, *SHORT], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page, tmp_path, monkeypatch, prompts_en):
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    write_table(tmp_path / "prompts.csv", shortest(prompts_en))
    monkeypatch.chdir(tmp_path)
    run_page(in_place(page.read_text(encoding="utf-8"), IN_SMALL.get(page.stem, {})))
