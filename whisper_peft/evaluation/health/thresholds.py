"""Where good ends and bad begins, each with its reason: the one table of the health's thresholds.

`docs/how-to/check-the-health-of-a-run.md` shows it, and a test holds the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_peft.evaluation.health.values import Figure, Unit, Verdict


@dataclass(frozen=True, slots=True)
class Limit:
    """How far a figure may move the wrong way.

    From `watch` on the verdict is watch; from `bad` on it is bad where the change is more than chance. Where
    the interval of the change reaches `bad`, too little was heard to call it good. Without `bad` nothing that
    the figure shows is worse than watch.
    """

    figure: str
    watch: float
    bad: float | None
    reason: str
    falls: bool = False

    def judge(self, figure: Figure) -> Verdict:
        """Return the verdict on a figure that was measured before and after.

        Example:
            >>> limit = Limit("WER", watch=0.01, bad=0.02, reason="")
            >>> for after, change in ((0.2, (0.05, 0.15)), (0.2, (-0.05, 0.3)), (0.09, (-0.02, 0.0))):
            ...     print(limit.judge(Figure("WER", "share", 0.1, after, change, 60, "utterances")))
            bad
            watch
            good
        """
        sign, rise = -1 if self.falls else 1, self.worsening(figure)
        low, high = sorted(sign * bound for bound in figure.change or (figure.rise, figure.rise))
        if self.bad is not None and rise >= self.bad and low > 0:
            return "bad"
        unsure = self.bad is not None and high >= self.bad
        return "watch" if rise >= self.watch or unsure else "good"

    def is_unsure(self, figure: Figure) -> bool:
        """Tell whether a figure is on watch for nothing but its interval."""
        return self.judge(figure) == "watch" and self.worsening(figure) < self.watch

    def worsening(self, figure: Figure) -> float:
        """Return how far a figure moved the wrong way; less than 0 where it became better."""
        return -figure.rise if self.falls else figure.rise

    def within(self, figure: Figure) -> str:
        """Say that a figure moved the wrong way by less than is watched.

        Example:
            >>> figure = Figure("WER", "share", 0.1, 0.105, None, 60, "utterances")
            >>> Limit("WER", watch=0.01, bad=None, reason="").within(figure)
            'but by less than the limit of 1 point'
        """
        return f"but by less than the limit of {size(self.watch, figure.unit)}"


def size(value: float, unit: Unit) -> str:
    """Say how large a change is.

    Example:
        >>> size(0.01, "share"), size(0.0023, "share"), size(0.3, "seconds"), size(1.0, "number")
        ('1 point', '0.23 points', '0.3 s', '1')
    """
    if unit != "share":
        return f"{value:g} s" if unit == "seconds" else f"{value:g}"
    points = f"{value * 100:.2f}".rstrip("0").rstrip(".")
    return f"{points} point{'' if points == '1' else 's'}"


LEAST_UTTERANCES = 20
"""Of fewer scored utterances no gain is called certain, whatever the interval says."""

LEAST_ITEMS = 10
"""Of fewer items nothing is called good: what befalls one in four misses all of nine in 8 % of draws."""

LIMITS = {
    "retention": Limit(
        "WER of other speech",
        watch=0.01,
        bad=0.02,
        reason="a point is what repeated runs of one recipe differ by; two are seen by users",
    ),
    "hallucination": Limit(
        "words for each clip without speech",
        watch=1.0,
        bad=3.0,
        reason="an untuned Whisper writes a word such as 'you' on silence; three more are a phrase",
    ),
    "silence rule": Limit(
        "clips without speech that Whisper's own silence rule leaves words on",
        watch=0.25,
        bad=0.5,
        reason="long recordings are cleaned by that rule: what it lets through reaches the reader",
    ),
    "loops": Limit(
        "transcripts that loop",
        watch=0.002,
        bad=0.02,
        reason="healthy models loop on none; one in fifty makes a corpus of transcripts unusable",
    ),
    "compressible": Limit(
        "transcripts that repeat themselves (compression ratio over 2.4)",
        watch=0.002,
        bad=0.02,
        reason="the ratio is openai-whisper's own sign of a failed window",
    ),
    "over 100 %": Limit(
        "utterances with more word errors than words",
        watch=0.01,
        bad=0.05,
        reason="short references reach it by one slip, so one in twenty is let be",
    ),
    "same transcript": Limit(
        "transcripts equal to that of other speech",
        watch=0.02,
        bad=0.1,
        reason="different sentences are written alike by chance only where they are one word long",
    ),
    "empty": Limit(
        "speech for which nothing is written",
        watch=0.02,
        bad=0.1,
        reason="an untuned Whisper leaves hardly any speech empty",
    ),
    "long form": Limit(
        "WER of recordings of a minute and more",
        watch=0.02,
        bad=0.05,
        reason="a lost window of 30 s is a quarter to a half of such a recording",
    ),
    "long form behind": Limit(
        "how much less is won on long recordings than on their utterances alone",
        watch=0.05,
        bad=None,
        reason="a gain on clips that is not there in recordings is worth a look, but nothing was lost",
    ),
    "timestamps written": Limit(
        "windows in which timestamps are written",
        watch=0.2,
        bad=0.5,
        reason="asked for them, an untuned Whisper writes them",
        falls=True,
    ),
    "timestamps": Limit(
        "windows with well-formed timestamps",
        watch=0.1,
        bad=0.3,
        reason="untuned models reach 40 to 90 %, by the speech; a third less is a lost ability",
        falls=True,
    ),
    "timestamp error": Limit(
        "distance of timestamps from where utterances were joined, in seconds",
        watch=0.3,
        bad=1.0,
        reason="a subtitle that is a second late is seen by everybody",
    ),
    "timestamps expected": Limit(
        "probability of a timestamp where an utterance ends",
        watch=0.15,
        bad=0.3,
        reason="all before it being given, untuned whisper-tiny.en gives it 86 %",
        falls=True,
    ),
    "timestamps misplaced": Limit(
        "distance of expected timestamps from where the utterance ends",
        watch=0.3,
        bad=1.0,
        reason="as above, and told from every end of an utterance, however few windows there are",
    ),
    "style": Limit(
        "share of words or transcripts that are written otherwise",
        watch=0.2,
        bad=0.5,
        reason="a fifth needs no statistics to be noticed; of half nobody doubts that it is lost",
    ),
    "numbers": Limit(
        "numbers that are not written as said",
        watch=0.1,
        bad=0.25,
        reason="numbers are few, and each counts",
    ),
    "quantised": Limit(
        "WER of the rounded weights above that of the float ones",
        watch=0.01,
        bad=0.03,
        reason="int8 costs an untuned Whisper some tenths of a point",
    ),
    "cut context": Limit(
        "WER at cut context above that at full context",
        watch=0.005,
        bad=None,
        reason="transcribe takes the cut context up to here, else the full one: nothing is lost",
    ),
}

SHARED_RECORDINGS_BAD = 0.01
"""Share of scored rows whose recording was learned: from here on the WER is not one of new speech."""

SHARED_SENTENCES_WATCH = 0.01
SHARED_SENTENCES_BAD = 0.5
"""Share of scored rows whose sentence was learned: a few come again in any corpus; of half, it is no test."""

LEAKED_GAIN = 0.02
"""By how much the WER may fall further on leaked rows than on others: past it, it was learned by heart."""

LIKENESS_LEFT = 0.67
"""Transcripts that look like another language, and less than this as much like the expected one as before."""
