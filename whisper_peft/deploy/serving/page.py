"""A page to try the models by ear: record or drop a file, and read two of them side by side.

It is Gradio's, without its analytics, sharing, and programming interface. What is recorded goes the same way
as a request of the API: the same places, limits and decoders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from fastapi import FastAPI, Response

from whisper_peft.deploy.serving.forms import Ask, checked_language
from whisper_peft.deploy.serving.guards import ICON_PATH, PAGE_PATH, is_key
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.responses import Answer
from whisper_peft.deploy.serving.service import Service
from whisper_peft.types import SAMPLING_RATE

CACHE_S = (60, 600)
"""Every minute, what was recorded more than ten minutes ago is deleted from Gradio's folder."""

FONT = ["system-ui", "sans-serif"]
"""Fonts of the machine: nothing is fetched."""


def mount_page(app: FastAPI, service: Service) -> None:
    """Mount the page; with an API key it asks for it first, as the password of any user."""

    @app.get(ICON_PATH)
    async def icon() -> Response:  # browsers ask for one of every site
        return Response(status_code=204)

    key = service.settings.api_key
    gr.mount_gradio_app(
        app,
        _page(service),
        path=PAGE_PATH,
        auth=None if key is None else _key_checker(key),
        auth_message="Any user name, and the API key as the password",
        max_file_size=service.settings.max_upload_bytes,
        theme=gr.themes.Default(font=FONT, font_mono=["ui-monospace", "monospace"]),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
    )


def _key_checker(key: str) -> Callable[[str, str], bool]:
    def check(_: str, password: str) -> bool:
        return is_key(password, key)

    return check


def _page(service: Service) -> gr.Blocks:
    names = list(service.engine.models)
    languages = any(model.is_multilingual for model in service.engine.models.values())

    async def compare(path: str | None, left: str, right: str, language: str) -> list[gr.Textbox]:
        if path is None:
            return [gr.Textbox("Record something, or drop a file, first."), gr.Textbox("")]
        heard = (_transcript(service, path, model, language) for model in (left, right))
        texts = await asyncio.gather(*heard)
        return [gr.Textbox(text, label=model) for text, model in zip(texts, (left, right), strict=True)]

    with gr.Blocks(title="whisper_peft", analytics_enabled=False, delete_cache=CACHE_S) as page:
        gr.Markdown("# Whisper, before and after tuning")
        sound = gr.Audio(sources=["microphone", "upload"], type="filepath", label="Recording", buttons=[])
        with gr.Row():
            left = gr.Dropdown(names, value=names[-1], label="Left", elem_id="left-model")
            right = gr.Dropdown(names, value=names[0], label="Right", elem_id="right-model")
            language = gr.Textbox(
                label="Language", placeholder="as the model's; a code such as fr", visible=languages
            )
        button = gr.Button("Transcribe", variant="primary", elem_id="transcribe")
        with gr.Row():
            texts = [
                gr.Textbox(label=name, lines=6, interactive=False, elem_id=f"{side}-text")
                for name, side in ((names[-1], "left"), (names[0], "right"))
            ]
        button.click(compare, [sound, left, right, language], texts, api_visibility="private")
    page.queue(max_size=service.settings.max_requests, default_concurrency_limit=None)
    return page  # type: ignore[no-any-return]  # Gradio's Blocks is a context manager of Any


async def _transcript(service: Service, path: str, model: str, language: str) -> str:
    """Return what a model hears in a file that Gradio has stored, or why it does not."""

    async def read() -> bytes:
        return await asyncio.to_thread(Path(path).read_bytes)

    try:
        told = checked_language(language, service.engine.models[model], "transcribe")
        ask = Ask(
            read_audio=read,
            model=model,
            task="transcribe",
            language=told,
            prompt="",
            response_format="text",
            words=False,
            segments=False,
            stream=False,
        )
        with service.place():
            async with asyncio.timeout(service.settings.timeout_s):
                waveform = await service.decode(ask)
                pieces = [piece async for piece in service.pieces(ask, waveform)]
    except RefusalError as refusal:
        return refusal.message
    except TimeoutError:
        return "it took too long"
    return Answer(ask, len(waveform) / SAMPLING_RATE, tuple(pieces)).text
