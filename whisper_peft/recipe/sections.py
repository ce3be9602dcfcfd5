"""The sections of a recipe. A field's type, default, help and documentation stand here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from whisper_peft.recipe.mix_words import fields_of_words


class Section(BaseModel):
    """A frozen group of fields that refuses names it does not know, and values that are empty texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: Any) -> Any:
        """Refuse an empty text: as a path it would be the current folder."""
        if isinstance(value, str) and not value:
            raise PydanticCustomError("empty", "an empty text names nothing")
        return value


class ModelSection(Section):
    """Which Whisper, and in which precision."""

    name: str = "openai/whisper-tiny.en"
    """A Hugging Face or CTranslate2 folder, an OpenAI .pt file, a Hub name, or installed weights."""
    language: str | None = None
    """Language spoken, such as en or French, unless rows have their own. nearest: of the most alike text."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """Write down the words (transcribe) or their English translation (translate)."""
    quantize: Literal["none", "int8", "nf4"] = "none"
    """Load the frozen weights in 8 bits (int8) or 4 bits (nf4) with bitsandbytes."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto: bf16 on GPUs that have it, fp16 on older ones, fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to run. auto: CUDA, else MPS, else the CPU."""


class SpeechFields(Section):
    """Where speech lies, and how its rows are read."""

    source: Any = "openslr/librispeech_asr"
    """A path of any kind that `inspect` knows, a Hub name, a plug-in (name or name:words), or an iterable."""
    config: str | None = None
    """Configuration of a Hub data set, such as clean. None: found from the split's name, else the default."""
    train: str | None = "train.clean.100"
    """Split to train on. Dots equal dashes; validation equals dev."""
    eval: str | None = "validation.clean"
    """Split to score before and after. Nothing is chosen on it."""
    audio_column: str = "audio"
    """Column that holds the recording (a path, bytes, or an array with its rate)."""
    text_column: str = "text"
    """Column that holds the transcript. none: rows have no text, and wait for `label`."""
    language_column: str | None = None
    """Column that holds the language of each row. None: `language` where there is one."""
    speaker_column: str | None = None
    """Column that holds the speaker of each row. None: `speaker_id` where there is one."""
    text_case: Literal["auto", "as-is", "lower", "sentence", "restore"] = "auto"
    """sentence: lower, first a capital. restore: as the base model writes it. auto: restore if CAPITALS."""


class MixedSource(SpeechFields):
    """Speech that is learned beside the main source: other speech, or a replay of what must not be lost."""

    source: Any
    """A Hub name, a path or an iterable, as data.source takes."""
    train: str | None = "train.clean.100"
    """Split to learn from. None: it is only scored, which tells what a run forgets."""
    eval: str | None = "validation.clean"
    """Split to score before and after, beside data.eval. None: not scored; held-out rows stay unlearned."""
    name: str | None = None
    """Name in reports, and before the ids of its rows. None: that of its file, folder or data set."""
    language: str | None = None
    """Language of rows that have none of their own. None: model.language."""
    task: Literal["transcribe", "translate"] | None = None
    """Task of its rows. None: model.task."""
    weight: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Rows to hear for each data.weight rows of the main source. None: as data.mix_temperature says."""
    share: float | None = Field(None, gt=0, lt=1)
    """Share of an epoch's rows, such as 0.1, in place of weight."""


class DataSection(SpeechFields):
    """Speech and its text."""

    train: str = "train.clean.100"
    """Split to train on. Dots equal dashes; validation equals dev."""
    eval: str = "validation.clean"
    """Split to score before and after. Nothing is chosen on it."""
    dev: str | None = None
    """Split for choosing the best step (eval.steps), or held-out: a tenth of the training rows, not learned
    then. None: the eval split, and the report says so."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the training split to learn from, whole speakers; smaller shares lie within larger ones."""
    corrections: Path | None = None
    """A filled suspicious.csv: corrected_text is learned for a row's text, action drop leaves the row out.
    Training rows only, found by id; those of data.mix by NAME/ID."""
    min_duration_s: float = Field(0.1, ge=0)
    """Shorter recordings are skipped and counted. Seconds."""
    max_duration_s: float = Field(30.0, gt=0, le=30)
    """Longer recordings are skipped and counted: Whisper hears 30 s at a time. Seconds."""
    max_skipped_share: float = Field(0.5, ge=0, le=1)
    """Stop where more rows than this cannot be used; of a stream, of the rows so far, from 200 on."""
    shuffle_window: int = Field(1024, ge=1)
    """Rows held at a time to shuffle and sort by length; memory is bounded by it, however long the stream."""
    mix: tuple[MixedSource, ...] = ()
    """Other speech to learn beside it: SOURCE=WEIGHT or SOURCE=10%, then field=value of that source."""
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Weight of the main source beside those of data.mix. An epoch is each of its rows once."""
    mix_temperature: float = Field(1.0, ge=1)
    """Without weights, shares follow rows ** (1 / this): 1 takes all rows once, .inf equally many of each."""

    @field_validator("mix", mode="before")
    @classmethod
    def _read_words(cls, value: Any) -> Any:
        """Read sources that are words, as on a command line; one need not be in a list."""
        items = (value,) if isinstance(value, str | dict | MixedSource) else value
        return fields_of_words(items, MixedSource.model_fields) if isinstance(items, list | tuple) else items


class Noise(Section):
    """Background noise, added at a signal-to-noise ratio."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    source: Path | None = None
    """Folder of noise recordings (any rate, any format)."""
    snr_db: tuple[float, float] = (5.0, 25.0)
    """Range of the signal-to-noise ratio, in dB."""


class Reverb(Section):
    """Convolution with a room impulse response."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    source: Path | None = None
    """Folder of impulse responses (any rate, any format)."""


class Speed(Section):
    """Resampling, which changes tempo and pitch together (Ko et al., 2015)."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    factors: tuple[float, ...] = (0.9, 1.1)
    """Factors to choose from; above 1 is faster."""


class Pitch(Section):
    """Pitch shift at the same tempo."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    semitones: tuple[float, float] = (-2.0, 2.0)
    """Range of the shift, in semitones."""


class Gain(Section):
    """Louder or softer, clipped at full scale."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    gain_db: tuple[float, float] = (-10.0, 6.0)
    """Range of the gain, in dB."""


class Telephone(Section):
    """A telephone line: the band from 300 to 3400 Hz, 8 kHz, and a codec."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    codecs: tuple[Literal["none", "mu-law", "a-law", "gsm", "adpcm"], ...] = ("mu-law", "a-law", "gsm")
    """Codecs to choose from."""


class SpecAugment(Section):
    """Masks on the log-mel spectrogram, within the real length (Park et al., 2019)."""

    p: float = Field(0.0, ge=0, le=1)
    """Probability for each utterance."""
    time_masks: int = Field(2, ge=0)
    """Number of time masks."""
    time_mask_share: float = Field(0.05, ge=0, le=1)
    """Longest time mask, as a share of the utterance's own frames."""
    frequency_masks: int = Field(2, ge=0)
    """Number of frequency masks."""
    frequency_mask_bins: int = Field(15, ge=0)
    """Widest frequency mask, in mel bins."""


class AugmentSection(Section):
    """What may happen to the speech before the model hears it, in this order. Training rows only."""

    speed: Speed = Speed()
    pitch: Pitch = Pitch()
    reverb: Reverb = Reverb()
    noise: Noise = Noise()
    telephone: Telephone = Telephone()
    gain: Gain = Gain()
    spec_augment: SpecAugment = SpecAugment()
    custom: tuple[Any, ...] = ()
    """Your own callables `(waveform, rng) -> waveform`, applied last, their module:name, or plug-ins."""


class TargetSection(Section):
    """What else the model learns to write, beside the plain text of a row. Training rows only."""

    timestamps: float = Field(0.0, ge=0, le=1)
    """Share of windows learned with timestamps: of a row's timed segments, else of the whole utterance."""
    previous_text: float = Field(0.0, ge=0, le=1)
    """Share of windows that are told the text before theirs, where it is known. It is read, not scored."""
    no_speech: float = Field(0.0, ge=0, le=1)
    """Windows in which nobody speaks that are added, as a share of the windows of the split."""
    no_speech_source: Path | None = None
    """Folder of recordings without speech for them. None: silence and noise of several colours, made up."""
    long_form: float = Field(0.0, ge=0, le=1)
    """Share of runs of neighbouring utterances heard as one window of up to 30 s, timed, with text before."""
    learn_prefix: bool = False
    """Score the language, task and no-timestamps tokens too, as Whisper was trained."""


class AdapterSection(Section):
    """Which weights learn."""

    method: Literal["lora", "adalora", "ia3", "vera", "full"] = "lora"
    """lora; adalora: ranks move to where they matter; ia3 and vera: vectors only; full: every weight."""
    r: int = Field(32, ge=1)
    """Rank of the update matrices; of adalora their mean at the end, of vera that of the shared matrices."""
    lora_alpha: float = Field(64, gt=0)
    """Scale of the update: it is multiplied by lora_alpha / r (or / sqrt(r) with use_rslora)."""
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Factor of lora's finished update, before it is scored: below 1, less is learned and less forgotten."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the update matrices."""
    targets: str | tuple[str, ...] = "all-linear"
    """attention, all-linear, encoder-only, decoder-only, or names of modules such as q_proj, v_proj."""
    use_rslora: bool = False
    """Rank-stabilised scale (Kalajdzievski, 2023)."""
    use_dora: bool = False
    """Weight-decomposed update (Liu et al., 2024)."""
    init_lora_weights: Literal["zero", "pissa", "eva", "loftq"] = "zero"
    """Where lora starts. pissa: in W's largest directions. eva: in those of your speech. loftq: in what int8
    or nf4 took away."""
    init: Path | None = None
    """Adapter folder to train on from, instead of a fresh one."""
    config: Any = None
    """Any peft.PeftConfig; it replaces the fields above (Python), or its type and fields (YAML)."""


class TrainSection(Section):
    """How to learn."""

    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps. None: as many as `epochs` takes."""
    epochs: float = Field(3.0, gt=0)
    """Passes over the training split, where max_steps is not given."""
    stream_steps: int | None = Field(None, ge=1)
    """Steps where the split is a stream, whose epochs cannot be counted, and max_steps is not given."""
    batch_size: int = Field(8, ge=1)
    """Utterances in a micro-batch on each process, on average: batches hold equal work, not equally many."""
    batch_seconds: float | None = Field(None, gt=0)
    """Audio seconds in a micro-batch on each process, in place of batch_size."""
    part_seconds: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Audio seconds computed at once: more are dealt into parts of the same step. auto: 80 on a CPU, where it
    saves memory and costs no time. None: whole micro-batches."""
    length_buckets: bool = False
    """Put utterances of like length in a step. Nothing is padded either way."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Micro-batches to an optimiser step."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup_steps: int | None = Field(None, ge=0)
    """Steps of linear warm-up. None: a tenth of the run, at most 500."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay (AdamW)."""
    max_grad_norm: float = Field(1.0, gt=0)
    """The gradient's norm is clipped to this."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """AdamW, or bitsandbytes' 8-bit AdamW."""
    skip_spikes: bool = True
    """Leave out a step whose loss or gradient is far above the last 50; they are counted."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    compile: bool = False
    """Compile the layers (torch.compile). The first step takes up to a minute more; CPUs gain little."""
    encoder_cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """Keep the states of an encoder that does not learn, for later epochs. auto: in memory where all fit."""
    encoder_cache_gib: float | None = Field(None, gt=0)
    """Most that the kept states may take, over all processes. None: half of the free memory or disk. GiB."""
    encoder_cache_folder: Path | None = None
    """Where states kept on disk lie while training. None: in the run folder."""
    audio_context: Literal["cut", "packed", "full"] = "cut"
    """cut: the encoder hears what an utterance lasts. packed: 30 s of several. full: 30 s, mostly zeros."""
    full_context_share: float = Field(0.0, ge=0, le=1)
    """Share of utterances that hear 30 s all the same where contexts are cut."""
    context_padding_s: float = Field(0.0, ge=0, le=30)
    """Cut contexts go on for up to this long after the speech, drawn evenly. Seconds."""
    checkpoint_steps: int = Field(200, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints that stay on disk."""
    early_stopping_patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations (eval.steps) without a lower WER."""
    workers: int | None = Field(None, ge=0)
    """Worker processes that decode and augment. None: chosen from the cores; 0: in this process."""
    data_timeout_s: float | None = Field(600.0, gt=0)
    """Longest wait for the workers' next batch, after which the run stops and names them. Seconds."""
    seed: int = 42
    """Seed of data order, augmentation, adapter initialisation and dropout."""
    tensorboard: bool = True
    """Write event files to `tensorboard/` in the run folder."""
    trackers: tuple[Any, ...] = ()
    """Other listeners: callables `(recipe, folder) -> callback`, their module:name, or plug-ins by name."""


class EvalSection(Section):
    """How to score: always by generated transcripts."""

    steps: int | None = Field(None, ge=1)
    """Also score every so many steps, and keep the best adapter by WER. None: before and after only."""
    before: bool = True
    """Score the untuned model first."""
    batch_size: int = Field(16, ge=1)
    """Utterances decoded together at 30 s; at cut context as many more as fit in the same audio seconds."""
    max_utterances: int | None = Field(None, ge=1)
    """Score at most this many, drawn evenly over the split. None: all."""
    normalizer: Literal["auto", "english", "basic", "marks", "none"] = "auto"
    """Normaliser of the WER's text. auto: english for English, marks (letters keep them) for the rest."""
    audio_context: Literal["full", "cut"] = "full"
    """full: Whisper's 30 s window. cut: only as long as the speech, for models tuned so."""
    short_context: bool = True
    """Score a model tuned on cut context at cut context too, after training: what it wins and costs."""
    num_beams: int = Field(1, ge=1)
    """Beams of the search; 1 is greedy."""
    health: Literal["quick", "full", "off"] = "quick"
    """Check what else a run did to the model: other speech, silence and more. full: minutes on a CPU."""
    probes: bool = False
    """Also measure timestamps, recordings of a minute, and words where nobody speaks, before and after."""
    no_speech_source: Path | None = None
    """Folder of recordings without speech that eval.probes listens to. None: they are made up."""
    bootstrap_samples: int = Field(1000, ge=100)
    """Resamples of utterances behind the 95 % interval."""


MergeBase: TypeAlias = Literal["float", "dequantized"]


class MergeSection(Section):
    """Folding the adapter into the weights after training."""

    enabled: bool = True
    """Write `merged/` beside the adapter and check it."""
    max_logit_difference: float = Field(0.05, gt=0)
    """Largest difference of any logit from the adapter model's that is accepted."""
    clips: int = Field(8, ge=1)
    """Evaluation clips to compare on."""
    base: MergeBase = "float"
    """float: the original weights. dequantized: int8 or nf4 written out in float, as the run saw them."""
    scale: float = Field(1.0, ge=0, allow_inf_nan=False)
    """Factor of the adapter's update: below 1, less is learned and less is forgotten."""


class Recipe(Section):
    """A whole fine-tuning run as one frozen value."""

    name: str = "custom"
    """Name of the run's kind, shown in reports."""
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    targets: TargetSection = TargetSection()
    adapter: AdapterSection = AdapterSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    merge: MergeSection = MergeSection()
    output_dir: Path | None = None
    """Run folder. None: runs/NAME."""
