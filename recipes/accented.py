"""Accented English: LoRA on whisper-tiny.en, LibriSpeech heard beside it so that neither is lost.

    whisper-peft finetune accented --data.source ACCENTED --data.mix LibriSpeech=33%
    whisper-peft finetune accented --data.source my/speech --data.text-case as-is --data.mix LibriSpeech=33%

`ACCENTED` is any speech with speakers of its own to score, `LibriSpeech` an OpenSLR folder or tar. Expected
on 300 sentences read by native Mandarin speakers (24 minutes; 120 of others to score): WER 29.8 to 18.7 %,
and LibriSpeech, held out too, 7.4 to 6.9 %. Text in capitals is learned in sentence case; leave yours
`as-is` if it has case. docs/results/accented.md tells what else was tried, and what lost.
"""

from whisper_peft import compose, lora, main, replay, schedule, speech, whisper

RECIPE = compose(
    whisper("openai/whisper-tiny.en"),
    speech("accented", text_case="sentence"),
    replay("LibriSpeech", share=0.33),
    lora(r=32, lora_alpha=64),
    schedule(epochs=3, batch_size=8, learning_rate=3e-4, full_context_share=0.2),
    name="accented",
)

if __name__ == "__main__":
    main(RECIPE)
