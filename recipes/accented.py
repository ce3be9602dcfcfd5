"""Accented English: LoRA on whisper-tiny.en, LibriSpeech heard beside it so that neither is lost.

    whisper-peft finetune accented --data.source ACCENTED --data.mix LibriSpeech=33%
    accelerate launch recipes/accented.py --data.source my/speech --data.mix LibriSpeech=33%

`ACCENTED` is any speech with speakers of its own to score (here: 300 sentences read by native Mandarin
speakers, 24 minutes, 120 of other speakers to score), `LibriSpeech` an OpenSLR folder or tar; the base model
hears both once, to write their capitals as it would. docs/results/accented.md tells how each value was found.
"""

from whisper_peft import SpecAugment, Speed, augment, compose, lora, main, replay, schedule, speech, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    speech("accented"),
    replay("LibriSpeech", share=0.33),
    augment(speed=Speed(p=0.67), spec_augment=SpecAugment(p=0.5)),
    lora(r=32, lora_alpha=64),
    schedule(epochs=6, batch_size=8, learning_rate=3e-4),
    name="accented",
)

if __name__ == "__main__":
    main(RECIPE)
