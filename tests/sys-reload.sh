#!/bin/bash
# SIGHUP takes a changed configuration over and starts anew only what changed; a bad one leaves
# the old in force.  SIGTERM ends the daemon though a disk does not answer.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd"
cd "$work" || exit 99

# reload: and waits until it is said how that went.
reload() {
	local before

	before=$(lines 'reloaded|not taken over')
	kill -HUP "$daemon"
	wait_lines 'reloaded|not taken over' $((before + 1)) ||
		{ fail "nothing is said of the reload"; cat log; }
}

# The watches, as the kernel numbers them: one that was taken away and set again has a new number.
watches() {
	grep -h '^inotify' /proc/"$daemon"/fdinfo/* | sort
}

mkdir -p live/a live/b A/a B/b other/a slow R
make_rrd A/a/one.rrd 0 100
make_rrd B/b/two.rrd 0 100
make_rrd now.rrd 190 250
cp now.rrd live/a/one.rrd
cp now.rrd live/b/two.rrd
for i in $(seq 200); do cp A/a/one.rrd R/$i.rrd; cp now.rrd slow/$i.rrd; done
sleep 10.2

# ---- another backup: the watches stay ----

configure live A 'rescan_interval = 0;'
start_daemon
want_log '^rrdmergd: idle merged=1 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no$'
before=$(watches)
want_same "watched directories" "$(wc -l <<<"$before")" 3
configure live A,B 'rescan_interval = 0; workers = 3;'
reload
want_log "^rrdmergd: reloaded file=conf\$"
want_log "^rrdmergd: watching live=$work/live dirs=3 backup=$work/A backup=$work/B\$"
want_log '^rrdmergd: merged .* source=2 file=b/two\.rrd$'
want_log '^rrdmergd: idle merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no$'
want_same "watches after the reload" "$(watches)" "$before"
want_merged B/b/two.rrd now.rrd live/b/two.rrd

# ---- nothing has changed ----

reload
want_lines reloaded 2
want_same "watches after a reload of the same" "$(watches)" "$before"

# ---- a bad one: the old stays in force ----

printf 'live = "%s";\nbackup = 5;\n' "$work/other" >conf
reload
want_log '^rrdmergd: conf:2: "backup" is a number'
want_log '^rrdmergd: the configuration is not taken over: .*stays in force$'
rm conf
reload
want_log '^rrdmergd: conf: cannot be read: No such file'
make_rrd A/a/three.rrd 0 100
sleep 10.2
cp now.rrd live/a/three.rrd
want_log '^rrdmergd: merged .* source=1 file=a/three\.rrd$'

configure live A 'facility = "nosuch";'
reload
want_lines 'not taken over' 3
user=nobody configure live A
reload
if [ "$(id -un)" != nobody ]; then
	want_log '^rrdmergd: the configuration is not taken over: "user" is nobody .* restart'
fi

# ---- another live tree ----

configure other A
reload
want_log "^rrdmergd: watching live=$work/other dirs=2 backup=$work/A\$"
cp now.rrd other/a/one.rrd
want_log "^rrdmergd: idle merged=1 unchanged=0 skipped=0 failed=0 waiting=1 backup_needed=yes\$"
want_merged A/a/one.rrd now.rrd other/a/one.rrd
make_rrd A/a/four.rrd 0 100
cp now.rrd live/a/four.rrd
sleep 1
want_same "a file in the tree that is not served any more" "$(file_sum live/a/four.rrd)" \
	"$(file_sum now.rrd)"

# ---- a rate that takes minutes for it all, and no words on each file; then none ----

before=$(lines '^rrdmergd: merged ')
configure slow R 'rate = 0.1; log_files = false;'
reload
want_log "^rrdmergd: watching live=$work/slow dirs=1 backup=$work/R\$"
filled() {      # how many are not as they were
	local n=0 i

	for i in $(seq 200); do cmp -s now.rrd slow/$i.rrd || n=$((n + 1)); done
	echo $n
}
wait_for '[ "$(filled)" -gt 0 ]' 20 || fail "nothing is merged within a rate"
[ "$(filled)" -lt 200 ] && pass "the rate holds up the others" || fail "the rate is not kept"
configure slow R 'rate = 0; log_files = false;'
reload
want_log '^rrdmergd: idle merged=200 unchanged=0 skipped=0 failed=0 waiting=0 '
want_merged R/200.rrd now.rrd slow/200.rrd
want_same "messages on single files" "$(lines '^rrdmergd: merged ')" "$before"
configure other A
reload

# ---- many at once, while there is work ----

mkdir live/many A/many
for i in $(seq 60); do cp A/a/one.rrd A/many/$i.rrd; done
sleep 10.2
for i in $(seq 60); do
	cp now.rrd live/many/$i.rrd
	if [ $((i % 2)) = 0 ]; then configure live A; else
		configure live A,B 'workers = 1;'; fi
	kill -HUP "$daemon"
done
configure live A,B
reload
want_log '^rrdmergd: idle merged=6[0-9] unchanged=[0-4] skipped=0 failed=0 waiting=0 ' 40
bad=0
for i in $(seq 60); do
	merge_judge A/many/$i.rrd now.rrd live/many/$i.rrd >/dev/null || bad=$((bad + 1))
done
want_same "files that are not merged" "$bad" 0
end_daemon

# ---- a disk that does not answer ----

if can_trace; then
	rm -rf live A B other && mkdir live A
	for i in 1 2 3; do make_rrd A/$i.rrd 0 100; cp now.rrd live/$i.rrd; done
	sleep 10.2
	configure live A 'workers = 1;'
	start_traced -P "$work/A/1.rrd" -P "$work/A/2.rrd" -P "$work/A/3.rrd" \
		-e trace=pread64 -e inject=pread64:delay_enter=60s
	wait_for '[ -s trace ]' 10
	sleep 0.5
	kill -TERM "$daemon"
	# strace keeps the thread that hangs; of the process, nothing else is left.
	if wait_for '! grep -q "^State:[^Z]*$" /proc/$daemon/status 2>/dev/null' 20; then
		pass "ends while a read hangs"
	else
		fail "waits for a disk that does not answer"
		kill -9 "$daemon"
	fi
	kill -9 "$tracer" 2>/dev/null
	wait "$tracer" 2>/dev/null
	daemon=
	want_log '^rrdmergd: ended; a disk has not answered, .* file=[123]\.rrd$'
	for i in 1 2 3; do
		want_same "live file $i" "$(file_sum live/$i.rrd)" "$(file_sum now.rrd)"
	done
else
	echo "# no strace, or it may not trace here: SIGTERM with a slow disk is not tried"
fi

finish
