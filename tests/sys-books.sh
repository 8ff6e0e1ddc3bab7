#!/bin/bash
# The ledger while the daemon runs: all is undone together.
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
finish
