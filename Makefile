# Bulwark: PGXS build.
#
# Goals:
#   all            build the extension and bulwarkctl (PG_CONFIG chooses the server)
#   install        install them; uninstall takes them away
#   installcheck   regression and isolation tests against a running, preloaded server
#   clean          remove what was built
#   demo           packages, build, throw-away cluster and a guided tour
#   test           packages, build and every test (SUITES="regress js" for some)
#   fuzz           what reads tokens and ledgers under clang's fuzzer for FUZZ_SECONDS (60)
#   bench          ratios of protected to plain reads
#   reference      write docs/reference.md from the comments in the database
#   setup          install the packages that all of these need

EXTENSION   = bulwark
MODULE_big  = bulwark
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" bulwark.control)

PG_CONFIG ?= pg_config
LAYERS     = base common keyring session tenancy secrets ledger

OBJS = src/bulwark.o $(patsubst %.c,%.o,$(sort $(wildcard $(LAYERS:%=src/%/*.c))))

# Install SQL, in layer order; a room with several files names them all.
SQL_PARTS = \
	src/base/base.sql \
	src/keyring/keyring.sql \
	src/session/session.sql \
	src/session/issuer.sql \
	src/session/identity.sql \
	src/tenancy/tenancy.sql \
	src/tenancy/permission.sql \
	src/tenancy/admin.sql \
	src/tenancy/admin_views.sql \
	src/tenancy/protect.sql \
	src/tenancy/check.sql \
	src/tenancy/check_table.sql \
	src/tenancy/check_rows.sql \
	src/tenancy/check_database.sql \
	src/tenancy/isolation_check.sql \
	src/secrets/types.sql \
	src/secrets/tenant_key.sql \
	src/secrets/value.sql \
	src/secrets/box.sql \
	src/secrets/secrets_check.sql \
	src/secrets/credential.sql \
	src/secrets/reencrypt.sql \
	src/secrets/import.sql \
	src/ledger/ledger.sql \
	src/ledger/seal.sql \
	src/ledger/capture.sql \
	src/ledger/spool.sql \
	src/ledger/view.sql \
	src/ledger/erase.sql \
	src/ledger/verify.sql \
	src/ledger/guard.sql \
	src/privileges.sql

DATA_built = bulwark--$(EXTVERSION).sql
EXTRA_CLEAN = bulwark--$(EXTVERSION).sql src/cli/bulwarkctl src/cli/*.o test/vectors/vectors test/vectors/tree test/unit/keyring test/unit/record test/unit/envelope test/unit/hash test/unit/idset

REGRESS      = $(basename $(notdir $(sort $(wildcard sql/*.sql))))
REGRESS_OPTS = --inputdir=. --outputdir=tmp_check/regress --load-extension=bulwark --encoding=UTF8
ISOLATION    = $(basename $(notdir $(sort $(wildcard test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test --outputdir=tmp_check/isolation --load-extension=bulwark --encoding=UTF8

PG_CPPFLAGS  = -I$(srcdir)/src -DBULWARK_VERSION='"$(EXTVERSION)"'
PG_CFLAGS    = -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type -Wmissing-prototypes -fvisibility=hidden
SHLIB_LINK   = -lcrypto -lsodium

# Goals that set up what they need, PostgreSQL too; all others need PGXS now.
TOOL_GOALS = demo test bench reference setup help

ifneq ($(filter-out $(TOOL_GOALS),$(or $(MAKECMDGOALS),all)),)
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) is not here: run tools/setup build, or say make PG_CONFIG=/path/to/pg_config)
endif
include $(PGXS)
endif

# Before 16 the server's headers leave this empty.
ifeq ($(MAJORVERSION),15)
override CPPFLAGS += -DPGDLLEXPORT='__attribute__((visibility("default")))'
endif

srcdir ?= .

$(OBJS): $(wildcard src/*/*.h)

# pg_regress makes its output directories, not their parent.
installcheck: | tmp_check
tmp_check:
	$(MKDIR_P) $@

bulwark--$(EXTVERSION).sql: $(SQL_PARTS) bulwark.control
	cat $(SQL_PARTS) > $@

all: bulwark--$(EXTVERSION).sql cli

# The command line is a client, so it has a build file of its own.
cli:
	$(MAKE) -C $(srcdir)/src/cli PG_CONFIG='$(PG_CONFIG)'
install: install-cli
install-cli: cli
	$(MKDIR_P) '$(DESTDIR)$(bindir)'
	$(INSTALL_PROGRAM) $(srcdir)/src/cli/bulwarkctl '$(DESTDIR)$(bindir)/bulwarkctl'
uninstall: uninstall-cli
uninstall-cli:
	rm -f '$(DESTDIR)$(bindir)/bulwarkctl'
.PHONY: cli install-cli uninstall-cli

# Published test vectors against src/common, with sanitizers.
check-vectors:
	$(MAKE) -C $(srcdir)/test/vectors check

# C paths that run without a server, with sanitizers.
check-unit:
	$(MAKE) -C $(srcdir)/test/unit check PG_CONFIG='$(PG_CONFIG)'
.PHONY: check-vectors check-unit

# What reads tokens and ledgers under clang's fuzzer, for longer by hand.
FUZZ_SECONDS ?= 60
fuzz:
	PG_CONFIG='$(PG_CONFIG)' $(srcdir)/test/fuzz/run $(FUZZ_SECONDS)
.PHONY: fuzz

# Each of these does all its set-up, as root or with sudo, and leaves the
# system's PostgreSQL as it is.
demo:
	@tools/demo
test:
	@tools/test $(SUITES)
bench:
	@tools/setup bench
	@bench/run
reference:
	@tools/reference
setup:
	@tools/setup build demo test bench
help:
	@sed -n '/^# Goals:/,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
.PHONY: $(TOOL_GOALS)
