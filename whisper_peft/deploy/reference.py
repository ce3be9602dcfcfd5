"""What the model that is exported says about real clips, before it becomes files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whisper_peft.data.labels import Labeller, told_language
from whisper_peft.deploy.export_values import Reference
from whisper_peft.errors import ExportError
from whisper_peft.evaluation.generation import generate_transcripts, listening, log_mel
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.model.loading import Whisper
from whisper_peft.types import MAX_LABEL_TOKENS, Utterance

LOGIT_CLIPS = 16
"""Clips whose logits are compared: 0.2 MB a token would be much for all of them."""

FULL_FRAMES = 3000
"""Log-mel frames of 30 s."""


def take_reference(
    whisper: Whisper, clips: Sequence[Utterance], *, language: str | None, task: str, normalizer: str
) -> Reference:
    """Return a model's transcripts of the clips, and its logits at the text of the first of them.

    Args:
        whisper: The model, with its adapter.
        clips: Decoded utterances with text, of one language.
        language: What clips are told that have no language of their own.
        task: transcribe or translate.
        normalizer: Name of the normaliser of the WER's text, `auto` included.

    Raises:
        ExportError: If there is no clip, or they are of several languages: runtimes are told one.
        DataError: If a multilingual model is told no language.
    """
    code = _one_language(whisper, clips, language)
    labeller = Labeller(whisper.tokenizer, multilingual=whisper.is_multilingual, language=language, task=task)
    # a transcript longer than the decoder has positions is compared as far as they go
    tokens = [labeller(clip).decoder_input_ids[:MAX_LABEL_TOKENS] for clip in clips[:LOGIT_CLIPS]]
    # one by one, as the runtimes hear them: a batch may round otherwise
    transcripts = [
        generate_transcripts(whisper, [clip.waveform], language=code, task=task)[0] for clip in clips
    ]
    spoken = "en" if task == "translate" else code
    return Reference(
        clips=tuple(clips),
        language=code if whisper.is_multilingual else None,
        task=task,
        normalizer=get_normalizer(normalizer, spoken).name,
        transcripts=tuple(transcripts),
        decoder_input_ids=tuple(tokens),
        logits=tuple(_logits(whisper, *asked) for asked in zip(clips, tokens, strict=False)),
    )


def _one_language(whisper: Whisper, clips: Sequence[Utterance], language: str | None) -> str:
    if not clips:
        raise ExportError(
            "there is no clip to compare on",
            "an export is accepted by what it transcribes",
            "give --data.source SPEECH, and --data.eval where its split has another name",
        )
    codes = {told_language(clip.language or language, multilingual=whisper.is_multilingual) for clip in clips}
    if len(codes) > 1:
        raise ExportError(
            f"the clips are in {', '.join(sorted(codes))}",
            "every runtime is told one language for all of them",
            "give --data.source speech of one language",
        )
    return codes.pop()


def _logits(whisper: Whisper, clip: Utterance, tokens: tuple[int, ...]) -> Tensor:
    with listening(whisper):
        features = log_mel(whisper, [clip.waveform], frames=FULL_FRAMES)
        read = torch.tensor([tokens], device=whisper.device)
        output = whisper.core(
            input_features=features.to(whisper.precision.weights_dtype), decoder_input_ids=read
        )
    logits: Tensor = output.logits
    return logits[0].float().cpu()
