"""A recipe: importing it loads no torch, so that it can be listed and shown quickly."""

from whisper_peft import augment, compose, lora, schedule, speech, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    speech("parliament:sittings", train="train", eval="dev"),
    augment(custom=("chamber",)),
    lora(r=16),
    schedule(epochs=3, learning_rate=3e-4, trackers=("table",)),
    name="parliament",
)
