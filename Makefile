# Each target works from a fresh clone: it makes .venv on first use and reuses it afterwards.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
# the only version that these files take for granted; any other may bring CUDA, unless pip is shown an index without
TORCH ?= 2.13.0
STUDY ?= examples/quickstart.yaml
# of `make test-servers` and `make test-flags`: all by default
SERVERS ?= $(ENGINES)
# of pytest: twice two cores, since tests wait for half of their time
WORKERS ?= 4

# modules are compiled once, not by each of the thousand processes that tests start
export PYTHONDONTWRITEBYTECODE :=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# side by side: single tests, so that none is waited for; whole files where a cluster is shared in each
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
PYTEST_FILES := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: run test suite check coverage slow test-faults test-servers test-oldest test-newest test-flags \
  test-oldest-mlflow audit bench docs release lint clean

run: $(STAMP)  ## tune a small language model on this machine
	$(BIN)/autotune run $(STUDY)

test: check  ## ruff, the type checker, the import layers, pytest
	$(PYTEST)

suite: $(STAMP)  ## pytest alone
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

test-servers: $(STAMP)  ## install servers (cached; AUTOTUNE_SERVERS names the folder) and drive them
	$(BIN)/python tests/servers/install.py $(SERVERS)
	$(BIN)/python -m pytest -m servers tests/servers $(if $(SERVERS),-k "$(SERVERS) or port or model_that")

test-oldest: build/oldest.txt  ## the suite with the oldest versions that pyproject.toml admits
	$(MAKE) suite VENV=.venv-oldest CONSTRAINTS=$<

test-newest: build/newest.txt  ## the suite with the newest version of everything but torch (TORCH=...)
	PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager $(MAKE) .venv-newest/.installed VENV=.venv-newest CONSTRAINTS=$<
	# past the bound in pyproject.toml too: whether that can be raised
	.venv-newest/bin/pip install --quiet --upgrade 'ray[default,tune]'
	$(subst $(BIN),.venv-newest/bin,$(PYTEST))

build/oldest.txt: constraints-oldest.txt FORCE
	mkdir -p build
	sed 's/^torch==[^ ]*/torch==$(TORCH)/' $< > $@

build/newest.txt: FORCE
	mkdir -p build
	echo torch==$(TORCH) > $@

FORCE:

test-flags: $(STAMP)  ## our tables of flags against the newest servers; build/flags.md says what to mend
	mkdir -p build
	$(BIN)/python .ci/check_flags.py $(SERVERS) --summary build/flags.md

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

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(CONSTRAINTS) --editable '.[transformers,dev,docs]'
	touch $@

clean:  ## forget the environment and what runs left
	rm -rf $(VENV) .venv-oldest .venv-newest build autotune-runs mlflow.db mlartifacts site
