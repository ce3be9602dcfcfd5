"""Full fine-tuning on LibriSpeech: every weight learns, the baseline that LoRA is compared with.

    accelerate launch recipes/full_librispeech.py --data.source LibriSpeech --train.max-steps 200

`LibriSpeech` is an OpenSLR folder or tar; without it the speech is streamed from the Hub. The learning rate
is a thirtieth of LoRA's: all weights move, so each may move less. Expected of an hour, heard once in 42 steps
(60 utterances of other speakers to score): WER 7.4 to 5.7 %.
"""

from whisper_peft import compose, full, librispeech, main, schedule, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    librispeech(),
    full(),
    schedule(max_steps=1000, batch_size=8, learning_rate=1e-5),
    name="full-librispeech",
)

if __name__ == "__main__":
    main(RECIPE)
