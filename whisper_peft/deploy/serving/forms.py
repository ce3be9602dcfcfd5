"""What a request asks for, read from its form and checked field by field."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from starlette.datastructures import FormData, UploadFile

from whisper_peft.data.targets.labels import told_language
from whisper_peft.deploy.serving.engine import ServedModel
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.errors import DataError, did_you_mean

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]

ALIAS = "whisper-1"
"""The name that clients of OpenAI's API use: it means the model that the server was started with."""

GRANULARITIES = "timestamp_granularities[]"

COMMON = ("file", "model", "prompt", "response_format", "temperature")

FIELDS = {
    "transcribe": (*COMMON, "language", "stream", GRANULARITIES, "chunking_strategy"),
    "translate": COMMON,
}
"""The fields of OpenAI's API that mean something here; others are refused rather than ignored."""

MAX_PROMPT_CHARACTERS = 20_000


@dataclass(frozen=True)
class Ask:
    """A checked request.

    Attributes:
        read_audio: Reads the uploaded file, whose name is not looked at; called when a decoder is free.
        model: Name of a served model.
        task: transcribe or translate.
        language: Code of the language. None: it is detected.
        prompt: Text that is taken to come before.
        response_format: How the answer is written.
        words: Whether the answer has words with times.
        segments: Whether the answer has segments with times.
        stream: Whether the answer comes piece by piece.
    """

    read_audio: Callable[[], Awaitable[bytes]]
    model: str
    task: str
    language: str | None
    prompt: str
    response_format: ResponseFormat
    words: bool
    segments: bool
    stream: bool

    @property
    def detailed(self) -> bool:
        """Whether times are wanted."""
        return self.response_format in ("srt", "vtt", "verbose_json")


def read_ask(form: FormData, task: str, models: Mapping[str, ServedModel]) -> Ask:
    """Return what a form asks for.

    Raises:
        RefusalError: With 404 for an unknown model, 400 for any other field that is missing or wrong.
    """
    fields = _fields(form, task)
    model = _model(fields.get("model"), models)
    _refuse_sampling(fields.get("temperature", ""))
    format = _choice(fields, "response_format", get_args(ResponseFormat), "json")
    granularities = _granularities(form, format)
    stream = _flag(fields, "stream")
    if stream and format not in ("json", "text"):
        message = f"response_format {format} cannot be streamed: use json or text"
        raise _bad(message, "response_format")
    if fields.get("chunking_strategy", "auto") != "auto":
        raise _bad("chunking_strategy is auto here: recordings are cut at pauses", "chunking_strategy")
    prompt = fields.get("prompt", "")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise _bad(f"the prompt is longer than {MAX_PROMPT_CHARACTERS} characters", "prompt")
    return Ask(
        read_audio=_file(form).read,
        model=model.name,
        task=task,
        language=checked_language(fields.get("language", ""), model, task),
        prompt=prompt,
        response_format=format,  # type: ignore[arg-type]  # one of its arguments
        words="word" in granularities,
        segments="segment" in granularities,
        stream=stream,
    )


def _fields(form: FormData, task: str) -> dict[str, str]:
    """Return the text fields by name; an unknown one and one given twice are refused."""
    known, found = FIELDS[task], dict[str, str]()
    for name, value in form.multi_items():
        if name not in known:
            raise _bad(f"{name[:60]!r} is not a field of this request. {did_you_mean(name, known)}", None)
        if name in found and name != GRANULARITIES:
            raise _bad(f"{name} is given more than once", name)
        if isinstance(value, str) == (name == "file"):
            raise _bad(f"{name} is {'no' if name == 'file' else 'a'} file", name)
        found[name] = value if isinstance(value, str) else ""
    return found


def _model(name: str | None, models: Mapping[str, ServedModel]) -> ServedModel:
    if not name:
        raise _bad(f"model is missing. {did_you_mean('', models)}", "model")
    if name == ALIAS:
        return next(iter(models.values()))
    if name not in models:
        message = f"the model {name[:100]!r} is not served here. {did_you_mean(name, models)}"
        raise RefusalError(404, message, code="model_not_found", param="model")
    return models[name]


def _refuse_sampling(temperature: str) -> None:
    try:
        value = float(temperature or 0)
    except ValueError:
        raise _bad(f"temperature {temperature[:20]!r} is no number", "temperature") from None
    if value != 0:
        message = f"temperature is {temperature[:20]}: transcripts are greedy here, nothing is drawn"
        raise _bad(f"{message}; leave it out or send 0", "temperature")


def _choice(fields: Mapping[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    value = fields.get(name) or default
    if value not in known:
        raise _bad(f"{name} is {value[:40]!r}. {did_you_mean(value, known)}", name)
    return value


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = fields.get(name) or "false"
    if value.lower() not in ("true", "false", "1", "0"):
        raise _bad(f"{name} is {value[:20]!r}: give true or false", name)
    return value.lower() in ("true", "1")


def _granularities(form: FormData, format: str) -> frozenset[str]:
    wanted = frozenset(str(value) for value in form.getlist(GRANULARITIES))
    if unknown := sorted(wanted - {"word", "segment"}):
        raise _bad(f"{GRANULARITIES} is {unknown[0][:20]!r}: give word or segment", GRANULARITIES)
    if wanted and format != "verbose_json":
        raise _bad(f"{GRANULARITIES} needs response_format verbose_json", GRANULARITIES)
    return wanted or frozenset({"segment"})


def checked_language(language: str, model: ServedModel, task: str) -> str | None:
    """Return the code of the language of a request; None where it is to be detected.

    Raises:
        RefusalError: With 400 if the model does not know it, or cannot do the task.
    """
    if task == "translate" and not model.is_multilingual:
        message = f"{model.name} is an English-only model and cannot translate"
        raise _bad(message, "model")
    if not language and model.is_multilingual:
        return model.language
    try:
        return told_language(language or None, multilingual=model.is_multilingual)
    except DataError as error:
        raise _bad(str(error), "language") from None


def _file(form: FormData) -> UploadFile:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise _bad("file is missing: send the recording as a file of the form", "file")
    return file


def _bad(message: str, param: str | None) -> RefusalError:
    return RefusalError(400, message, code="invalid_value", param=param)
