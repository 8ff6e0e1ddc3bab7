#!/bin/bash
# The daemon over a live tree that comes into being: files are filled as rrdtool creates them, in
# new directories too, while rrdtool goes on updating.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd" "$rrdmerge"
cd "$work" || exit 99

settings=('workers = 1;')

# appears FILE MINUTE…: rrdtool creates a live file as pnp4nagios does: --start, no update yet.
appears() {
	make_rrd "$1" 190 190
}

# ---- an empty tree fills ----

mkdir -p live backup/web01 backup/web02/deep
make_rrd backup/web01/PING.rrd 0 180
make_rrd backup/web01/LOAD.rrd 0 180 DS:in:GAUGE:8640:U:U $(default_rras 300)
make_rrd backup/web02/deep/DISK.rrd 0 180
make_rrd backup/web02/TYPE.rrd 0 180 DS:in:COUNTER:8640:U:U $(default_rras 300)
make_rrd backup/gone.rrd 0 180
backup_before=$(tree_sum backup)
sleep 10.2                              # a backup is left alone until it has rested

configure live backup
start_daemon
want_log "^rrdmergd: watching live=$work/live dirs=1 backup=$work/backup\$"
want_log '^rrdmergd: idle merged=0 unchanged=0 skipped=0 failed=0 waiting=5 backup_needed=yes$'

mkdir live/web01 && appears live/web01/PING.rrd
cp live/web01/PING.rrd before.rrd       # may be filled already: judged by its own content below
want_log '^rrdmergd: merged cells=[0-9]+ seam=0 from=[0-9T:-]+Z to=[0-9T:-]+Z ms=[0-9.]+ source=1 file=web01/PING\.rrd$'
make_rrd before.rrd 190 190
want_same "as many known cells" "$(known live/web01/PING.rrd)" "$(
	cp before.rrd twin.rrd; "$rrdmerge" backup/web01/PING.rrd twin.rrd >/dev/null
	known twin.rrd)"
want_merged backup/web01/PING.rrd before.rrd twin.rrd

# Several levels at once, and updates that go on: none fails.
mkdir -p live/web02/deep && appears live/web02/deep/DISK.rrd
failed_updates=0
for m in $(seq 191 220); do
	rrdtool update live/web02/deep/DISK.rrd $((T0 + 60 * m)):$m:$m 2>/dev/null ||
		failed_updates=$((failed_updates + 1))
done
want_same "updates that failed" "$failed_updates" 0
want_log 'merged .* file=web02/deep/DISK\.rrd$'
want_same "last_update" "$(last_update live/web02/deep/DISK.rrd)" $((T0 + 60 * 220))
make_rrd twin.rrd 190 190
for m in $(seq 191 220); do rrdtool update twin.rrd $((T0 + 60 * m)):$m:$m; done
want_merged backup/web02/deep/DISK.rrd twin.rrd live/web02/deep/DISK.rrd

# A refusal is said, with its reason; a file without a counterpart is not a refusal.
appears live/web02/TYPE.rrd
want_log '^rrdmergd: refused reason="[^"]*COUNTER[^"]*" file=web02/TYPE\.rrd$'
appears live/alone.rrd
want_log '^rrdmergd: idle merged=2 unchanged=0 skipped=1 failed=1 waiting=2 backup_needed=yes$'
kill -0 "$daemon" && pass "goes on after a refusal"

# Odd names, and what is none of ours.
name=$'a b%c#[d]\n\xff.rrd'
make_rrd "backup/web01/$name" 0 180
cp backup/web01/PING.rrd backup/web01/tmp.rrdAbCdEf
cp backup/web01/PING.rrd live/web01/tmp.rrdAbCdEf
sum=$(file_sum live/web01/tmp.rrdAbCdEf)
appears "live/web01/$name"
want_log 'merged .* file=web01/a b%c#\[d\]\\x0A\\xFF\.rrd$' 20
want_same "a temporary name" "$(file_sum live/web01/tmp.rrdAbCdEf)" "$sum"

# A directory that is moved in, and one that is renamed, are looked at under their new names.
mkdir moved && appears moved/LOAD.rrd && mv live/web01 live/web01.off && mv moved live/web01
want_log 'merged .* file=web01/LOAD\.rrd$'

# Live's own file is replaced: it is another database, and is filled again.
lines=$(grep -c 'merged .* file=web01/LOAD\.rrd$' log)
rrdtool create live/web01/LOAD.rrd --start $((T0 + 60 * 190)) --step 60 DS:in:GAUGE:8640:U:U \
	$(default_rras 300)
wait_for "[ \$(grep -c 'merged .* file=web01/LOAD.rrd\$' log) -gt $lines ]" 10 &&
	pass "recreated" || fail "a file created anew is not filled"

# A symbolic link is refused and named, wherever it leads.
ln -s "$work/before.rrd" live/link.rrd
want_log 'refused reason="[^"]*symbolic link[^"]*" file=link\.rrd$'

end_daemon 5
want_same "one message is one line" "$(grep -vc '^rrdmergd: ' log)" 0
rm "backup/web01/$name" backup/web01/tmp.rrdAbCdEf
want_same "the backup" "$(tree_sum backup)" "$backup_before"

# ---- SIGTERM in the middle ----

rm -rf live backup && mkdir live backup
make_rrd one.rrd 0 180 $(default_rras 20000)
make_rrd two.rrd 190 250 $(default_rras 20000)
for i in $(seq 120); do cp one.rrd backup/$i.rrd; cp two.rrd live/$i.rrd; done
cp two.rrd want.rrd && "$rrdmerge" one.rrd want.rrd >/dev/null
want_merged one.rrd two.rrd want.rrd
sleep 10.2
start_daemon
SECONDS=0
until grep -q "^rrdmergd: merged" log || [ $SECONDS -gt 10 ]; do :; done
end_daemon 5
bad=0 done_files=0
for i in $(seq 120); do
	rrdtool info live/$i.rrd >/dev/null 2>&1 || bad=$((bad + 1))
	cmp -s live/$i.rrd want.rrd && done_files=$((done_files + 1))
done
echo "# $done_files of 120 files merged when SIGTERM came"
want_same "files that rrdtool cannot read" "$bad" 0
start_daemon
want_log '^rrdmergd: idle merged=[0-9]+ unchanged=[0-9]+ skipped=0 failed=0 waiting=0 backup_needed=no$' 30
bad=0
for i in $(seq 120); do cmp -s live/$i.rrd want.rrd || bad=$((bad + 1)); done
want_same "files other than an undisturbed merge makes" "$bad" 0

# What is done is not looked at again: an update brings no line.
lines=$(wc -l <log)
rrdtool update live/7.rrd $((T0 + 60 * 251)):1:1
sleep 0.5
want_same "lines after an update of a finished file" "$(wc -l <log)" "$lines"
end_daemon 5

# ---- --once ----

once() {
	run "$rrdmergd" -f conf -e --once
}

once
want_rc 0
want_err '^rrdmergd: idle merged=0 unchanged=120 skipped=0 failed=0 waiting=0 backup_needed=no$'

printf x >live/1.rrd
once
want_rc 1
want_err '^rrdmergd: refused reason="[^"]+" file=1\.rrd$'
want_same "a refused file" "$(cat live/1.rrd)" x

mkdir -p up/perfdata && mv live/2.rrd two-live.rrd && rm -rf live && mkdir live
mv two-live.rrd live/2.rrd && mv backup up/perfdata/host && mkdir -p live/host && mv live/2.rrd live/host/2.rrd
configure live up
sleep 10.2
once
want_rc 2
want_err "no live file has a counterpart.*$work/up/perfdata\$"

configure nowhere up
once
want_rc 2
want_err 'nowhere'

finish
