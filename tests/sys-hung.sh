#!/bin/bash
# One of several backups hangs (a FUSE server that stands still): at the daemon's start, while it runs,
# with as many workers as may be.  The others serve meanwhile, live is watched and counted, status says
# which it is, and it joins when it answers.
#
# Elsewhere: one backup alone that hangs, and a reload meanwhile (sys-faults); one that hangs while it is
# walked over (sys-hostile).
#
# SCENES="start run" runs those alone; without, they run side by side.
set -u
all="start run1 run2 walk link kin check undo late"
if [ -z "${SCENES:-}" ]; then
	out=$(mktemp -d) || exit 99
	trap 'rm -rf "$out"' EXIT
	worst=0 pids=()
	for scene in $all; do
		SCENES=$scene bash "$0" >"$out/$scene" 2>&1 &
		pids+=($!)
	done
	trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$out"; exit 143' INT TERM
	for pid in "${pids[@]}"; do
		wait "$pid"
		status=$?
		[ $worst = 1 ] || [ $status = 0 ] || worst=$status
		[ $status = 77 ] || [ $status = 0 ] || worst=1
	done
	cat "$out"/*
	exit $worst
fi
if [ -z "${SYS_HUNG_OWN:-}" ]; then
	if unshare --mount --propagation private true 2>/dev/null; then
		SYS_HUNG_OWN=mounts exec unshare --mount --propagation private bash "$0"
	fi
	SYS_HUNG_OWN=nothing
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl" "$builddir/check_rrdmergd"
[ "$SYS_HUNG_OWN" = mounts ] || skip_all "no namespace of our own for mounts"
[ -w /dev/fuse ] && command -v bindfs >/dev/null || skip_all "no bindfs, or no /dev/fuse to write to"
cd "$work" || exit 99

servers=()
tidy() {
	local pid

	for pid in "${servers[@]}"; do
		kill -9 "$pid" 2>/dev/null
	done
	cd / && umount -l "$work/fuse" "$work/fuselive" 2>/dev/null
}

# serve DIRECTORY MOUNTPOINT: its server is $server.
serve() {
	mkdir -p "$2"
	# In the foreground, so that its number is known; nothing is kept in the page cache.
	bindfs -f -o direct_io "$1" "$2" 2>bindfs.err &
	server=$!
	servers+=($server)
	wait_for "mountpoint -q $2" 20 || skip_all "bindfs cannot mount: $(head -n 1 bindfs.err)"
}

# What the kernel remembers of it is forgotten in a moment.
hang() {
	kill -STOP "$server"
	wait_for "! timeout -s KILL 4 stat $1 >/dev/null 2>&1" 20 2>/dev/null ||
		fail "$1 answers all the same"
}

# give NAME…: the live files, whole at once.
give() {
	local name

	for name; do
		cp -p new.rrd x && mv x "live/h1/$name.rrd"
	done
}

# want_merged NAME…
want_merged() {
	local name

	for name; do
		if wait_for "cmp -s 'live/h1/$name.rrd' new.want" 60; then pass "$name is merged"; else
			fail "$name is not merged"; show_log; fi
	done
}

# want_status REGEX: some line of it, sooner or later.
want_status() {
	if wait_for "'$rrdmergctl' -s '$work/sock' status >out 2>err; grep -qE -- '$1' out" 60; then
		pass "status: $1"
	else
		fail "status has no $1"
		sed 's/^/    /' out
		show_log
	fi
}

want_file_same() {
	same_file "$1 is as it was" "live/h1/$1.rrd" new.rrd
}

# own and hung are backups; both have a and b, the rest one of them.
mkdir -p own/h1 hung/h1 live/h1
make_rrd own/h1/a.rrd 0 184
make_rrd new.rrd 192 207
for name in b c d e f g; do cp own/h1/a.rrd own/h1/$name.rrd; done
for name in a b z y; do cp own/h1/a.rrd hung/h1/$name.rrd; done
cp new.rrd new.want
"$rrdmerge" own/h1/a.rrd new.want >/dev/null || exit 99
rested=$((SECONDS + 11))

# ---- it hangs when the daemon starts ----

scene_start() {
	serve hung fuse
	give a b c z
	configure live fuse,own 'workers = 2; rename = ( { from = "^h9/(.*)"; to = "h1/$1"; } );'
	mkdir own/h9 && cp -p own/h1/a.rrd own/h9/led.rrd
	hang fuse
	launch
	want_log '^rrdmergd: backup has not answered for 5 s: starting without a look .* backup=.*/fuse$' 60
	want_log '^rrdmergd: watching live=' 60
	want_merged a b c
	want_status '^files: +4$'
	want_status "^stalled_backups: +$work/fuse\$"
	want_out "^       A disk has not answered for [0-9]+ s, and until it does its backup is done without: $work/fuse\$"
	want_out '^backup_needed: +yes$'
	want_out '^waiting: +[0-9]+$'
	want_lines "^rrdmergd: backup does not answer: it is done without until it does backup=$work/fuse\$" 1
	run timeout 20 "$builddir/check_rrdmergd" -s "$work/sock"
	want_rc 1
	want_out "a disk has not answered for [0-9]+ s \\($work/fuse\\)"
	# Files that come now, and one to which a rule leads.
	give d led
	want_merged d led
	want_file_same z
	# It is not needed for the other's files to be known.
	want_status '^waiting: +[1-9]'
	want_lines 'backup_needed=no' 0
	kill -CONT "$server"
	want_log "^rrdmergd: backup answers again backup=$work/fuse\$" 60
	want_merged z
	give y
	want_merged y
	want_status '^stalled_seconds: +0$'
	want_no_out stalled_backups
	end_daemon 20
}

# ---- it hangs while the daemon runs ----

# running WORKERS
running() {
	serve hung fuse
	give a
	configure live fuse,own "workers = $1;"
	start_daemon
	want_merged a
	want_log '^rrdmergd: idle merged=1 '
	hang fuse
	# Whoever takes one of these is held, and others take it up.
	give b c z
	want_merged b c
	want_log "^rrdmergd: backup does not answer: it is done without until it does backup=$work/fuse\$" 60
	give d e f
	want_merged d e f
	want_file_same z
	want_status "^stalled_backups: +$work/fuse\$"
	want_status '^files: +7$'
	kill -CONT "$server"
	want_log "^rrdmergd: backup answers again backup=$work/fuse\$" 60
	want_merged z
	give g y
	want_merged g y
	want_status '^stalled_seconds: +0$'
	end_daemon 20
}

scene_run1() { running 1; }
scene_run2() { running 2; }

# ---- it holds the walk over the backups ----

scene_walk() {
	serve hung fuse
	give a
	configure live fuse,own 'workers = 1; rename = ( { from = "^h9/(.*)"; to = "h1/$1"; } );'
	start_daemon
	want_merged a
	want_log '^rrdmergd: idle merged=1 '
	hang fuse
	# Where a rule leads is known by a walk alone.
	mkdir own/h9 && cp -p own/h1/a.rrd own/h9/led.rrd
	ctl rescan
	want_log "^rrdmergd: backup does not answer: it is done without until it does backup=$work/fuse\$" 60
	give led
	want_merged led
	kill -CONT "$server"
	want_log "^rrdmergd: backup answers again backup=$work/fuse\$" 60
	give z
	want_merged z
	end_daemon 20
}

# ---- a live file of several links: one of them may lie in the backup that hangs ----

scene_link() {
	serve hung fuse
	configure live fuse,own 'workers = 2;'
	start_daemon
	want_log '^rrdmergd: idle '
	hang fuse
	cp -p new.rrd x && ln x live/h1/c.rrd && rm x && ln live/h1/c.rrd other
	give a d
	want_merged a d
	want_log '^rrdmergd: refused reason="live has several links, and whether .* before that backup answers" file=h1/c' 60
	want_file_same c
	kill -CONT "$server"
	want_merged c
	end_daemon 20
}

# ---- when it answers, it proves to be the live tree ----

scene_kin() {
	serve hung fuse
	ln -s "$work/live" hung/same
	configure live fuse/same,own 'workers = 2;'
	hang fuse
	give a
	launch
	want_merged a
	kill -CONT "$server"
	want_log "^rrdmergd: live tree is the backup $work/fuse/same: nothing is written until it does not" 60
	want_status '^state: +waiting for the live tree$'
	give d
	sleep 1
	want_file_same d
	end_daemon 20
}

# ---- is the configuration sound ----

scene_check() {
	serve hung fuse
	serve live fuselive
	configure live own,fuse,nowhere
	cp conf conf.backup
	configure fuselive own
	cp conf conf.live
	configure fuselive fuse,own 'workers = -1;'
	cp conf conf.wrong
	configure live "fuse,own,own/h1,f*e"
	cp conf conf.twice
	kill -STOP "${servers[@]}"
	wait_for "! timeout -s KILL 4 stat fuse fuselive >/dev/null 2>&1" 20 2>/dev/null
	run timeout 60 "$rrdmergd" -t -f conf.backup
	want_rc 0
	want_err "^rrdmergd: backup has not answered for 5 s: it is not looked at \(a warning\) backup=$work/fuse\$"
	want_err '"backup" does not exist yet: .*/nowhere;'
	want_out 'the configuration is sound$'
	run timeout 60 "$rrdmergd" -t -f conf.live
	want_rc 0
	want_err "^rrdmergd: live tree has not answered for 5 s: it is not looked at \(a warning\) live=$work/fuselive\$"
	run timeout 60 "$rrdmergd" -t -f conf.wrong
	want_rc 2
	want_err '^rrdmergd: .*conf\.wrong:[0-9]+: .*workers'
	# What can be asked is.
	run timeout 60 "$rrdmergd" -t -f conf.twice
	want_rc 2
	want_err 'own/h1 lies inside "backup" '
	want_err "backup has not answered for 5 s: .* backup=$work/f\*e\$"
	kill -CONT "${servers[@]}"
	run timeout 60 "$rrdmergd" -t -f conf.backup
	want_rc 0
	want_no_err 'has not answered'
}

# ---- a live file that does not answer to who undoes it holds up no reload ----

scene_undo() {
	can_trace || { echo "# not tried: an undo that hangs: no strace, or it may not trace here"; return; }
	give a
	configure live own
	start_daemon
	want_merged a
	want_log '^rrdmergd: idle merged=1 '
	end_daemon 20
	start_traced -P "$work/live/h1/a.rrd" -e trace=pread64 -e inject=pread64:delay_enter=120s
	want_log '^rrdmergd: idle merged=0 unchanged=1 ' 60
	"$rrdmergctl" -s "$work/sock" undo h1/a.rrd >undo.out 2>undo.err &
	local undo=$!
	wait_for '[ -s trace ]' 60 || fail "the undo does not read the file"
	configure live own 'rescan_interval = 100;'
	kill -HUP "$daemon"
	want_log '^rrdmergd: reloaded ' 30
	give d
	want_merged d
	wait $undo
	want_differ "the exit code of an undo that hangs" $? 0
	run cat undo.err
	want_out 'h1/a\.rrd: live does not answer: its disk hangs; "rrdmergctl history" tells'
	if [ -s trace ] && ! grep -qE 'resumed|= [0-9]' trace; then pass "it hung"; else
		fail "it did not hang"; fi
	kill -TERM "$daemon"
	# strace keeps the thread that hangs; of the process, nothing else is left.
	if wait_for '! grep -q "^State:[^Z]*$" /proc/$daemon/status 2>/dev/null' 20; then
		pass "ends while an undo hangs"
	else
		fail "waits for an undo that hangs"
	fi
	kill -9 "$daemon" "$tracer" 2>/dev/null
	wait "$tracer" 2>/dev/null
	daemon=
}

# The same, and it answers after all: what was begun is abandoned, and can be begun anew.
scene_late() {
	can_trace || { echo "# not tried: an undo that answers late: no strace, or it may not trace"; return; }
	give a
	configure live own
	start_daemon
	want_merged a
	want_log '^rrdmergd: idle merged=1 '
	strace -f -qq -o trace -p "$daemon" -P "$work/live/h1/a.rrd" -e trace=pread64 \
		-e inject=pread64:delay_enter=120s &
	local tracer=$!
	others+=($tracer)
	wait_for 'grep -q "^TracerPid:.*[1-9]" /proc/$daemon/status' 20
	run "$rrdmergctl" -s "$work/sock" undo h1/a.rrd
	want_rc 1
	want_err 'h1/a\.rrd: live does not answer: its disk hangs; "rrdmergctl history" tells'
	kill -TERM $tracer              # which lets it go
	wait $tracer 2>/dev/null
	if wait_for 'ctl undo h1/a.rrd; [ "$rc" = 0 ]' 60; then pass "undone after all"; else
		fail "is not undone"; show_last; fi
	want_file_same a
	end_daemon 20
}

before=$(tree_sum hung)
for scene in $SCENES; do
	wait_for "[ \$SECONDS -ge $rested ]" 12         # the daemon lets a backup rest
	scene_$scene
done
want_same "the backup" "$(tree_sum hung)" "$before"
finish
