"""What `inspect` found, in sentences and aligned lines; the page says the same words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from whisper_peft.data.survey.findings import ACTIONS, UNREADABLE, Inspection, Leak, Suspect
from whisper_peft.data.survey.sketches import Distribution
from whisper_peft.reporting.figures import count, percent, reasons, share, short, utterances

MOST_SHOWN = 8
"""Rows that the terminal shows; the CSV has them all."""

TEXT_WIDTH = 60


def inspection_text(inspection: Inspection) -> str:
    """Return what was found as aligned lines, then what to drop and what to check, each with the reason.

    Each source of a mixture has lines of its own.
    """
    lines = [line for source in inspection.all_sources for line in (*_source_lines(source), "")]
    notes = [f"note: {note}" for note in inspection.notes]
    lines += [*notes, ""] if notes else []
    lines.append(verdict(inspection))
    lines += [
        f"  {action:<6}{rows:>7}  {name}: {why}" for name, rows, action, why in concern_rows(inspection)
    ]
    suspects = all_suspects(inspection)
    lines += [_suspect_line(one) for one in suspects[:MOST_SHOWN]]
    if len(suspects) > MOST_SHOWN:
        lines.append(f"  and {count(len(suspects) - MOST_SHOWN)} more (--output-dir lists them)")
    return "\n".join(lines)


def _source_lines(source: Inspection) -> Iterator[str]:
    yield source.what if source.name is None else f"{source.name}, mixed in: {source.what}"
    if source.command is not None:
        yield f"to learn from it: {source.command}"
    told = [*facts(source), *(("leakage", leak_sentence(leak)) for leak in source.leaks)]
    width = max(len(label) for label, _ in told) + 2
    yield from (f"{label:<{width}}{text}" for label, text in told)


def all_suspects(inspection: Inspection) -> list[Suspect]:
    """Return the rows of all sources that stand out, the gravest first."""
    gravity = {name: place for place, name in enumerate(ACTIONS)}
    found = (one for source in inspection.all_sources for one in source.suspects)
    return sorted(found, key=lambda one: min(gravity.get(reason.name, -1) for reason in one.reasons))


def facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    """Yield what the corpus is, a label and a text each."""
    yield "speech", f"{short(inspection.hours)} h in {utterances(inspection.utterances)}"
    for split in inspection.splits:
        speakers = "speakers not named" if split.speakers is None else f"{count(split.speakers)} speakers"
        languages = f", {', '.join(split.languages)}" if split.languages else ""
        used = f"{count(split.usable)} of {count(split.rows)} rows, {short(split.hours)} h, {speakers}"
        yield f"  {split.name}", used + languages
    audio, text = inspection.audio, inspection.text
    yield "durations", spread(audio.durations_s, "s")
    yield "recordings", "; ".join((*_counted(audio.formats), *_rates(audio.sampling_rates)))
    yield "channels", ", ".join(_counted(audio.channels))
    yield "text", text.style
    yield "rows with", f"punctuation {share(text.punctuation_share)}, digits {share(text.digits_share)}"
    yield "scripts", ", ".join(f"{name.title()} {share(part)}" for name, part in text.scripts.items())
    if text.rare_signs:
        yield "rare signs", " ".join(sign if sign.strip() else repr(sign) for sign in text.rare_signs)
    yield "speaking rate", spread(audio.letters_per_second, "letters a second")
    if inspection.labels is not None:
        labels = inspection.labels
        yield (
            "label tokens",
            f"{spread(labels.tokens, 'tokens')}; {labels.too_long} over 448 ({labels.model})",
        )
    if inspection.decoded:
        yield "silence", f"{_median_share(audio.silence_share)} of a recording (median)"
        yield "SNR, estimated", spread(audio.snr_db, "dB")
    yield "repeated", f"{count(audio.repeated)} recordings, {count(text.repeated_sentences)} sentences"
    if inspection.listening is not None and inspection.listening.loss is not None:
        yield "loss", f"{spread(inspection.listening.loss, 'nats a token')} ({inspection.listening.model})"
    yield "unusable", reasons(inspection.refused)


def verdict(inspection: Inspection) -> str:
    """Return how many rows to drop and to check, in one sentence.

    Rows are counted once however many reasons there are, as far as they are listed.
    """
    actions = Counter(one.action for one in all_suspects(inspection))
    rows = count(sum(source.rows for source in inspection.all_sources))
    if not actions:
        return f"Nothing stands out in {rows} rows."
    return (
        f"Of {rows} rows, {count(actions['drop'])} are better dropped and "
        f"{count(actions['check'])} worth a look."
    )


def concern_rows(inspection: Inspection) -> list[tuple[str, int, str, str]]:
    """Return each reason with its rows, what to do with them and why, the gravest first."""
    found = Counter[str]()
    for source in inspection.all_sources:
        found.update(source.refused)
        found.update(source.concerns)
    order = {name: place for place, name in enumerate(ACTIONS)}
    names = sorted(found, key=lambda name: (order.get(name, -1), name))
    return [(name, found[name], *ACTIONS.get(name, UNREADABLE)) for name in names]


def leak_sentence(leak: Leak) -> str:
    """Say what two splits share, and what that means for a score.

    Example:
        >>> leak_sentence(Leak("speaker", "test", "train", 5, 0.125))
        '5 rows of test (12.5 %) have a speaker of train: a score tells little of new voices'
    """
    means = {
        "audio": "have a recording of {}: a score on them is no test",
        "sentence": "have a sentence of {}: a score tells little of new sentences",
        "speaker": "have a speaker of {}: a score tells little of new voices",
    }
    return f"{count(leak.rows)} rows of {leak.split} ({share(leak.share)}) " + means[leak.by].format(
        leak.other
    )


def spread(values: Distribution | None, unit: str) -> str:
    """Return a distribution as its median, middle nine tenths and extremes.

    Example:
        >>> spread(None, "s")
        'not known'
    """
    if values is None:
        return "not known"
    low, high = values.quantiles["0.05"], values.quantiles["0.95"]
    inner = f"median {short(values.median)}, most {short(low)} to {short(high)}"
    return f"{inner}, all {short(values.least)} to {short(values.most)} {unit}"


def _median_share(values: Distribution | None) -> str:
    return "not known" if values is None else percent(values.median, digits=0)


def _counted(found: dict[str, int]) -> list[str]:
    return [name if len(found) == 1 else f"{name}: {count(rows)}" for name, rows in found.items()]


def _rates(found: dict[str, int]) -> list[str]:
    return [f"{name} Hz" if len(found) == 1 else f"{name} Hz: {count(rows)}" for name, rows in found.items()]


def _suspect_line(one: Suspect) -> str:
    why = "; ".join(f"{reason.name} ({reason.detail})" for reason in one.reasons)
    text = one.text if len(one.text) <= TEXT_WIDTH else f"{one.text[:TEXT_WIDTH]}..."
    heard = f"\n         heard: {one.heard}" if one.heard else ""
    return f"  {one.action:<6} {one.split}/{one.id}: {why}\n         text: {text}{heard}"
