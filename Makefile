# agentpay: builds with PGXS against the PostgreSQL that PG_CONFIG names.
#
#   make, make install, make clean     build against PG_CONFIG
#   make check, make demo, ...         see `make help`; these use a private
#                                      copy of PostgreSQL, see scripts/README.md

# Goals that scripts serve: they must run before PostgreSQL is installed, so
# they do not include PGXS.
SUITES := core unit lint regress pgtap isolation tap server oracle fuzz matrix assert
SCRIPTED := help prepare stage format check $(addprefix check-,$(SUITES)) \
	check-handbook demo demo-psql demo-stop bench bench-instructions \
	bench-agents bench-evidence bench-control bench-views

ifneq ($(filter $(SCRIPTED),$(MAKECMDGOALS)),)

.PHONY: $(SCRIPTED)

help:
	@sed -n 's/^## //p' scripts/README.md

# Installs what is missing, or says what to install.
prepare:
	@scripts/prepare

# Builds, and installs into the private copy of PostgreSQL.
stage: prepare
	@scripts/stage

# Formats the C sources in place.
format:
	clang-format -i $$(find src test -name '*.[ch]')

check:
	@scripts/check

$(addprefix check-,$(SUITES)): check-%:
	@scripts/check $*

check-handbook: stage
	@scripts/with-stage test/handbook/run

demo: stage
	@scripts/with-stage test/demo/run

demo-psql demo-stop: demo-%:
	@scripts/with-stage test/demo/run $*

bench: stage
	@scripts/with-stage test/bench/run

bench-instructions: stage
	@scripts/with-stage test/bench/instructions

# nginx and a compiler come from Debian, for this only.
bench-agents: stage
	@scripts/prepare nginx-light
	@scripts/with-stage test/bench/agents

bench-control: stage
	@scripts/with-stage test/bench/control

bench-views: stage
	@scripts/with-stage test/bench/views

bench-evidence: stage
	@scripts/with-stage test/bench/evidence
	@scripts/with-stage test/bench/review
	@scripts/with-stage test/bench/sealed

else # what PGXS serves

EXTENSION = agentpay
EXTVERSION = 1.0
MODULE_big = agentpay
SOURCES = $(sort $(wildcard src/*.c src/*/*.c))
OBJS = $(SOURCES:.c=.o)
DEPS = $(SOURCES:.c=.d)

SQL_PARTS = $(addprefix sql/parts/,$(shell cat sql/parts/ORDER))
SQL_SCRIPT = sql/$(EXTENSION)--$(EXTVERSION).sql
DATA_built = $(SQL_SCRIPT)
DATA = $(wildcard sql/$(EXTENSION)--*--*.sql)
EXTRA_CLEAN = $(DEPS)

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
LIBRARIES = libcurl json-c libssl libcrypto

# PostgreSQL's own headers come as system headers, so that only our code has
# to be free of warnings. The four that are off are noise in PostgreSQL's own
# idioms: fmgr arguments, Size against int, {0} initialisers, late declarations.
PG_CPPFLAGS = -Isrc -isystem $(shell $(PG_CONFIG) --includedir-server) \
	$(shell $(PKG_CONFIG) --cflags $(LIBRARIES))
PG_CFLAGS = -std=gnu99 -MMD -MP \
	-Wall -Wextra -Werror -Werror=implicit-function-declaration \
	-Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-declaration-after-statement
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs $(LIBRARIES)) -lm

# No bitcode: nothing here gains from being inlined into queries.
override with_llvm = no

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# The script is ASCII, so that databases of any encoding take it: comments are
# written otherwise, anything else fails.
$(SQL_SCRIPT): sql/parts/ORDER $(SQL_PARTS) sql/ascii.sed
	{ printf '%s\n' '\echo Use "CREATE EXTENSION agentpay" to load this file. \quit' && \
	  sed -f sql/ascii.sed $(SQL_PARTS); } > $@.tmp
	! LC_ALL=C grep -n '[^ -~	]' $@.tmp
	mv $@.tmp $@

# A change of the flags rebuilds all.
$(OBJS): Makefile

-include $(DEPS)

endif
