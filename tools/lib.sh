# What the shell tools share.  Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tool=$(basename "$0")
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

die() { echo "$tool: $*" >&2; exit 1; }

# Run this tool again as root where it is not yet, keeping what the caller chose.
need_root() {
	[ "$(id -u)" = 0 ] && return
	command -v sudo >/dev/null || die "must run as root, or with sudo installed"
	exec sudo --preserve-env=PG_CONFIG,SUITES,JOBS,FUZZ_SECONDS,BULWARK_CHROOTS,BULWARK_SHARED,TMPDIR,CI \
		"$top/tools/$tool" "$@"
}

# The files of the project, ended by NULs: what git knows or would add, else
# everything but build results.
project_files() {
	if git -C "$top" -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git -C "$top" -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate |
			while IFS= read -r -d '' f; do
				[ ! -e "$top/$f" ] || printf '%s\0' "$f"
			done
	else
		(cd "$top" && find . \( -name .git -o -name node_modules -o -name tmp_check \) -prune \
			-o -type f ! -name '*.o' ! -name '*.so' ! -name '*.bc' -printf '%P\0')
	fi
}

# Copy the project into a new directory, which the server's user may read and
# write whatever the clone's own modes are.
copy_tree() {
	mkdir -p "$1"
	project_files | tar -C "$top" --null -T - -cf - | tar -C "$1" --no-same-owner -xf -
}

# Run a command as the user that servers run as, from a directory it can enter.
# SERVER_ENV holds settings of the environment for it alone.
as_postgres() {
	# shellcheck disable=SC2086
	(cd "${PGCWD:-/}" && exec runuser -u postgres -- env ${SERVER_ENV:-} "$@")
}

# PostgreSQL 15 where it is installed, else whatever pg_config is in PATH.
find_pg_config() {
	local p
	for p in "${PG_CONFIG:-}" /usr/lib/postgresql/15/bin/pg_config /usr/lib/postgresql/*/bin/pg_config; do
		if [ -n "$p" ] && command -v "$p" >/dev/null; then command -v "$p"; return; fi
	done
	command -v pg_config || die "no pg_config: run tools/setup build, or set PG_CONFIG"
}

# Copy PostgreSQL's binaries, libraries and headers below a directory and print
# the copy's pg_config.  PostgreSQL finds its files relative to its binaries, so
# the extension is installed into the copy and the system's stays as it was.
pg_copy() {
	local dest=$1 config dir
	config=$(find_pg_config)
	for dir in --bindir --pkglibdir --libdir --sharedir --includedir --includedir-server; do
		dir=$("$config" "$dir")
		case $dir in
			/usr/lib | /usr/lib64 | /usr/lib/*-linux-gnu* | /usr/include) ;;	# the system's own stay where they are
			*) mkdir -p "$dest$dir" && cp -a "$dir/." "$dest$dir/" ;;
		esac
	done
	echo "$dest$("$config" --bindir)/pg_config"
}
