"""serve(): a run, its base and further adapters behind OpenAI's audio API."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from whisper_peft.data.targets.labels import told_language
from whisper_peft.errors import ModelError, ServingError, did_you_mean
from whisper_peft.evaluation.generation import AudioContext
from whisper_peft.evaluation.transcription import DETECT
from whisper_peft.model.adapters.folders import find_adapter_folder
from whisper_peft.model.adapters.sets import add_adapter
from whisper_peft.model.checkpoints.ctranslate2_format import MODEL_FILE
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.context_choice import ContextChoice
from whisper_peft.pipeline.operations import Overrides, choose_context, load, recipe_of
from whisper_peft.pipeline.runs.run_folder import ADAPTER, MODEL, RECIPE_FILE

if TYPE_CHECKING:
    from fastapi import FastAPI

    from whisper_peft.deploy.serving.engine import Engine, ServedModel
    from whisper_peft.deploy.serving.service import Service

EngineChoice: TypeAlias = Literal["auto", "transformers", "ctranslate2"]

LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What `whisper-peft[serve]` brings, beside Gradio."""


def serve(
    run_or_model: str | Path,
    *,
    adapters: Mapping[str, str | Path] | None = None,
    model: Overrides | None = None,
    engine: EngineChoice = "auto",
    audio_context: ContextChoice = "auto",
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    page: bool | None = None,
    limits: Mapping[str, float] | None = None,
    on_listening: Callable[[str, tuple[str, ...]], None] | None = None,
) -> None:
    """Serve a run or a model with OpenAI's audio API, until SIGTERM or Ctrl-C.

    A run is served under its folder's name, and its base, without the adapter, under its own; `whisper-1` is
    the run too. What has been taken is answered before the server stops.

    Args:
        run_or_model: A run or adapter folder, a folder of CTranslate2, or whatever `model.name` takes.
        adapters: Further run or adapter folders on the same base, by the names that they are served under.
        model: Fields of the section to override, such as `{"language": "fr"}`.
        engine: transformers: adapters beside their base, any precision; ctranslate2: a folder with
            `model.bin`; auto: as the folder is.
        audio_context: As in `transcribe`, for each model by its own figures.
        host: Address to listen on. Any but loopback needs a key.
        port: Port to listen on; 0 takes a free one.
        api_key: What clients must send as a bearer token.
        page: Whether to mount the page at /ui. None: if Gradio is installed.
        limits: Other fields of `ServingSettings`, such as `{"max_requests": 16}`.
        on_listening: Called with the address and the names of the models when clients can come.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do, before anything is listened on.

    Example:
        >>> serve("runs/demo", adapters={"legal": "runs/legal"})  # doctest: +SKIP
    """
    _refuse_missing_extra()
    from whisper_peft.deploy.serving.metrics import ServingMetrics
    from whisper_peft.deploy.serving.server import run_server
    from whisper_peft.deploy.serving.service import Service
    from whisper_peft.deploy.serving.settings import ServingSettings, with_limits

    shows_page = _shows_page(page)
    settings = with_limits(ServingSettings(host, port, api_key, shows_page), limits or {})
    chosen = open_engine(
        run_or_model, adapters=adapters or {}, model=model, engine=engine, audio_context=audio_context
    )
    service = Service(chosen, settings, ServingMetrics())
    app = _build_app(service, shows_page=shows_page)

    def listening(taken: int) -> None:
        if on_listening is not None:
            on_listening(_address(host, taken), tuple(chosen.models))

    run_server(app, settings, listening)


def _build_app(service: Service, *, shows_page: bool) -> FastAPI:
    from whisper_peft.deploy.serving.app import build_app

    app = build_app(service, created=int(time.time()))
    if shows_page:
        from whisper_peft.deploy.serving.page import mount_page

        mount_page(app, service)
    return app


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _shows_page(asked: bool | None) -> bool:
    shows_page = _has("gradio") if asked is None else asked
    if shows_page and not _has("gradio"):
        raise ServingError(
            "the page needs Gradio", "it is not installed", 'pip install "whisper-peft[serve]"'
        )
    return shows_page


def _has(module: str) -> bool:
    return find_spec(module) is not None


def _refuse_missing_extra() -> None:
    if missing := [name for name in LIBRARIES if not _has(name)]:
        raise ServingError(
            "the server's libraries are missing",
            f"not installed: {', '.join(missing)}",
            'pip install "whisper-peft[serve]"',
        )


def open_engine(
    run_or_model: str | Path,
    *,
    adapters: Mapping[str, str | Path],
    model: Overrides | None = None,
    engine: EngineChoice = "auto",
    audio_context: ContextChoice = "auto",
) -> Engine:
    """Load what is served; the arguments are those of `serve`.

    Raises:
        WhisperPeftError: If something does not load or does not fit together.
    """
    folder = Path(run_or_model)
    if engine not in get_args(EngineChoice):
        known = did_you_mean(engine, get_args(EngineChoice))
        raise ServingError(f"engine is {engine!r}", "there is no such engine", known)
    is_ctranslate2 = (folder / MODEL_FILE).is_file() and not (folder / RECIPE_FILE).is_file()
    if engine == "ctranslate2" or (engine == "auto" and is_ctranslate2 and _has("ctranslate2")):
        return _ctranslate2_engine(folder, adapters, model, audio_context)
    return _transformers_engine(run_or_model, adapters, model, audio_context)


def _transformers_engine(
    run_or_model: str | Path,
    adapters: Mapping[str, str | Path],
    model: Overrides | None,
    choice: ContextChoice,
) -> Engine:
    from whisper_peft.deploy.serving.transformers_engine import TransformersEngine

    language = recipe_of(run_or_model, _overrides(model)).model.language
    whisper = load(run_or_model, model=model)
    base = _short_name(whisper.checkpoint.name)
    behind: dict[str, str | None] = {}
    served: list[ServedModel] = []
    is_tuned = whisper.model is not whisper.core
    if is_tuned:
        name = _short_name(str(run_or_model))
        behind[name] = "default"
        served.append(_served(name, whisper, run_or_model, language, choice))
    alone = _served(base, whisper, None if is_tuned else run_or_model, language, choice)
    for name, path in adapters.items():
        if name in (*behind, base):
            raise ServingError(f"the name {name} is taken", "each model has its own", "choose another one")
        behind[name] = add_adapter(whisper, _adapter_folder(Path(path)))
        own = recipe_of(path, {}).model.language or language
        served.append(_served(name, whisper, path, own, choice))
    behind[base] = None
    return TransformersEngine(whisper, behind, [*served, alone] if is_tuned else [alone, *served])


def _ctranslate2_engine(
    folder: Path, adapters: Mapping[str, str | Path], model: Overrides | None, choice: ContextChoice
) -> Engine:
    if not _has("ctranslate2"):
        why = "the library is not installed"
        raise ServingError("engine is ctranslate2", why, 'pip install "whisper-peft[ctranslate2]"')
    if not (folder / MODEL_FILE).is_file():
        todo = f"whisper-peft export {folder} --format ctranslate2 --output-dir FOLDER, and serve FOLDER"
        raise ServingError(f"{folder} has no {MODEL_FILE}", "CTranslate2 serves its own format", todo)
    if adapters:
        why = "CTranslate2 has no adapters, only whole models"
        raise ServingError(f"--adapter {next(iter(adapters))} with CTranslate2", why, "serve the run itself")
    from whisper_peft.deploy.serving.ctranslate2_engine import CTranslate2Engine, load_ctranslate2
    from whisper_peft.deploy.serving.engine import ServedModel

    section = recipe_of(folder, _overrides(model)).model
    loaded = load_ctranslate2(folder, device="auto" if section.device == "mps" else section.device)
    language = _told(section.language, is_multilingual=loaded.is_multilingual)
    context = choose_context(folder, choice)
    one = ServedModel(_short_name(str(folder)), language, context, loaded.is_multilingual)
    return CTranslate2Engine(loaded, one)


def _served(
    name: str, whisper: Whisper, folder: str | Path | None, language: str | None, choice: ContextChoice
) -> ServedModel:
    """Describe a model by what was measured in its folder; None is the base of an adapter."""
    from whisper_peft.deploy.serving.engine import ServedModel

    if folder is None:  # nothing was measured of it
        context: AudioContext = "cut" if choice == "cut" else "full"
    else:
        context = choose_context(folder, choice)
    told = _told(language, is_multilingual=whisper.is_multilingual)
    return ServedModel(name, told, context, whisper.is_multilingual)


def _told(language: str | None, *, is_multilingual: bool) -> str | None:
    """Return the code of the language where requests give none, None where it is to be detected."""
    if is_multilingual and language in (None, DETECT):
        return None
    return told_language(None if language == DETECT else language, multilingual=is_multilingual)


def _overrides(model: Overrides | None) -> Overrides:
    return {"model": dict(model)} if model else {}


def _adapter_folder(folder: Path) -> Path:
    """Return the adapter of a run folder, or the adapter folder itself."""
    if found := find_adapter_folder(folder / ADAPTER) or find_adapter_folder(folder):
        return found
    raise ModelError(
        f"{folder} has no adapter", "there is no adapter_config.json", "give a run or its adapter/"
    )


def _short_name(path_or_name: str) -> str:
    """Return what a folder is served as: its name, and of an adapter/ or model/ that of its run."""
    path = Path(path_or_name).expanduser()
    if not path.exists():
        return path_or_name
    path = path.resolve()
    return path.parent.name if path.name in (ADAPTER, MODEL) else path.stem if path.is_file() else path.name
