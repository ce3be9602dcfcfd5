"""What every exporter promises to `verify`, which writes anew and compares."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_peft.deploy.export_record import file_digests, tensor_digests
from whisper_peft.deploy.export_values import Writer
from whisper_peft.deploy.exporters import PLUG_IN_QUANTIZATION
from whisper_peft.deploy.weights import source_weights
from whisper_peft.model.loading import Whisper
from whisper_peft.testing.promises import promise


def check_exporter(exporter: Writer, whisper: Whisper, *, quantization: str = PLUG_IN_QUANTIZATION) -> None:
    """Check that an exporter keeps what verification relies on.

    It writes into its folder, the same bytes for the same model each time, and leaves the model as it was.

    Args:
        exporter: A callable `(whisper, folder, quantization) -> None`.
        whisper: A model without adapter to write.
        quantization: One that it knows.

    Raises:
        AssertionError: With the first promise that is broken.
    """
    before = tensor_digests(source_weights(whisper))
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        exporter(whisper, Path(first), quantization)
        written = file_digests(Path(first))
        promise(bool(written), "it wrote nothing into its folder")
        promise(tensor_digests(source_weights(whisper)) == before, "it changed the model's weights")
        exporter(whisper, Path(second), quantization)
        again = file_digests(Path(second))
    differing = sorted(name for name in written.keys() | again.keys() if written.get(name) != again.get(name))
    same = f"it wrote {', '.join(differing)} otherwise the second time: leave dates and draws out"
    promise(not differing, same)
