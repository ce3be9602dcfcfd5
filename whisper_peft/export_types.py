"""What an export leaves behind: the parity of its files, what was accepted, and what verifying found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DifferingTranscript:
    """A clip that an exported model writes otherwise than the adapter model."""

    clip: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class ParityRow:
    """One exported file beside the adapter model, run by its own runtime in a process of its own.

    `equal` is the fraction of clips whose transcripts are the same character for character, and `rtfx` how
    many seconds of audio one second transcribes. `max_logit_difference` is None where the runtime shows no
    logits. `wer_change` is the WER less the model's own at 30 s on the same clips, a fraction, and
    `wer_change_interval` its paired 95 % interval over the clips.
    `context` is `30 s` or `short`, the encoder hearing each clip alone. `weights_identical` tells whether
    reading the file back gives the written weights to the bit; None where the quantisation rounds them.
    `refused` says why the export was set aside; None for one that was accepted.
    """

    format: str
    quantization: str
    runtime: str
    runtime_version: str
    folder: str
    size_bytes: int
    load_s: float
    peak_memory_bytes: int
    rtfx: float
    wer: float
    equal: float
    differing: tuple[DifferingTranscript, ...]
    max_logit_difference: float | None
    weights_identical: bool | None
    wer_change: float
    wer_change_interval: tuple[float, float]
    context: str = "30 s"
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class ParityTable:
    """What every exported file says on the same clips; the first row is the adapter model itself."""

    model: str
    clips: int
    audio_s: float
    normalizer: str
    threads: int
    machine: str
    rows: tuple[ParityRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export has made.

    Attributes:
        folder: Where everything lies, `parity.json`, `.md` and `.html` too.
        exported: Folders that were accepted.
        refused: Folders that were set aside, each with the reason.
        remarks: What their users should know.
        table: What every exported file says on the same clips.
    """

    folder: str
    exported: tuple[str, ...]
    refused: tuple[str, ...]
    remarks: tuple[str, ...]
    table: ParityTable

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a folder is what it should be.

    Attributes:
        folder: The export.
        format: Its format.
        quantization: What it was written in.
        against: What it was compared with: a run or model, or its own `export.json`.
        tensors: Tensors that were compared.
        files: Files that were compared.
        faults: What is wrong, each with the tensor or the file and field; empty for a sound export.
    """

    folder: str
    format: str
    quantization: str
    against: str
    tensors: int
    files: int
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)
