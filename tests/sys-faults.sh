#!/bin/bash
# What goes wrong in the middle of a merge: disks that are full or fail, a backup that fails, hangs or
# goes away, a live file that becomes another one between plan and apply, two at once.  Each is said,
# harms nothing, and is made good where trying again can help.
#
# Elsewhere: a backup that hangs while it is walked over, a live file that stays open, files that are
# half unpacked, SIGTERM against all that hangs (sys-hostile); a hung read and SIGHUP (sys-reload); a
# root that is unmounted or mounted over (sys-watch); a backup that goes away (sys-traps); damaged,
# newer and foreign ledgers (unit-ledger-faults); whatever is wrong with a file at rest (sys-refuse).
#
# SCENES="full twice" runs those alone; without, there are four such runs side by side.
set -u
if [ -z "${SCENES:-}" ]; then
	out=$(mktemp -d) || exit 99
	trap 'rm -rf "$out"' EXIT
	worst=0 skipped=0 pids=()
	groups=("disk meanwhile rights twice retry" full fuse together)
	for n in "${!groups[@]}"; do
		SCENES=${groups[n]} bash "$0" >"$out/$n" 2>&1 &
		pids+=($!)
	done
	trap 'kill "${pids[@]}" 2>/dev/null; wait; rm -rf "$out"; exit 143' INT TERM
	for n in "${!groups[@]}"; do
		wait "${pids[n]}"
		status=$?
		cat "$out/$n"
		[ $status != 77 ] || { skipped=$((skipped + 1)); continue; }
		[ $status = 0 ] || worst=1
	done
	[ $skipped -lt ${#groups[@]} ] || exit 77
	exit $worst
fi
if [ -z "${SYS_FAULTS_OWN:-}" ]; then
	if unshare --mount --propagation private true 2>/dev/null; then
		SYS_FAULTS_OWN=mounts exec unshare --mount --propagation private bash "$0"
	fi
	SYS_FAULTS_OWN=nothing
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
crashed=$builddir/tests/crashed
survive=$builddir/tests/survive
[ -x "$crashed" ] || skip_all "tests/crashed is not built: configured without librrd"
need_faults
cd "$work" || exit 99

settings=('workers = 2;')
bindfs=
tidy() {
	local pid

	for pid in $(jobs -p) $bindfs; do
		kill -9 "$pid" 2>/dev/null
	done
	cd / && umount -l "$work/fuse" "$work/fuselive" "$work/state" "$work/aside" "$work/live" \
		2>/dev/null
}

not_tried() {
	echo "# not tried: $*"
}

# ---- the daemon ----

# begin [FAULT_…=…]…
begin() {
	if [ $# = 0 ]; then launch; else launch env LD_PRELOAD="$faults" "$@"; fi
}

# want_file FILE WANTED [SECONDS]
want_file() {
	if wait_for "cmp -s '$1' '$2'" "${3:-20}"; then pass "$1 is $2"; else
		fail "$1 is not as $2"; show_log; fi
}

# The daemon answers, whatever else it waits for.
want_answer() {
	run timeout 10 "$rrdmergctl" -s "$work/sock" status
	want_rc 0
}

# want_part FILE: a database that holds a part of the merge.
want_part() {
	run "$crashed" new.rrd new.want "$1"
	want_rc 0
}

# ---- what all have in common ----

mkdir -p backup/h1 backup/h2
make_rrd backup/h1/a.rrd 0 184
cp backup/h1/a.rrd backup/h2/b.rrd
cp backup/h1/a.rrd backup/h1/c.rrd
make_rrd new.rrd 192 207
make_rrd other.rrd 195 230
for name in new other; do
	cp $name.rrd $name.want
	run "$rrdmerge" backup/h1/a.rrd $name.want
	want_rc 0
done
rested=$((SECONDS + 11))
# Calls for one that is a file, tested before the backup has rested, are rrdmerge's.
lay() {
	rm -rf live state elsewhere
	mkdir -p live/h1 live/h2
	cp -p new.rrd live/h1/a.rrd
	cp -p new.rrd live/h2/b.rrd
}

# ---- rrdmerge: a disk that fails ----

scene_disk() {
	local rule what

	for rule in pread:1:EIO:backup/h1/a pread:2:EIO:backup/h1/a pread:1:EIO:live/h1/a \
		    pread:2:EIO:live/h1/a pwrite:1:EIO:live/h1/a pwrite:3:EIO:live/h1/a \
		    pwrite:1:ENOSPC:live/h1/a pwrite:2:EDQUOT:live/h1/a; do
		lay
		run with_faults FAULT_ERROR=$rule "$rrdmerge" backup live
		want_rc 1
		case $rule in
		*:EIO:*) what='Input/output error' ;;
		*:ENOSPC:*) what='No space left on device' ;;
		*) what='Disk quota exceeded' ;;
		esac
		case $rule in
		*backup*) what="backup .*$what" ;;
		*) what="live .*$what" ;;
		esac
		want_err "^rrdmerge: refused reason=\"$what\" file=h1/a\.rrd\$"
		want_summary 1 0 0 1
		want_file live/h2/b.rrd new.want 0
		case $rule in
		pwrite:[23]*) want_part live/h1/a.rrd ;;
		*) want_file live/h1/a.rrd new.rrd 0 ;;
		esac
		run "$rrdmerge" backup live
		want_rc 0
		want_file live/h1/a.rrd new.want 0
	done
}

# ---- rrdmerge: the live file becomes another one between plan and apply ----

is_stopped() {
	grep -q '^State:[[:blank:]]*T' "/proc/$1/status" 2>/dev/null
}

# meanwhile WHEN COMMAND…: COMMAND while rrdmerge stands still right before WHEN; $rc.
meanwhile() {
	local when=$1 pid
	shift

	lay
	start_with_faults "FAULT_STOP=$when:live/h1/a" "$rrdmerge" -j1 backup live >out 2>err
	pid=$!
	last="$when: $*"
	if wait_for "is_stopped $pid" 10; then pass "stopped at $when"; else
		fail "rrdmerge does not come to $when"; fi
	"$@"
	kill -CONT "$pid"
	wait "$pid"
	rc=$?
	want_file live/h2/b.rrd new.want 0
}

# What is there in the end after another run.
again() {
	run "$rrdmerge" backup live
	want_rc 0
	want_file live/h1/a.rrd "$1" 0
}

replace() { cp other.rrd live/h1/x && mv live/h1/x live/h1/a.rrd; }
recreate() { cp other.rrd live/h1/a.rrd; }
recreate_later() { cp other.rrd live/h1/a.rrd & }
move_away() { mv live/h1 elsewhere && mkdir live/h1; }
link_away() { mv live/h1 elsewhere && ln -s ../elsewhere live/h1; }

scene_meanwhile() {
	local when

	# lease:1 is the look whether there is one to be had, before the file is opened to write; at
	# lease:2 it is open; pwrite:1 is under lease and lock.
	for when in lease:1 lease:2; do
		meanwhile $when truncate -s 5000 live/h1/a.rrd
		want_rc 1
		want_err '^rrdmerge: refused reason="live is truncated: 5000 bytes of [0-9]+" file=h1/a'
		want_same "size of the truncated file" "$(stat -c %s live/h1/a.rrd)" 5000
		meanwhile $when replace
		want_rc 0
		want_file live/h1/a.rrd other.want 0
		meanwhile $when recreate
		want_rc 0
		want_file live/h1/a.rrd other.want 0
		meanwhile $when rm live/h1/a.rrd
		want_rc 0
		[ ! -e live/h1/a.rrd ] && pass "stays away" || fail "it has come back"
		meanwhile $when move_away
		want_rc 0
		want_same "in the new directory" "$(ls live/h1)" ""
		meanwhile $when chmod 400 live/h1/a.rrd
		want_rc 0
		want_file live/h1/a.rrd new.want 0
		want_same "mode" "$(stat -c %a live/h1/a.rrd)" 400
	done
	meanwhile pwrite:1 replace
	want_rc 0
	want_file live/h1/a.rrd other.rrd 0             # what was written went to the one that is gone
	again other.want
	meanwhile pwrite:1 recreate_later               # it has to wait until the lease is given up
	want_rc 0
	want_file live/h1/a.rrd other.rrd 10
	again other.want
	meanwhile pwrite:1 rm live/h1/a.rrd
	want_rc 0
	[ ! -e live/h1/a.rrd ] && pass "stays away" || fail "it has come back"
	meanwhile pwrite:1 link_away
	want_rc 0
	again_in_link
}

# What was open when its directory moved is written there; nothing is, once a link leads there.
again_in_link() {
	want_file elsewhere/a.rrd new.want 0
	cp new.rrd elsewhere/a.rrd
	run "$rrdmerge" backup live
	want_file elsewhere/a.rrd new.rrd 0
}

# The rights go while it is under way: only who is not root can lose them.
scene_rights() {
	[ -n "$(other_user)" ] || { not_tried "rights that go: needs root and a user nobody"; return; }
	chmod 711 "$work"
	mkdir -p bin && cp "$rrdmerge" "$faults" bin/   # where it was built may be shut for others
	lay
	chown -R nobody live
	setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups \
		env LD_PRELOAD="$work/bin/${faults##*/}" FAULT_STOP=lease:1:live/h1/a \
		"$work/bin/rrdmerge" -j1 backup live >out 2>err &
	local pid=$!
	wait_for "is_stopped $pid" 10 || fail "does not come to its lease"
	chown root live/h1/a.rrd && chmod 444 live/h1/a.rrd
	kill -CONT $pid
	wait $pid
	rc=$?
	last="rights go"
	want_rc 1
	want_err '^rrdmerge: refused reason="live .*file=h1/a\.rrd$'
	want_file live/h1/a.rrd new.rrd 0
	want_file live/h2/b.rrd new.want 0
}

# ---- the daemon: errors that go away ----

scene_retry() {
	local rule

	for rule in pread:1:EIO:backup/h1/a pwrite:2:EIO:live/h1/a syncfs:1:EIO; do
		lay
		configure live backup 'rescan_interval = 2;'
		begin FAULT_ERROR=$rule
		want_log '^rrdmergd: watching '
		[ $rule = syncfs:1:EIO ] ||
			want_log '^rrdmergd: refused reason="(backup|live) .*Input/output error" file=h1/a'
		want_file live/h1/a.rrd new.want 40
		want_file live/h2/b.rrd new.want
		want_log '^rrdmergd: idle merged=[0-9]+ unchanged=[0-9]+ skipped=0 failed=0 ' 40
		end_daemon
	done
}

# ---- the ledger's disk is full ----

scene_full() {
	if [ "$SYS_FAULTS_OWN" != mounts ]; then
		not_tried "a full disk: no namespace of our own for mounts"
		return
	fi
	lay
	mkdir state
	mount -t tmpfs -o size=256k none state 2>/dev/null ||
		{ not_tried "a full disk: no tmpfs can be mounted"; return; }
	configure live backup 'rescan_interval = 2;'
	begin
	want_log '^rrdmergd: idle merged=2 '
	want_file live/h1/a.rrd new.want
	cat /dev/zero >state/filler 2>/dev/null
	cp -p new.rrd x && mv x live/h1/c.rrd
	want_log '^rrdmergd: .*ledger.*(full|No space)'
	want_log 'nothing is merged until'
	want_answer
	sleep 1
	want_file live/h1/c.rrd new.rrd 0
	rm state/filler
	want_log '^rrdmergd: the ledger works again ' 30
	want_file live/h1/c.rrd new.want 30
	want_lines 'nothing is merged until' 1
	end_daemon
	umount state
	# Full from the beginning.
	lay
	mkdir state
	mount -t tmpfs -o size=64k none state
	cat /dev/zero >state/filler 2>/dev/null
	begin
	want_log 'nothing is merged until'
	sleep 1
	want_file live/h1/a.rrd new.rrd 0
	rm state/filler && mount -o remount,size=1m state
	want_file live/h1/a.rrd new.want 30
	end_daemon
	umount state
}

# ---- a backup on FUSE, whose server stands still and dies ----

scene_fuse() {
	if [ ! -w /dev/fuse ] || ! command -v bindfs >/dev/null || [ "$SYS_FAULTS_OWN" != mounts ]; then
		not_tried "a backup on FUSE: no bindfs, or no /dev/fuse to write to"
		return
	fi
	mkdir -p fuse
	# In the foreground, so that its number is known; nothing is kept in the page cache.
	bindfs -f -o direct_io backup fuse 2>bindfs.err &
	bindfs=$!
	wait_for 'mountpoint -q fuse' 10 ||
		{ not_tried "a backup on FUSE: $(head -n 1 bindfs.err)"; kill $bindfs; return; }
	lay
	rm live/h2/b.rrd
	configure live fuse 'rescan_interval = 2;'
	begin
	want_file live/h1/a.rrd new.want
	want_log '^rrdmergd: idle merged=1 '
	kill -STOP $bindfs
	cp -p new.rrd x && mv x live/h2/b.rrd
	sleep 1.5
	want_answer
	# What the ledger has, and live, is shown all the same.
	run timeout 20 "$rrdmergctl" -s "$work/sock" show h1/a.rrd
	want_rc 0
	want_out '^h1/a\.rrd: merged$'
	want_out ' merge(d| under way) \(id [0-9]+\), [0-9]+ cells'
	want_out 'filled as the backup has it: [0-9]'
	want_out "^  1: $work/fuse is away: does not answer: its disk hangs\$"
	configure live fuse 'rescan_interval = 3;'
	kill -HUP "$daemon"
	sleep 0.5
	want_answer
	want_file live/h2/b.rrd new.rrd 0
	want_log '^rrdmergd: a disk has not answered: the configuration names it'
	want_answer
	# One that names it no more is taken over all the same: who hangs is left behind, and what he has
	# in hand is done by others.
	configure live backup 'rescan_interval = 3;'
	kill -HUP "$daemon"
	want_log '^rrdmergd: a disk has not answered: what waits for it is left behind '
	want_log '^rrdmergd: reloaded '
	want_answer
	cp -p new.rrd x && mv x live/h1/c.rrd
	want_file live/h1/c.rrd new.want 30
	want_file live/h2/b.rrd new.want 30
	kill -CONT $bindfs
	want_file live/h2/b.rrd new.want 30
	want_answer
	# Live hangs, and no backup is blamed for that.
	mkdir -p fuselive
	bindfs -f -o direct_io live fuselive 2>bindfs.err &
	others+=($!)
	wait_for 'mountpoint -q fuselive' 10
	configure fuselive backup 'rescan_interval = 3;'
	ctl reload
	wait_for '"$rrdmergctl" -s sock show h1/a.rrd | grep -q "^every "' 20
	kill -STOP "${others[-1]}"
	run timeout 20 "$rrdmergctl" -s "$work/sock" show h1/a.rrd
	want_rc 0
	want_out '^  live does not answer: its disk hangs$'
	want_out "^  1: $work/backup/h1/a\.rrd"
	kill -CONT "${others[-1]}"
	configure live backup 'rescan_interval = 3;'
	ctl reload
	umount -l fuselive
	want_answer
	rm live/h1/c.rrd
	: >log
	configure live fuse 'rescan_interval = 3;'
	kill -HUP "$daemon"
	want_log '^rrdmergd: reloaded '
	# It dies, and is back.
	kill -9 $bindfs
	wait $bindfs 2>/dev/null
	bindfs=
	cp -p new.rrd x && mv x live/h1/c.rrd
	sleep 3
	want_file live/h1/c.rrd new.rrd 0
	want_answer
	umount -l fuse
	bindfs -f -o direct_io backup fuse 2>bindfs.err &
	bindfs=$!
	wait_for 'mountpoint -q fuse' 20 || { fail "cannot mount it again"; cat bindfs.err; }
	want_file live/h1/c.rrd new.want 40
	want_answer
	# While it hangs, and whether live lies in it is asked anew since something was mounted, it is
	# still seen that another tree is mounted over live.  (No scan comes upon it before that.)
	: >log
	configure live fuse 'rescan_interval = 600;'
	kill -HUP "$daemon"
	want_log '^rrdmergd: reloaded '
	run timeout 30 "$rrdmergctl" -s "$work/sock" status --wait
	want_rc 0
	kill -STOP $bindfs
	mkdir -p aside && mount -t tmpfs none aside
	sleep 3
	want_answer
	want_out '^files: +3$'
	mount -t tmpfs none live
	if wait_for '"$rrdmergctl" -s "$work/sock" status | grep -qE "^files: +0\$"' 10; then
		pass "another live tree is seen"
	else
		fail "another live tree is not seen"
		show_log
	fi
	umount -l live aside
	kill -CONT $bindfs
	if wait_for '"$rrdmergctl" -s "$work/sock" status | grep -qE "^files: +3\$"' 20; then
		pass "the first is back"
	else
		fail "the first live tree is not seen again"
		show_log
	fi
	cp -p new.rrd x && mv x live/h1/a.rrd
	want_file live/h1/a.rrd new.want
	# And it hangs once more when the daemon is to end.
	kill -STOP $bindfs
	cp -p new.rrd x && mv x live/h1/a.rrd
	sleep 0.5
	end_daemon 20
	# It hangs when the daemon starts: that serves all the same, and merges when there is an answer.
	: >log
	launch
	want_log '^rrdmergd: backup has not answered for 5 s: starting without a look .* backup=.*/fuse$' 30
	wait_for '"$rrdmergctl" -s "$work/sock" status >/dev/null 2>&1' 30 ||
		fail "no answer while a backup hangs at the start"
	want_answer
	wait_for 'want_answer >/dev/null; grep -q "^       A disk has not answered for [0-9]* s," out' 20 ||
		fail "status does not say that a disk hangs"
	want_out ', and something needs a person\.$'
	want_out '^stalled_seconds: +[1-9]'
	want_out '^files: +[1-9]'
	want_file live/h1/a.rrd new.rrd 0
	kill -CONT $bindfs
	want_file live/h1/a.rrd new.want 40
	want_answer
	end_daemon 20
	kill -9 $bindfs
	umount -l fuse
	bindfs=
}

# ---- two at once ----

scene_twice() {
	lay
	configure live backup
	begin
	want_log '^rrdmergd: idle merged=2 '
	sed "s|$work/sock|$work/sock2|" conf >conf2
	run timeout 20 "$rrdmergd" -f conf2 -e
	want_rc 2
	want_err "ledger.*in use by another process: $daemon\b|in use by another process: $daemon\b.*ledger"
	want_answer
	cp -p new.rrd x && mv x live/h1/c.rrd
	want_file live/h1/c.rrd new.want
	end_daemon
}

# A daemon, rrdmerge again and again, and updates: nobody loses anything.
scene_together() {
	local files=60 pid until

	[ -e pristine ] || return
	rm -rf live state && cp -r pristine live && cp -r merged twin
	configure live site 'seam = "rebuild";'
	begin
	"$survive" update . $files >updates &
	pid=$!
	until=$((SECONDS + 5))
	while [ $SECONDS -lt $until ]; do
		run "$rrdmerge" --seam rebuild -j2 site live
		[ "$rc" = 0 ] || { fail "rrdmerge beside the daemon"; show_last; }
	done
	kill -TERM $pid
	wait $pid
	want_same "updater: $(tail -n 2 updates)" $? 0
	sed 's/^/# /' updates
	sleep 1
	end_daemon
	run "$rrdmerge" --seam rebuild site live
	want_rc 0
	run "$survive" compare . $files
	want_rc 0
	sed 's/^/# /' out
}

# Made early, for it has to rest as well.
if [[ " $SCENES " == *" together "* ]]; then
	mkdir -p {site,pristine}/h{0..19}
	ln -s site backup2
	mv backup backup.rested && ln -s site backup
	"$survive" make . 60 && cp -r pristine merged &&
		"$rrdmerge" --seam rebuild site merged >/dev/null || rm -rf pristine
	rm backup backup2 && mv backup.rested backup
	rested=$((SECONDS + 11))
fi

before=$(tree_sum backup)
for scene in $SCENES; do
	[ -z "${VERBOSE:-}" ] || echo "== $scene"
	case $scene in
	disk | meanwhile | rights) ;;
	*) wait_for "[ \$SECONDS -ge $rested ]" 12 ;;   # the daemon lets a backup rest
	esac
	begun=$SECONDS
	scene_$scene
	[ -z "$daemon" ] || { kill -9 "$daemon"; wait "$daemon"; daemon=; } 2>/dev/null
	[ -z "${VERBOSE:-}" ] || echo "== $scene: $((SECONDS - begun)) s"
done
want_same "the backup" "$(tree_sum backup)" "$before"
finish
