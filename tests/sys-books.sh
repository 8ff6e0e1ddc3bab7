#!/bin/bash
# The ledger while the daemon runs: all is undone together; another one is put in its place.  What was
# spread gives way to a better backup that comes later.  An undo in several holds counts all of them.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool sqlite3
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl" "$builddir/check_rrdmergd"
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

# ---- idle, and a backup that can go, only when all is on disk; and a disk that fails ----

intended() {
	sqlite3 -readonly state/ledger.db "SELECT count(*) FROM merges WHERE state <> 'done'"
}

rm -rf state many.new
mkdir -p many.new
for ((i = 0; i < 100; i++)); do cp new.rrd many.new/$i.rrd; done
configure many.new many.old
start_daemon
ctl status --wait
want_same "merges that are not done when it says so" "$(intended)" 0
want_out '^unsynced: +0$'
end_daemon
rm -rf state many.new
mkdir -p many.new
for ((i = 0; i < 5; i++)); do cp new.rrd many.new/$i.rrd; done
start_daemon env LD_PRELOAD="$faults" FAULT_ERROR="syncfs:*:EIO"
want_log '^rrdmergd: unsynced reason="live: Input/output error: .*" file=.*/many\.new/[0-4]\.rrd$'
ctl status --wait
want_out '^Not well|something needs a person'
want_out '^unsynced: +5$'
want_out '^backup_needed: +yes$'
run "$builddir/check_rrdmergd" -s sock
want_rc 2
want_out "^RRDMERGD CRITICAL - idle, 5 merged, .*, 5 may not be on disk as live's disk has failed; the backup is still"
want_same "merges that are done" "$(sqlite3 -readonly state/ledger.db \
	"SELECT count(*) FROM merges WHERE state = 'done'")" 0
want_same "files on record" "$(sqlite3 -readonly state/ledger.db \
	"SELECT count(*) FROM file WHERE settled")" 0
end_daemon

# The same of rrdmerge: a pair, a tree, an undo.
mkdir sick.old sick && cp old.rrd sick.old/1.rrd && cp old.rrd sick.old/2.rrd
cp new.rrd sick/1.rrd && cp new.rrd sick/2.rrd && cp new.rrd sick.rrd
on_sick_disk() {
	run with_faults FAULT_ERROR="syncfs:*:EIO" "$rrdmerge" "$@"
}
unsynced='^rrdmerge: unsynced reason="live: Input/output error: what was %s may not be on disk" file=%s$'
# shellcheck disable=SC2059
unsynced() {
	want_err "$(printf "$unsynced" "$1" "$2")"
}
on_sick_disk --ledger sick.ledger old.rrd sick.rrd
want_rc 1
want_summary 1 0 0 0
unsynced merged sick\\.rrd
want_err "^rrdmerge: live's disk has failed: 1 merge is not done on record; keep the backup, "
on_sick_disk --ledger sick.ledger sick.old sick
want_rc 1
want_summary 2 0 0 0
unsynced merged 1\\.rrd
unsynced merged 2\\.rrd
want_err "^rrdmerge: live's disk has failed: 2 merges are not done on record; "
want_same "rrdmerge: merges that are done" "$(sqlite3 -readonly sick.ledger \
	"SELECT count(*) FROM merges WHERE state = 'done'")" 0
on_sick_disk --undo sick.ledger 1
want_rc 1
unsynced undone "$work/sick\\.rrd"
want_err "^rrdmerge: live's disk has failed: 1 undo is not done on record; .*undo again path=sick"
run "$rrdmerge" --undo sick.ledger
want_out '^id=1 .* what=undone-in-part '
run "$rrdmerge" --undo sick.ledger 1
want_rc 0
want_silent_err
run "$rrdmerge" --ledger sick.ledger sick.old sick
want_rc 0
want_silent_err

# ---- --once, and a ledger or a disk that fails after the apply ----

rm -rf state many.new && mkdir many.new
for ((i = 0; i < 5; i++)); do cp new.rrd many.new/$i.rrd; done
configure many.new many.old
# It stops before its first sync, and somebody locks the ledger.
start_with_faults FAULT_STOP=syncfs:1 timeout --foreground 60 "$rrdmergd" -f conf -e --once 2>log
once=$!
others=($once)
if wait_for 'daemon=$(pgrep -P $once) && grep -q "^State:.*T" /proc/$daemon/status' 30; then
	mkfifo questions
	sqlite3 state/ledger.db <questions >answers &
	others+=($! "$daemon")
	exec 8>questions
	echo "BEGIN IMMEDIATE; SELECT 'locked';" >&8
	wait_for 'grep -q locked answers' 5 || fail "the ledger cannot be locked"
	kill -CONT "$daemon"
	wait $once
	want_same "--once, the ledger locked: exit code" $? 1
	want_log '^rrdmergd: the ledger does not work: '
	want_log '^rrdmergd: the ledger does not know that 5 merges are done: run again when it works$'
	exec 8>&-
	wait "${others[1]}"
	cmp -s many.new/4.rrd want.rrd && pass "merged all the same" || fail "is not merged"
	want_same "merges on record" "$(intended)" 5
else
	fail "does not stop before its first sync"
	show_log
fi
others=()
daemon=
run timeout 60 "$rrdmergd" -f conf -e --once
want_rc 0
want_err '^rrdmergd: idle merged=0 unchanged=5 '
rm -rf state many.new && mkdir many.new
for ((i = 0; i < 5; i++)); do cp new.rrd many.new/$i.rrd; done
run with_faults FAULT_ERROR="syncfs:*:EIO" timeout 60 "$rrdmergd" -f conf -e --once
want_rc 1
want_err '^rrdmergd: unsynced reason="live: Input/output error: '
want_err "^rrdmergd: live's disk has failed: 5 merges are not done on record; "

# ---- an undo whose daemon is killed ----

# what FILE: of all that is on record, the latest first.
what() {
	"$rrdmergctl" -s sock history "$1" | sed -n 's/^what: *//p' | tr '\n' ,
}

status_is() {
	"$rrdmergctl" -s sock status | grep -qE "^$1: *$2\$"
}

# kill_undo WHERE WHAT: the daemon is stopped there while it undoes that, and killed.
kill_undo() {
	start_daemon env LD_PRELOAD="$faults" FAULT_STOP="$1"
	want_log '^rrdmergd: idle '
	"$rrdmergctl" -s sock undo "$2" >/dev/null 2>&1 &
	others=($!)
	wait_for 'grep -q "^State:.*T" /proc/$daemon/status' 20 || fail "undo $2 does not come to $1"
	kill -9 "$daemon"
	wait "$daemon" "${others[0]}" 2>/dev/null
	others=()
	start_daemon
	want_log '^rrdmergd: idle '
	ctl status
}

# What lies close together is written at once; three long rings have two places at least, wherever
# in its ring each begins.
long=(RRA:AVERAGE:0.5:1:700 RRA:MIN:0.5:1:700 RRA:LAST:0.5:1:700)
mkdir -p cut.live cut.old
make_rrd cut.from 0 180 DS:x:GAUGE:8640:U:U "${long[@]}"
make_rrd cut.before 190 250 DS:x:GAUGE:8640:U:U "${long[@]}"
cp cut.before cut.want && "$rrdmerge" cut.from cut.want >/dev/null
touch -d '1 hour ago' cut.from
for i in 1 2 3 4; do
	cp cut.before cut.live/$i.rrd
	cp -p cut.from cut.old/$i.rrd
done
rm -rf state
configure cut.live cut.old
start_daemon
want_log '^rrdmergd: idle merged=4 '
status_is undone_in_part 0 && pass "nothing is undone in part" || fail "undone in part"
wait_for '[ "$(intended)" = 0 ]' 10
end_daemon
# Before it writes anything: after a merge nobody says that something was taken back.
kill_undo lease:1:1.rrd 1.rrd
want_out '^undone_in_part: +1$'
want_out '^undone_in_part_example: +1\.rrd$'
want_out '^ +1 file is undone in part, '
want_out '^ +e\.g\. 1\.rrd$'
want_out 'something needs a person'
want_same "interrupted" "$(what 1.rrd)" "undo interrupted,merged,"
cmp -s cut.live/1.rrd cut.want && pass "nothing is taken back" || fail "something is taken back"
ctl show 1.rrd
want_out '; undone in part by 5$'
ctl merge 1.rrd
want_rc 0
wait_for '[ "$(what 1.rrd)" = merged, ]' 10
want_same "interrupted, and merged: on record" "$(what 1.rrd)" "merged,"
ctl show 1.rrd
want_no_out 'undone'
want_same "… by the view" "$(sqlite3 -readonly state/ledger.db "SELECT state FROM merges
	WHERE file LIKE '%/1.rrd'")" done
ctl --json status
grep -q '"undone_in_part":0[,}]' out && pass "JSON: none" || fail "JSON: not none"
cmp -s cut.live/1.rrd cut.want && pass "as it was merged" || fail "not as it was merged"
ctl undo 1.rrd
want_rc 0
cmp -s cut.live/1.rrd cut.before && pass "undone after all" || fail "not undone"
ctl merge 1.rrd
wait_for 'cmp -s cut.live/1.rrd cut.want && [ "$(intended)" = 0 ]' 10
end_daemon
# When it has written a part: that stays on record, and nothing waits for anybody after a merge.
kill_undo pwrite:2:2.rrd 2.rrd
want_out '^undone_in_part: +1$'
cmp -s cut.live/2.rrd cut.want && fail "nothing is taken back" || pass "a part is taken back"
ctl merge 2.rrd
want_rc 0
wait_for 'cmp -s cut.live/2.rrd cut.want && status_is undone_in_part 0' 10
cmp -s cut.live/2.rrd cut.want && pass "merged again" || fail "not merged again"
status_is undone_in_part 0 && pass "whole again" || fail "undone in part for ever"
wait_for '[ "$(what 2.rrd)" = "merged,undo interrupted,merged," ]' 10
want_same "undone in part, and merged: on record" "$(what 2.rrd)" "merged,undo interrupted,merged,"
ctl show 2.rrd
want_out '; undone in part by '
wait_for '[ "$(intended)" = 2 ]' 10             # these two
end_daemon
start_daemon
want_log '^rrdmergd: idle '
status_is undone_in_part 0 && pass "after a restart too" || fail "undone in part after a restart"
end_daemon
# All of them, and undone again.
kill_undo lease:1:3.rrd --all
want_out '^undone_in_part: +4$'
want_out '^undone_in_part_example: +1\.rrd$'
want_out '^ +4 files are undone in part, '
ctl merge 4.rrd
wait_for 'status_is undone_in_part 3 && [ "$(what 4.rrd)" = merged, ]' 10
status_is undone_in_part 3 && pass "three are left" || fail "not three are left"
want_same "merged, of all" "$(what 4.rrd)" "merged,"
ctl undo --all
want_rc 0
ctl status
want_out '^undone_in_part: +0$'
want_no_out '^undone_in_part_example'
for i in 1 2 3 4; do
	cmp -s cut.live/$i.rrd cut.before && pass "undone: $i" || fail "not undone: $i"
done
end_daemon

# A row that live knew from its own part, and an open row.
shape=(DS:x:GAUGE:8640:U:U "${long[@]}" RRA:AVERAGE:0.5:60:20 RRA:MAX:0.5:120:20)
rm -rf state cut.live cut.old && mkdir cut.live cut.old
make_rrd cut.old/5.rrd 0 484 "${shape[@]}" && make_rrd 5.before 487 585 "${shape[@]}"
touch -d '1 hour ago' cut.old/5.rrd && cp 5.before cut.live/5.rrd
configure cut.live cut.old 'seam = "rebuild";'
start_daemon
want_log '^rrdmergd: idle merged=1 '
wait_for '[ "$(intended)" = 0 ]' 10
cp 5.before 5.healed && "$rrdmerge" cut.old/5.rrd 5.healed >/dev/null
cmp -s cut.live/5.rrd 5.healed && fail "no row is rebuilt: no test" || pass "rebuilt"
cp cut.live/5.rrd 5.merged
end_daemon
kill_undo lease:1:5.rrd 5.rrd
ctl merge 5.rrd
wait_for '[ "$(what 5.rrd)" = merged, ]' 10
want_same "with what was known before: on record" "$(what 5.rrd)" "merged,"
cmp -s cut.live/5.rrd 5.merged && pass "as it was merged" || fail "not as it was merged"
end_daemon
kill_undo pwrite:2:5.rrd 5.rrd
cmp -s cut.live/5.rrd 5.merged && fail "nothing of it is taken back" || pass "a part of it"
ctl merge 5.rrd
wait_for '[ "$(what 5.rrd)" = "merged,undo interrupted,merged," ]' 10
want_same "a part of it: on record" "$(what 5.rrd)" "merged,undo interrupted,merged,"
cmp -s cut.live/5.rrd 5.merged && pass "merged again" || fail "not merged again"
ctl undo 5.rrd
want_out '^open_rows: +[1-9]'
cmp -s cut.live/5.rrd 5.before && pass "undone" || fail "not undone"
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

# Written over in place while the daemon is down, by one with the times that it had.
cat new.rrd >live/1.rrd && touch -d '1 day ago' live/1.rrd
start_daemon
want_log '^rrdmergd: idle merged=1 unchanged=1 '
cmp -s live/1.rrd want.rrd && pass "merged again" || fail "is not merged again"
end_daemon

# ---- what was spread gives way ----

# minutes FILE FROM TO: rows of a minute, averages, as rrdtool fetches them.
minutes() {
	rrdtool fetch "$1" AVERAGE -r 60 -s $((T0 + 60 * $2)) -e $((T0 + 60 * $3)) | grep ': '
}

# One that has no rows of a minute, one whose last minutes it has, and one that has all of them.
shape=(DS:x:GAUGE:8640:U:U)
make_rrd coarse.rrd 0 180 "${shape[@]}" RRA:AVERAGE:0.5:10:60
make_rrd partly.rrd 0 180 "${shape[@]}" RRA:AVERAGE:0.5:1:50 RRA:AVERAGE:0.5:10:60
make_rrd better.rrd 0 180 "${shape[@]}" RRA:AVERAGE:0.5:1:300
make_rrd wide.before 190 250 "${shape[@]}" RRA:AVERAGE:0.5:1:300 RRA:AVERAGE:0.5:5:60
# What better.rrd makes of it when it comes first.
cp wide.before first.rrd && "$rrdmerge" better.rrd first.rrd >/dev/null
"$rrdmerge" coarse.rrd first.rrd >/dev/null

cp wide.before wide.rrd
run "$rrdmerge" -v --ledger wide.ledger coarse.rrd wide.rrd
want_out '^merged .* spread=[1-9]'
cp wide.rrd spread.rrd
run "$rrdmerge" -v --ledger wide.ledger better.rrd wide.rrd
want_summary 1 0 0 0
want_same "minutes of the better one" "$(minutes wide.rrd 1 180)" "$(minutes first.rrd 1 180)"
if cmp -s wide.rrd first.rrd; then pass "as if it had come first"; else
	fail "is not as if the better one had come first"; fi
cp wide.rrd second.rrd
for old in better coarse; do
	run "$rrdmerge" --ledger wide.ledger $old.rrd wide.rrd
	want_summary 0 1 0 0
done
run "$rrdmerge" --undo wide.ledger 2
want_rc 0
cmp -s wide.rrd spread.rrd && pass "undone: spread again" || fail "undone: not as it was spread"
run "$rrdmerge" --undo wide.ledger 1
want_rc 0
cmp -s wide.rrd wide.before && pass "undone" || fail "undone, it is not as before"
# Both at once, the earlier one first, and in steps.
cp wide.before wide.rrd && rm -f wide.ledger*
for old in coarse partly better; do
	run "$rrdmerge" --ledger wide.ledger $old.rrd wide.rrd
	want_summary 1 0 0 0
done
cmp -s wide.rrd first.rrd && pass "in steps" || fail "in steps it is another"
run "$rrdmerge" --undo wide.ledger 1 2 3
want_rc 0
cmp -s wide.rrd wide.before && pass "all undone" || fail "all undone, it is not as before"
# Nobody knows what was spread without a ledger, or with another one.
for ledger in '' '--ledger unknown.ledger'; do
	cp spread.rrd wide.rrd
	# shellcheck disable=SC2086
	run "$rrdmerge" $ledger better.rrd wide.rrd
	want_same "without the record of it" "$(minutes wide.rrd 1 180)" "$(minutes spread.rrd 1 180)"
done

# Another one was written over it: what is known there stays, spread or not.
cp wide.before wide.rrd && rm -f wide.ledger*
"$rrdmerge" --ledger wide.ledger coarse.rrd wide.rrd >/dev/null
rrdtool create alien.rrd --start $T0 --step 60 "${shape[@]}" RRA:AVERAGE:0.5:1:300 \
	RRA:AVERAGE:0.5:5:60 &&
	rrdtool update alien.rrd $(for ((m = 1; m <= 260; m++)); do echo $((T0 + 60 * m)):77; done)
cat alien.rrd >wide.rrd
run "$rrdmerge" --ledger wide.ledger better.rrd wide.rrd
want_same "written over" "$(minutes wide.rrd 1 180)" "$(minutes alien.rrd 1 180)"

# The daemon is told of a better backup.
mkdir coarse.old better.old
cp coarse.rrd coarse.old/wide.rrd && cp better.rrd better.old/wide.rrd
touch -d '1 hour ago' coarse.old/wide.rrd better.old/wide.rrd
rm -rf state live/* && cp wide.before live/wide.rrd
configure live coarse.old
start_daemon
want_log '^rrdmergd: idle merged=1 '
cmp -s live/wide.rrd spread.rrd && pass "spread by the daemon" || fail "is not spread by the daemon"
configure live better.old,coarse.old
kill -HUP "$daemon"
wait_for 'cmp -s live/wide.rrd first.rrd' 10 && pass "given way" || fail "does not give way"
wait_for '[ "$(sqlite3 state/ledger.db "SELECT sum(state = 1) FROM merge")" = 2 ]' 5
ctl undo --all
want_rc 0
cmp -s live/wide.rrd wide.before && pass "undone by the daemon" || fail "not undone by the daemon"
end_daemon

# ---- an undo in several holds ----

# One update a day fills the 1,440 rows of that day.
days() {
	local d
	local -a values=()

	rrdtool create "$1" --start $((T0 + 86400 * $2)) --step 60 DS:x:GAUGE:200000:U:U \
		RRA:AVERAGE:0.5:1:300000 || return
	for ((d = $2 + 1; d <= $3; d++)); do values+=("$((T0 + 86400 * d)):$d"); done
	rrdtool update "$1" "${values[@]}"
}
days bigold.rrd 0 140
days big.before 140 142
mkdir big.backup && cp bigold.rrd big.backup/big.rrd
cp big.before big.rrd
run "$rrdmerge" -v --ledger big.ledger bigold.rrd big.rrd
filled=$(sed -n 's/^merged cells=\([0-9]*\) .*/\1/p' out)
# It stops before its second hold (each takes a lease, gives it up, and takes it); then somebody keeps the file open, and it has to try again later.
start_with_faults FAULT_STOP=lease:3:big.rrd "$rrdmerge" --undo big.ledger 1 >undone 2>undone.err
undo=$!
others=($undo)
if wait_for 'grep -q "^State:.*T" /proc/$undo/status 2>/dev/null' 20; then
	exec 9<big.rrd
	kill -CONT $undo
	sleep 0.5
	exec 9<&-
	wait $undo
	want_same "exit code" $? 0
	want_same "cells of all holds" "$(sed 's/.* cells=\([0-9]*\) .*/\1/' undone)" "$filled"
	want_same "… on record" "$(sqlite3 big.ledger 'SELECT exact FROM merge WHERE what = 1')" \
		"$filled"
	cmp -s big.rrd big.before && pass "undone in several holds" ||
		fail "undone in several holds, it is not as it was"
else
	fail "the undo does not stop before its second hold: $(cat undone undone.err)"
fi
others=()

# ---- a merge that has begun, when live is another one meanwhile ----

# The daemon stops before its second hold; somebody has the file open, so that it gives up there, and
# live is another tree for a while, in which somebody else writes the rest.  So it finds nothing more
# to write, and does not know that it was the one who began.  What it wrote stays on record.
rm -rf state big.live empty.live && mkdir big.live empty.live && cp big.before big.live/big.rrd
configure big.live big.backup
start_daemon env LD_PRELOAD="$faults" FAULT_STOP=lease:3:big.rrd
if wait_for 'grep -q "^State:.*T" /proc/$daemon/status 2>/dev/null' 30; then
	exec 9<big.live/big.rrd
	configure empty.live big.backup
	kill -HUP "$daemon"
	kill -CONT "$daemon"
	want_log "^rrdmergd: watching live=$work/empty.live "
	exec 9<&-
	cmp -s big.live/big.rrd big.before && fail "nothing of it is written" || pass begun
	cp big.live/big.rrd big.part
	run "$rrdmerge" bigold.rrd big.live/big.rrd
	cmp -s big.part big.live/big.rrd && fail "all of it is written" || pass "begun in part"
	configure big.live big.backup
	kill -HUP "$daemon"
	want_log '^rrdmergd: idle merged=0 unchanged=1 '
	on_record="SELECT what, state, exact > 0 AND exact < $filled FROM merges"
	wait_for '[ "$(sqlite3 -readonly state/ledger.db "$on_record")" = "merge|done|1" ]' 10
	want_same "the merge on record" "$(sqlite3 -readonly state/ledger.db "$on_record")" \
		"merge|done|1"
	ctl undo --all
	want_rc 0
	cmp -s big.live/big.rrd big.before && pass "undone, having been begun" ||
		fail "begun and undone, it is not as it was"
else
	fail "the daemon does not stop before its second hold"
	show_log
fi
end_daemon
finish
