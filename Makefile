# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
PY := .venv/bin/python

# Threads that wait for work sleep instead of spinning: on shared cores this is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test check docs bench-bad-days bench-calibrate bench-artifacts bench-decompose bench-data bench-speed bench-training clean
.DELETE_ON_ERROR:

demo: .venv/.demo
	$(PY) -m tensorpress demo

test: check
	$(PY) -m pytest -n 2

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: .venv/.dev
	$(PY) scripts/make_api_docs.py

bench-decompose: .venv/.bench
	$(PY) benchmarks/decompose.py

bench-artifacts: .venv/.dev
	$(PY) benchmarks/artifacts.py

bench-data: .venv/.bench
	$(PY) benchmarks/data.py

bench-training: .venv/.demo
	$(PY) benchmarks/training.py $(ARGS)

.venv/bin/python:
	PYTHON="$(PYTHON)" sh scripts/make_venv.sh

.venv/.demo: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/.demo

.venv/.bench: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench-bad-days: .venv/.dev
	$(PY) benchmarks/bad_days.py

# WEIGHTS=resnet56.th for trained ranks, ARGS='--threads 1' for more options.
bench-speed: .venv/.dev
	$(PY) benchmarks/speed.py $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(ARGS)

# NET=resnet20 for another network, ARGS='--params 3 --macs 3' for more options.
NET ?= resnet56
bench-calibrate: .venv/.dev
	$(PY) benchmarks/calibrate.py --net $(NET) --weights "$(WEIGHTS)" --data "$(DATA)" $(ARGS)

clean:
	rm -rf .venv
