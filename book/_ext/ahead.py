"""Pages are executed two at a time, ahead of their reading; MyST-NB finds them in its cache.

MyST-NB executes a page when Sphinx comes to read it, one after the other, and mostly leaves a core idle. Here
the pages that have no outputs in the cache are executed before, each by a process of its own: this very file,
as a program. Threads would do with less, but the kernels' messages do not always find their way through them.
A page that fails is left alone: MyST-NB executes it once more, and says what is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

logger = logging.getLogger(__name__)

TOGETHER = 2  # kernels: each brings PyTorch, and any machine has the memory for two
PATIENCE = 900  # seconds for a page; of a cell the time is limited by _config.yml


def stale(cache: Path, pages: Iterable[Path]) -> list[Path]:
    """Return the notebooks that have no outputs in the cache, which knows them by kernel and code."""
    stored = get_cache(cache)
    kept = {record.hashkey for record in stored.list_cache_records()}
    notebooks = {page: nbformat.read(page, as_version=4) for page in pages}
    return [page for page, nb in notebooks.items() if stored.create_hashed_notebook(nb)[1] not in kept]


def execute(cache: Path, page: Path, timeout: int) -> bool:
    """Execute a notebook and put its outputs into the cache; return whether it ran to its end."""
    notebook = nbformat.read(page, as_version=4)
    result = single_nb_execution(notebook, cwd=str(page.parent), timeout=timeout, allow_errors=False)
    if result.err is None:
        stored = get_cache(cache)
        record = stored.add_nb_to_project(str(page))
        bundle = CacheBundleIn(notebook, record.uri, data={"execution_seconds": result.time})
        stored.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return result.err is None


def execute_ahead(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:  # noqa: ARG001
    """Execute what Sphinx is about to read and the cache does not have."""
    config = env.mystnb_config  # type: ignore[attr-defined]
    if config.execution_mode != "cache" or config.execution_in_temp:
        return
    cache = Path(config.execution_cache_path)
    pages = stale(cache, (Path(path) for path in map(env.doc2path, names) if path.endswith(".ipynb")))
    if len(pages) < 2:
        return
    # Threads that want the same core wait for one another.
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // TOGETHER))}

    def run(page: Path) -> str:
        command = [sys.executable, __file__, str(cache), str(page), str(config.execution_timeout)]
        try:
            done = subprocess.run(
                command, env=share | os.environ, capture_output=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{page.name} does not end"
        return f"{page.name} " + ("has failed" if done.returncode else "is executed")

    logger.info("ahead: executing %s pages, %s at a time", len(pages), TOGETHER)
    pool = ThreadPoolExecutor(TOGETHER)  # of threads that wait for processes
    try:
        for job in as_completed([pool.submit(run, page) for page in pages]):
            logger.info("ahead: %s", job.result())
    finally:
        pool.shutdown(cancel_futures=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("env-before-read-docs", execute_ahead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    folder, notebook, seconds = sys.argv[1:]
    sys.exit(not execute(Path(folder), Path(notebook), int(seconds)))
