# make demo    train, evaluate and export two networks, and train one of them from C        make test   all tests
# make lint    style and types          make test-parity   the tests that compare with PyTorch, too
# make bench   beside other frameworks  make fuzz   random graphs on every level            make clean  what these leave
#
# Needs Python 3.11 or newer, and make. The virtual environment in .venv is made once and reused; set PYTHON to choose the
# interpreter. With everything installed, nothing here needs a network.

VENV ?= .venv
OUT ?= out
CC ?= cc
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c '$(NEW_ENOUGH)' 2>/dev/null && echo $(p))))
endif

TORCH ?= torch==2.13.0

.DELETE_ON_ERROR:
.PHONY: demo test test-parity lint bench fuzz clean

demo: $(VENV)/installed-examples
	$(PY) examples/digits_mlp.py --export $(OUT)
	$(PY) examples/lenet.py
	@if command -v $(CC) >/dev/null; then $(MAKE) --no-print-directory $(OUT)/losses_c.txt; else \
	  echo "No C compiler ($(CC)): the C program examples/digits.c was not built. Install one, or set CC."; fi

$(OUT)/losses_c.txt: examples/digits.c $(OUT)/digits.so
	$(CC) -O2 -Wall -I$(OUT) examples/digits.c $(OUT)/digits.so -Wl,-rpath,$(abspath $(OUT)) -o $(OUT)/digits
	$(OUT)/digits $(OUT)/digits.bin > $@
	@tail -n 3 $@
	@cmp $(OUT)/losses_python.txt $@ && echo "C: every loss and the accuracy are those of Python, bit for bit."

test: $(VENV)/installed-test
	$(PY) -m pytest -n 2 $(PYTEST_ARGS)

test-parity: $(VENV)/installed-parity
	$(PY) -m pytest -n 2 $(PYTEST_ARGS)

lint: $(VENV)/installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/installed-peers
	@mkdir -p $(OUT)
	$(PY) tools/bench.py --json $(OUT)/bench.json $(BENCH_ARGS)

fuzz: $(VENV)/installed-test
	$(PY) tools/fuzz.py $(FUZZ_ARGS)

clean:
	rm -rf $(OUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# --- the virtual environment ------------------------------------------------------------------------------------------

$(PY):
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(NEW_ENOUGH)'; then \
	  echo "graphc needs Python 3.11 or newer, and '$(or $(PYTHON),python3)' is none: install one, or name it: make PYTHON=/path/to/python3.11"; \
	  exit 1; fi
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras. Where installing fails and all of it is there already, being offline is no reason to stop.
$(VENV)/installed-examples: EXTRAS = examples
$(VENV)/installed-examples: NEEDED = graphc, sklearn, matplotlib
$(VENV)/installed-test: EXTRAS = test,examples
$(VENV)/installed-test: NEEDED = graphc, sklearn, matplotlib, pytest, xdist, hypothesis, mpmath, mypy, ruff
$(VENV)/installed-examples $(VENV)/installed-test: pyproject.toml | $(PY)
	@echo "Installing graphc[$(EXTRAS)] into $(VENV)"
	@$(PIP) --editable '.[$(EXTRAS)]' || { $(PY) -c 'import $(NEEDED)' && echo "Could not install; using what $(VENV) has."; }
	@touch $@

$(VENV)/installed-peers: pyproject.toml | $(PY)
	$(PIP) --editable '.[peers]' || $(PY) -c 'import torch, onnx, onnxruntime, openvino, jax'
	@touch $@

$(VENV)/installed-parity: $(VENV)/installed-test
	$(PIP) '$(TORCH)' expecttest || $(PY) -c 'import torch'
	@touch $@
