# Every target works on a fresh machine with Python 3.11 or later, gcc, git and make.
# A distribution's Python is built with profile-guided optimization, those of version managers mostly are not: every
# command takes a sixth longer under them.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What the tests run for real: registries, other engines to compare with, a base system, a static shell.
PACKAGES := bind9-dnsutils busybox-static containernetworking-plugins curl debootstrap docker-registry docker.io fish \
	iperf3 iptables libseccomp2 nftables nginx runc skopeo tini uidmap zsh

# Tests of the repository itself, for which nothing is run: part of "make check", and not of "make test" once more.
CHECKS := tests/test_packaging.py tests/test_architecture.py tests/test_docs.py

.PHONY: venv check test fuzz demo bench clean debian

venv: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m compileall -q core/src plugins  # an ordinary installation does it, an editable one does not
	touch $@

check: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q $(CHECKS)

# A program that cannot be installed is no failure here: the tests that need it skip and say so.
debian:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
		if [ -n "$$missing" ]; then \
			echo "installing for the tests:" $$missing; \
			apt-get update -qq >/dev/null 2>&1 || true; \
			for p in $$missing; do \
				DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$p >/dev/null 2>&1 \
					|| echo "could not install $$p: the tests that need it are skipped"; \
			done; \
		fi; \
	fi

# One worker more than there are processors, since many tests wait for something; the tests of a file or class stay
# together, since they share what is costly to make.
# A test that fails is run up to twice more, and listed as such: real kernels, terminals and engines on a busy machine.
test: venv debian
	$(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadscope --durations 15 --reruns 2 -rR \
		$(addprefix --ignore=,$(CHECKS))

# Looks for inputs that surprise, in two minutes at most for each part; longer with FUZZ=-max_total_time=3600. What has been
# reached is kept in .fuzz, and what fails in tests/fuzz/corpus.
FUZZ := -runs=1000000 -max_total_time=120
fuzz: venv
	for target in reference manifest layer; do \
		mkdir -p .fuzz/$$target && $(BIN)/python tests/fuzz/run.py $$target .fuzz/$$target $(FUZZ) || exit 1; \
	done

demo: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh

# Beside Docker and Podman, where they are installed, and like them installed the ordinary way: an editable installation
# looks for modules in a dozen places more. ONLY=run,pull measures just these.
bench: venv
	test -x $(VENV)/bench/bin/python || $(BIN)/python -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall .
	PATH="$(CURDIR)/$(VENV)/bench/bin:$$PATH" $(VENV)/bench/bin/python bench/run.py $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
