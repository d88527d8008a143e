# Each target works from a fresh clone: it makes .venv on first use and reuses it afterwards.
PYTHON ?= python3
VENV ?= .venv
STUDY ?= examples/quickstart.yaml
# of pytest: one more than two cores, since tests also wait
WORKERS ?= 3

# modules are compiled once, not by each of the thousand processes that tests start
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# side by side: single tests, so that none is waited for; whole files where a cluster is shared in each
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
PYTEST_FILES := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: run test check coverage slow test-faults test-engines test-oldest-mlflow audit bench docs release lint clean

run: $(STAMP)  ## tune a small language model on this machine
	$(BIN)/autotune run $(STUDY)

test: check  ## ruff, the type checker, the import layers, pytest
	$(PYTEST)

check: $(STAMP)  ## all of `make test` that runs no code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

coverage: check  ## `make test` with the lines counted that run, in each package against its floor
	$(PYTEST) --cov --cov-report=
	$(BIN)/python .ci/coverage_floors.py

slow: $(STAMP)  ## tests that take minutes
	$(PYTEST) -m slow

test-faults: $(STAMP)  ## break everything on purpose and write docs/reliability.md: half an hour
	AUTOTUNE_RELIABILITY=docs/reliability.md $(PYTEST_FILES) -m faults tests/faults

test-engines: $(STAMP)  ## install serving engines (cached; AUTOTUNE_ENGINES names the folder) and drive them
	$(BIN)/python tests/engines/install.py $(ENGINES)
	$(BIN)/python -m pytest -m engines tests/engines $(if $(ENGINES),-k "$(ENGINES) or port or model_that")

OLDEST := .venv-oldest-mlflow

test-oldest-mlflow: $(STAMP)  ## what a browser shows with the oldest MLflow we admit: its server, then its library too
	test -x $(OLDEST)/bin/mlflow || { $(PYTHON) -m venv $(OLDEST) && \
	  $(OLDEST)/bin/pip install -q 'mlflow==3.0.*' 'sqlalchemy<2.1'; }
	AUTOTUNE_OLDEST_MLFLOW=$(OLDEST)/bin/python $(BIN)/python -m pytest tests/tracking/test_tracking_browser.py -k oldest
	# all else is borrowed from .venv, behind its own
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > $$($(OLDEST)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/borrowed.pth
	PYTHONPATH=. $(OLDEST)/bin/python -m pytest -p no:cacheprovider tests/tracking/test_tracking_browser.py

audit: $(STAMP)  ## dependencies: pins, hashes of their files, known vulnerabilities where pip-audit can ask
	$(BIN)/python .ci/audit.py

bench: $(STAMP)  ## our engines beside the peers, and how their speed grows: minutes
	$(BIN)/python -m benchmarks.compare --methods gp,optuna:tpe,coordinate_descent,sobol,random \
	  --problems serving,rosenbrock,cash --seeds 10 --out autotune-runs/bench.jsonl
	$(BIN)/python -m benchmarks.report autotune-runs/bench.jsonl
	$(BIN)/python -m benchmarks.ask

docs: $(STAMP)  ## the documentation as pages in site/, those that follow from the code written anew
	$(BIN)/python .ci/docs_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

RELEASE := .venv-release

release:  ## wheel, sdist, SBOM and checksums in dist/, where tag, version, changelog and tree agree
	test -x $(RELEASE)/bin/cyclonedx-py || { $(PYTHON) -m venv $(RELEASE) && \
	  $(RELEASE)/bin/pip install --quiet --disable-pip-version-check --requirement .ci/release.txt; }
	$(RELEASE)/bin/python .ci/release.py

lint: $(STAMP)  ## repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[transformers,dev,docs]'
	touch $@

clean:  ## forget the environment and what runs left
	rm -rf $(VENV) autotune-runs mlflow.db mlartifacts site
