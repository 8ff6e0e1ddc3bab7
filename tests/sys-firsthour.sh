#!/bin/bash
# The first hour: paths that are one or two levels off, backups that are not there yet, not whole
# yet or not there any more, rights that are missing, hosts that never come back.  Each scene has
# a directory and daemons of its own; they run side by side, for the walks over a backup are far
# apart.  SCENES="off several" runs those alone.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd" "$rrdmerge"
. "$(dirname "$0")/scenes.sh"
cd "$work" || exit 99
chmod 711 "$work"                       # one scene runs as another user

settings=('workers = 2;')

# ---- a path that is one or two levels off ----

# off BACKUP LIVE PATH: not one counterpart; PATH is what it should have been.
off() {
	local before

	before=$(tree_state site; tree_state old)
	configure "$2" "$1"
	run "$rrdmergd" -f conf -e --once
	want_rc 2
	want_err "^rrdmergd: no live file has a counterpart in $work/$1; did you mean backup=$work/$3\$"
	start_daemon
	want_log "^rrdmergd: no live file has a counterpart in $work/$1; did you mean backup=$work/$3\$"
	want_idle 'merged=0 .* backup_needed=yes'
	end_daemon
	want_lines 'no live file has a counterpart' 1
	run "$rrdmerge" "$work/$1" "$work/$2"
	want_rc 2
	want_err "no file has a counterpart in $work/$1; did you mean $work/$3\$"
	want_same "both trees" "$(tree_state site; tree_state old)" "$before"
}

scene_off() {
	local pnp=var/lib/pnp4nagios perfdata=var/lib/pnp4nagios/perfdata host i line

	mkdir -p {site,old}/$perfdata/{web01,web02}/deep
	for host in web01 web02; do
		for i in PING deep/LOAD; do
			cp "$top/one.rrd" old/$perfdata/$host/$i-$host.rrd
			cp "$top/two.rrd" site/$perfdata/$host/$i-$host.rrd
		done
	done
	# The backup's path: one and two levels too high, one and two too deep.
	off old/$pnp site/$perfdata old/$perfdata
	off old/var/lib site/$perfdata old/$perfdata
	off old/$perfdata/web01 site/$perfdata old/$perfdata
	off old/$perfdata/web01/deep site/$perfdata old/$perfdata
	# The same of live's.
	off old/$perfdata site/$pnp old/$pnp
	off old/$perfdata site/var/lib old/var/lib
	off old/$perfdata site/$perfdata/web02 old/$perfdata/web02
	off old/$perfdata site/$perfdata/web02/deep old/$perfdata/web02/deep

	# No path would do: that is said too.
	mkdir -p other/x && cp "$top/one.rrd" other/x/other.rrd
	configure site/$perfdata other
	run "$rrdmergd" -f conf -e --once
	want_rc 2
	want_err "^rrdmergd: no live file has a counterpart, .*backup=$work/other\$"
	run "$rrdmerge" other site/$perfdata
	want_rc 2

	# One tree for both, whatever it is called.
	ln -s site/$perfdata link
	for i in site/$perfdata link site/$pnp site/$perfdata/web01; do
		configure site/$perfdata $i
		line=$(grep -n '^backup' conf | cut -d: -f1)
		run "$rrdmergd" -f conf -e --once
		want_rc 2
		want_err "conf:$line: "
		want_same "lines for $i" "$(wc -l <"$work/err")" 1
		run "$rrdmerge" "$work/$i" "$work/site/$perfdata"
		want_rc 2
	done
	# A backup that comes later, and is one level off.
	mkdir later
	configure site/$perfdata later
	start_daemon
	want_log "^rrdmergd: backup holds no RRD file: .*waiting for it backup=$work/later\$"
	want_idle 'merged=0 unchanged=0 skipped=4 failed=0 waiting=0 backup_needed=yes'
	want_lines 'no live file has a counterpart' 0
	cp -r old/$perfdata later/
	want_log "^rrdmergd: no live file has a counterpart in $work/later; did you mean backup=$work/later/perfdata\$"
	end_daemon

	# The right one, after all that.
	sleep 10.2
	configure site/$perfdata old/$perfdata
	run "$rrdmergd" -f conf -e --once
	want_rc 0
	want_err 'idle merged=4 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no$'
	cmp -s site/$perfdata/web02/deep/LOAD-web02.rrd "$top/want.rrd" && pass merged ||
		fail "the right path does not merge"
}

# ---- several backups: one is not there, one is an empty mount point ----

scene_several() {
	mkdir -p live A empty
	cp "$top/two.rrd" live/x.rrd
	cp "$top/two.rrd" live/y.rrd
	cp "$top/two.rrd" live/z.rrd
	cp "$top/one.rrd" A/x.rrd
	configure live A,none,empty
	start_daemon
	want_log "^rrdmergd: backup cannot be read: No such file or directory; waiting for it backup=$work/none\$"
	want_log "^rrdmergd: backup holds no RRD file: .*waiting for it backup=$work/empty\$"
	want_log '^rrdmergd: merged .* source=1 file=x\.rrd$' 30
	want_idle 'merged=1 unchanged=0 skipped=2 failed=0 waiting=0 backup_needed=yes'
	cp "$top/one.rrd" empty/z.rrd
	cp "$top/one.rrd" empty/gone.rrd
	want_log "^rrdmergd: backup is there backup=$work/empty\$"
	want_log '^rrdmergd: merged .* source=3 file=z\.rrd$' 30
	want_idle 'merged=2 unchanged=0 skipped=1 failed=0 waiting=1 backup_needed=yes'
	mkdir none.new && cp "$top/one.rrd" none.new/y.rrd && mv none.new none
	want_log "^rrdmergd: backup is there backup=$work/none\$"
	want_log '^rrdmergd: merged .* source=2 file=y\.rrd$' 30
	rm empty/gone.rrd                       # nothing waits any more: noticed with the next walk
	want_idle 'merged=3 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no' 60
	want_lines 'backup_needed=no' 1
	want_lines 'holds no RRD file' 1
	want_lines 'cannot be read' 1
	end_daemon
}

# ---- a backup that is being unpacked ----

scene_unpack() {
	local size half i

	size=$(stat -c %s "$top/one.rrd") half=$((size / 2))
	mkdir -p live backup
	for i in first slow half late; do mkdir live/$i && cp "$top/two.rrd" live/$i/a.rrd; done
	configure live backup
	start_daemon
	want_log "^rrdmergd: backup holds no RRD file: .*backup=$work/backup\$"
	want_idle 'merged=0 unchanged=0 skipped=4 failed=0 waiting=0 backup_needed=yes'

	mkdir backup/{half,first,slow,new,gone}
	cp "$top/one.rrd" backup/gone/a.rrd     # something waits: walks come in their own time
	head -c $half "$top/one.rrd" >backup/half/a.rrd
	cp "$top/one.rrd" backup/first/a.rrd
	for i in $(seq 20); do                  # the file grows for a while
		head -c $((size * i / 20)) "$top/one.rrd" | tail -c +$((size * (i - 1) / 20 + 1)) \
			>>backup/slow/a.rrd
		sleep 0.3
	done
	cmp -s backup/slow/a.rrd "$top/one.rrd" || fail "the test's own copy is wrong"
	cp "$top/one.rrd" backup/new/a.rrd
	want_log "^rrdmergd: backup is there backup=$work/backup\$"
	want_log '^rrdmergd: resting: '
	want_log '^rrdmergd: (later|refused) reason="backup [^"]+" file=half/a\.rrd$'
	cmp -s live/half/a.rrd "$top/two.rrd" && pass untouched || fail "half a file was taken"

	# What comes now is in no walk yet; a host that comes now needs none.
	mkdir backup/late && cp "$top/one.rrd" backup/late/a.rrd
	mkdir live/new && cp "$top/two.rrd" live/new/a.rrd
	tail -c +$((half + 1)) "$top/one.rrd" >>backup/half/a.rrd
	want_log '^rrdmergd: merged .* file=first/a\.rrd$' 30
	want_log '^rrdmergd: merged .* file=slow/a\.rrd$' 90
	want_log '^rrdmergd: merged .* file=new/a\.rrd$' 30
	want_log '^rrdmergd: merged .* file=late/a\.rrd$' 90
	want_log '^rrdmergd: merged .* file=half/a\.rrd$' 90
	want_idle 'merged=5 unchanged=0 skipped=0 failed=0 waiting=1 backup_needed=yes'
	for i in first slow half late new; do
		cmp -s live/$i/a.rrd "$top/want.rrd" && pass "$i" ||
			fail "$i is not what an undisturbed merge makes"
	done
	want_lines 'backup_needed=no' 0
	end_daemon
}

# ---- a backup that is mounted later, unmounted when all is done, and mounted again ----

scene_mounted() {
	local i

	can_mount || return
	mkdir live disk mnt
	for i in 1 2 3; do cp "$top/two.rrd" live/$i.rrd; done
	configure live mnt
	start_daemon unshare -m
	inside() { nsenter -m -t "$daemon" -- "$@"; }
	want_log "^rrdmergd: backup holds no RRD file: is it mounted, .* backup=$work/mnt\$"
	inside mount -t tmpfs none "$work/disk" || fail "cannot mount"
	for i in 1 2; do inside cp "$top/one.rrd" "$work/disk/$i.rrd"; done
	inside mount --bind "$work/disk" "$work/mnt" || fail "cannot mount"
	want_log "^rrdmergd: backup is there backup=$work/mnt\$"
	want_idle 'merged=2 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no' 40

	# Nothing of it is held open.
	inside umount "$work/mnt" 2>err && pass "umount" || fail "cannot be unmounted: $(cat err)"
	rrdtool update live/1.rrd $((T0 + 60 * 251)):1:1
	want_log "^rrdmergd: backup has gone: .*backup=$work/mnt\$" 60
	cp "$top/two.rrd" live/new.rrd          # no counterpart that anybody knows of
	want_idle 'merged=2 unchanged=0 skipped=2 failed=0 waiting=0 backup_needed=no'
	rrdtool update live/2.rrd $((T0 + 60 * 251)):1:1
	sleep 6                                 # looked for once more
	want_lines 'backup has gone' 1
	want_same "needed once it was not" "$(sed -n '/backup_needed=no/,$p' log | grep -c 'needed=yes')" 0

	inside cp "$top/one.rrd" "$work/disk/3.rrd"
	inside mount --bind "$work/disk" "$work/mnt" || fail "cannot mount again"
	wait_lines 'backup is there' 2 && pass "found again" || fail "not found again"
	want_log '^rrdmergd: merged .* file=3\.rrd$' 30
	want_idle 'merged=3 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no'
	cmp -s live/3.rrd "$top/want.rrd" && pass merged || fail "3.rrd is not merged"
	inside umount "$work/mnt" 2>err && pass "umount" || fail "cannot be unmounted: $(cat err)"
	end_daemon
}

# ---- hosts that are gone, and a backup that is taken away while they are waited for ----

scene_waiting() {
	local host i

	mkdir -p live/here backup/here backup/gone01 backup/gone02
	cp "$top/two.rrd" live/here/a.rrd
	cp "$top/one.rrd" backup/here/a.rrd
	cp "$top/one.rrd" backup/gone01/a.rrd
	for i in 1 2 3; do cp "$top/one.rrd" backup/gone02/$i.rrd; done
	configure live backup
	start_daemon
	want_idle 'merged=1 unchanged=0 skipped=0 failed=0 waiting=4 backup_needed=yes' 30
	want_log '^rrdmergd: waiting files=1 dir=gone01$'
	want_log '^rrdmergd: waiting files=3 dir=gone02$'
	want_lines 'waiting files=.*here' 0

	mv backup away
	want_log "^rrdmergd: backup has gone: No such file or directory; .*backup=$work/backup\$" 60
	mkdir live/gone01 && cp "$top/two.rrd" live/gone01/a.rrd
	want_idle 'merged=1 unchanged=0 skipped=1 failed=0 waiting=3 backup_needed=yes'
	sleep 6
	want_lines 'backup has gone' 1
	mv away backup
	want_log "^rrdmergd: backup is there backup=$work/backup\$"
	want_log '^rrdmergd: merged .* file=gone01/a\.rrd$'
	want_idle 'merged=2 unchanged=0 skipped=0 failed=0 waiting=3 backup_needed=yes'
	want_lines 'backup_needed=no' 0
	end_daemon
}

# ---- rights that are missing ----

scene_denied() {
	local n=60 i who dir
	local -a runner=()

	# One daemon says what it lacks, finds it mended by its scans, and all is merged.
	who=$user
	if [ "$(id -u)" = 0 ]; then
		who=$(other_user)
		if [ -z "$who" ] || ! as_nobody test -x "$work" || ! cp "$rrdmergd" bin ||
		   ! as_nobody ./bin -V >/dev/null 2>&1; then
			echo "# the scene with rights is left out: nobody cannot run a program here"
			return
		fi
		rrdmergd=$work/bin
		runner=(setpriv "--reuid=$who" "--regid=$(id -g "$who")" --clear-groups)
		user=
		socket=$work/state/control.sock
		mkdir state && chown "$who" state
	fi
	mkdir -p {live,backup}/{fine,source,read,write}
	for dir in fine source read write; do
		for ((i = 1; i <= n; i++)); do
			cp "$top/one.rrd" backup/$dir/$i.rrd
			cp "$top/two.rrd" live/$dir/$i.rrd
		done
	done
	for ((i = 1; i <= n; i++)); do
		mkdir {live,backup}/{livedir,sourcedir}$i
		cp "$top/one.rrd" backup/livedir$i/a.rrd
		cp "$top/two.rrd" live/livedir$i/a.rrd
		cp "$top/one.rrd" backup/sourcedir$i/a.rrd
		cp "$top/two.rrd" live/sourcedir$i/a.rrd
	done
	[ ${#runner[@]} = 0 ] || chown -R "$who" live backup
	# want_denied NUMBER RIGHT SIDE FILE [SECONDS]
	want_denied() {
		want_log "^rrdmergd: refused count=$1 user=$who denied=\"$2\" reason=\"$3 [^\"]*Permission denied[^\"]*\" file=$4" ${5:-}
	}
	lock() {
		chmod 000 backup/source/*.rrd live/read/*.rrd live/livedir* backup/sourcedir*
		chmod 444 live/write/*.rrd
	}
	unlock() {
		chmod 755 live/livedir* backup/sourcedir*
		chmod 644 backup/source/*.rrd live/read/*.rrd live/write/*.rrd
	}
	lock
	configure live backup 'rescan_interval = 1;'
	start_daemon "${runner[@]}"
	# 60 files of the backup and 60 in directories of it that cannot be entered: one kind.
	want_denied $((2 * n)) "read backup" backup source 40
	want_denied $n "read live" live read/
	want_denied $n "write live" live write/
	want_log "^rrdmergd: refused count=$n user=$who reason=\"directory of the backup [^\"]*Permission denied\" dir=sourcedir"
	want_log "^rrdmergd: refused count=$n user=$who reason=\"live directory [^\"]*Permission denied\" dir=livedir"
	want_idle "merged=$n unchanged=0 skipped=0 failed=$((4 * n)) waiting=$n backup_needed=yes"
	sleep 2.5                               # scans go by
	want_lines 'Permission denied' 5        # each kind, when all of it is known
	unlock
	want_idle "merged=$((6 * n)) unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no" 90
	for dir in fine/1 source/7 read/9 write/$n livedir3/a sourcedir$n/a; do
		cmp -s live/$dir.rrd "$top/want.rrd" && pass "$dir" || fail "$dir is not merged"
	done
	end_daemon

	# Without the scans: the next update of the file does it.
	chmod -R u+rwX live backup
	rm -r live/{livedir,sourcedir}* backup/{livedir,sourcedir}*
	for dir in source read write; do cp "$top/two.rrd" live/$dir/1.rrd; done
	for dir in fine source read write; do
		for ((i = 2; i <= n; i++)); do cp "$top/want.rrd" live/$dir/$i.rrd; done
	done
	cp "$top/want.rrd" live/fine/1.rrd
	chmod 000 backup/source/1.rrd live/read/1.rrd
	chmod 444 live/write/1.rrd
	configure live backup
	start_daemon "${runner[@]}"
	want_idle "merged=0 unchanged=$((4 * n - 3)) skipped=0 failed=3 waiting=0 backup_needed=yes" 40
	want_lines 'refused count=1 user=' 3
	chmod 644 backup/source/1.rrd live/read/1.rrd live/write/1.rrd
	for dir in source read write; do
		rrdtool update live/$dir/1.rrd $((T0 + 60 * 251)):1:1
		want_log "^rrdmergd: merged .* file=$dir/1\\.rrd\$" 30
	done
	want_idle "merged=3 unchanged=$((4 * n - 3)) skipped=0 failed=0 waiting=0 backup_needed=no"
	end_daemon

	# A directory of the backup that nobody can look into may hold anything: it is not done with.
	rm -rf backup live && mkdir -p backup/secret live
	cp "$top/one.rrd" backup/a.rrd && cp "$top/one.rrd" backup/secret/b.rrd
	cp "$top/two.rrd" live/a.rrd
	[ ${#runner[@]} = 0 ] || chown -R "$who" live backup
	chmod 000 backup/secret
	start_daemon "${runner[@]}"
	want_log '^rrdmergd: merged .* file=a\.rrd$' 40
	want_idle 'merged=1 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=yes'
	end_daemon

	# The roots themselves.
	chmod 000 backup
	start_daemon "${runner[@]}"
	want_log "^rrdmergd: backup cannot be read by user $who: Permission denied; waiting for it backup=$work/backup\$"
	chmod 755 backup
	want_log "^rrdmergd: backup is there backup=$work/backup\$"
	end_daemon
	chmod 000 live
	launch "${runner[@]}"
	want_log "^rrdmergd: live tree cannot be watched by user $who: Permission denied; waiting for it live=$work/live\$"
	chmod 755 live
	want_log "^rrdmergd: live tree is there live=$work/live\$"
	want_idle 'merged=0 unchanged=1 skipped=0 failed=0 waiting=0 backup_needed=yes'
	end_daemon
}

# ---- refusals for other reasons: each is named, and not all at once ----

scene_refused() {
	local n=300 i most

	mkdir live backup
	make_rrd old.rrd 0 20 DS:1:COUNTER:8640:U:U RRA:AVERAGE:0.5:1:50
	make_rrd new.rrd 30 31 DS:1:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
	for ((i = 1; i <= n; i++)); do
		cp old.rrd backup/$i.rrd
		cp new.rrd live/$i.rrd
	done
	configure live backup
	mkfifo pipe
	: >stamped
	perl -ne 'BEGIN { $| = 1 } print time, " $_"' <pipe >stamped &
	"$rrdmergd" -f conf -e 2>pipe &
	daemon=$!
	wait_for "[ \$(grep -c ' refused reason=' stamped) -ge $n ]" 60
	wait_for "grep -q ' idle ' stamped" 20
	cut -d' ' -f2- stamped >log
	want_lines '^rrdmergd: refused reason="data source 1: live is GAUGE and backup is COUNTER" file=' $n
	want_same "files named" "$(grep -o 'file=.*' log | sort -u | wc -l)" $n
	want_lines "idle merged=0 unchanged=0 skipped=0 failed=$n waiting=0 backup_needed=no" 1
	end_daemon
	most=$(grep ' refused reason=' stamped | cut -d' ' -f1 | uniq -c | sort -n | tail -n 1 |
		awk '{ print $1 }')
	echo "# at most $most refusals a second"
	# Half as many again where this machine was late to read them.
	if [ "$most" -le 75 ]; then pass bounded; else fail "$most refusals in one second"; fi
}

# ---- all of them, side by side ----

# shellcheck disable=SC2086
play_all ${SCENES:-off several unpack mounted waiting denied refused}
finish
