#!/bin/bash
# The unit: sound, sandboxed, and under a real systemd that is booted for it: started, asked,
# reloaded, stopped, killed, and starved until the watchdog bites; with backups and live trees
# where people have them, and nothing edited but the configuration's two lines.
set -u
. "$(dirname "$0")/lib.sh"
. "$here/boot.sh"
need_programs "$rrdmergd" "$rrdmerge"

# ---- the unit file by itself ----

exposure_limit=1.5
unit=$work/verify/rrdmergd.service
mkdir "$work/verify"
sed "s|@sbindir@/rrdmergd|$rrdmergd|" "$srcdir/systemd/rrdmergd.service.in" >"$unit"
if command -v systemd-analyze >/dev/null; then
	run systemd-analyze verify --man=no "$unit"
	want_rc 0
	want_silent_err
	if systemd-analyze security --help 2>&1 | grep -q -- --offline; then
		run systemd-analyze security --offline=true --no-pager "$unit"
		exposure=$(sed -nE 's/.*Overall exposure level.*: ([0-9.]+) .*/\1/p' "$work/out")
		echo "# exposure level ${exposure:-unknown}"
		if awk -v is="$exposure" -v limit="$exposure_limit" \
			'BEGIN { exit !(is != "" && is <= limit) }'; then
			pass "exposure level $exposure"
		else
			fail "exposure level ${exposure:-unknown}, more than $exposure_limit"
			grep '✗' "$work/out"
		fi
	fi
fi
[ "$failures" = 0 ] || finish

# ---- a machine with it installed ----

need rrdtool make
! grep -qE '__(asan|tsan|ubsan)_' "$rrdmergd" ||
	skip_all "the sandbox forbids what sanitizers do"
owner=rrdtest
owner_id=64123
member=rrdmember                                # of the owner's group
member_id=64124
stranger_id=64125
live=/var/lib/pnp4nagios/perfdata
source_live=/usr/local/pnp4nagios/var/perfdata
nagios_live=/usr/local/nagios/share/perfdata
omd_live=/opt/omd/sites/mon/var/pnp4nagios/perfdata
places=(/tmp/restore /var/tmp/restore /home/admin/restore /root/restore /mnt/restore
	/home/admin/disk)
disk=/home/admin/disk                           # mounted while the daemon runs

mkdir -p "$layer/etc"
for file in passwd group; do
	cp "/etc/$file" "$layer/etc/$file"
done
echo "$owner:x:$owner_id:$owner_id::/nonexistent:/usr/sbin/nologin" >>"$layer/etc/passwd"
echo "$owner:x:$owner_id:$member" >>"$layer/etc/group"
echo "$member:x:$member_id:$member_id::/nonexistent:/usr/sbin/nologin" >>"$layer/etc/passwd"
echo "$member:x:$member_id:" >>"$layer/etc/group"
run env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -C "$builddir" install DESTDIR="$layer"
want_rc 0
installed=$(find "$layer" -type f -name rrdmergd.service)
[ -n "$installed" ] || skip_all "configured without a directory for units"
case ${installed#"$layer"} in
/lib/systemd/system/*|/usr/lib/systemd/system/*|/usr/local/lib/systemd/system/*) ;;
*) mkdir -p "$layer/etc/systemd/system" && cp "$installed" "$layer/etc/systemd/system" ;;
esac
conf=$("$rrdmergd" --help | sed -n 's/.*the configuration (\(.*\)).*/\1/p')
! boot_hides "$conf" || skip_all "configured to be installed where this test has an empty directory"
[ -e "$layer$conf" ] || { fail "make install has installed no $conf"; finish; }
boot_or_skip

inside_conf=$(boot_path "$conf")
cp "$layer$conf" "$work/conf.installed"

# configure LIVE BACKUP: the installed file with two lines changed.
configure() {
	sed -e "s|^live = .*|live = \"$1\";|" -e "s|^backup = .*|backup = \"$2\";|" \
		"$work/conf.installed" >"$inside_conf"
}

# show PROPERTY
show() {
	inside systemctl show -P "$1" rrdmergd
}

# From here on, `said` means what is said after this.
mark() {
	inside journalctl --sync
	marked=$(inside journalctl -q -o cat -t rrdmergd | wc -l)
}

journal() {
	inside journalctl -q -o cat -t rrdmergd | tail -n +$((marked + 1))
}

said() {
	journal | grep -qE -- "$1"
}

# What comes after it would only fail too: so it ends the test.
want_said() {
	if wait_for "said '$1'" "${2:-30}"; then pass "journal: $1"; else
		fail "the journal has no $1"
		inside journalctl -q --no-pager | tail -n 25
		finish
	fi
}

want_state() {
	want_same "$*" "$(show ActiveState)" "$1"
}

# place RRD DIRECTORY NAME [OWNER]: puts a file there, with the directories above it.
place() {
	local dir=$2/${3%/*}

	inside mkdir -p "$dir"
	cp "$work/$1" "$(boot_path "$2/$3")"
	[ -z "${4:-}" ] || inside chown -R "$4:$4" "$2"
}

# want_history LIVE NAME: the file holds what rrdmerge makes of the same two.
want_history() {
	want_same "history of $1/$2" "$(file_sum "$(boot_path "$1/$2")")" "$(file_sum wanted.rrd)"
	want_same "owner of $1/$2" "$(inside stat -c %U "$1/$2")" "$owner"
}

# A backup has to be left alone for ten seconds before it counts: so all are made at once, each
# with the history of one file.
cd "$work" || exit 99
make_pair old.rrd new.rrd && cp new.rrd wanted.rrd
run "$rrdmerge" old.rrd wanted.rrd
want_rc 0
want_differ "a merge" "$(file_sum new.rrd)" "$(file_sum wanted.rrd)"
place new.rrd $live web01/PING.rrd $owner
place old.rrd /srv/restore/perfdata web01/PING.rrd
for dir in "${places[@]}"; do
	name=web02/$(tr / _ <<<"${dir#/}").rrd
	place new.rrd $live "$name" $owner
	place old.rrd "$dir" "$name"
done
inside chmod 700 /srv/restore/perfdata          # root's alone
inside chmod 700 /home/admin
inside mkdir /srv/disk
inside sh -c "mv $disk/* /srv/disk"
for dir in $source_live $nagios_live $omd_live; do
	place new.rrd $dir web01/PING.rrd $owner
done
place old.rrd /srv/restore/perfdata web03/LATE.rrd

# ---- as installed ----

mark
run inside systemctl start rrdmergd
want_differ "exit code of a start without a backup" "$rc" 0
want_state failed
want_same "exit code" "$(show ExecMainStatus)" 2
want_same "restarts" "$(show NRestarts)" 0
want_said 'backup'
inside journalctl --sync
want_same "one sentence" "$(journal | sed 's/^rrdmergd: //' | sort -u | wc -l)" 1
journal | sed 's/^/# /' | sort -u

# ---- started ----

configure $live /srv/restore/perfdata
mark
run inside systemctl start rrdmergd
want_rc 0
want_state active
inside journalctl --sync                        # it is said before the start is over
want_said "watching live=$live dirs=[0-9]+ backup=/srv/restore/perfdata\$" 0
want_said 'merged cells=[0-9]+ .*file=web01/PING\.rrd$'
want_said 'idle merged=1 '
want_history $live web01/PING.rrd

pid=$(show MainPID)
status_of() {
	inside sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid/status" | tr '\t' ' ' | sed 's/ *$//'
}
want_same "user" "$(status_of Uid)" "$owner_id $owner_id $owner_id $owner_id"
want_same "group" "$(status_of Gid)" "$owner_id $owner_id $owner_id $owner_id"
want_same "supplementary groups" "$(status_of Groups)" ""
want_same "capabilities in effect" "$(status_of CapEff)" 0000000000000004
want_same "capabilities permitted" "$(status_of CapPrm)" 0000000000000004
want_same "capabilities to be had" "$(status_of CapBnd)" 0000000000000000
want_same "no new privileges" "$(status_of NoNewPrivs)" 1
want_same "system calls are filtered" "$(status_of Seccomp)" 2
want_same "owner of the state directory" "$(inside stat -c '%U %a' /var/lib/rrdmergd)" "$owner 750"

run inside systemctl status --no-pager rrdmergd
want_rc 0
if wait_for '[[ $(show StatusText) == *"1 merged"* ]]' 10; then pass "status"; else
	fail "the status is: $(show StatusText)"; fi
echo "# status: $(show StatusText)"

# The filter lets through what a merge under a lease needs, and nothing was refused.
said 'short lock' && fail "no lease could be taken"
said 'not permitted' && fail "something was not permitted: $(journal | grep 'not permitted')"

# ---- asked over its socket ----

ctl=$(inside sh -c 'command -v rrdmergctl || ls /usr/*/sbin/rrdmergctl /*/sbin/rrdmergctl' 2>/dev/null |
	head -n 1)
[ -n "$ctl" ] || ctl=$(cd "$layer" && find . -type f -name rrdmergctl | sed 's/^\.//;q')

# as USER COMMAND…: what rrdmergctl says to root, to a member of the socket's group, to a stranger.
as() {
	local who=$1
	shift

	case $who in
	root) run inside "$ctl" "$@" ;;
	member) run inside setpriv --reuid=$member_id --regid=$member_id --groups=$owner_id "$ctl" "$@" ;;
	stranger) run inside setpriv --reuid=$stranger_id --regid=$stranger_id --clear-groups \
		"$ctl" "$@" ;;
	esac
}

runtime=/run/rrdmergd
want_same "the socket" "$(inside stat -c '%F %U %G %a' $runtime/control.sock)" \
	"socket $owner $owner 660"
want_same "its directory" "$(inside stat -c '%U %G %a' $runtime)" "$owner $owner 750"
for who in root member; do
	as $who status
	want_rc 0
	want_silent_err
	want_out "^live: +$live\$"
	want_out '^merged: +1$'
	as $who merge web01/PING.rrd
	want_rc 0
	want_out '^queued: +web01/PING\.rrd$'
done
for command in status "merge web01/PING.rrd" "undo --all"; do
	as stranger $command
	want_rc 3
	want_no_out .
	want_err '^rrdmergctl: no permission to use the socket '
done
# Where the administrator lets all of them in, they may ask, and change nothing.
inside chmod 755 $runtime
inside chmod 666 $runtime/control.sock
as stranger status
want_rc 0
want_out '^merged: +1$'
for command in "merge web01/PING.rrd" "undo web01/PING.rrd" "undo --all"; do
	as stranger $command
	want_rc 1
	want_no_out .
	want_err "permission denied: ${command%% *} is for root, and for members of the group $owner\$"
done
inside chmod 660 $runtime/control.sock
inside chmod 750 $runtime
want_history $live web01/PING.rrd

# ---- backups and live trees where people have them ----

inside mount --bind /srv/disk $disk
for dir in "${places[@]}"; do
	configure $live "$dir"
	name=web02/$(tr / _ <<<"${dir#/}").rrd
	mark
	run inside systemctl reload rrdmergd
	want_rc 0
	want_said "merged cells=[0-9]+ .*file=$name\$"
	want_history $live "$name"
done
want_said 'idle '
run inside umount $disk
want_rc 0
for dir in $source_live $nagios_live $omd_live; do
	configure $dir /srv/restore/perfdata
	mark
	run inside systemctl reload rrdmergd
	want_rc 0
	want_said 'merged cells=[0-9]+ .*file=web01/PING\.rrd$'
	want_history $dir web01/PING.rrd
done
want_same "the same process all the time" "$(show MainPID)" "$pid"

# ---- a configuration with an error ----

echo 'liev = "/nonexistent";' >>"$inside_conf"
mark
run inside systemctl reload rrdmergd
want_said 'liev'
want_said 'configuration is not taken over'
wait_for '[ "$(show SubState)" = running ]' 10
want_state active
place new.rrd $omd_live web03/LATE.rrd $owner
want_said 'merged cells=[0-9]+ .*file=web03/LATE\.rrd$'
want_history $omd_live web03/LATE.rrd
want_same "the same process" "$(show MainPID)" "$pid"

# ---- stopped ----

mark
run inside systemctl stop rrdmergd
want_rc 0
want_state inactive
want_same "result" "$(show Result)" success
want_said 'ended'
inside test ! -e "/proc/$pid" || fail "process $pid is still there"
as root status
want_rc 3
want_err '^rrdmergctl: rrdmergd is not running: nobody answers on the socket '

# ---- killed, starved ----

inside mkdir -p /etc/systemd/system/rrdmergd.service.d
inside sh -c 'printf "[Service]\nRestartSec=100ms\nWatchdogSec=2\nTimeoutAbortSec=1\n" \
	>/etc/systemd/system/rrdmergd.service.d/test.conf'
inside systemctl daemon-reload
configure $live /srv/restore/perfdata
run inside systemctl start rrdmergd
want_rc 0

# want_restarted PID COUNT
want_restarted() {
	if wait_for "[ \"\$(show NRestarts)\" = $2 ] && [ \"\$(show ActiveState)\" = active ]" 30
	then
		pass "restarted"
	else
		fail "not restarted: $(show ActiveState), $(show NRestarts) restarts"
		inside journalctl -q --no-pager | tail -n 25
	fi
	want_differ "process" "$(show MainPID)" "$1"
}

pid=$(show MainPID)
mark
inside kill -KILL "$pid"
want_restarted "$pid" 1
want_said 'watching live='

pid=$(show MainPID)
inside kill -STOP "$pid"
want_restarted "$pid" 2
if inside journalctl -q -u rrdmergd | grep -q 'Watchdog timeout'; then pass "watchdog"; else
	fail "the watchdog has not bitten"; inside journalctl -q | tail -n 25; fi
run inside systemctl stop rrdmergd
want_rc 0
want_same "result" "$(show Result)" success

finish
