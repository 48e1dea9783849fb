# What the programs of this directory share; sourced by bash, with strict mode
# set and `here` naming the directory.
#
# Everything is in one directory (AGENTPAY_BENCH_DIR), removed at the end: a
# private cluster that listens on a Unix socket only. PG_CONFIG names the
# PostgreSQL to use.

bin=$("${PG_CONFIG:-pg_config}" --bindir)
dir=${AGENTPAY_BENCH_DIR:-/tmp/agentpay-bench}
port=5505

# PostgreSQL does not run as root; psql does.
owner=$(id -un)
as=()
if [ "$(id -u)" = 0 ]; then
	owner=${AGENTPAY_RUN_AS:-postgres}
	as=(runuser -u "$owner" --)
fi

fail() {
	echo "bench: $*" >&2
	exit 1
}

client() {
	"$bin/psql" -X -q -h "$dir" -p "$port" -U postgres -v ON_ERROR_STOP=1 "$@"
}

# whole_numbers <name=value> ...
whole_numbers() {
	local setting
	for setting in "$@"; do
		[[ ${setting#*=} =~ ^[1-9][0-9]*$ ]] ||
			fail "${setting%%=*} is a whole number above 0, not ${setting#*=}"
	done
}

# ── the cluster ─────────────────────────────────────────────────────────────
halt() {
	if [ -f "$dir/data/postmaster.pid" ]; then
		"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -m "$1" -w stop >/dev/null 2>&1 || true
	fi
}

stop() {
	halt immediate
	rm -rf "$dir"
}

# No timed checkpoint and no autovacuum falls into a round; WAL is written and
# synced as in production.
start() {
	mkdir -p "$dir"
	chmod 700 "$dir"
	chown "$owner" "$dir"
	cd "$dir" # the owner may not see where we are
	"${as[@]}" "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 \
		--no-locale >"$dir/initdb.log" 2>&1 ||
		fail "initdb failed: $(tail -1 "$dir/initdb.log")"
	cat >>"$dir/data/postgresql.conf" <<-CONF
		shared_preload_libraries = 'agentpay'
		listen_addresses = ''
		unix_socket_directories = '$dir'
		port = $port
		timezone = 'UTC'
		shared_buffers = 512MB
		max_wal_size = 4GB
		checkpoint_timeout = 1h
		autovacuum = off
		jit = off
		max_worker_processes = 32
		log_min_messages = warning
	CONF
	"${as[@]}" "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w start >/dev/null ||
		fail "PostgreSQL did not start: $(tail -3 "$dir/log")"
}

# make_base <rows>: the database that all others are copies of.
make_base() {
	client -d postgres -c 'CREATE DATABASE base'
	client -d base -v rows="$1" -f "$here/base.sql" >/dev/null
}

# fresh_database <name>
fresh_database() {
	client -d postgres -c "DROP DATABASE IF EXISTS $1" 2>/dev/null
	client -d postgres -c \
		"CREATE DATABASE $1 TEMPLATE base STRATEGY file_copy"
	client -d "$1" -c 'CREATE EXTENSION agentpay'
}

# set_up <arm> <database>
set_up() {
	fresh_database "$2"
	client -d "$2" -f "$here/decisions.sql" >/dev/null
	case $1 in
	bare | floor) ;;
	floor_unchecked) client -d "$2" -f "$here/unchecked.sql" ;;
	ours) client -d "$2" -f "$here/attach.sql" -f "$here/ours.sql" >/dev/null ;;
	plpgsql) client -d "$2" -v merged=off -f "$here/plpgsql.sql" >/dev/null ;;
	plpgsql_merged) client -d "$2" -v merged=on -f "$here/plpgsql.sql" >/dev/null ;;
	rules_*) client -d "$2" -v rules="${1#rules_}" -f "$here/attach.sql" \
		-f "$here/rules.sql" >/dev/null ;;
	trees_*) client -d "$2" -v trees="${1#trees_}" -f "$here/attach.sql" \
		-f "$here/trees.sql" >/dev/null ;;
	*) fail "there is no arm $1" ;;
	esac
}
