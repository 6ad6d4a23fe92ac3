# tensorgraph: everything is made here, from Python 3.11 or newer and make alone.
#
#   make demo              train on handwritten digits and draw the graph
#   make test              run the tests, compiled kernels on        (ARGS="-k softmax" narrows it)
#   make quick             run those that find most in the least time, while you work
#   make test-kill         the tests that kill processes at random moments, 50 times each (KILLS=200 for more)
#   make interpreted       run the tests of kernels with the compilers off, and a few of all the others
#   make coverage          both, and demand that 95% of the lines have run
#   make doctest           run the examples of the docstrings
#   make environment       make that of the tests; each of the others does so itself
#   make lint              ruff, and mypy --strict on the installed wheel
#   make bench             measure the speed; ARGS=--setup-peers once, to have PyTorch and JAX beside it
#   make docs              write docs/ops.md, the pictures and the type stubs anew
#   make course            run the examples of docs/course.md and put what they measure and draw into it
#   make readme-bench      put what `make bench` measured last into the README
#   make release           build the wheel and say whether it can be released (docs/releasing.md)
#   make clean             remove environments, builds and caches
#
# WHEEL=1 runs `test`, `interpreted`, `coverage` and `environment` against an installed wheel instead of the checkout,
# OLDEST=1 with the oldest NumPy, Numba and graphviz that are supported (Python 3.11 or 3.12).
# COVER=1 has `test` and `interpreted` count the lines that run, the latter on top of the former and to the end.
# SLOW=1 runs every test and every example: the slow tests, and all of what `test` takes samples of; SLOW=marked, as
# .ci/run does, the tests that are marked slow beside the usual samples.
# PYTHON=... names the Python to use, JOBS=... the number of test processes.

SHELL := /bin/sh
PYTHON ?= python3
JOBS ?= 2
ARGS ?=
KILLS ?= 50
COVERAGE_MIN ?= 95
ENV := PYTHON="$(PYTHON)" sh .ci/env

SOURCES := pyproject.toml setup.py README.md LICENSE \
	$(shell find tensorgraph ops viz -name __pycache__ -prune -o -type f -print | LC_ALL=C sort)
# a file that is there while these names are what they were: one that was removed must make a new wheel
NAMES := .build/names-$(shell echo $(SOURCES) | cksum | cut -d ' ' -f 1)
WHEEL_FILE = $$(cat .build/wheel)

ifdef SLOW
PYTEST_ARGS := $(if $(filter marked,$(SLOW)),--marked,--slow)
endif
ifdef COVER
COUNTED = --cov --cov-report= $(COUNTED_IN)
DEMANDED = --cov --cov-append --cov-report=term --cov-fail-under=$(COVERAGE_MIN) $(COUNTED_IN) $(NOR_IN)
endif

# a program started by a test must find the installed package, not the folder it happens to start in
# that, and keep what was compiled even where a variable of the machine says no: each process would do it again
PYTEST_ENV := PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=
# each process has a core: threads of BLAS that wait for another's took eight times the time of its products
PYTEST_ENV += OPENBLAS_NUM_THREADS=1
# a run begins with neighbours in one process, which share what they made and compiled
SHARED = -n $(JOBS) --dist worksteal
PYTEST = $(TEST_VENV)/bin/pytest $(SHARED)
# lines of kernels are seen to run only where they are not compiled; what makes machine code makes none there, and what
# makes graphs of graphs, computes nothing or is about the project runs there as it does elsewhere
ELSEWHERE := native plan compile viz text tune panda run data lint dist. watch demo cli rolling template sized rewriting \
	explain outline diff.
PROJECT := benchmarks blas ci. completion course design docs effort examples foreign house importing packaging stubs
NOT_INTERPRETED = $(foreach room,$(ELSEWHERE) $(PROJECT),--ignore-glob='tests/test_$(room)*')
# counting lines makes tests take twice as long: it ends where a test's parameters bring no new ones, and does not begin in
# these rooms, which have much running together that others run apart
TOGETHER := course examples house docs design benchmarks template_programs sized_programs lint_clean
COUNTED_IN = $(foreach room,$(TOGETHER),--no-lines-of='test_$(room).py')
# nor, where nothing is compiled, in these: the kernels that they run have tests of their own
NOR_IN = $(foreach room,passes train trace regions resizing programs jacobians calls vmap_nesting,\
	--no-lines-of='test_$(room)*')
ifdef WHEEL
TEST_VENV := .venv-wheel
TEST_NEEDS := .build/wheel
TEST_WHAT = "$(WHEEL_FILE)[test,all]"
PYTEST_ENV += TENSORGRAPH_TESTED=wheel
else ifdef OLDEST
TEST_VENV := .venv-oldest
TEST_NEEDS :=
TEST_WHAT = -c .ci/oldest.txt -e ".[test,all]"
else
TEST_VENV := .venv-test
TEST_NEEDS :=
TEST_WHAT = -e ".[test,all]"
endif

.PHONY: demo environment test quick test-kill interpreted coverage doctest lint format bench docs readme-bench course release clean wheel help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   make/  make/p' Makefile

demo:
	@$(ENV) .venv -e ".[demo]"
	.venv/bin/tensorgraph demo $(ARGS)

environment: $(TEST_NEEDS)
	@$(ENV) $(TEST_VENV) $(TEST_WHAT)

test: $(TEST_NEEDS)
	@$(ENV) $(TEST_VENV) $(TEST_WHAT)
	$(PYTEST_ENV) $(PYTEST) $(PYTEST_ARGS) $(COUNTED) $(ARGS)

quick: $(TEST_NEEDS)
	@$(ENV) $(TEST_VENV) $(TEST_WHAT)
	$(PYTEST_ENV) $(PYTEST) --quick -x --ignore-glob='tests/test_viz_browser*' $(ARGS)

test-kill: $(TEST_NEEDS)
	@$(ENV) $(TEST_VENV) $(TEST_WHAT)
	$(PYTEST_ENV) $(PYTEST) -m kill --kills $(KILLS) $(ARGS)

interpreted: $(TEST_NEEDS)
	@$(ENV) $(TEST_VENV) $(TEST_WHAT)
	$(PYTEST_ENV) NUMBA_DISABLE_JIT=1 $(PYTEST) --quick $(NOT_INTERPRETED) $(DEMANDED) $(ARGS)

coverage:
	@mkdir -p .build
	@$(MAKE) test COVER=1
	@$(MAKE) interpreted COVER=1

# only a wheel holds ops and viz where their import names say; the profile lets a busy machine take its time
doctest: .build/wheel
	@$(ENV) .venv-wheel "$(WHEEL_FILE)[test,all]"
	$(PYTEST_ENV) .venv-wheel/bin/pytest $(SHARED) --hypothesis-profile=ci --doctest-modules --pyargs tensorgraph $(ARGS)

# mypy starts elsewhere, since the checkout would hide the installed package
lint: .build/wheel
	@$(ENV) .venv-lint "$(WHEEL_FILE)[lint]"
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	cd .build && ../.venv-lint/bin/mypy --strict --config-file ../pyproject.toml -p tensorgraph

format:
	@$(ENV) .venv-lint ".[lint]"
	.venv-lint/bin/ruff check --fix .
	.venv-lint/bin/ruff format .

bench:
	@$(ENV) .venv -e ".[demo]"
	.venv/bin/python -m benchmarks $(ARGS)

docs:
	@$(ENV) .venv -e ".[demo]"
	.venv/bin/python docs/build.py

course:
	@$(ENV) .venv -e ".[demo,tune]"
	.venv/bin/python docs/course.py $(ARGS)

readme-bench:
	@$(ENV) .venv -e ".[demo]"
	.venv/bin/python docs/build.py --speed

wheel: .build/wheel
	@echo "$(WHEEL_FILE)"

# setuptools reuses what lies in build/, and would ship modules that are gone
.build/wheel: $(SOURCES) $(NAMES)
	@rm -rf build dist
	@mkdir -p .build
	@$(ENV) .venv-build build
	.venv-build/bin/python -m build -q --wheel --outdir dist .
	@rm -rf build
	@ls dist/*.whl > $@

$(NAMES):
	@mkdir -p .build
	@rm -f .build/names-*
	@touch $@

release: wheel
	@.venv-build/bin/python .ci/release.py $(ARGS)

clean:
	rm -rf .venv .venv-test .venv-oldest .venv-wheel .venv-lint .venv-build .venv-peers .build build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find tensorgraph ops viz tests benchmarks examples docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
