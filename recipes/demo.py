"""LoRA on 144 French telephone prompts: whisper-base adapts in three minutes on two cores.

    make demo

Run it at the top of a checkout: the speech is in tests/data/prompts/fr, its licence beside it, and the `demo`
extra brings the weights. Nothing is chosen on the test prompts: they are scored before and after, no more.
Expected: WER 19.4 to 12.1 % on 49 prompts, and some 2 GiB of memory.
"""

from whisper_peft import compose, lora, main, schedule, speech, whisper

RECIPE = compose(
    whisper("openai/whisper-base", language="fr"),
    speech("tests/data/prompts/fr", train="train", eval="test"),
    lora(r=32, lora_alpha=64),
    schedule(epochs=3, batch_size=8, learning_rate=3e-4),
    name="demo",
)

if __name__ == "__main__":
    main(RECIPE)
