"""What several files of tests share: a browser and what it says of a page; the command line and its runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, Response

from tests.shell import SMALL, Shell
from tools.browser import SIZES, chromium, find_chromium, served, settle
from vaelib import checkpoints, snapshots
from vaelib.data import Images
from vaelib.history import Epoch
from vaelib.models import mlp_vae


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the installed browser. Without one there is nothing to see, which CI must not put up with."""
    if find_chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(
                "CI must look at the pages, and there is no Chromium here: see .ci/packages.txt", False
            )
        pytest.skip("no Chromium here, so nobody looks at the built pages")
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the built book."""
    with served() as url:
        yield url


@dataclass
class Visit:
    """A page as one reader sees it, with what was loaded for it and all that the browser complained about."""

    page: Page
    name: str
    complaints: list[str] = field(default_factory=list)
    addresses: set[str] = field(default_factory=set)
    responses: list[Response] = field(default_factory=list)

    def complain(self, text: str, serious: bool = True) -> None:
        """Note what the browser said, if it matters."""
        if serious:
            self.complaints.append(text)

    def answered(self, response: Response) -> None:
        """Note what came back."""
        self.responses.append(response)
        self.complain(f"{response.status}: {response.url}", response.status >= 400)


@contextmanager
def visiting(
    browser: Browser,
    address: str,
    name: str,
    size: str = "desktop",
    scheme: str = "light",
    prepare: Callable[[Page], object] = lambda page: None,
) -> Iterator[Visit]:
    """Open a page with a memory of its own, and leave nothing behind for the next one."""
    width, height = SIZES[size]
    viewport = {"width": width, "height": height}
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:
        seen = Visit(context.new_page(), name)
        page = seen.page
        page.on("console", lambda said: seen.complain(said.text, said.type in {"error", "warning"}))
        page.on("pageerror", lambda error: seen.complain(f"uncaught: {error}"))
        page.on("requestfailed", lambda request: seen.complain(f"failed: {request.url}"))
        page.on("response", seen.answered)
        page.on("request", lambda request: seen.addresses.add(request.url))
        prepare(page)
        page.goto(f"{address}/{name}")
        settle(page)
        yield seen


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open pages for one test, which may do with them what it likes."""
    with ExitStack() as stack:
        yield lambda *where, **how: stack.enter_context(visiting(browser, *where, **how))


@pytest.fixture(scope="module")
def opened(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A page in one view, (name, size, scheme), opened once for all tests of a file that only look at it."""
    with visiting(browser, address, *request.param) as seen:
        yield seen


@pytest.fixture
def vaelib(capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line, in this process."""
    return Shell(capsys)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained once through the real command in a process of its own."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = [sys.executable, "-m", "vaelib", "train", "--out", str(folder), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test ELBO -" in done.stdout
    assert "epoch 2: training ELBO" in done.stderr  # not a terminal: a line an epoch instead of a bar
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with three latents."""
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    model = mlp_vae(hidden_dim=8, latent_dim=3, generator=torch.Generator().manual_seed(0))
    checkpoints.save(path, model)
    return path


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with snapshots of three epochs in which a model with three latents learned nothing."""
    folder = tmp_path_factory.mktemp("replayed")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 784), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(40) % 10)
    model = mlp_vae(hidden_dim=8, latent_dim=3, generator=generator)
    taken, history = snapshots.begin(model, images, seed=0, held_out_name="validation"), []
    for epoch in (1, 2, 3):
        history.append(Epoch(epoch, -200.0 + epoch, 190.0, 10.0, -210.0 + epoch, 195.0, 15.0, 0.1, 1.0))
        with torch.no_grad():
            model.encoder.output.weight.mul_(1.5)
        taken = snapshots.after_epoch(taken, model, images, history)
    snapshots.save(folder / snapshots.SNAPSHOTS_FILE, taken)
    checkpoints.save(folder / checkpoints.MODEL_FILE, model)
    return folder
