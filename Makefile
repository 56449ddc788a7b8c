# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
PY := .venv/bin/python

# Threads that wait for work sleep instead of spinning: on shared cores this is several times faster.
export OMP_WAIT_POLICY ?= PASSIVE
# The tests start hundreds of processes, each of which would else compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-lowest test-wheel check dist audit docs notebooks train-results bench-bad-days bench-calibrate bench-ocr bench-onnx-beside-torch bench-onnx-full-rank bench-forms bench-int8 bench-artifacts bench-decompose bench-data bench-networks bench-speed bench-training bench-wide clean
.DELETE_ON_ERROR:

demo: .venv/.demo
	$(PY) -m tensorpress demo

test: check
	$(PY) -m pytest -n 2 --dist worksteal

check: .venv/.dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	for file in tests/conftest.py tests/*/conftest.py; do .venv/bin/mypy $$file || exit 1; done
	.venv/bin/lint-imports

# TESTS=tests/cli for others; CONTRIBUTING.md says what these are for.
TESTS ?= tests/test_lowest_versions.py tests/networks tests/files tests/surgery tests/decompose \
	tests/layers tests/artifacts tests/data tests/deploy/test_export.py tests/deploy/test_fold.py \
	tests/compression/test_compress.py tests/compression/pruning tests/compression/calibration \
	tests/training/test_loop.py tests/training/test_optimizers.py tests/cli/test_commands.py
test-lowest: .venv-lowest/.ready
	.venv-lowest/bin/python -m pytest $(TESTS)

# What is published, in dist/.
dist: .venv/.dev
	rm -rf dist
	$(PY) -c "import hatchling.build as b; b.build_sdist('dist'); b.build_wheel('dist')"

# The wheel in an environment of its own, as users get it.
test-wheel: dist
	PYTHON="$(PYTHON)" sh scripts/make_venv.sh dist/venv
	dist/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(echo dist/*.whl)[train,onnx,openvino]"
	cd dist && venv/bin/tensorpress --version && venv/bin/tensorpress doctor && venv/bin/tensorpress demo

# Known faults of what is installed; asks a service over the network.
audit: .venv/.dev
	$(PY) -m pip install --quiet pip-audit
	$(PY) -m pip_audit --requirement constraints.txt --no-deps --disable-pip

# The page of public names, and the site in site/; a link or an anchor that leads nowhere ends it.
docs: .venv/.dev .venv/.docs
	$(PY) scripts/make_api_docs.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# Stores what the notebooks print.
notebooks: .venv/.dev
	$(PY) scripts/run_notebooks.py

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
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[train,onnx,openvino]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ .venv/.demo

.venv/.bench: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $@

.venv/.docs: pyproject.toml constraints.txt | .venv/bin/python
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

.venv-lowest/.ready: pyproject.toml constraints-lowest.txt
	PYTHON="$(PYTHON)" sh scripts/make_venv.sh .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt \
		--editable '.[train,report,onnx,openvino,prune]' tensorly pytest hypothesis
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

# ARGS='-o OUT' for the folder; '-o OUT --time 1,128' times what is there.
bench-forms: .venv/.dev
	$(PY) benchmarks/forms.py --net $(NET) --weights "$(WEIGHTS)" --data "$(DATA)" $(ARGS)

# COMPRESSED='auto-4.tp l1-2.tp', OUT=FOLDER; ARGS='--batches 1,128 --threads 1,2' for times, on an idle machine.
bench-int8: .venv/.dev
	$(PY) benchmarks/int8.py --net $(NET) --weights "$(WEIGHTS)" --data "$(DATA)" --compressed $(COMPRESSED) -o "$(OUT)" $(ARGS)

# ARGS='--net crepe' for another network, --threads 1 for one core.
bench-wide: .venv/.dev
	$(PY) benchmarks/wide.py $(ARGS)

# Of the libraries that are there; ARGS='-o OUT --only yolo' for some of them.
bench-networks: .venv/.dev
	$(PY) benchmarks/networks.py $(ARGS)

# A file of ONNX compressed beside the network of PyTorch that it came from; ARGS='--macs 4 -o OUT'.
bench-onnx-beside-torch: .venv/.dev
	$(PY) benchmarks/onnx_beside_torch.py --net $(NET) --weights "$(WEIGHTS)" --data "$(DATA)" $(ARGS)

# Of the libraries that are there; ARGS='-o OUT --only resnet' for some of them.
bench-onnx-full-rank: .venv/.dev
	$(PY) benchmarks/onnx_full_rank.py $(ARGS)

# With rapidocr_onnxruntime; ARGS='-o OUT'.
bench-ocr: .venv/.dev
	$(PY) benchmarks/ocr.py $(ARGS)

# The rows of docs/results.md, for days: WEIGHTS=FOLDER, OUT=FOLDER, ARGS='--epochs 30 --jobs 12'.
train-results: .venv/.dev
	$(PY) scripts/train_result_rows.py --weights "$(WEIGHTS)" -o "$(OUT)" $(ARGS)

clean:
	rm -rf .venv .venv-lowest site
