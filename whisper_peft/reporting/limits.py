"""What a card may claim: what a run was measured on, and that it was on nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from whisper_peft.evaluation.health.values import Health
from whisper_peft.reporting.mixed_scores import mixed_scores
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport

JOINED_WINDOWS = "windows of joined utterances"
LONG_RECORDINGS = "recordings of a minute and more"
NO_SPEECH = "clips without speech"

MATERIAL = {"timestamps": JOINED_WINDOWS, "long_form": LONG_RECORDINGS, "hallucination": NO_SPEECH}
"""Checks of the health that hear something else than utterances of a source."""


def limits(report: RunReport) -> str:
    """Say what was measured, and that nothing else was.

    Example:
        >>> from whisper_peft.reporting.run_report import RunRecord, environment_meta
        >>> run = RunRecord(name="demo", folder="runs/demo", command="make demo", started_at="2025-01-01")
        >>> limits(RunReport(run=run, meta=environment_meta(42)))
        'Only what stands above was measured; no speech was scored.'
    """
    heard = tuple(dict.fromkeys(_heard(report)))
    if not heard:
        return "Only what stands above was measured; no speech was scored."
    beyond = "Speakers, recording conditions, domains and languages beyond that were not scored."
    return f"Only what stands above was measured, on {_listed(heard)}. {beyond}"


def _heard(report: RunReport) -> Iterator[str]:
    """Yield what was heard for a score, some of it more than once."""
    evaluation, others = report.evaluation, mixed_scores(report)
    known = {one.name for one in others}
    if evaluation is not None and (evaluation.before or evaluation.after):
        known.add(evaluation.scored_split)
        yield evaluation.scored_split
    if others:
        yield "the sources of the table"
    if report.health is not None:
        yield from (one for one in _heard_for_health(report.health) if one not in known)
    if evaluation is not None:
        yield from _heard_by_probes(evaluation)


def _heard_for_health(health: Health) -> Iterator[str]:
    measured = [check for check in health.checks if check.verdict != "not measured"]
    yield from (check.subject for check in measured if check.subject)
    yield from (MATERIAL[check.name] for check in measured if check.name in MATERIAL)


def _heard_by_probes(evaluation: EvaluationRecord) -> Iterator[str]:
    probed = [one.probes for one in (evaluation.before, evaluation.after) if one and one.probes]
    if probed:
        yield JOINED_WINDOWS
        if any(probes.long_form for probes in probed):
            yield LONG_RECORDINGS
        yield NO_SPEECH


def _listed(heard: tuple[str, ...]) -> str:
    """Return a list in words; semicolons part it where a name has a comma."""
    if len(heard) == 1:
        return f"{heard[0]} alone"
    if any("," in one for one in heard):
        return f"{'; '.join(heard[:-1])}; and {heard[-1]}"
    return f"{', '.join(heard[:-1])} and {heard[-1]}"
