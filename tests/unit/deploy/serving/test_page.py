"""The page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.deploy.serving.servers import running
from whisper_peft.deploy.serving.engine import Engine
from whisper_peft.deploy.serving.settings import ServingSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

# Gradio's own modules warn when they are imported and mounted; nothing of it is ours
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.slow,
]


@pytest.fixture
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_a_dropped_file_is_read_by_both_models_without_an_error_or_a_foreign_request(
    browser: Any, engine: Engine, prompts_en: list[dict[str, Any]]
) -> None:
    with running(engine, ServingSettings()) as (address, _):
        page = browser.new_page()
        problems, foreign = list[str](), list[str]()
        page.on("console", lambda one: one.type == "error" and problems.append(one.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda one: (
                one.url.startswith("http") and not one.url.startswith(address) and foreign.append(one.url)
            ),
        )
        page.goto(f"{address}/ui/")
        page.wait_for_selector("#transcribe")
        page.locator("button[aria-label='Upload file']").click()
        page.set_input_files("input[type=file]", Path(prompts_en[0]["file_name"]))
        page.wait_for_selector("#waveform, .waveform-container")
        page.click("#transcribe")
        page.wait_for_function("document.querySelector('#right-text textarea').value.length > 3")
        assert page.input_value("#left-text textarea") == prompts_en[0]["text"]
        assert page.input_value("#right-text textarea") not in ("", prompts_en[0]["text"])
    assert problems == []
    assert foreign == []


def test_with_a_key_the_page_asks_for_it(browser: Any, engine: Engine) -> None:
    with running(engine, ServingSettings(api_key="sesame")) as (address, _):
        upload = {"files": ("a.wav", b"0")}
        assert httpx.post(f"{address}/ui/gradio_api/upload", files=upload).status_code == 401
        assert httpx.get(f"{address}/ui/config").status_code == 401
        page = browser.new_page()
        page.goto(f"{address}/ui/")
        page.wait_for_selector("input[type=password]")
        assert page.locator("#transcribe").count() == 0
        page.locator("input").first.fill("me")
        page.locator("input[type=password]").fill("sesame")
        page.locator("button").last.click()
        page.wait_for_selector("#transcribe")
