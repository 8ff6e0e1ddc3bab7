#!/bin/bash
# The ledger while the daemon runs: all is undone together; another one is put in its place.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool sqlite3
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
need_faults
cd "$work" || exit 99

settings=('workers = 2;')

make_rrd old.rrd 0 180 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:300 RRA:MAX:0.5:10:60
make_rrd new.rrd 190 250 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:300 RRA:MAX:0.5:10:60
cp new.rrd want.rrd && "$rrdmerge" old.rrd want.rrd >/dev/null
mkdir -p many.old many.new
for ((i = 0; i < 300; i++)); do
	cp old.rrd many.old/$i.rrd
	cp new.rrd many.new/$i.rrd
done
rested=$((SECONDS + 11))

# ---- all is undone together ----

wait_for "[ \$SECONDS -ge $rested ]" 12         # the daemon lets a backup rest
configure many.new many.old
start_daemon env LD_PRELOAD="$faults" FAULT_TRACE="$work/trace"
want_log '^rrdmergd: idle merged=300 '
before=$(grep -cE ' (fdatasync|fsync|syncfs) ' trace)
ctl undo --all
want_rc 0
want_same "files undone" "$(grep -c '^undone:' out)" 300
syncs=$(($(grep -cE ' (fdatasync|fsync|syncfs) ' trace) - before))
if [ $((syncs * 3)) -lt 300 ]; then pass "$syncs syncs"; else
	fail "$syncs syncs for 300 files: each goes on record by itself"; fi
differ=0
for ((i = 0; i < 300; i++)); do
	cmp -s many.new/$i.rrd new.rrd || differ=$((differ + 1))
done
want_same "files that are not as before the merge" $differ 0
want_same "on record" "$(sqlite3 -readonly state/ledger.db \
	"SELECT what, state, count(*) FROM merges GROUP BY 1, 2")" $'merge|undone|300\nundo|done|300'
ctl undo --all
want_rc 0
want_same "nothing is left to undo" "$(cat out)" "note: there is nothing left to undo"
end_daemon

# ---- another ledger is put in its place ----

mkdir live few.old
for i in 1 2 3 4; do cp -p old.rrd few.old/$i.rrd; done
touch -d '1 hour ago' few.old/*.rrd
cp new.rrd elsewhere.rrd
"$rrdmerge" --ledger other.db old.rrd elsewhere.rrd >/dev/null
for how in copied moved emptied; do
	rm -rf state live/*
	cp new.rrd live/1.rrd && cp new.rrd live/2.rrd
	configure live few.old
	start_daemon
	want_log '^rrdmergd: idle merged=2 '
	case $how in
	copied) cp other.db state/ledger.db ;;
	moved) cp other.db state/new && mv state/new state/ledger.db ;;
	emptied) : >state/ledger.db ;;
	esac
	# Nothing is to be recorded: it is found all the same.
	want_log '^rrdmergd: ledger was removed.* path=.*/state/ledger\.db$'
	wait_for '"$rrdmergctl" -s sock status | grep -q "^ledger: *works$"' 10 &&
		pass "$how: works again" || fail "$how: does not work again"
	sum=$(tree_sum live)
	cp new.rrd live/3.rrd
	want_log '^rrdmergd: merged .* file=3\.rrd$'
	rm live/3.rrd
	want_same "$how: files merged before" "$(tree_sum live)" "$sum"
	end_daemon
	want_same "$how: in the new one" "$(sqlite3 -readonly state/ledger.db \
		"SELECT sum(file LIKE '%/elsewhere.rrd'), sum(file LIKE '%/live/3.rrd') FROM merges")" \
		"0|1"
	want_same "$how: set aside" "$(find state -name 'ledger.db.other-*' | wc -l)" \
		"$([ $how = emptied ] && echo 0 || echo 1)"
	[ $how = emptied ] || want_same "$how: what was set aside" \
		"$(sqlite3 -readonly state/ledger.db.other-* 'SELECT count(*) FROM merges')" 1
	# What was known is known: nothing is merged, nothing is opened.
	start_daemon
	want_log '^rrdmergd: idle merged=0 unchanged=2 '
	want_same "$how: not looked at again" "$(grep -c '^rrdmergd: merged' log)" 0
	end_daemon
done
finish
