# garun - `make` builds build/garun and build/garun-worker; `make demo` and `make test` do all their own set-up.
#
#   make            build (needs the packages of etc/packages.txt; `make deps` installs what is missing)
#   make demo       install, build, private PostgreSQL, sample events, ingest, dashboard
#   make test       install, build, all tests                     make asan    the same under ASan and UBSan
#   make lint       warnings as errors, clang-tidy, cppcheck, luacheck, shellcheck
#   make bench      ingest against psql and psycopg               make fuzz    fuzzers, SECONDS each (60)
#   make db_setup   schema of the configured database             make install PREFIX=/usr/local

PREFIX  ?= /usr/local
BUILD   ?= build
CC      ?= gcc
CXX     ?= g++
PKGS     = lua5.4 libuv libpq libcrypto uuid zlib libxxhash libcurl libssh2 libidn2
OPT     ?= -O2 -g
WARN     = -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wformat=2 -Wundef -Wcast-qual -Wwrite-strings -Wpointer-arith -Wnull-dereference -Wimplicit-fallthrough
HARDEN   = -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
CPPFLAGS = -D_GNU_SOURCE -Iruntime -Iplugins $(shell pkg-config --cflags $(PKGS))
CFLAGS   = -std=c11 $(OPT) $(WARN) $(HARDEN) $(SAN) $(WERROR)
CXXFLAGS = -std=c++17 $(OPT) -Wall -Wextra -fno-exceptions -fno-rtti $(HARDEN) $(SAN) $(WERROR)
LDFLAGS  = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN)
HOSTLIBS = $(shell pkg-config --libs $(PKGS)) -lm
WORKLIBS = -lsimdjson

HOST   = runtime/main.c $(wildcard runtime/core/*.c runtime/loop/*.c runtime/clock/*.c runtime/bind/*.c runtime/load/*.c)
WORKER = $(wildcard runtime/worker/*.c runtime/encode/*.c) runtime/encode/scan.cc \
         runtime/core/buf.c runtime/core/err.c runtime/core/uuid7.c
EMBED  = $(sort $(wildcard runtime/lua/garun/*.lua runtime/lua/garun/*/*.lua runtime/lua/command/*.lua runtime/meta/*.lua \
           plugins/*/meta/*.lua))
# A directory plugins/NAME with a file `packages` (the pkg-config packages it needs) becomes build/plugins/NAME.so.
PLUGINS  = $(patsubst plugins/%/packages,%,$(wildcard plugins/*/packages))
PLUGPKGS = $(sort $(foreach p,$(PLUGINS),$(shell cat plugins/$(p)/packages)))
objects = $(addprefix $(BUILD)/,$(addsuffix .o,$(1)))

ifeq ($(V),)
Q = @
say = @echo "$(1)";
endif

.PHONY: all deps test-deps build-tests demo test asan lint bench fuzz fuzzers db_setup install clean
.DELETE_ON_ERROR:
all: $(BUILD)/garun $(BUILD)/garun-worker $(PLUGINS:%=$(BUILD)/plugins/%.so)

$(BUILD)/garun: $(call objects,$(HOST)) $(BUILD)/embed.o
	$(call say,LINK $@)
	$(Q)$(CC) $(LDFLAGS) -rdynamic -o $@ $^ $(HOSTLIBS)

$(BUILD)/garun-worker: $(call objects,$(WORKER))
	$(call say,LINK $@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(WORKLIBS)

$(BUILD)/%.c.o: %.c | compilers
	$(call say,CC $<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/%.cc.o: %.cc | compilers
	$(call say,CXX $<)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<

# Plugins see plugins/garun_plugin.h and nothing else of garun; their Lua files go into their .so as they are.
$(BUILD)/plugins/%.c.o: plugins/%.c | compilers
	$(call say,CC $<)
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -Iplugins $(shell pkg-config --cflags lua5.4 $(PLUGPKGS)) \
	    $(subst -fPIE,-fPIC,$(CFLAGS)) -fvisibility=hidden -MMD -MP -c -o $@ $<

define plugin
$(BUILD)/plugins/$(1).so: $(call objects,$(wildcard plugins/$(1)/*.c))
	$$(call say,LINK $$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) -shared $$(filter-out -pie,$$(LDFLAGS)) -o $$@ $$(filter %.o,$$^) \
	    $$(shell pkg-config --libs $$(shell cat plugins/$(1)/packages))
$(call objects,$(wildcard plugins/$(1)/*.c)): $(wildcard plugins/$(1)/*.lua)
-include $(patsubst %.o,%.d,$(call objects,$(wildcard plugins/$(1)/*.c)))
endef
$(foreach p,$(PLUGINS),$(eval $(call plugin,$(p))))

# The Lua files go into the binary as they are, so that a traceback's line is a line of the file.
$(BUILD)/embed.c: $(EMBED) Makefile runtime/embed.sh
	@mkdir -p $(@D)
	$(Q)sh runtime/embed.sh $(EMBED) > $@

$(BUILD)/embed.o: $(BUILD)/embed.c
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

-include $(patsubst %.o,%.d,$(call objects,$(HOST) $(WORKER)))

.PHONY: compilers
compilers:
	@command -v $(CC) >/dev/null && pkg-config --exists $(PKGS) $(PLUGPKGS) || { echo "missing packages: run 'make deps'" >&2; exit 1; }

deps:
	@etc/install-deps build run

test-deps:
	@etc/install-deps build run test

# C unit tests: one program a file, linked with an archive of everything but the two mains.
LIBRARY = $(filter-out %/main.c.o,$(call objects,$(sort $(HOST) $(WORKER))))
CTESTS  = $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(wildcard tests/c/test_*.c))
CTOOLS  = $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(filter-out tests/c/test_%,$(wildcard tests/c/*.c)))

$(BUILD)/libgarun.a: $(LIBRARY) $(BUILD)/embed.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/tests/%: tests/c/%.c $(BUILD)/libgarun.a
	$(call say,CC $<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -Itests/c -o $@.o -c $<
	$(Q)$(CXX) $(LDFLAGS) -o $@ $@.o $(BUILD)/libgarun.a $(HOSTLIBS) $(WORKLIBS) -lcmocka

-include $(wildcard $(BUILD)/tests/*.d)

build-tests: all $(CTESTS) $(CTOOLS)

test: test-deps
	@$(MAKE) --no-print-directory -j2 build-tests
	@$(BUILD)/garun test $(TESTFLAGS) $(if $(FILES),$(FILES),tests/lua $(CTESTS))

# The same tests under AddressSanitizer and UndefinedBehaviorSanitizer. GARUN_DEBUG: LeakSanitizer must read its process.
asan: test-deps
	@$(MAKE) --no-print-directory -j2 BUILD=build/asan OPT="-O1 -g -fno-omit-frame-pointer" \
	    SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" build-tests
	@GARUN_DEBUG=1 ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 \
	    LSAN_OPTIONS=suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0 \
	    build/asan/garun test $(TESTFLAGS) $(if $(FILES),$(FILES),tests/lua $(patsubst build/%,build/asan/%,$(CTESTS)))

demo: deps
	@$(MAKE) --no-print-directory -j2 all
	@build/garun --env /dev/null scripts/demo/demo.lua

lint:
	@etc/install-deps build run test lint
	@tests/lint.sh

bench: test-deps
	@$(MAKE) --no-print-directory -j2 all
	@build/garun tests/bench/ingest_bench.lua $(BENCHFLAGS)

# Each fuzzer runs for SECONDS; what it finds stays in build/fuzz. CC=clang for libFuzzer.
SECONDS ?= 60
FUZZERS  = $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZSAN  = -fsanitize=address,undefined -fno-sanitize-recover=undefined
fuzz:
	@etc/install-deps build run lint
	@$(MAKE) --no-print-directory -j2 BUILD=build/fuzz CC=clang CXX=clang++ OPT="-O1 -g" HARDEN=-fPIE WARN= \
	    SAN="$(FUZZSAN) -fsanitize=fuzzer-no-link" fuzzers
	@for f in $(FUZZERS); do echo "== $$f"; mkdir -p $$f.corpus; \
	    $$f -max_total_time=$(SECONDS) -print_final_stats=1 -artifact_prefix=build/fuzz/ $$f.corpus || exit 1; done

fuzzers: $(FUZZERS)

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libgarun.a
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -Itests/c -o $@.o -c $<
	$(Q)$(CXX) $(LDFLAGS) -fsanitize=fuzzer -o $@ $@.o build/fuzz/libgarun.a $(HOSTLIBS) $(WORKLIBS)

db_setup: all
	@$(BUILD)/garun init_db.lua

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/garun $(DESTDIR)$(PREFIX)/share/garun
	install -m 755 $(BUILD)/garun $(DESTDIR)$(PREFIX)/bin/garun
	install -m 755 $(BUILD)/garun-worker $(DESTDIR)$(PREFIX)/lib/garun/garun-worker
	install -d $(DESTDIR)$(PREFIX)/lib/garun/plugins $(DESTDIR)$(PREFIX)/include
	install -m 644 $(PLUGINS:%=$(BUILD)/plugins/%.so) $(DESTDIR)$(PREFIX)/lib/garun/plugins/
	install -m 644 plugins/garun_plugin.h $(DESTDIR)$(PREFIX)/include/garun_plugin.h
	cp -R scripts sql etc $(DESTDIR)$(PREFIX)/share/garun/

clean:
	rm -rf $(BUILD)
