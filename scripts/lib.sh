# What the scripts share; sourced by bash. See README.md for the variables.
set -euo pipefail

# A make of our own starts afresh: PostgreSQL makes its generated headers only
# at the top level.
unset MAKELEVEL MAKEFLAGS MFLAGS

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
flavor=${AGENTPAY_FLAVOR:-15}
uid=$(id -u)
name_hash=$(printf %s "$top" | sha256sum | cut -c1-8)
state=${AGENTPAY_STATE:-/var/tmp/agentpay-$uid-$name_hash}
base=$state/$flavor # all of this flavor: pg, tree, work, logs

# The database user: root may not run PostgreSQL.
if [ "$uid" = 0 ]; then
	db_user=postgres
	as_db() { runuser -u "$db_user" -- "$@"; }
else
	db_user=$(id -un)
	as_db() { "$@"; }
fi

say() { printf '%s\n' "$*" >&2; }
die() {
	say "$(basename "$0"): $*"
	exit 1
}

# /var/tmp is everybody's: nobody else may have made it.
mkdir -p "$state" 2>/dev/null || true
if [ ! -d "$state" ] || [ -L "$state" ] || [ "$(stat -c %u "$state")" != "$uid" ]; then
	die "$state is not a directory of ours; set AGENTPAY_STATE to another"
fi

# The PostgreSQL that a flavor is made of: a major version of Debian's, or the
# prefix of one built from source.
case $flavor in
assert)
	pg_source=${AGENTPAY_ASSERT_PREFIX:-}
	pg_bin=$base/pg/bin
	;;
*)
	pg_source=/usr/lib/postgresql/$flavor
	pg_bin=$base/pg/usr/lib/postgresql/$flavor/bin
	;;
esac

# Where PGXS keeps pg_regress and the Perl modules.
pgxs_dir() {
	local makefile
	makefile=$("$pg_bin/pg_config" --pgxs)
	echo "${makefile%/src/makefiles/pgxs.mk}"
}

# new_cluster <name> [line of postgresql.conf ...]: makes and starts a cluster
# that listens on a socket in its own directory only; sets cluster. Its files
# are in $cluster: data, log, and the socket.
new_cluster() {
	make_cluster "$@"
	as_db "$pg_bin/pg_ctl" -D "$cluster/data" -l "$cluster/log" -w -t 60 \
		start >/dev/null || die "PostgreSQL did not start: $(tail -5 "$cluster/log")"
}

make_cluster() {
	cluster=$base/work/$1
	shift
	as_db mkdir -p "$cluster"
	as_db "$pg_bin/initdb" -D "$cluster/data" -U postgres -A trust -E UTF8 \
		--no-locale --no-sync >"$cluster.initdb" 2>&1 ||
		die "initdb failed: $(tail -3 "$cluster.initdb")"
	printf '%s\n' "shared_preload_libraries = 'agentpay'" \
		"listen_addresses = ''" "unix_socket_directories = '$cluster'" \
		"fsync = off" "timezone = 'UTC'" "log_line_prefix = '%m [%p] %q%a '" \
		"max_worker_processes = 16" "$@" |
		as_db tee -a "$cluster/data/postgresql.conf" >/dev/null
}

# Stops it if it runs.
stop_cluster() {
	if [ -f "$1/data/postmaster.pid" ]; then
		as_db "$pg_bin/pg_ctl" -D "$1/data" -m immediate -w stop >/dev/null 2>&1 || true
	fi
}
