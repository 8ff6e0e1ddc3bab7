#!/bin/bash
# A merge dies at its Nth call that writes or syncs anything, SQLite's among them: for every N, right
# before the call, right after it, and having written a part.  Whatever is left must be databases
# that hold a part of the merge; running again must give what an undisturbed run gives, to the byte.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool
need_programs "$rrdmerge"
crashed=$builddir/tests/crashed
[ -x "$crashed" ] || skip_all "tests/crashed is not built: configured without librrd"
need_faults
cd "$work" || exit 99

how_before=FAULT_AFTER=0
how_after=FAULT_AFTER=1
how_torn=FAULT_TORN=1

# lay WHAT: `now` is as the merge finds it.
lay() {
	rm -rf now
	cp -r "$1.before" now
}

# Three paths for each live file: before, result, now.
triples() {
	local file

	for file in "${files[@]}"; do
		echo "$1.before/$file" "$1.result/$file" "now/$file"
	done
}

judge() {
	# shellcheck disable=SC2046
	run "$crashed" $(triples "$1")
}

# die_everywhere WHAT COMMAND…: works on `now`, of which WHAT.before is how it begins.
die_everywhere() {
	local what=$1 n how total status hits=0 parts=0 bad=$failures setting
	shift

	files=()
	while read -r file; do files+=("$file"); done \
		< <(cd "$what.before" && find . -name '*.rrd' -printf '%P\n' | sort)
	lay "$what"
	rm -f trace
	with_faults FAULT_TRACE="$work/trace" "$@" >out 2>err
	status=$?
	want_same "$what: exit code" "$status" 0
	total=$(wc -l <trace)
	rm -rf "$what.result" && cp -r now "$what.result"
	judge "$what"
	want_rc 0
	want_out '^[1-9][0-9]* changed, 0 missing$'
	for how in before after torn; do
		setting=how_$how
		for ((n = 1; n <= total; n++)); do
			lay "$what"
			with_faults FAULT_DIE_AT=$n "${!setting}" "$@" >out 2>err
			status=$?
			# Threads take turns as they like, so that another run may have fewer calls.
			[ "$status" != 137 ] || hits=$((hits + 1))
			[ "$status" = 137 ] || [ "$status" = 0 ] ||
				fail "$what, $how call $n: exit code $status: $(head -n 3 err)"
			judge "$what"
			[ "$rc" = 0 ] || { fail "$what, died $how call $n"; show_last; }
			grep -q '^0 changed' out || grep -q ' 0 missing$' out || parts=$((parts + 1))
			"$@" >out 2>err
			status=$?
			[ "$status" = 0 ] ||
				fail "$what, $how call $n: run again, exit code $status: $(cat err)"
			diff -rq "$what.result" now >/dev/null ||
				fail "$what, $how call $n: run again, not what an undisturbed run gives"
		done
	done
	[ "$failures" != "$bad" ] || pass "$what"
	echo "# $what: $total calls, died $hits times, $parts times in the midst of the merge"
	[ "$parts" -gt 0 ] || fail "$what: never in the midst"
}

# The backup ends within a row of 30 minutes, live begins within another and is in the midst of a
# third, so that there are seams, and open rows to complete.
mkdir -p pair.before old tree.before/{h1,h2}
make_rrd old/a.rrd 0 184
make_rrd pair.before/a.rrd 192 252
make_rrd old/b.rrd 0 177 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:200 \
	RRA:LAST:0.3:60:40
make_rrd tree.before/b.rrd 181 222 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:200 \
	RRA:LAST:0.3:60:40
mkdir old/h1 old/h2
cp old/a.rrd old/h1/a.rrd && cp old/a.rrd old/h2/c.rrd
cp pair.before/a.rrd tree.before/h1/ && make_rrd tree.before/h2/c.rrd 190 199
make_rrd tree.before/h2/alone.rrd 190 199

die_everywhere pair "$rrdmerge" old/a.rrd now/a.rrd
die_everywhere tree "$rrdmerge" -j1 old now
finish
