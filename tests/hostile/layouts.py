"""Folders with tables or texts beside their recordings, in which something waits that is no table or text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.corpora import Corpus
from tests.hostile.speech import flac, prompts


def layouts() -> tuple[Corpus, ...]:
    """Return all of them."""
    groups = (_kaldi, _beside, _tables)
    return tuple(corpus for group in groups for corpus in group())


def _texts() -> tuple[str, str]:
    return prompts()[1][0], prompts()[2][0]


def _write_recordings(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number in (1, 2):
        (folder / f"good-{number}.flac").write_bytes(flac(number))


def _kaldi() -> Iterator[Corpus]:
    def data(scp: str = "", text: bytes = b"", segments: str = "") -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            _write_recordings(folder)
            (folder / "wav.scp").write_text(f"good-1 good-1.flac\ngood-2 good-2.flac\n{scp}", "utf-8")
            lines = "".join(f"good-{number} {said}\n" for number, said in enumerate(_texts(), 1))
            (folder / "text").write_bytes(lines.encode() + text)
            if segments:
                whole = "good-1 good-1 0 -1\ngood-2 good-2 0 -1\n"
                (folder / "segments").write_text(whole + segments, "utf-8")
            return folder

        return build

    command = data("bad touch /tmp/hostile-was-run; cat good-1.flac |\n", b"bad WORDS\n")
    yield Corpus("kaldi-command", "a wav.scp with a command, which is not run", command, skipped={"pipe": 1})
    outside = data("bad ../../../etc/passwd\n", b"bad WORDS\n")
    yield Corpus("kaldi-outside", "a wav.scp with a path out of it", outside, skipped={"path-outside": 1})
    absent = data("", b"nobody WORDS\n")
    yield Corpus("kaldi-no-recording", "a text without a recording", absent, skipped={"missing": 1})
    bad = "a good-1 2 1\nb good-1 nan 1\nc good-1 0 9999\nd good-1\ne good-1 0 x\nf nobody 0 1\n"
    words = b"".join(b"%c WORDS\n" % letter for letter in b"abcdef")
    counted = {"bad-times": 4, "malformed-row": 1, "missing": 1}
    yield Corpus("kaldi-times", "segments with times that are none", data("", words, bad), skipped=counted)
    latin = data("bad good-1.flac\n", b"bad \xe9t\xe9\n")
    yield Corpus("kaldi-latin-1", "a text in latin-1", latin, kept=(), refused="no UTF-8")


def _beside() -> Iterator[Corpus]:
    def beside(name: str, content: bytes | None) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            _write_recordings(folder)
            for number, said in enumerate(_texts(), 1):
                (folder / f"good-{number}.txt").write_text(said, "utf-8")
            (folder / "odd.flac").write_bytes(flac())
            if content is None:
                os.mkfifo(folder / name)
            else:
                (folder / name).write_bytes(content)
            return folder

        return build

    pipe = beside("odd.txt", None)
    yield Corpus("text-fifo", "a text that is a named pipe", pipe, skipped={"empty-text": 1})
    latin = beside("odd.txt", "été".encode("latin-1"))
    yield Corpus("text-latin-1", "a text in latin-1", latin, skipped={"not-utf8": 1})
    nothing = beside("odd.txt", b"")
    yield Corpus("text-0-bytes", "a text of 0 bytes", nothing, skipped={"empty-text": 1})


def _tables() -> Iterator[Corpus]:
    def ljspeech(more: str) -> Callable[[Path], Path]:
        def build(folder: Path) -> Path:
            _write_recordings(folder / "wavs")
            lines = "".join(f"good-{number}|{said}\n" for number, said in enumerate(_texts(), 1))
            (folder / "metadata.csv").write_text(lines + more, "utf-8")
            return folder

        return build

    ragged = ljspeech("good-1\ngood-1|a|b|c\n|words\n")
    yield Corpus("ljspeech-ragged", "LJSpeech rows of 1 and 4 cells", ragged, skipped={"malformed-row": 3})
    outside = ljspeech("../../etc/passwd|words\n")
    yield Corpus("ljspeech-outside", "an LJSpeech id out of its folder", outside, skipped={"path-outside": 1})

    def common_voice(folder: Path) -> Path:
        _write_recordings(folder / "clips")
        rows = [f"me\tgood-{number}.flac\t{said}" for number, said in enumerate(_texts(), 1)]
        bad = ["me\tgood-1.flac", "me\t../../etc/passwd\twords", "me\tno.mp3\twords", "me\tgood-1.flac\t"]
        (folder / "train.tsv").write_text("\n".join(["client_id\tpath\tsentence", *rows, *bad]), "utf-8")
        return folder

    counted = {"malformed-row": 1, "path-outside": 1, "missing": 1, "empty-text": 1}
    yield Corpus("common-voice", "a Common Voice table with bad rows", common_voice, skipped=counted)
