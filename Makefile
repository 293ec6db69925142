# One command installs and runs everything. Nothing is installed outside VENV.
PYTHON =
VENV = .venv
CONFIG = configs/kdeov_yolov8n.py
WORK_DIR = work_dirs/kdeov_yolov8n
PYTEST_OPTIONS =
REQUIREMENTS = requirements/lock.txt
LOCK_OPTIONS = --upgrade

PY = $(VENV)/bin/python
STAMP = $(VENV)/kdeov_mm.installed
INCOMPLETE = $(VENV)/kdeov_mm.incomplete
PIP_INSTALL = '$(PY)' -m pip install --disable-pip-version-check
# From a lock file pip takes wheels alone, so that no package runs code of its own while it is installed.
LOCKED = $(if $(filter %lock.txt,$(REQUIREMENTS)),--require-hashes --only-binary :all:)

.PHONY: help install demo teacher no-distillation lint test test-fork test-newest coverage docs lock licences audit clean

help:
	@echo 'make install    all that is needed, into $(VENV); the other targets do this first'
	@echo 'make demo       install, then train $(CONFIG) on embedded data and show what it learnt;'
	@echo '                an interrupted run resumes'
	@echo 'make no-distillation  the same training with the distillation losses off, for comparison'
	@echo 'make teacher    retrain the teacher of the embedded data, in place of the shipped weights'
	@echo 'make test       install, then run the tests (PYTEST_OPTIONS="-m slow" for those that train)'
	@echo 'make lint       style, spelling and types of the sources'
	@echo 'make test-fork  the tests on the maintained fork of OpenMMLab, in .venv-fork'
	@echo 'make test-newest  the tests with the newest versions of all dependencies, in .venv-newest'
	@echo 'make coverage   the tests, with the lines that they do not reach'
	@echo 'make docs       the documentation as a site, in site/'
	@echo 'make lock       renew requirements/lock.txt: the newest versions that fit, with their hashes'
	@echo '                (LOCK_OPTIONS= keeps the locked versions and adds what the requirements newly name)'
	@echo 'make licences   renew the table in docs/licences.md from what is installed'
	@echo 'make audit      look the locked versions up in the advisories of the Python package index'
	@echo 'make clean      remove caches and builds; virtual environments, data and work dirs stay'
	@echo 'VENV=DIR        another virtual environment than .venv;  PYTHON=python3.11 the Python that makes it'
	@echo 'REQUIREMENTS=requirements.txt  install the newest versions, not the locked ones'

# The stamp holds the checksum of what is to be installed and is written last. An unfinished environment is rebuilt; a
# finished one is only added to.
install:
	@set -eu; \
	sum=`{ echo '$(REQUIREMENTS)'; cat setup.py requirements/*.txt; } | cksum`; \
	if [ -f '$(STAMP)' ] && [ "`cat '$(STAMP)'`" = "$$sum" ]; then exit 0; fi; \
	python='$(PYTHON)'; \
	if [ -z "$$python" ]; then \
	    for python in python3 python3.12 python3.11 python3.10; do \
	        if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then break; fi; \
	    done; \
	fi; \
	if [ -f '$(INCOMPLETE)' ]; then echo 'Restarting an interrupted installation'; rm -rf '$(VENV)'; fi; \
	if [ -x '$(PY)' ]; then python='$(PY)'; fi; \
	if ! $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    echo "error: $$python is not Python 3.10 to 3.12 (`$$python --version 2>&1 || true`);" \
	        'name one with PYTHON=, such as make PYTHON=python3.11' >&2; exit 2; \
	fi; \
	if [ ! -x '$(PY)' ]; then \
	    echo 'Making the virtual environment $(VENV)'; \
	    mkdir -p '$(VENV)'; : > '$(INCOMPLETE)'; \
	    $$python -m venv '$(VENV)' || { echo "error: $$python cannot make a virtual environment; on Debian and Ubuntu," \
	        'apt install python3-venv' >&2; exit 2; }; \
	fi; \
	echo 'Installing into $(VENV); the first time takes minutes'; \
	$(PIP_INSTALL) $(LOCKED) -r '$(REQUIREMENTS)'; \
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .; \
	if ! '$(PY)' -c 'import cv2' 2>/dev/null; then \
	    echo 'OpenCV lacks a library of a desktop: taking its headless build'; \
	    if [ -n '$(LOCKED)' ]; then \
	        set -- -r requirements/headless-lock.txt; \
	    else \
	        version=`'$(PY)' -c 'from importlib.metadata import version; print(version("opencv-python"))'`; \
	        set -- "opencv-python-headless==$$version"; \
	    fi; \
	    $(PIP_INSTALL) $(LOCKED) --no-deps --force-reinstall "$$@"; \
	fi; \
	'$(PY)' -c 'import kdeov_mm.registered'; \
	rm -f '$(INCOMPLETE)'; \
	echo "$$sum" > '$(STAMP)'

demo: install
	$(PY) tools/train.py $(CONFIG) --work-dir $(WORK_DIR) --resume
	$(PY) tools/test.py $(CONFIG) $(WORK_DIR) --work-dir $(WORK_DIR)

no-distillation:
	$(MAKE) demo CONFIG=configs/baselines/kdeov_yolov8n_no-distillation.py WORK_DIR=work_dirs/kdeov_yolov8n_no-distillation

TEACHER = kdeov_mm/models/clip/weights/kdeov-shapes-shapes.safetensors

teacher: install
	$(PY) tools/train.py configs/shapes_teacher.py --work-dir work_dirs/shapes_teacher --resume
	$(PY) tools/train.py configs/shapes_teacher_stage2.py --work-dir work_dirs/shapes_teacher_stage2 --resume
	$(PY) tools/train.py configs/shapes_teacher_stage3.py --work-dir work_dirs/shapes_teacher_stage3 --resume
	$(PY) tools/model_converters/export_weights.py work_dirs/shapes_teacher_stage3 $(TEACHER) --prefix clip.

# Twice, so that ONNX Runtime, OpenVINO, LanceDB and Gradio share no process with the trainings.
PYTEST = OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --max-worker-restart 0 --dist loadfile $(PYTEST_OPTIONS)
NATIVE = tests/cli tests/demo tests/deploy tests/search

test: install
	$(PYTEST) $(NATIVE:%=--ignore=%)
	$(PYTEST) $(NATIVE)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib
	$(PY) -m mypy

test-fork:
	$(MAKE) test VENV=.venv-fork REQUIREMENTS=requirements/fork.txt

# Rebuilt each time, because pip keeps installed versions that satisfy the bounds.
test-newest:
	rm -rf .venv-newest
	$(MAKE) test VENV=.venv-newest REQUIREMENTS=requirements.txt

coverage: install
	$(PY) -m coverage run -m pytest $(PYTEST_OPTIONS)
	$(PY) -m coverage combine
	$(PY) -m coverage report

docs: install
	$(PY) -m mkdocs build --strict

# The tools of the three targets below have an environment of their own.
SUPPLY = .venv-supply
COMPILE = $(SUPPLY)/bin/uv pip compile --quiet --no-config --python $(SUPPLY)/bin/python --universal --python-version 3.10 \
	--only-binary :all: --generate-hashes --custom-compile-command 'make lock'

$(SUPPLY)/installed: requirements/supply.txt
	$(or $(PYTHON),python3) -m venv --clear $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --disable-pip-version-check -r requirements/supply.txt
	touch $@

lock: $(SUPPLY)/installed
	$(COMPILE) $(LOCK_OPTIONS) requirements.txt --output-file requirements/lock.txt
	sed -n 's/^opencv-python\(==[^\\]*\).*/opencv-python-headless\1/p' requirements/lock.txt | \
	    $(COMPILE) --upgrade --no-deps --no-annotate - --output-file requirements/headless-lock.txt

licences: install $(SUPPLY)/installed
	{ sed '/^<!-- make licences -->$$/q' docs/licences.md && echo && \
	    $(SUPPLY)/bin/pip-licenses --python $(PY) --from mixed --with-system --ignore-packages pip kdeov_mm --format markdown; \
	} > docs/licences.md.new
	mv docs/licences.md.new docs/licences.md

# A package that the advisories do not know counts as a failure, not as safe.
audit: $(SUPPLY)/installed
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --requirement requirements/lock.txt

clean:
	rm -rf build dist *.egg-info .pytest_cache .coverage*
	find kdeov_mm tools tests configs -name __pycache__ -type d -prune -exec rm -rf {} +
