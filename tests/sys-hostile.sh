#!/bin/bash
# Hostile circumstances: trees that turn into each other, files and sockets that never answer,
# names that are too long, files that are never closed, backups that grow while they are read.
# Each scene has a directory and a daemon of its own; they run side by side.
# SCENES="into walk1" runs those alone.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd" "$rrdmerge"
. "$(dirname "$0")/scenes.sh"
cd "$work" || exit 99
chmod 711 "$work"                       # one daemon becomes another user

# True when nothing of a process is left but what its tracer or its parent has still to take: a
# tracer that holds calls up keeps the threads that made them.
is_gone() {
	local state

	state=$(sed -n 's/^State:[[:blank:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
	case $state in
	'' | Z | X) return 0 ;;
	t) awk '/^State:/ && $2 !~ /^[tZX]$/ { left = 1 } END { exit left }' \
		"/proc/$1/task"/*/status 2>/dev/null ;;
	*) return 1 ;;
	esac
}

# Where nobody traces: it is no signal that ends it.
end_well() {
	end_daemon 20
	want_lines 'Sanitizer|runtime error:' 0
}

# A hang lasts 60 s; whoever ends within a third of that has not waited for it.
end_traced() {
	[ -n "$daemon" ] || return
	kill -TERM "$daemon"
	if wait_for 'is_gone "$daemon"' 20; then pass "ended by SIGTERM"; else
		fail "does not end on SIGTERM"; show_log; kill -9 "$daemon"; fi
	want_lines 'Sanitizer|runtime error:' 0
	daemon=
}

# The last idle line is to become one that matches, and to count each live file once.
want_counted() {
	local line sum=0 n

	want_idle "$@" || return
	line=$(grep '^rrdmergd: idle' log | tail -n 1)
	for n in $(grep -oE '(merged|unchanged|skipped|failed)=[0-9]+' <<<"$line"); do
		sum=$((sum + ${n#*=}))
	done
	want_same "sum of $line, and RRD files in live" "$sum" \
		"$(find live/ -name '*.rrd' -type f | wc -l)"
}

# want_done FILE…: each live file holds what a merge that nobody disturbs makes.
want_done() {
	local file

	for file; do
		cmp -s "live/$file" "$top/want.rrd" && pass "$file" || fail "$file is not merged"
	done
}

no_strace() {
	can_trace && return 1
	echo "# no strace, or it may not trace here: left out"
}

# A datagram socket: what comes is written to a file, a line each, until FLAG exists; then the
# socket is filled up, which FLAG.full tells, and nobody reads any more.
cat >listen.pl <<'END'
use IO::Socket::UNIX;
my ($path, $notes, $flag) = @ARGV;
my $in = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $path) or die "$path: $!";
chmod 0777, $path;
open(my $out, ">", $notes) or die "$notes: $!";
select((select($out), $| = 1)[0]);
until (-e $flag) {
	my $ready = "";
	vec($ready, fileno($in), 1) = 1;
	next if select($ready, undef, undef, 0.1) < 1;
	defined $in->recv(my $what, 65536) or die;
	$what =~ s/\n/ /g;
	print $out "$what\n";
}
my @senders;
for (1 .. 1000) {
	my ($sent, $to) = (0, IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $path)) or last;
	$to->blocking(0);
	push @senders, $to;
	$sent++ while defined $to->send("x");
	last if !$sent;
}
open(my $full, ">", "$flag.full");
sleep 300;
END

# listen PATH: what it says is in `notes`; `deaf` fills it.
listen() {
	perl "$top/listen.pl" "$1" notes "$work/deaf" 2>listen.err &
	others+=($!)
	wait_for "[ -S '$1' ]" 10 || { fail "no socket: $(cat listen.err)"; }
}
deafen() {
	: >deaf
	wait_for '[ -e deaf.full ]' 10 && pass "the socket is full" ||
		fail "the socket cannot be filled: $(cat listen.err)"
}

# pair FILE…: in both trees.
pair() {
	local file

	for file; do
		mkdir -p "backup/$(dirname "$file")" "live/$(dirname "$file")"
		cp "$top/one.rrd" "backup/$file"
		cp "$top/two.rrd" "live/$file"
	done
}

rest() {
	sleep 10.2
}

# ---- live turns into a part of the backup: a backup is only ever read ----

into='^rrdmergd: .*live.*(inside|beneath|same|within|part of|lies in).*backup'

scene_into() {
	local before

	pair h1/a.rrd
	mkdir backup/h1/h1 && cp "$top/two.rrd" backup/h1/h1/a.rrd
	configure live backup 'rescan_interval = 1;'
	rest
	start_daemon
	want_counted 'merged=1 unchanged=0 skipped=0 failed=0 waiting=1 backup_needed=yes'
	before=$(tree_state backup)
	mv live l2 && ln -s backup/h1 live
	want_log "$into"
	sleep 4
	want_same "the backup" "$(tree_state backup)" "$before"
	want_lines "$into" 1
	# Once more, the whole of it.
	rm live && ln -s backup live
	sleep 4
	want_same "the backup" "$(tree_state backup)" "$before"
	want_lines "$into" 2 1

	# And back: it is served again.
	rm live && mv l2 live
	mkdir live/h1/h1 && cp "$top/one.rrd" live/h1/h1/a.rrd
	want_log '^rrdmergd: live tree is there '
	want_counted 'merged=[01] unchanged=[12] skipped=0 failed=0 waiting=0 backup_needed=(yes|no)'
	want_same "the backup" "$(tree_state backup)" "$before"
	end_well
}

# ---- the same by bind mounts, of the root and beneath it ----

scene_bind() {
	local before

	can_mount || return
	pair h1/a.rrd
	mkdir backup/h1/h1 && cp "$top/two.rrd" backup/h1/h1/a.rrd
	configure live backup 'rescan_interval = 3;'
	rest
	start_daemon unshare -m
	inside() { nsenter -m -t "$daemon" -- "$@"; }
	want_counted 'merged=1 unchanged=0 skipped=0 failed=0 waiting=1 backup_needed=yes'
	before=$(tree_state backup)
	inside mount --bind "$work/backup/h1" "$work/live" || fail "cannot mount"
	want_log "$into"
	sleep 5
	want_same "the backup" "$(tree_state backup)" "$before"
	inside umount "$work/live"
	want_log '^rrdmergd: live tree is there '
	inside mount --bind "$work/backup/h1/h1" "$work/live/h1" || fail "cannot mount"
	want_log '^rrdmergd: live tree holds the backup '
	sleep 5
	want_same "the backup" "$(tree_state backup)" "$before"
	inside umount "$work/live/h1"
	want_counted 'merged=0 unchanged=1 skipped=0 failed=0 waiting=1 backup_needed=yes'
	end_well
}

# absent HOW: live is missing at the start, and appears as a part of the backup.
absent() {
	local before

	before=$(tree_sum backup)
	launch
	want_log '^rrdmergd: live tree cannot be watched: '
	$1
	want_log "$into"
	sleep 3
	want_same "the backup" "$(tree_sum backup)" "$before"
	want_lines "$into" 1
	want_lines '^rrdmergd: merged' 0
	kill -0 "$daemon" 2>/dev/null && end_well || daemon=
}

appear_link() { ln -s backup/h1 live; }
appear_directory() { ln -s backup site; }

scene_absent() {
	local other

	pair h1/a.rrd h1/h1/a.rrd
	cp live/h1/a.rrd backup/h1/h1/a.rrd
	rm -r live
	rest
	configure live backup
	absent appear_link
	# A directory like any other; it is what leads there that is a link.
	rm live
	configure site/h1 backup
	absent appear_directory

	other=$(other_user)
	if [ -n "$other" ]; then
		rm site
		user=
		chown -R "$other" backup
		chmod 755 "$top/absent" backup
		configure live backup
		absent appear_link
	fi
}

# ---- SIGHUP, and the configuration includes what is no file ----

scene_include() {
	local what said=0

	pair h1/a.rrd
	configure live backup
	rest
	start_daemon
	want_counted 'merged=1 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	mkdir somedir && mkfifo somefifo
	for what in somedir somefifo; do
		configure live backup "@include \"$work/$what\""
		kill -HUP "$daemon"
		want_log "^rrdmergd: .*$what"
		# The next SIGHUP would drop a reading that is still under way.
		said=$((said + 1))
		wait_lines '^rrdmergd: the configuration is not taken over: ' $said
		kill -0 "$daemon" 2>/dev/null && pass "goes on" || { fail "it has ended"; return; }
		run timeout 20 "$rrdmergd" -f conf -t
		want_rc 2
		want_err "$what"
	done
	want_lines '^rrdmergd: the configuration is not taken over: ' 2
	cp "$top/two.rrd" live/h1/new.rrd
	want_counted 'merged=1 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no'
	end_well
}

# ---- SIGTERM while the main thread waits for what never comes ----

scene_termstat() {
	no_strace && return
	pair h1/a.rrd
	configure live backup
	start_daemon "${traced[@]:0:2}"          # it is traced later on
	"${traced[@]}" -p "$daemon" -P "$work/backup" -e trace=newfstatat,stat,statx \
		-e inject=newfstatat,stat,statx:delay_enter=60s 2>strace.err &
	others+=($!)
	if ! wait_for 'grep -qE "^TracerPid:.[1-9]" /proc/$daemon/status' 10; then
		echo "# strace may not trace another process here: left out"
		end_well
		return
	fi
	sleep 1                                 # all its threads
	kill -HUP "$daemon"
	wait_for '[ -s trace ]' 10 && pass hangs || fail "nothing asks for the state of the backup"
	sleep 0.5
	end_traced
}

scene_termsyslog() {
	if [ "$(id -u)" != 0 ] || ! unshare -m true 2>/dev/null; then
		echo "# needs root, for a /dev/log of its own: left out"
		return
	fi
	pair h1/a.rrd
	mkdir dev
	cat >inside <<-END
		#!/bin/bash
		mount --make-rprivate / && mount -t tmpfs none "$work/dev" || exit 99
		for node in null zero random urandom full; do
			touch "$work/dev/\$node" && mount --bind /dev/\$node "$work/dev/\$node" ||
				exit 99
		done
		mount --move "$work/dev" /dev || mount --rbind "$work/dev" /dev || exit 99
		perl "$top/listen.pl" /dev/log "$work/notes" "$work/deaf" 2>listen.err &
		echo \$! >"$work/listener"
		for i in \$(seq 100); do [ -S /dev/log ] && break; sleep 0.1; done
		exec "\$@"
	END
	configure live backup
	start_daemon unshare -m bash ./inside
	others+=("$(cat listener)")
	want_log '^rrdmergd: watching '
	wait_for 'grep -q watching notes' 10 && pass heard || fail "syslog has heard nothing"
	deafen
	kill -HUP "$daemon"
	sleep 1
	end_well
}

scene_termnotify() {
	pair h1/a.rrd
	configure live backup
	listen "$work/n"
	export NOTIFY_SOCKET=$work/n
	start_daemon
	wait_for 'grep -q "READY=1" notes' 10 && pass READY || fail "no READY=1"
	deafen
	cp "$top/two.rrd" live/h1/new.rrd       # another status
	sleep 0.5
	kill -HUP "$daemon"
	sleep 1
	end_well
}

# ---- a backup that does not answer while it is walked over ----

# hanging WORKERS
hanging() {
	no_strace && return
	pair h1/a.rrd h1/b.rrd h1/c.rrd
	mkdir -p second/h2 && cp "$top/one.rrd" second/h2/z.rrd
	rm live/h1/[bc].rrd
	configure live backup "workers = $1;"
	listen "$work/n"
	export NOTIFY_SOCKET=$work/n
	rest
	start_traced -P "$work/backup" -P "$work/backup/h1" -e trace=getdents64 \
		-e inject=getdents64:delay_enter=300s
	[ "$(lines '^rrdmergd: watching')" = 1 ] || return
	wait_for 'grep -q "READY=1" notes' 20 && pass READY || fail "no READY=1 during the walk"
	want_log '^rrdmergd: merged .* file=h1/a\.rrd$'
	cp "$top/two.rrd" live/h1/b.rrd
	want_log '^rrdmergd: merged .* file=h1/b\.rrd$'
	configure live backup "workers = $1; rescan_interval = 100;"
	kill -HUP "$daemon"
	want_log '^rrdmergd: reloaded '
	cp "$top/two.rrd" live/h1/c.rrd
	want_log '^rrdmergd: merged .* file=h1/c\.rrd$'
	want_done h1/a.rrd h1/b.rrd h1/c.rrd
	# Another backup beside it.
	configure live backup,second "workers = $1; rescan_interval = 100;"
	kill -HUP "$daemon"
	wait_lines reloaded 2 || fail "another backup is not taken over during the walk"
	want_lines reloaded 2
	mkdir live/h2 && cp "$top/two.rrd" live/h2/z.rrd
	want_log '^rrdmergd: merged .* source=2 file=h2/z\.rrd$'
	# All that was while it hung.
	if [ -s trace ] && ! grep -qE 'resumed|= [0-9]' trace; then pass "the walk hung"; else
		fail "the walk did not hang"; tail -n 5 trace | sed 's/^/    /'; fi
	want_lines 'backup_needed=no' 0
	end_traced
}

scene_walk1() { hanging 1; }
scene_walk2() { hanging 2; }

# ---- a link to a directory in live ----

scene_linked() {
	mkdir other && cp "$top/two.rrd" other/a.rrd
	pair h1/a.rrd hx/a.rrd
	rm -r live/hx && ln -s ../other live/hx && ln -s ../other live/hy
	configure live backup 'rescan_interval = 1;'
	rest
	start_daemon
	want_counted 'merged=1 unchanged=0 skipped=0 failed=0 waiting=1 backup_needed=yes'
	sleep 3                                 # scans go by
	want_lines 'symbolic link.*=hx$' 1
	want_lines 'symbolic link.*=hy$' 1
	rm live/hx && mkdir live/hx && cp "$top/two.rrd" live/hx/a.rrd
	want_log '^rrdmergd: merged .* file=hx/a\.rrd$'
	# One is still there, and holds nothing up.
	want_counted 'merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	want_done h1/a.rrd hx/a.rrd
	ln -s ../other live/hz                  # one that comes now
	want_log 'symbolic link.*=hz$'
	sleep 1
	want_counted 'merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	cmp -s other/a.rrd "$top/two.rrd" && pass "not followed" || fail "a link was followed"
	end_well
}

# ---- a finished file, over which first the same and then another is copied ----

scene_rewritten() {
	local before

	pair h1/a.rrd h1/b.rrd
	configure live backup
	rest
	start_daemon
	want_counted 'merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	sleep 1
	cp "$top/want.rrd" live/h1/a.rrd
	sleep 3
	before=$(wc -l <log)
	cp "$top/two.rrd" live/h1/a.rrd
	wait_for 'cmp -s live/h1/a.rrd "$top/want.rrd"' 10 && pass "filled again" ||
		{ fail "not filled again"; show_log; }
	wait_for "tail -n +$((before + 1)) log | grep -q 'merged .*file=h1/a'" 10
	want_same "told that the backup can go, before it was filled" 0 \
		"$(tail -n +$((before + 1)) log | sed '/ merged .*file=h1\/a/,$d' |
		   grep -c 'backup_needed=no')"
	want_counted 'merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	want_done h1/a.rrd h1/b.rrd
	end_well
}

# ---- paths that are too long, many of them ----

scene_long() {
	local said

	pair h1/a.rrd
	perl -e 'chdir "live" or die;
		for (1 .. 16) { mkdir "d" x 250; chdir "d" x 250 or die "$!" }
		mkdir "e" x 200 . $_ or die "$!" for 1 .. 2000;' || fail "no such directories here"
	configure live backup 'rescan_interval = 1;'
	rest
	start_daemon
	want_counted 'merged=1 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	said=$(lines 'too long|too deep')
	want_lines 'too long|too deep' 4 1
	sleep 4
	want_lines 'too long|too deep' "$said"
	cp "$top/two.rrd" live/h1/b.rrd
	want_counted 'merged=1 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no'
	end_well
}

# ---- a live file that somebody keeps open ----

scene_held() {
	local said

	pair h1/a.rrd h1/b.rrd
	configure live backup
	rest
	sleep 300 <live/h1/b.rrd &
	others+=($!)
	start_daemon
	want_counted '.*backup_needed=yes' 45
	said=$(lines '^rrdmergd: progress')
	want_lines '^rrdmergd: progress' 3 0
	sleep 12
	want_lines '^rrdmergd: progress' "$said"
	want_lines 'backup_needed=no' 0
	want_lines 'busy .*file=h1/b\.rrd' 1
	kill "${others[-1]}"
	want_log '^rrdmergd: merged .* file=h1/b\.rrd$' 40
	want_counted 'merged=2 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	want_done h1/a.rrd h1/b.rrd
	end_well
}

# ---- new live files, one by one, where the backup is done with ----

scene_newfiles() {
	local i before after slow=()

	no_strace && return
	for i in 1 2 3 4 5; do pair h$i/a.rrd; done
	configure live backup
	rest
	# Each new file is in hand for a moment, so that it cannot be overlooked.
	for i in 1 2 3 4 5 6 7 8 9 10; do slow+=(-P "h1/new$i.rrd"); done
	start_traced -P "$work/backup" "${slow[@]}" -e trace=getdents64,newfstatat,statx \
		-e inject=newfstatat,statx:delay_enter=300ms
	want_counted 'merged=5 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	sleep 1
	# Each walk asks twice: the second time, there is no more.
	before=$(grep -c getdents64 trace)
	for i in 1 2 3 4 5 6 7 8 9 10; do
		cp "$top/two.rrd" live/h1/new$i.rrd
		sleep 1
	done
	after=$(grep -c getdents64 trace)
	grep -q 'stat.*DELAYED' trace && pass slow || fail "the new files are not in hand for long"
	want_counted 'merged=5 unchanged=0 skipped=10 failed=0 waiting=0 backup_needed=no' 40
	echo "# $(((after - before) / 2)) walks for 10 new files, $((before / 2)) before"
	[ "$before" -ge 2 ] && pass traced || fail "no walk was seen at all"
	[ $(((after - before) / 2)) -le 3 ] && pass "few walks" || fail "a walk for each new file"
	end_traced
}

# ---- files of the backup that are not whole yet ----

scene_half() {
	local i size

	size=$(stat -c %s "$top/one.rrd")
	pair h1/half.rrd h1/none.rrd h1/whole.rrd
	rest
	head -c $((size / 2)) "$top/one.rrd" >backup/h1/half.rrd
	: >backup/h1/none.rrd
	configure live backup
	start_daemon
	sleep 3
	tail -c +$((size / 2 + 1)) "$top/one.rrd" >>backup/h1/half.rrd
	cat "$top/one.rrd" >backup/h1/none.rrd
	want_log '^rrdmergd: merged .* file=h1/half\.rrd$' 20
	want_log '^rrdmergd: merged .* file=h1/none\.rrd$' 5
	want_counted 'merged=3 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no'
	want_done h1/half.rrd h1/none.rrd h1/whole.rrd
	want_lines '^rrdmergd: refused' 0
	want_lines '^rrdmergd: resting' 1 0
	end_well
}

# ---- a backup that is written to again and again ----

scene_resting() {
	local i

	mkdir -p live/h1 backup/h1
	cp "$top/two.rrd" live/h1/a.rrd         # the other server is still running: never done
	make_rrd backup/h1/a.rrd 0 400
	configure live backup
	rest
	start_daemon
	want_counted '.*backup_needed=yes' 30
	for i in 1 2 3; do
		touch backup/h1/a.rrd
		rrdtool update live/h1/a.rrd $((T0 + 60 * (250 + i))):1:1
		sleep 11.5
	done
	want_lines '^rrdmergd: resting' 1
	end_well
}

# ---- the live path is one level too high, and no path of a backup would do ----

scene_level() {
	local host

	for host in h1 h2; do
		mkdir -p live/perfdata/$host backup/$host
		cp "$top/one.rrd" backup/$host/a.rrd
		cp "$top/two.rrd" live/perfdata/$host/a.rrd
	done
	configure live backup
	start_daemon
	want_log "^rrdmergd: no live file has a counterpart.*live=$work/live/perfdata\$"
	want_counted 'merged=0 unchanged=0 skipped=2 failed=0 waiting=2 backup_needed=yes'
	want_lines 'no live file has a counterpart' 1
	end_well
	run "$rrdmergd" -f conf -e --once
	want_rc 2
	want_err "no live file has a counterpart.*live=$work/live/perfdata\$"
	run "$rrdmerge" backup live
	want_rc 2
	want_err "no file has a counterpart.*[ =](${work//./\\.}/)?live/perfdata\$"
	run "$rrdmerge" "$work/backup" "$work/live"
	want_rc 2
	want_err "no file has a counterpart.*[ =]$work/live/perfdata\$"
}

# ---- all of them, side by side ----

all='into bind absent include termstat termsyslog termnotify walk1 walk2 linked rewritten long held'
all+=' newfiles half resting level'
# shellcheck disable=SC2086
play_all ${SCENES:-$all}
finish
