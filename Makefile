# silodns: build, test, install.   make help

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
PKG_CONFIG ?= pkg-config
# SANITIZE=asan (address and undefined behaviour), tsan, or fuzz (asan for libFuzzer; Clang only): a variant in its own directory
SANITIZE ?=
BUILD ?= build$(if $(SANITIZE),/$(SANITIZE))

ifneq ($(V),1)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)'
endif

PACKAGES_common := jansson libcurl libsodium
PACKAGES_api := libulfius liborcania libyder libmicrohttpd gnutls libmariadb libbsd $(PACKAGES_common)
PACKAGES_updater := $(PACKAGES_common)
PACKAGES_hostsync := $(PACKAGES_common)
PACKAGES_test := cmocka

pkg = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null)

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
	-Wwrite-strings -Wformat=2 -Wundef -Wvla -Wno-gnu-zero-variadic-macro-arguments -Werror
hardening := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
CFLAGS ?= -O2 -g
LDFLAGS ?=

ifeq ($(SANITIZE),asan)
sanitize := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SANITIZE),tsan)
sanitize := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(SANITIZE),fuzz)
sanitize := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else ifeq ($(SANITIZE),)
hardening += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
$(error SANITIZE is asan, tsan, fuzz or empty, not '$(SANITIZE)')
endif

override CFLAGS += -std=c17 $(warnings) $(hardening) $(sanitize) -pthread
override CPPFLAGS += -D_GNU_SOURCE -DHASH_NONFATAL_OOM=1 -DSILODNS_VERSION='"$(VERSION)"' -Iservices
override LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(sanitize)

services := api updater hostsync
programs := $(services:%=$(BUILD)/silodns-%)

# sources of one part, without its main.c
sources = $(filter-out services/$(1)/main.c,$(wildcard services/$(1)/*.c services/$(1)/*/*.c))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(call sources,$(1)))

unit_sources := $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c)
unit_tests := $(unit_sources:tests/unit/%.c=$(BUILD)/tests/unit/%)

# tests/fuzz/<part>/<name>.c: with the replay of its seeds, or with SANITIZE=fuzz as libFuzzer wants it
fuzz_sources := $(wildcard $(foreach part,common $(services),tests/fuzz/$(part)/*.c))
fuzz_targets := $(fuzz_sources:%.c=$(BUILD)/%)
fuzz_main := $(if $(filter fuzz,$(SANITIZE)),,$(BUILD)/obj/tests/fuzz/lib/replay.o)

bench_programs := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(wildcard tests/bench/*.c))

.PHONY: all
all: $(programs)

.PHONY: help
help:
	@echo 'make            the three programs, in $(BUILD)/'
	@echo 'make run        everything on this machine: database, hub, updater, hosts keeper (PORT=, RUN_DIR=)'
	@echo 'make check      while developing, in two minutes: build, walls, unit tests, one test of each promise'
	@echo 'make test       every test that this machine can run'
	@echo 'make test-faults  the fault tests in their long form: 20 minutes'
	@echo 'make test-cluster  several hubs, nginx and a Galera cluster in network namespaces: six minutes, as root'
	@echo 'make test-k8s   deploy/k8s on a Kubernetes of one node, which it compiles: long the first time, as root'
	@echo 'make unit       the unit tests only;  make unit SANITIZE=asan  under ASan and UBSan'
	@echo 'make bench      every figure beside its ceiling (FIGURES="get put": only these);  make bench-churn  memory, 15 minutes'
	@echo 'make fuzz       every parser under libFuzzer, SECONDS=60 each (needs Clang; TARGET="silo conf", RUNS=)'
	@echo 'make fuzz-http  malformed HTTP, to a hub under ASan (REQUESTS=100000, SEED=)'
	@echo 'make lint       walls between rooms, formatter and static analysis'
	@echo 'make format     rewrite the sources as .clang-format says'
	@echo 'make install    into $$(DESTDIR)$$(PREFIX)'
	@echo 'V=1 shows commands; CC=clang another compiler; SANITIZE=asan|tsan a variant'

# A change of compiler or flags rebuilds everything.
flags_file := $(BUILD)/flags
flags_now := $(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
.PHONY: force
$(flags_file): force
	$(Q)mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$(flags_now))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(flags_now))' >$@

$(BUILD)/obj/services/common/%.o: PKGS = $(PACKAGES_common)
$(BUILD)/obj/services/api/%.o: PKGS = $(PACKAGES_api)
$(BUILD)/obj/services/updater/%.o: PKGS = $(PACKAGES_updater)
$(BUILD)/obj/services/hostsync/%.o: PKGS = $(PACKAGES_hostsync)
$(BUILD)/obj/tests/unit/%.o: PKGS = $(PACKAGES_api) $(PACKAGES_test)
$(BUILD)/obj/tests/unit/%.o: override CFLAGS += -Wno-unused-parameter # of a test without a state
$(BUILD)/obj/tests/fuzz/%.o: PKGS = $(PACKAGES_api) $(PACKAGES_test)
$(BUILD)/obj/tests/bench/%.o: PKGS = $(PACKAGES_api)

$(BUILD)/obj/%.o: %.c $(flags_file)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(call pkg,--cflags,$(PKGS)) $(CFLAGS) -MMD -MP -c -o $@ $<

# A unit test is compiled as the main() that is made for it, which includes it.
$(unit_tests:$(BUILD)/%=$(BUILD)/obj/%.o): $(BUILD)/obj/%.o: $(BUILD)/%.main.c $(flags_file)
	$(call say,CC,$*.c)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -I. $(CPPFLAGS) $(call pkg,--cflags,$(PKGS)) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/tests/unit/%.main.c: tests/unit/%.c tests/unit/main
	$(Q)mkdir -p $(@D)
	$(Q)tests/unit/main $< >$@

# The migrations become part of silodns-api: one file to ship, never the wrong version beside it.
migrations := $(sort $(wildcard db/migrations/*.sql))
$(BUILD)/migrations.c: $(migrations) scripts/embed-migrations
	$(call say,EMBED,db/migrations)
	$(Q)mkdir -p $(@D)
	$(Q)scripts/embed-migrations $(migrations) >$@.tmp && mv $@.tmp $@

$(BUILD)/openapi.c: services/api/openapi.json scripts/embed-file
	$(call say,EMBED,$<)
	$(Q)mkdir -p $(@D)
	$(Q)scripts/embed-file api/routes/handlers.h openapi_json $< >$@.tmp && mv $@.tmp $@

$(BUILD)/obj/migrations.o $(BUILD)/obj/openapi.o: $(BUILD)/obj/%.o: $(BUILD)/%.c $(flags_file)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/libsilodns.a: $(call objects,common)
$(BUILD)/libapi.a: $(call objects,api) $(BUILD)/obj/migrations.o $(BUILD)/obj/openapi.o
$(BUILD)/libupdater.a: $(call objects,updater)
$(BUILD)/libhostsync.a: $(call objects,hostsync)
$(BUILD)/lib%.a:
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D); rm -f $@; $(AR) qcs $@ $^

$(BUILD)/silodns-%: $(BUILD)/obj/services/%/main.o $(BUILD)/lib%.a $(BUILD)/libsilodns.a
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call pkg,--libs,$(PACKAGES_$*))

# tests/unit/<part>/<room>/test_x.c is linked with lib<part>.a
part = $(firstword $(subst /, ,$*))
.SECONDEXPANSION:
$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $$(if $$(filter common,$$(part)),,$(BUILD)/lib$$(part).a) $(BUILD)/libsilodns.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call pkg,--libs,$(PACKAGES_$(part)) $(PACKAGES_test))

$(BUILD)/tests/unit/api/store/test_store: private override LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc # so that they can fail

$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(fuzz_main) $$(if $$(filter common,$$(*D)),,$(BUILD)/lib$$(*D).a) $(BUILD)/libsilodns.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(if $(fuzz_main),,-fsanitize=fuzzer) -o $@ $^ $(call pkg,--libs,$(PACKAGES_$(*D)) $(if $(fuzz_main),$(PACKAGES_test)))

.PHONY: unit-build unit
unit-build: $(unit_tests) $(fuzz_targets)
unit: unit-build
	$(Q)tests/unit/run $(BUILD)

# TARGET="silo conf": only these; RUNS= executions each instead of SECONDS. See docs/testing.md
SECONDS ?= 60
RUNS ?=
TARGET ?=
.PHONY: fuzz-build fuzz fuzz-http
fuzz-build: $(fuzz_targets)
fuzz:
	$(Q)scripts/setup build test fuzz
	$(Q)$(MAKE) --no-print-directory CC=clang SANITIZE=fuzz fuzz-build
	$(Q)exec tests/fuzz/run $(if $(RUNS),--runs $(RUNS),--seconds $(SECONDS)) $(TARGET)

# REQUESTS=100000 SEED= of malformed HTTP to a hub under ASan
REQUESTS ?= 100000
SEED ?=
fuzz-http:
	$(Q)scripts/setup build run test
	$(Q)$(MAKE) --no-print-directory SANITIZE=asan all
	$(Q)SILODNS_BUILD=build/asan exec /usr/bin/python3 -m tests.fuzz.blackbox --requests $(REQUESTS) $(if $(SEED),--seed $(SEED))

# The programs with a memory that fails when a test says so
.PHONY: nomem-build
# not sanitized itself, as it is called before the sanitizer is ready; behind it comes the sanitizer's malloc()
$(BUILD)/obj/tests/nomem/%.o: sanitize = -DREAL_PREFIX=$(if $(SANITIZE),__interceptor_,__libc_)
nomem-build: $(services:%=$(BUILD)/tests/nomem/silodns-%)
$(BUILD)/tests/nomem/silodns-%: $(BUILD)/obj/services/%/main.o $(BUILD)/obj/tests/nomem/nomem.o $(BUILD)/lib%.a $(BUILD)/libsilodns.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -Wl,--wrap=asprintf -Wl,--wrap=__asprintf_chk -o $@ $^ $(call pkg,--libs,$(PACKAGES_$*))

# One program a figure or ceiling needs; what they share is in tests/bench/lib. See docs/bench.md
$(BUILD)/libbench.a: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/bench/lib/*.c))
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/libbench.a $(BUILD)/libapi.a $(BUILD)/libsilodns.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(call pkg,--libs,$(PACKAGES_api))

# FIGURES="get put" measures only these
FIGURES ?=
.PHONY: bench-build bench bench-churn
bench-build: $(bench_programs)
bench bench-churn:
	$(Q)scripts/setup build run
	$(Q)$(MAKE) --no-print-directory all bench-build
	$(Q)exec /usr/bin/python3 -m tests.bench $(if $(filter bench-churn,$@),churn-long,$(FIGURES))

jobs = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
.PHONY: run check test
run:
	$(Q)scripts/setup build run
	$(Q)$(MAKE) --no-print-directory $(jobs) all
	$(Q)exec scripts/run

check:
	$(Q)scripts/setup build run test
	$(Q)$(MAKE) --no-print-directory $(jobs) all unit-build
	$(Q)scripts/lint quick
	$(Q)tests/unit/run $(BUILD)
	$(Q)exec /usr/bin/python3 -m pytest tests/integration -m promise

test:
	$(Q)scripts/setup build run test
	$(Q)exec tests/run

.PHONY: test-faults
test-faults:
	$(Q)scripts/setup build run test
	$(Q)SILODNS_FAULTS=long exec tests/run faults faults-tsan

.PHONY: test-cluster
test-cluster:
	$(Q)scripts/setup build run test cluster
	$(Q)exec tests/run cluster

.PHONY: test-k8s
test-k8s:
	$(Q)scripts/setup test containers node
	$(Q)exec tests/run node

c_files = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
.PHONY: format lint
format:
	$(Q)clang-format -i $(c_files)
lint:
	$(Q)scripts/lint

.PHONY: install
install: all
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/doc/silodns'
	install -m 755 $(programs) '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 README.md LICENSE CHANGELOG.md SECURITY.md '$(DESTDIR)$(PREFIX)/share/doc/silodns'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system/silodns-.service.d'
	cd deploy/systemd && for unit in *.service *.timer *.d/*; do \
		sed 's#/usr/local/bin/#$(PREFIX)/bin/#' "$$unit" >'$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$$unit" && \
		chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/'"$$unit" || exit; done

.PHONY: clean
clean:
	rm -rf build

.SECONDARY:
-include $(shell [ -d $(BUILD)/obj ] && find $(BUILD)/obj -name '*.d')
