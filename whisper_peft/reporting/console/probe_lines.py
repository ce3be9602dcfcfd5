"""What the probes measured, a line each."""

from __future__ import annotations

from whisper_peft.reporting.figures import count, number, percent, share
from whisper_peft.types import LongFormProbe, Probes, SilenceProbe, TimestampProbe


def probe_lines(probes: Probes) -> dict[str, str]:
    """Return the label and the text of each line.

    Example:
        >>> silence = SilenceProbe(clips=40, clips_with_words=4, words=9, no_speech_probability=0.5)
        >>> timed = TimestampProbe(20, 0.95, 30, boundary_error_s=0.21, boundaries_found=0.9)
        >>> for label, text in probe_lines(Probes(timed, None, silence)).items():
        ...     print(f"{label}: {text}")
        timestamps: 95.0 % well formed, 0.21 s from boundaries
        silence: 9 words on 4 of 40 clips
    """
    lines = {"timestamps": _timestamps(probes.timestamps)}
    if probes.long_form is not None:
        lines["long form"] = _long_form(probes.long_form)
    return {**lines, "silence": _silence(probes.silence)}


def _timestamps(probe: TimestampProbe) -> str:
    formed = f"{share(probe.well_formed)} well formed"
    if probe.boundary_error_s is None:
        return formed
    return f"{formed}, {number(probe.boundary_error_s)} s from boundaries"


def _long_form(probe: LongFormProbe) -> str:
    return f"WER {percent(probe.wer)}, {percent(probe.wer_previous_text)} told the text before"


def _silence(probe: SilenceProbe) -> str:
    return f"{count(probe.words)} words on {count(probe.clips_with_words)} of {count(probe.clips)} clips"
