"""The page of a Space: its folder as `chatward publish-space` writes it, started as the Hub starts it, in a real Chromium."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import SpaceCard

from chatward.publishing.access import open_target
from chatward.publishing.space import find_model, write_card, write_space
from chatward.publishing.stage import stage
from chatward.publishing.upload import upload
from tests.browser.program import free_port
from tests.hub.peer import Peer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
]


@pytest.fixture
def space(peer: Peer, trained: Path, tmp_path: Path) -> Path:
    """Publish a model; return the folder of a Space over it."""
    repo = peer.name()
    model = tmp_path / "staged"
    model.mkdir()
    staged = stage(trained, repo, model, license="mit", added="## Use\n\nFor tests.\n")
    asked = {"token": peer.token, "endpoint": peer.url}
    upload(open_target(repo, "model", **asked), model, staged.files, "Publish")  # type: ignore[arg-type]
    folder = tmp_path / "space"
    folder.mkdir()
    target = open_target(peer.name("space"), "space", **asked)  # type: ignore[arg-type]
    served = find_model(repo, target)
    write_space(folder, served, pinned=False)
    write_card(folder, target, served, "A page", "6.0.0")
    return folder


@pytest.fixture
def started(space: Path, peer: Peer) -> Iterator[str]:
    """Run its app.py where nothing else of chatward is to be found; give the address."""
    port = free_port()
    run = (
        "import os, runpy, sys; sys.path[:] = [os.getcwd(), *(p for p in sys.path if not p.endswith('/src'))]; "
        "import chatward; assert chatward.__file__.startswith(os.getcwd()); runpy.run_path('app.py')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", run],
        cwd=space,
        env={
            **os.environ,
            **peer.environment(""),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert process.poll() is None, process.communicate()[0]
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        told = process.communicate(timeout=20)[0]
    assert "took revision" not in told, "the Space names the commit it serves"


def test_it_answers(browser: Any, space: Path, started: str) -> None:
    for width in (1280, 390):
        page = browser.new_page(locale="en-US", viewport={"width": width, "height": 800})
        page.set_default_timeout(20_000)
        page.goto(started)
        page.locator("#cw-result[aria-live=polite]").wait_for(state="attached")
        page.locator("#cw-message textarea").fill("gg wp noob")
        page.get_by_role("button", name="Check").click()
        result = page.locator("#cw-result")
        result.get_by_text("%").first.wait_for()
        assert "toxic" in result.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()


def test_what_the_hub_reads(space: Path) -> None:
    data = SpaceCard.load(space / "README.md").data
    assert (data.sdk, data.app_file, data.license) == ("gradio", "app.py", "apache-2.0")
    assert float(str(data.python_version).split(".")[1]) >= 11
    assert len((space / "app.py").read_text().splitlines()) < 12
    assert data.models[0] in (space / "app.py").read_text()
