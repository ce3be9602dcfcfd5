"""Whisper with its companions: checkpoints of every format, precision, audio context and adapters."""

from whisper_peft.model.library_noise import silence_quantization

# Before any module of this room imports PEFT, which imports bitsandbytes, which speaks on import
silence_quantization()
