# `make app` opens the page, `make serve` the moderation service, `make test` runs every test; all set up what they need in .venv.
PYTHON ?= python3
PORT ?= 7860
POLICY ?= community
MODEL ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app serve test lint constraints openapi clean

app: $(VENV)/.app
	$(BIN)/chatward app --port $(PORT) $(if $(MODEL),--model $(MODEL))

serve: $(VENV)/.serve
	$(BIN)/chatward serve --policy $(POLICY) --port $(if $(filter command line,$(origin PORT)),$(PORT),8080) $(if $(MODEL),--model $(MODEL))

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "chatward needs Python 3.11 or newer; give one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python can't make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.app: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[app]'
	touch $@

$(VENV)/.serve: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[serve]'
	touch $@

# Everything in dev holds the app as well.
$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.app $(VENV)/.serve

# After trying newer versions: pin what is installed now.
constraints: $(VENV)/.dev
	set -e; { echo '# Every version that was tested together, on Python 3.11. Written by: make constraints'; \
	  $(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu//' | sort -f; } > constraints.partial; \
	mv constraints.partial constraints.txt

clean:
	rm -rf $(VENV) build dist

# After changing a route: what docs/openapi.json promises to clients.
openapi: $(VENV)/.dev
	$(BIN)/python -c 'from pathlib import Path; from chatward.faces.api.app import openapi; Path("docs/openapi.json").write_bytes(openapi())'
