"""Telephone speech out of other speech: whisper-tiny.en hears every second utterance over a telephone line.

    whisper-peft finetune telephone --data.source LibriSpeech
    whisper-peft finetune telephone --data.source LibriSpeech --data.mix my/calls train=None eval=test

`LibriSpeech` is an OpenSLR folder or tar. The line is the band from 300 to 3400 Hz at 8 kHz, with mu-law,
A-law or GSM (augment.telephone). `my/calls` are transcribed calls to score beside it: they are not learned.
Expected of an hour of LibriSpeech: WER 7.4 to 5.3 %, and over a line 9.5 to 9.4 %, no more than what learning
without the line gains there (docs/results/recipes.md).
"""

from whisper_peft import Telephone, augment, compose, librispeech, lora, main, schedule, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    librispeech(source="LibriSpeech"),
    augment(telephone=Telephone(p=0.5)),
    lora(r=32, lora_alpha=64, scale=0.6),
    schedule(epochs=1, batch_size=8, learning_rate=3e-4),
    name="telephone",
)

if __name__ == "__main__":
    main(RECIPE)
