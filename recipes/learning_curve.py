"""How much data is enough: LoRA on 10, 30 and 100 % of the speakers, and what more speech would bring.

    python recipes/learning_curve.py --data.source my/speech --output-dir runs/curve
    python recipes/learning_curve.py --data.source my/speech --shares 0.1 0.2 0.5 1 --seeds 42 43 44

Each part lies within the next, whole speakers at a time (data.train_share). A power law is fitted through the
WER of the parts and led on to ten times the speech, with its interval; the plot is learning_curve.svg. The
same command goes on with a curve that was stopped. Another recipe: whisper_peft.learning_curve("my.yaml").
Expected on 300 sentences read by native Mandarin speakers (120 of others to score, WER 29.8 % untuned): 24.4,
20.9 and 20.0 % of 2, 7 and 24 minutes, and 16.3 % (11.6 to 22.1) if there were ten times as many.
"""

from whisper_peft import compose, librispeech, lora, main, schedule, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    librispeech(),
    lora(r=32, lora_alpha=64),
    schedule(epochs=3, batch_size=8, learning_rate=3e-4),
    name="learning-curve",
)

if __name__ == "__main__":
    main(RECIPE, study="learning-curve")
