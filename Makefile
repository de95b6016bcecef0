# `make` alone explains itself. Works with the GNU make 3.81 that macOS ships.
#
# Nothing is done twice: the environment is installed again only when its lock or pyproject.toml changed,
# pages are executed again only when something they depend on changed (book/_ext/vaebook.py), and every
# step may be interrupted and repeated.

PYTHON ?= python3
PORT ?= 8000
LAB_OPTIONS ?=

# Where this is set, every process compiles all that it imports anew, and a page takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
INSTALLED := .venv/installed
HTML := _build/html

# A plain `make -j4 test` must keep the order in which the cheap checks fail first.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup data lint ledger book serve test lab lock strip screenshots stills weights reproduce cover bench bench-widgets bench-live clean

help:
	@echo 'Variational autoencoders, checked. Needs Python 3.11 or newer, pip, make and a package index.'
	@echo
	@echo '  make book         install everything, get MNIST, run every page, build $(HTML)/index.html'
	@echo '  make serve        build, then show the book on http://127.0.0.1:$(PORT) (PORT=... to change)'
	@echo '  make lab          open the pages in JupyterLab with the kernel of this project'
	@echo '  make test         lint, types, the book, every test, and every cell of every notebook'
	@echo
	@echo '  make setup        only the environment, in .venv (PYTHON=python3.13 chooses the interpreter)'
	@echo '  make data         only MNIST, proved by checksum'
	@echo '  make lint         only ruff and mypy'
	@echo '  make ledger       check every equation, and each check by mutants (in make book, too)'
	@echo '  make strip        drop outputs from the notebooks; do this before a commit'
	@echo '  make screenshots  pictures of every built page, wide and narrow, light and dark'
	@echo '  make stills       the still picture that stands beside each widget, taken from the built book'
	@echo '  make reproduce    train the published models at their published length: hours; may be stopped'
	@echo '  make weights      train the models that the pages carry, and take those of make reproduce'
	@echo '  make bench        race fit() against others, and all the page on speed reads: half an hour, quiet'
	@echo '  make bench-widgets  what each widget costs its reader, into results/widgets.json'
	@echo '  make bench-live   what Python in the page costs its reader, into results/live.json'
	@echo '  make cover        train a model and draw the landing page'"'"'s picture with it'
	@echo '  make lock         resolve pyproject.toml anew into requirements.lock'
	@echo '  make clean        remove what was built (.venv and the downloaded data stay)'

setup: $(INSTALLED)

# The stamp is written last, so that an interrupted install is taken up again. pip rather than a faster
# installer, because it heeds whatever index, proxy and certificates the reader has set up for it.
# Byte-compiling six thousand files before the first use would take longer than installing them.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	    "This book needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] \
	    + ". Name another one: make PYTHON=python3.13 " + "$(MAKECMDGOALS)")'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo 'Installing the locked requirements into .venv: the first time some minutes and some gigabytes.'
	$(PY) -m pip install --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	$(PY) -m pip install --disable-pip-version-check --no-compile --no-deps --no-build-isolation --quiet --editable .
	$(PY) tools/environment.py prune
	$(PY) -m pip --disable-pip-version-check check
	@touch $@

data: setup
	.venv/bin/vaelib data

lint: setup
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

ledger: setup
	$(PY) tools/ledger.py

book: data
	.venv/bin/jupyter-book build . -W -n --keep-going
	@echo
	@echo 'The book is in $(CURDIR)/$(HTML)/index.html'
	@echo 'Open that file in a browser, or run `make serve`.'

serve: book
	@echo 'The book is at http://127.0.0.1:$(PORT) until you press Ctrl-C.'
	@$(PY) -m http.server --bind 127.0.0.1 --directory $(HTML) $(PORT)

# Cheap checks first. The book comes before the tests, because some of them open its pages in a browser.
# Two processes, each with whole files, the notebooks first, since one of them takes longest of all.
test: lint book
	$(PY) -m pytest -rs --numprocesses 2 --dist loadfile --no-loadscope-reorder --nbval-lax --nbval-current-env --nbval-cell-timeout=300

lab: data
	$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/book $(LAB_OPTIONS)

# --no-header and no index options: the lock names packages and hashes, and no address.
lock: setup
	$(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --extra book --extra tensorboard --extra video --extra test pyproject.toml -o requirements.lock
	$(PY) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links --extra bench -c requirements.lock pyproject.toml -o requirements-bench.lock

strip: setup
	$(PY) tools/notebooks.py strip

screenshots: book
	$(PY) tools/screenshots.py

stills: book
	$(PY) -m tools.stills

reproduce: data
	for name in giwoong kimrass juyoung woogyeong paper; do .venv/bin/vaelib reproduce $$name || exit; done

weights: data
	$(PY) tools/weights.py

# What it is raced against is not needed by anybody else, and is installed here alone.
bench: book
	$(PY) -m pip install --disable-pip-version-check --no-compile --no-deps --require-hashes --quiet -r requirements-bench.lock
	$(PY) -m benchmarks.speed

bench-widgets: book
	$(PY) -m benchmarks.widgets

bench-live: book
	$(PY) -m benchmarks.live

# The committed picture is this command's result on two CPU cores, seed 0; other machines draw another plane.
cover: data
	rm -rf runs/cover
	.venv/bin/vaelib train --out runs/cover --device cpu
	$(PY) tools/cover.py runs/cover

clean:
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis
