"""Check the numbers that the demo promises: `python .ci/check_demo.py runs/demo/report.json`."""

import json
import sys
from pathlib import Path

report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
before, after = report["evaluation"]["before"], report["evaluation"]["after"]
train, merge = report["train"], report["merge"]
claims = {
    "WER falls by at least 20 % relative": after["wer"] <= 0.8 * before["wer"],
    "at least 40 test utterances, the same before and after": before["utterances"]
    == after["utterances"]
    >= 40,
    "same normaliser, language and audio context before and after": all(
        before[key] == after[key] for key in ("normalizer", "language", "audio_context")
    ),
    "speed, memory and trainable parameters are measured": all(
        train[key] > 0 for key in ("audio_seconds_per_second", "peak_memory_bytes", "trainable_parameters")
    ),
    "the merged model is compared": merge["max_logit_difference"] >= 0 and merge["transcripts_equal"] is True,
}
for claim, holds in claims.items():
    print(f"{'ok    ' if holds else 'FAILED'} {claim}")
sys.exit(0 if all(claims.values()) else 1)
