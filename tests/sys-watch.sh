#!/bin/bash
# The daemon over a live tree to which everything happens that may: events lost, limits of inotify
# reached, a root that goes, comes and is covered, directories that move, files that are rewritten.
# In the end each file that a backup knows must hold its history, and no other may have changed.
#
# Mounts are made in a namespace of the test's own, and limits are lowered in one of the daemon's.
set -u
if [ -z "${SYS_WATCH_OWN:-}" ]; then
	if unshare --mount --propagation private true 2>/dev/null; then
		SYS_WATCH_OWN=mounts exec unshare --mount --propagation private bash "$0"
	fi
	SYS_WATCH_OWN=nothing
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl
need_programs "$rrdmergd" "$rrdmerge"
cd "$work" || exit 99

tracer=
settings=('workers = 2;')
tidy() {
	[ -z "$tracer" ] || kill "$tracer" 2>/dev/null
	cd / && umount -l "$work/live/sub" "$work/live" 2>/dev/null
}

not_tried() {
	echo "# not tried: $*"
}

end() {
	end_daemon
	want_same "one message is one line" "$(grep -vc '^rrdmergd: ' log)" 0
}

# put FILE…: a live file that has no history yet, put there as rrdtool's create does it.
put() {
	local file

	for file; do
		cp new.rrd "$file.XXXXXX" && mv "$file.XXXXXX" "$file"
	done
}

# How many of the files in live are as a merge makes them, and how many there are.
filled() {
	find live -name '*.rrd' -type f -print0 | xargs -0 -r sha256sum |
		awk -v want="$want" '$1 == want { n++ } END { print n + 0 " of " NR }'
}

# want_filled COUNT [SECONDS]: all are, and they are so many.
want_filled() {
	if wait_for "[ \"\$(filled)\" = '$1 of $1' ]" "${2:-30}"; then pass "$1 filled"; else
		fail "filled are $(filled), and not all of $1"; show_log; fi
}

# want_done LIVE: in the end it counts so many files as done, and the others of the backup as
# waiting.
want_done() {
	local waiting=$((backup_files - $1))

	if wait_for "grep '^rrdmergd: idle ' log | tail -n 1 | tr = ' ' | awk -v live=$1 -v w=$waiting '
			{ ok = \$4 + \$6 == live && \$8 == 0 && \$10 == 0 && \$12 == w }
			END { exit !ok }'" 20; then
		pass "idle with $1 done"
	else
		fail "the last idle line has not $1 done and $waiting waiting"
		show_log
	fi
}

# ---- what all have in common: a backup, a file without history and the same one with it ----

make_rrd old.rrd 0 180
make_rrd new.rrd 190 250
cp new.rrd merged.rrd && "$rrdmerge" old.rrd merged.rrd >/dev/null
want_merged old.rrd new.rrd merged.rrd
want=$(file_sum merged.rrd | cut -d' ' -f1)

mkdir -p backup/burst
for host in h1 h2 h3 h4 h5 deep/one/two sub; do
	mkdir -p backup/$host
	for service in a b c; do cp old.rrd backup/$host/$service.rrd; done
done
for host in $(seq 10); do
	mkdir backup/burst/$host
	for service in $(seq 200); do cp old.rrd backup/burst/$host/$service.rrd; done
done
backup_before=$(tree_sum backup)
backup_files=$(find backup -name '*.rrd' | wc -l)
sleep 10.2                              # a backup is left alone until it has rested
lost='events were lost'

# ---- directories: new, nested, renamed, moved in and out, removed ----

directories() {
	mkdir -p live/h1 && put live/h1/a.rrd
	launch
	want_filled 1
	mkdir live/h2 && put live/h2/a.rrd                      # new, and filled at once
	mkdir -p live/deep/one/two && put live/deep/one/two/a.rrd
	want_filled 3
	mkdir -p away/one && put away/a.rrd && mv away live/h3  # moved in
	want_filled 4
	mv live/h3 live/h4 && put live/h4/b.rrd                 # renamed
	want_filled 5
	mkdir live/h3 && put live/h3/b.rrd                      # the name again
	want_filled 6
	mv live/h4 outside && rm -r live/h2                         # moved out, and removed
	put outside/c.rrd
	want_filled 3
	put live/h3/c.rrd
	want_filled 4
	want_same "a file outside" "$(file_sum outside/c.rrd)" "$(file_sum new.rrd)"
	mkdir live/h2 && put live/h2/b.rrd                      # removed, and made again
	mv live/deep live/h5 && mkdir -p live/deep/one/two && put live/deep/one/two/b.rrd
	want_filled 6
	mkdir link.to && ln -s ../../backup/h1 link.to/h1 && mv link.to live/
	want_log 'link\.to'
	want_no_log 'outside/c'
	end
	rm -rf outside
}

# ---- a finished file that is rewritten in place is looked at again; an update is not ----

rewritten() {
	mkdir -p live/h1 && put live/h1/{a,b,c}.rrd
	launch
	want_filled 3
	want_done 3
	rrdtool dump new.rrd >new.xml
	rrdtool restore -f new.xml live/h1/a.rrd
	wait_for "[ \$(grep -c 'merged .*file=h1/a' log) = 2 ]" 20 && pass "restored: again" ||
		{ fail "a file that was restored is not filled again"; show_log; }
	want_same "cells of the restored file" "$(known live/h1/a.rrd)" "$(known merged.rrd)"
	cp new.rrd live/h1/b.rrd
	cat new.rrd >live/h1/c.rrd
	wait_for "[ \$(filled) = '2 of 3' -o \$(filled) = '3 of 3' ]" 1 2>/dev/null
	wait_for "cmp -s live/h1/b.rrd merged.rrd && cmp -s live/h1/c.rrd merged.rrd" 20 &&
		pass "copied over: again" || { fail "not filled again"; show_log; }
	mkdir -p live/h2 && put live/h2/a.rrd && want_log 'merged .*file=h2/a\.rrd'
	end
	want_lines 'merged .*file=h1/a\.rrd' 2
	want_lines 'merged .*file=h1/b\.rrd' 2
}

# trace: strace writes to `trace` what the daemon opens from now on.
trace() {
	strace -f -qq -e trace=openat,openat2,open -o trace -p "$daemon" 2>trace.err &
	tracer=$!
	# It is attached when the kernel says so of the daemon's first thread.
	if wait_for "grep -q '^TracerPid:[[:space:]]*[1-9]' /proc/$daemon/status" 10; then
		sleep 0.2
	else
		kill "$tracer" 2>/dev/null
		wait "$tracer" 2>/dev/null
		tracer=
		return 1
	fi
}

untrace() {
	kill "$tracer" && wait "$tracer" 2>/dev/null
	tracer=
}

quiet() {
	local lines m before

	if ! command -v strace >/dev/null; then
		not_tried "that nothing is opened for an update: strace is not installed"
		return
	fi
	mkdir -p live/h1 && put live/h1/{a,b,c}.rrd
	launch
	want_filled 3
	want_done 3
	sleep 3                         # its own writes raise events, and are looked after once
	if ! trace; then
		not_tried "that nothing is opened for an update: strace may not attach here"
		end
		return
	fi
	lines=$(wc -l <log)
	for m in $(seq 251 300); do
		rrdtool update live/h1/a.rrd $((T0 + 60 * m)):1:1
	done
	before=$(last_update live/h1/a.rrd)
	sleep 1
	untrace
	want_same "last_update" "$before" $((T0 + 60 * 300))
	want_same "what is opened while a finished file is updated" \
		"$(grep -E 'a\.rrd' trace | head -3)" ""
	want_same "lines while a finished file is updated" "$(wc -l <log)" "$lines"

	# Our own writes raise events as well: they end.
	trace || { not_tried "own writes"; end; return; }
	mkdir live/h2 && put live/h2/a.rrd
	want_log 'merged .*file=h2/a\.rrd'
	sleep 4
	: >trace.mark
	before=$(grep -c 'a\.rrd' trace)
	sleep 3
	want_same "opened again and again" "$(grep -c 'a\.rrd' trace)" "$before"
	[ "$before" -ge 1 ] && pass "the trace sees" || fail "the trace is blind"
	untrace
	want_lines 'merged .*file=h2/a\.rrd' 1
	end
}

# ---- a burst ----

burst() {
	mkdir live
	launch
	want_log 'watching live='
	mkdir burst
	for host in $(seq 10); do
		mkdir burst/$host
		for service in $(seq 200); do cp new.rrd burst/$host/$service.rrd; done
	done
	cp -r burst live/
	want_filled 2000 120
	want_done 2000
	want_no_log "$lost"
	end
	rm -rf burst
}

# ---- events that are lost ----

overflow() {
	local max

	max=$(cat /proc/sys/fs/inotify/max_queued_events 2>/dev/null)
	if [ -z "$max" ] || [ "$max" -gt 200000 ]; then
		not_tried "lost events: max_queued_events is ${max:-unknown}"
		return
	fi
	mkdir -p live/h1 live/h2 live/h3 && put live/h{1,2,3}/{a,b,c}.rrd
	launch
	want_filled 9
	want_done 9
	kill -STOP "$daemon"
	# By turns: the kernel joins equal events that follow each other.
	# Twice as many as fit: it may take a while until all threads stand still.
	perl -e 'for (0 .. 2 * $ARGV[0]) { my $n = $_ % 2; open(my $f, ">>", "live/x$n") or die; }' "$max"
	# What comes now is lost.
	rm live/h1/a.rrd && rm -r live/h2                       # gone
	cp new.rrd live/h1/b.rrd                                # rewritten
	put live/h1/c.rrd                                       # replaced
	mv live/h3 live/h4                                      # moved
	mkdir -p live/deep/one/two live/h5 && put live/deep/one/two/{a,b}.rrd live/h5/a.rrd
	kill -CONT "$daemon"
	want_log "$lost"
	want_filled 8
	rm -f live/x0 live/x1
	want_done 8                     # h1/{b,c}, h4/{a,b,c}, deep/one/two/{a,b}, h5/a
	cp new.rrd live/h4/a.rrd && put live/deep/one/two/c.rrd live/h5/b.rrd   # watched again
	want_filled 10
	want_lines "$lost" 1
	end
}

# ---- limits ----

# limited LIMIT VALUE COMMAND…: in a user namespace, of which /proc/sys/user are the limits; those
# in /proc/sys/fs/inotify are the machine's.
limited() {
	local limit=/proc/sys/user/$1 value=$2

	shift 2
	exec unshare --user --map-root-user bash -c '
		echo "$1" >"$0" || exit 77
		shift
		exec "$@"' "$limit" "$value" "$@"
}

can_limit() {
	(limited max_inotify_watches 3 true) 2>/dev/null && return
	not_tried "$1: no user namespace in which a limit can be lowered"
	return 1
}

watch_limit() {
	can_limit "the watch limit" || return
	configure live backup 'rescan_interval = 2;'
	mkdir -p live/h1 live/h2 live/h3 live/h4 live/deep/one/two
	put live/h{1,2,3,4}/a.rrd live/deep/one/two/a.rrd
	launch limited max_inotify_watches 3
	want_filled 5
	want_log 'fs\.inotify\.max_user_watches'
	put live/h{1,2,3,4}/b.rrd live/deep/one/two/b.rrd
	want_filled 10
	mkdir live/h5 && put live/h5/a.rrd
	want_filled 11
	rm -r live/h1
	want_done 9
	want_lines 'fs\.inotify\.max_user_watches' 1
	want_no_log 'No space left'
	end
	configure live backup
}

instance_limit() {
	can_limit "the limit of instances" || return
	configure live backup 'rescan_interval = 2;'
	mkdir -p live/h1 && put live/h1/a.rrd
	launch limited max_inotify_instances 0
	want_filled 1
	want_log 'fs\.inotify\.max_user_instances'
	put live/h1/b.rrd && mkdir live/h2 && put live/h2/a.rrd
	want_filled 3
	put live/h1/a.rrd                                       # replaced: another inode
	want_filled 3
	rm live/h1/b.rrd
	want_done 2
	mv live gone
	want_log 'waiting for it'
	mv gone live
	want_log 'live tree is there'
	want_filled 2
	want_done 2
	want_lines 'fs\.inotify\.max_user_instances' 1
	end
	configure live backup
}

# ---- the root ----

# waits N: it says for the Nth time that it waits, and once only.
waits() {
	wait_lines 'waiting for it live=' "$1"
	want_lines 'waiting for it live=' "$1"
}

resumes() {
	wait_lines 'live tree is there' "$1"
	want_lines 'live tree is there' "$1"
}

root() {
	launch                                                  # none at the start
	waits 1
	sleep 3                                                 # nor again at each try
	waits 1
	mkdir -p live/h1 && put live/h1/a.rrd
	resumes 1
	want_filled 1
	rm -r live                                              # removed
	waits 2
	mkdir -p live/h1 && put live/h1/b.rrd
	resumes 2
	want_filled 1
	mv live elsewhere                                       # renamed away
	put elsewhere/h1/c.rrd
	waits 3
	mkdir -p live/h2 && put live/h2/a.rrd
	resumes 3
	want_filled 1
	want_same "a file of the root that was" "$(file_sum elsewhere/h1/c.rrd)" \
		"$(file_sum new.rrd)"
	rm -rf elsewhere
	# Exchanged in one go: whether or not it has to wait, it serves what is there then.
	mkdir -p other/h3 && put other/h3/a.rrd
	mv live elsewhere && mv other live
	want_filled 1
	put live/h3/b.rrd
	want_filled 2
	want_done 2
	rm -rf elsewhere
	end
}

mounted_over() {
	if [ "$SYS_WATCH_OWN" != mounts ]; then
		not_tried "mounts: no namespace of our own for them"
		return
	fi
	mkdir -p live/h1 && put live/h1/{a,b}.rrd
	launch
	want_filled 2
	want_done 2                                             # no scan is under way any more
	if ! mount -t tmpfs none live 2>/dev/null; then
		not_tried "mounts: may not mount"
		end
		return
	fi
	mkdir live/h2 && put live/h2/a.rrd                      # silent: found by a look
	want_log 'merged .*file=h2/a\.rrd'
	mkdir live/h3 && put live/h3/a.rrd                      # and watched
	want_log 'merged .*file=h3/a\.rrd'
	wait_for 'umount live 2>/dev/null' 10 && pass unmounted ||
		fail "the live tree cannot be unmounted while the daemon is idle"
	put live/h1/c.rrd
	want_log 'merged .*file=h1/c\.rrd'
	want_filled 3
	want_done 3
	end
}

# ---- what raises no event is found by a rescan ----

rescan() {
	configure live backup 'rescan_interval = 2;'
	mkdir -p live/h1 live/sub outside && put live/h1/a.rrd outside/b.rrd
	launch
	want_filled 1
	ln outside/b.rrd live/h1/b.rrd                          # an event, but no CLOSE_WRITE
	rm outside/b.rrd
	want_filled 2
	if [ "$SYS_WATCH_OWN" = mounts ] && mount -t tmpfs none live/sub 2>/dev/null; then
		put live/sub/a.rrd                              # a mount is silent
		want_log 'merged .*file=sub/a\.rrd'
		put live/sub/b.rrd
		want_log 'merged .*file=sub/b\.rrd'
		wait_for 'umount live/sub 2>/dev/null' 10 && pass unmounted ||
			fail "a directory cannot be unmounted while the daemon is idle"
		put live/sub/c.rrd
		want_log 'merged .*file=sub/c\.rrd'
		want_done 3
	else
		not_tried "a mount below the root: may not mount"
	fi
	end
	configure live backup
}

network() {
	if [ ! -w /dev/fuse ] || ! command -v bindfs >/dev/null || [ "$SYS_WATCH_OWN" != mounts ]; then
		not_tried "a live tree on FUSE: no bindfs, or no /dev/fuse to write to"
		return
	fi
	mkdir -p behind/h1 live && bindfs behind live || return
	put behind/h1/a.rrd
	configure live backup 'rescan_interval = 2;'
	launch
	want_log 'FUSE'
	wait_for 'cmp -s behind/h1/a.rrd merged.rrd' 20 && pass "filled on FUSE" || fail "not filled"
	put behind/h1/b.rrd && mkdir behind/h2 && put behind/h2/a.rrd   # unseen by inotify
	want_filled 3
	end
	umount live
	rm -rf behind
	configure live backup
}

configure live backup
for part in ${PARTS:-directories rewritten quiet burst overflow watch_limit instance_limit root \
		mounted_over rescan network}; do
	[ -z "${VERBOSE:-}" ] || echo "== $part"
	$part
	rm -rf live state
done
want_same "the backup" "$(tree_sum backup)" "$backup_before"
finish
