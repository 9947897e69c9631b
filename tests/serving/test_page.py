"""The page in a real browser; skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from samner import ExpertPool, adapt
from tests.serving import conftest  # noqa: F401 - skips where the extra is missing

pytest.importorskip("gradio", reason="the extra 'page' is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOKEN = "a-token-for-this-very-test"
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (apt-get install chromium)"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def address(tiny_pool: Path) -> Iterator[str]:
    """Of a server with the tiny pool and a model of it, which asks for a token."""
    import uvicorn

    from samner.serving.app import create_app
    from samner.serving.catalog import Catalog
    from samner.serving.run import bind

    pool = ExpertPool.load(tiny_pool)
    texts = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday."]
    model = adapt(pool, texts, ["drug", "disease"])
    app = create_app(Catalog({"mine": model}, {"tiny": pool}), tokens=[TOKEN], page=True)
    bound = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, whose every request went to this server and whose console held no error."""
    context = browser.new_context(http_credentials={"username": "me", "password": TOKEN}, accept_downloads=True)
    context.set_default_timeout(180_000)
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.get_by_role("button", name="Find entities").wait_for()
    yield page
    context.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert [line for line in wrong if "401" not in line] == []  # the first answer, before the password is given


def fill(page: Any, texts: str, types: str) -> None:
    page.get_by_label("Texts, one a line").fill(texts)
    page.get_by_label("Entity types, one a line").fill(types)


def test_a_pool_is_adapted_and_tells_what_it_found_and_why(page: Any, tmp_path: Path) -> None:
    fill(
        page,
        "Aspirin relieves <b>headache</b> within hours.\nAda Moreno scored twice for Rovers.",
        "drug\nteam: a club",
    )
    page.get_by_role("button", name="Find entities").click()
    page.get_by_text(re.compile(r"\d+ entities in 2 texts, read by adapted-")).wait_for()
    page.get_by_role("slider").first.wait_for()
    # at the lowest thresholds something is found, by the keyboard; what is HTML in a text is shown as text
    for slider in page.get_by_role("slider").all():
        slider.focus()
        slider.press("Home")
    page.locator("mark").first.wait_for()
    assert page.locator("#shown b").count() == 0
    text = page.locator("#shown").evaluate(
        "e => { e = e.cloneNode(true); for (const s of e.querySelectorAll('small')) s.remove(); return e.textContent }"
    )
    assert "relieves <b>headache</b> within" in text
    label = page.locator("mark small").first.inner_text()
    assert re.fullmatch(r"(drug|team) 0\.\d\d · .*(similarity|sampling).*", label)

    page.get_by_role("tab", name="Which experts, and why").click()
    table = page.get_by_role("table").filter(has_text="medicine")
    assert table.get_by_role("columnheader").all_inner_texts() == [
        "expert",
        "similarity to the texts (cosine)",
        "agreement with the majority (F1)",
        "chosen by",
    ]
    assert set(table.get_by_role("rowheader").all_inner_texts()) == {"medicine", "sports"}

    for name, key in (("JSON Lines", "entities"), ("spaCy", "ents"), ("Label Studio", "annotations")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download as {name}").click()
        content = Path(download.value.path()).read_text("utf-8")
        records = json.loads(content) if content.startswith("[") else [json.loads(one) for one in content.splitlines()]
        assert len(records) == 2 and all(key in record for record in records)


def test_a_model_reads_an_uploaded_file(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "Aspirin relieves\\nfever."}\n{"text": "Codeine."}\n', encoding="utf-8")
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("2 texts were read").wait_for()
    assert page.get_by_label("Texts, one a line").input_value() == "Aspirin relieves fever.\nCodeine."
    page.get_by_label("Read by").click()
    page.get_by_role("option", name="the model mine").click()
    page.get_by_label("Entity types, one a line").fill("")
    page.get_by_role("button", name="Find entities").click()
    page.get_by_text(re.compile(r"\d+ entities in 2 texts, read by mine")).wait_for()
    page.get_by_role("slider", name=re.compile("disease")).wait_for()


def test_what_is_wrong_is_said_as_an_alert(page: Any, tmp_path: Path) -> None:
    packed = tmp_path / "texts.txt"
    packed.write_bytes(b"\x1f\x8b\x08\x00 packed")
    page.locator("input[type=file]").set_input_files(packed)
    page.get_by_role("alert").filter(has_text="texts.txt: is no text in UTF-8").wait_for()
    fill(page, "", "drug")
    page.get_by_role("button", name="Find entities").click()
    page.get_by_role("alert").filter(has_text="there are no texts").wait_for()
    fill(page, "Aspirin", "drug\ndrug")
    page.get_by_role("button", name="Find entities").click()
    page.get_by_role("alert").filter(has_text="'drug' is given twice").wait_for()


def test_it_can_be_used_by_keys_and_everything_has_a_name(page: Any) -> None:
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
    names = " ".join(map(str, reached))
    assert "Find entities" in names
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, textarea, [role=tab], [role=slider]')]
        .filter(e => e.offsetParent && !(e.innerText || '').trim() && !e.ariaLabel && !e.title &&
          !(e.labels && e.labels.length) && !e.getAttribute('aria-labelledby'))
        .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
