#!/bin/bash
# A merge dies at its Nth call that writes or syncs anything, SQLite's among them: for every N, right
# before the call, right after it, and having written a part.  Whatever is left must be databases
# that hold a part of the merge, each cell of it within what the ledger has on record; running again
# must give what an undisturbed run gives, to the byte.  So must an undo, the other way round; of which
# no merge is said to stand that is taken back in part, and in the end each one is undone on record.
#
# Of the daemon, where each run takes a second, some sixty calls are tried, and under a sanitizer some
# eighty of rrdmerge with a ledger: CRASHES=all tries all of them, CRASHES=20 so many wherever
# there is a ledger; SEED repeats the choice.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool
need_programs "$rrdmerge" "$rrdmergd"
crashed=$builddir/tests/crashed
ledgersay=$builddir/tests/ledgersay
[ -x "$crashed" ] || skip_all "tests/crashed is not built: configured without librrd"
need_faults
cd "$work" || exit 99
SEED=${SEED:-$(date +%s)}
echo "SEED=$SEED"
RANDOM=$((SEED % 32768))

# ---- one death: in a directory of its own, in which `now` are the live files ----

lay() {
	rm -rf now state.* ledger.db*
	cp -a "../$what.before/." .
	cat >conf <<-END
		live = "$PWD/now";
		backup = "$work/old";
		state_dir = "$PWD/state.d";
		socket = "$PWD/sock";
		user = "$(id -un)";
		workers = 2;
	END
	[ "$what" != undo ] || "$rrdmerge" -j1 --ledger ledger.db ../old now >/dev/null
}

# judge WHEN: `now` holds a part of the merge, and the ledger has it on record.
judge() {
	local file runs=
	local -a triple=()

	for file in "${files[@]}"; do
		triple+=("../$from/now/$file" "../$what.result/now/$file" "$PWD/now/$file")
	done
	if [ "$ledger" ]; then
		rm -rf copy && mkdir copy
		cp "$ledger"* copy/ 2>/dev/null
		"$ledgersay" "copy/${ledger##*/}" >record 2>&1 ||
			echo "FAIL $1: the ledger: $(head -n 3 record)"
		runs=--runs
		[ "$what" != undo ] || runs=--undo
	else
		: >record
	fi
	"$crashed" $runs "${triple[@]}" <record >verdict 2>&1 ||
		echo "FAIL $1: $(head -n 5 verdict)"
}

# die HOW N COMMAND…
die() {
	local how=$1 n=$2 status
	shift 2

	lay
	with_faults FAULT_DIE_AT="$n" "FAULT_${how^^}=1" "$@" >out 2>err
	status=$?
	# Threads take turns as they like, so that another run may have fewer calls.
	case $status in
	137) echo hit ;;
	0) ;;
	*) echo "FAIL $how $n: exit code $status: $(head -n 3 err)" ;;
	esac
	judge "$how $n"
	grep -q '^0 changed' verdict || grep -q ' 0 missing$' verdict || echo part
	"$@" >out 2>err
	status=$?
	# An undo that was done before it died has nothing left to do, and says so.
	[ "$status" = 0 ] || [ "$what$status" = undo1 ] ||
		echo "FAIL $how $n: run again, exit code $status: $(head -n 3 err)"
	diff -rq "../$what.result/now" now || echo "FAIL $how $n: run again, not as undisturbed"
	[ -z "$ledger" ] || judge "$how $n, run again"
	[ "$what" != undo ] || awk -v at="$how $n" '$1 == "merge" && $4 ~ /^merge/ &&
		$4 != "merge,undone" { print "FAIL " at ", run again, on record: " $0 }' record
}

# ---- all of them ----

# die_everywhere WHAT AT-ONCE SOME LEDGER COMMAND…: how it begins is WHAT.before, which is copied to
# a directory of each process's own.  SOME: so many calls are tried, or all.
die_everywhere() {
	local at_once=$2 some=$3 k n how
	local -a points=()
	what=$1 ledger=$4
	from=$what.before
	[ "$what" != undo ] || from=recorded.result
	shift 4

	mapfile -t files < <(cd "$what.before/now" && find . -name '*.rrd' -printf '%P\n' | sort)
	for ((k = 0; k < at_once; k++)); do
		mkdir -p "$what.$k"
	done
	cd "$what.0" || exit 99
	lay
	rm -f ../trace
	run with_faults FAULT_TRACE="$work/trace" "$@"
	want_rc 0
	total=$(wc -l <../trace)
	mkdir "../$what.result" && cp -a now "../$what.result/"
	judge undisturbed >out
	want_same "$what" "$(cat out)" ""
	want_same "$what, all of it" "$(grep -oE '[0-9]+ missing' verdict)" "0 missing"
	cd ..
	for how in before after torn; do
		for ((n = 1; n <= total; n++)); do
			[ "$some" = all ] || [ $((RANDOM % (3 * total))) -lt "$some" ] ||
				continue
			points+=("$how $n")
		done
	done
	for ((k = 0; k < at_once; k++)); do
		(
			trap - EXIT
			cd "$what.$k" || exit
			for ((n = k; n < ${#points[@]}; n += at_once)); do
				# shellcheck disable=SC2086
				die ${points[n]} "$@"
			done >said 2>&1
			echo done >>said
		) &
	done
	wait
	want_same "$what: processes that came to their end" \
		"$(cat "$what".*/said | grep -c '^done$')" "$at_once"
	n=$(cat "$what".*/said | grep -vcE '^(hit|part|done)$')
	if [ "$n" = 0 ]; then pass "$what"; else
		fail "$what"
		grep -hvE '^(hit|part|done)$' "$what".*/said | head -n 20
	fi
	echo "# $what: $total calls, ${#points[@]} tries, died $(cat "$what".*/said | grep -c hit)" \
		"times, $(cat "$what".*/said | grep -c part) times in the midst of the merge"
	grep -q part "$what".*/said || fail "$what: never in the midst"
	rm -rf "$what".[0-9]*
}

# The backup ends within a row of 30 minutes and live begins within the same one or the next, so that
# there are seams, and open rows to complete.
shape=(DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:200 RRA:LAST:0.3:60:40)
mkdir -p old/{h1,h2} pair.before/now tree.before/now/{h1,h2}
make_rrd old/a.rrd 0 184
make_rrd old/b.rrd 0 177 "${shape[@]}"
cp old/a.rrd old/h1/a.rrd && cp old/a.rrd old/h2/c.rrd
make_rrd pair.before/now/a.rrd 192 207
make_rrd tree.before/now/b.rrd 181 222 "${shape[@]}"
make_rrd tree.before/now/h1/a.rrd 192 252
make_rrd tree.before/now/h2/c.rrd 190 199
make_rrd tree.before/now/h2/alone.rrd 190 199
rested=$((SECONDS + 11))

most=${CRASHES:-$(by_build all 80)}
die_everywhere pair 2 all '' "$rrdmerge" ../old/a.rrd now/a.rrd
die_everywhere tree 2 all '' "$rrdmerge" -j1 ../old now

# The same on record, and taken back.
cp -r tree.before recorded.before
cp -r tree.before undo.before
die_everywhere recorded 6 "$most" ledger.db "$rrdmerge" -j1 --ledger ledger.db ../old now
die_everywhere undo 6 "$most" ledger.db "$rrdmerge" --undo ledger.db 1 2 3
[ ! -d undo.result ] || diff -r undo.result/now tree.before/now >/dev/null && pass "undone" ||
	fail "undone is not as it was before"

# ---- many undone at once cost a few syncs, and not some for each ----

mkdir -p many/old many/now
for ((n = 1; n <= 20; n++)); do
	cp old/a.rrd many/old/$n.rrd
	cp pair.before/now/a.rrd many/now/$n.rrd
done
cp -r many/now many/before
run "$rrdmerge" --ledger many/ledger.db many/old many/now
want_summary 20 0 0 0
# shellcheck disable=SC2046
run with_faults FAULT_TRACE="$work/many/trace" "$rrdmerge" --undo many/ledger.db $(seq 20)
want_rc 0
want_same "undone at once" "$(grep -c '^undone ' out)" 20
want_same "all are as they were" "$(diff -r many/before many/now)" ""
syncs=$(grep -cE ' (fsync|fdatasync|syncfs) ' many/trace)
[ "$syncs" -lt 30 ] && pass "$syncs syncs" || fail "an undo of twenty files costs $syncs syncs"

# ---- an undo that dies after it has put back what an earlier merge had spread ----

make_rrd full.rrd 0 184 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:300 RRA:AVERAGE:0.3:10:200
make_rrd coarse.rrd 0 184 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:10:200
make_rrd none.rrd 192 252 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:300 RRA:AVERAGE:0.3:10:200
mkdir generations && cd generations || exit 99
spread() {
	rm -f ledger.db*
	cp ../none.rrd live.rrd
	"$rrdmerge" --ledger ledger.db ../coarse.rrd live.rrd >/dev/null
	cp live.rrd first.rrd
	"$rrdmerge" --ledger ledger.db ../full.rrd live.rrd >/dev/null
	cp live.rrd second.rrd
}
spread
cmp -s first.rrd second.rrd && fail "nothing gives way: no test"
with_faults FAULT_TRACE="$work/generations/trace" "$rrdmerge" --undo ledger.db 2 >out
same_file "the second generation undone" live.rrd first.rrd
wrote=$(sed -n 's/^\([0-9]*\) pwrite.*live\.rrd$/\1/p' trace | tail -n 1)
want_differ "where it writes to the file" "$wrote" ""
for then in "2" "1 2" "2 1" merge; do
	spread
	with_faults FAULT_DIE_AT="$wrote" FAULT_AFTER=1 "$rrdmerge" --undo ledger.db 2 >out 2>err
	want_same "before $then: killed" $? 137
	same_file "before $then: put back" live.rrd first.rrd
	case $then in
	merge)
		run "$rrdmerge" --ledger ledger.db ../full.rrd live.rrd
		want_rc 0
		same_file "merged after it: what was spread gives way" live.rrd second.rrd
		;;
	*)
		# shellcheck disable=SC2086
		run "$rrdmerge" --undo ledger.db $then
		want_rc 0
		want_silent_err
		want=../none.rrd
		[ "$then" != 2 ] || want=first.rrd
		same_file "undone after it: $then" live.rrd "$want"
		;;
	esac
done
cd ..

cp -r tree.before daemon.before
wait_for "[ \$SECONDS -ge $rested ]" 12         # the daemon lets a backup rest
die_everywhere daemon 8 "${CRASHES:-60}" state.d/ledger.db "$rrdmergd" --once -e -f conf
finish
