"""Pages are executed two at a time, ahead of their reading, and MyST-NB takes what came of it.

MyST-NB executes a page when Sphinx comes to read it, one after the other, and mostly leaves a core idle. Here
two threads execute the pages that have no outputs in the cache, in the order in which they will be read, and
where MyST-NB would execute a page, it waits for that page's result instead. What follows is MyST-NB's own:
what it stores, what it says of a failure, and what it does with a page that was not executed ahead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.execute import cache as mystnb
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

TOGETHER = 2  # kernels: each brings PyTorch, and any machine has the memory for two

# What single_nb_execution returns: the executed notebook, its time and perhaps its error.
Result = Any


def key_of(cache: Any, notebook: NotebookNode) -> str:
    """Return jupyter-cache's name for a notebook, which says what its kernel and its code are."""
    key: str = cache.create_hashed_notebook(notebook)[1]
    return key


def stale(cache: Any, paths: Iterable[Path]) -> dict[str, tuple[Path, NotebookNode]]:
    """Return the notebooks that have no outputs in the cache, by their keys."""
    kept = {record.hashkey for record in cache.list_cache_records()}
    notebooks = [(path, nbformat.read(path, as_version=4)) for path in paths]
    keyed = {key_of(cache, notebook): (path, notebook) for path, notebook in notebooks}
    return {key: page for key, page in keyed.items() if key not in kept}


def take(notebook: NotebookNode, executed: NotebookNode) -> None:
    """Give a notebook what a kernel has left in another one with the same code."""
    codes = ([cell for cell in nb.cells if cell.cell_type == "code"] for nb in (notebook, executed))
    for cell, done in zip(*codes, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    for name in ("language_info", "widgets"):
        if name in executed.metadata:
            notebook.metadata[name] = executed.metadata[name]


def work(queue: SimpleQueue[tuple[Future[Result], Callable[[], Result]]]) -> None:
    """Do one job after the other; what is raised is raised again where the result is asked for."""
    while True:
        try:
            future, job = queue.get_nowait()
        except Empty:
            return
        try:
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)


def begun(jobs: Mapping[str, Callable[[], Result]]) -> dict[str, Future[Result]]:
    """Begin to do jobs, some at a time and in their order, and return what will come of them."""
    queue: SimpleQueue[tuple[Future[Result], Callable[[], Result]]] = SimpleQueue()
    futures: dict[str, Future[Result]] = {key: Future() for key in jobs}
    for key, job in jobs.items():
        queue.put((futures[key], job))
    for _ in range(min(TOGETHER, len(jobs))):
        # Not a pool of `concurrent.futures`: whoever presses Ctrl-C would wait for all of its jobs.
        threading.Thread(target=work, args=(queue,), daemon=True).start()
    return futures


def execute_ahead(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Begin to execute what Sphinx is about to read, and let MyST-NB wait for it."""
    config = env.mystnb_config  # type: ignore[attr-defined]
    if config.execution_mode != "cache" or config.execution_in_temp:
        return
    cache = get_cache(config.execution_cache_path)
    paths = [path for path in map(Path, map(env.doc2path, names)) if path.suffix == ".ipynb"]
    pages = stale(cache, paths)
    execute = mystnb.single_nb_execution
    options = {"timeout": config.execution_timeout, "allow_errors": config.execution_allow_errors}

    def job(path: Path, notebook: NotebookNode) -> Callable[[], Result]:
        def executed() -> Result:
            result = execute(notebook, cwd=str(path.parent), **options)
            if result.err is None:  # MyST-NB would store it later: too late, if the build is interrupted
                record = cache.add_nb_to_project(str(path))
                bundle = CacheBundleIn(notebook, record.uri, data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            return result

        return executed

    share_cores(app, min(TOGETHER, len(pages)))
    results = begun({key: job(*page) for key, page in pages.items()})

    def wait_or_execute(notebook: NotebookNode, **how: Any) -> Result:
        future = results.pop(key_of(cache, notebook), None)
        if future is None:
            return execute(notebook, **how)
        result = future.result()
        take(notebook, result.nb)
        return result

    mystnb.single_nb_execution = wait_or_execute
    undo: list[Callable[[], object]] = app.left_to_undo  # type: ignore[attr-defined]
    undo.append(lambda: setattr(mystnb, "single_nb_execution", execute))


def share_cores(app: Sphinx, kernels: int) -> None:
    """Let each kernel have its part of the cores: threads that want the same one wait for one another."""
    if kernels > 1 and "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // kernels))
        app.left_to_undo.append(lambda: os.environ.pop("OMP_NUM_THREADS"))  # type: ignore[attr-defined]


def leave(app: Sphinx, exception: Exception | None) -> None:  # noqa: ARG001 (Sphinx's signature)
    """Leave MyST-NB and the environment as they were."""
    for step in app.left_to_undo:  # type: ignore[attr-defined]
        step()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.left_to_undo = []  # type: ignore[attr-defined]
    app.connect("env-before-read-docs", execute_ahead)
    app.connect("build-finished", leave)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
