# SPDX-License-Identifier: MIT
# A thin front of Meson and Ninja. `make help` lists the targets.

BUILD  ?= build
prefix ?= /usr/local
SEEDS  ?= 1000
TIMES  ?= 1
T      ?= 60
JOBS   := $(shell nproc)
MESON   = meson
NINJA   = ninja

.PHONY: all demo test check bench sim sim-mutants faults fuzz model analyse cov tidy format \
        install clean help bootstrap

all: $(BUILD)/build.ninja  ## build the command (build/zmqnet), the library and the tests
	@$(NINJA) -C $(BUILD) $(NINJAFLAGS)

demo: bootstrap  ## start three replicas, send, kill one, send again, show the receipts
	@$(MAKE) --no-print-directory -s all NINJAFLAGS=--quiet
	@scripts/demo $(BUILD)

test: bootstrap  ## all tests; the last line says how many passed and failed
	@scripts/test --build $(BUILD)

check: bootstrap  ## test + tidy, model and mutants in small + the tests again under the sanitizers
	@scripts/test --build $(BUILD) --check

bench: bootstrap  ## measure it beside the baselines: docs/bench.md; QUICK=1: two minutes of it
	@$(MAKE) --no-print-directory -s all NINJAFLAGS=--quiet
	@scripts/bench --build $(BUILD) $(if $(QUICK),--quick)

sim: all  ## SEEDS=n random schedules through the simulator, or HOURS=n of virtual time
	@$(BUILD)/tests/zmqnet-sim $(if $(HOURS),hours $(HOURS),random --seeds $(SEEDS)) \
		--jobs $(JOBS) --out $(BUILD)

sim-mutants: all  ## plant a fault in core, many times over: the simulator has to catch each
	@scripts/sim-mutants --build $(BUILD)

faults: bootstrap all  ## TIMES=n times the faults of real processes and links, in their long form
	@scripts/faults --build $(BUILD) --times $(TIMES)

fuzz:  ## T=n seconds of libFuzzer for each target of tests/fuzz/; finds are kept and fail
	@scripts/bootstrap fuzz
	@scripts/fuzz --time $(T)

model:  ## every state of the protocol (retry, dedup, life, floor, quorum); wrong variants fail
	@scripts/bootstrap
	@model/run

analyse: all  ## gcc -fanalyzer, clang-tidy, cppcheck; no byte on the wire that nobody wrote (valgrind)
	@scripts/bootstrap analyse
	@scripts/analyse --build $(BUILD)

cov:  ## lines and branches of src/core that the tests run; fails below 95 %
	@scripts/bootstrap cov
	@scripts/cov

tidy:  ## layers, circles, banned calls, sleeps in tests, formatting; lists size outliers
	@scripts/tidy

format:  ## clang-format on every C file
	@clang-format -i $$(find include src bench tests examples -name '*.[ch]')

install: all  ## prefix (default /usr/local) and DESTDIR are honoured
	@$(MESON) configure $(BUILD) -Dprefix=$(abspath $(prefix))
	@$(NINJA) -C $(BUILD) build.ninja > /dev/null
	@DESTDIR=$(abspath $(DESTDIR)) $(MESON) install -C $(BUILD) --quiet

clean:  ## remove everything that was built
	@rm -rf $(BUILD) build-asan build-tsan build-cov build-fuzz

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

bootstrap:
	@scripts/bootstrap

$(BUILD)/build.ninja:
	@command -v $(MESON) > /dev/null || { echo "no meson: run scripts/bootstrap first" >&2; exit 1; }
	@$(MESON) setup $(BUILD) > /dev/null || { cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }
