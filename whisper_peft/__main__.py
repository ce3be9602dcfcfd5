"""`python -m whisper_peft` is `whisper-peft`, `torchrun -m whisper_peft` runs a verb in several processes."""

from whisper_peft.cli import main

if __name__ == "__main__":
    main()
