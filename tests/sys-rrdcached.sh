#!/bin/bash
# The same as sys-hammer.sh through a real rrdcached: what it accepted must be in the file after
# the last FLUSH.  Then the same with a journal, while rrdcached and rrdmerge are killed again and
# again (tests/journal.c, which names what rrdcached itself loses then).
# HAMMER_SECONDS makes it last longer, SEED repeats a run.
set -u

top_builddir=${top_builddir:-.}
PATH=$PATH:/usr/sbin:/sbin

if ! command -v rrdcached >/dev/null; then
	echo "rrdcached is not installed"
	exit 77
fi

if [ ! -x "$top_builddir/tests/hammer" ] || [ ! -x "$top_builddir/tests/journal" ]; then
	echo "tests/hammer and tests/journal are not built: configured without librrd"
	exit 77
fi

dir=$(mktemp -d) || exit 2
daemon=
stop() {
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null
		wait "$daemon" 2>/dev/null
	fi
	[ -n "${keep:-}" ] || rm -rf "$dir"
}
trap 'exit 130' INT TERM
trap stop EXIT

# -j is left out: nothing but memory stands between an UPDATE and the file.
#
# One writing thread (-t 1).  With more, rrdcached takes a file from its queue before it writes it
# (src/rrd_daemon.c, queue_thread_main), so that a FLUSH which comes meanwhile has a second thread
# write the same file; their POSIX locks are one process's and do not keep them apart, and an
# accepted update is lost now and then.  That is rrdcached's own, and not what is judged here.
rrdcached -g -l "unix:$dir/sock" -p "$dir/pid" -b "$dir" -w 1 -z 1 -f 5 -t 1 -o "$dir/log" \
	>"$dir/out" 2>&1 &
daemon=$!
for _ in $(seq 100); do
	[ -S "$dir/sock" ] && break
	if ! kill -0 "$daemon" 2>/dev/null; then
		echo "rrdcached does not start here:"
		cat "$dir/out" "$dir/log" 2>/dev/null
		daemon=
		exit 77
	fi
	sleep 0.1
done

"$top_builddir/tests/hammer" --seconds "${HAMMER_SECONDS:-10}" --files 4 --dir "$dir" \
	--rrdcached "unix:$dir/sock" "$top_builddir/rrdmerge"
status=$?

if [ "$status" -eq 0 ]; then
	"$top_builddir/tests/journal" --seconds "${HAMMER_SECONDS:-15}" --files 4 --dir "$dir" \
		"$top_builddir/rrdmerge"
	status=$?
fi

if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
	keep=yes
	tail -n 5 "$dir/out" "$dir/log" "$dir"/journal-*/log 2>/dev/null
	echo "kept: $dir"
fi
exit "$status"
