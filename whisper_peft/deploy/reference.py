"""What the model that is exported says about real clips, before it becomes files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from whisper_peft.data.targets.labels import Labeller, told_language
from whisper_peft.deploy.export_values import Reference
from whisper_peft.errors import ExportError
from whisper_peft.evaluation.generation import generate_transcripts, listening, log_mel
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.model.loading import Whisper
from whisper_peft.types import MAX_LABEL_TOKENS, Utterance

LOGIT_CLIPS = 16
"""Clips whose logits are compared: 0.2 MB a token would be much for all of them."""

FOLDED_CLIPS = 4
"""Of those, the ones at which a folded model is compared: it is right everywhere, or nowhere."""

FOLDED_DIFFERENCE = 0.01
"""Most that a logit of the folded model may differ: folding in fp32 costs about 1e-4."""

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
        logits=tuple(logits_at(whisper, *asked) for asked in zip(clips, tokens, strict=False)),
    )


def refuse_unlike(whisper: Whisper, reference: Reference) -> None:
    """Refuse a model that is not the one whose reference was taken, such as one folded without its adapter.

    Raises:
        ExportError: With the largest difference of a logit.
    """
    compared = zip(reference.clips, reference.decoder_input_ids, reference.logits, strict=False)
    differences = [
        float((logits_at(whisper, clip, tokens) - logits).abs().max())
        for clip, tokens, logits in islice(compared, FOLDED_CLIPS)
    ]
    if not all(difference <= FOLDED_DIFFERENCE for difference in differences):  # NaN is not either
        raise ExportError(
            f"logits of the folded model differ by up to {max(differences):.3g} from the adapter model's",
            f"folding costs less than {FOLDED_DIFFERENCE:g}: the adapter was not applied, or another one",
            "nothing was written; merge the run with whisper-peft merge, which tells more",
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


def logits_at(whisper: Whisper, clip: Utterance, tokens: tuple[int, ...]) -> Tensor:
    """Return the logits at given tokens of the decoder, shape `(tokens, vocabulary)`, fp32, on the CPU."""
    with listening(whisper):
        features = log_mel(whisper, [clip.waveform], frames=FULL_FRAMES)
        read = torch.tensor([tokens], device=whisper.device)
        output = whisper.core(
            input_features=features.to(whisper.precision.weights_dtype), decoder_input_ids=read
        )
    logits: Tensor = output.logits
    return logits[0].float().cpu()
