#!/bin/bash
# A real rsyslogd receives what the daemon says: ident, facility, priority, a line each, the path
# last, and no more than LOG_FILE_RATE per-file lines a second with the rest counted.
# In a mount namespace with a /dev of its own, so that /dev/log is the test's.
set -u
. "$(dirname "$0")/lib.sh"
need_programs "$rrdmergd" "$rrdmerge"
command -v rsyslogd >/dev/null || skip_all "rsyslogd is not installed"
[ "$(id -u)" = 0 ] || skip_all "needs root, for a /dev/log of its own"
unshare -m true 2>/dev/null || skip_all "no mount namespace can be made here"
cd "$work" || exit 99

mkdir dev
cat >rsyslog.conf <<EOF
module(load="imuxsock" SysSock.Name="/dev/log" SysSock.RateLimit.Interval="0")
template(name="all" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname%|%msg%\n")
\$EscapeControlCharactersOnReceive on
*.* action(type="omfile" file="$work/messages" template="all")
EOF
: >messages

# inside COMMAND…: with the private /dev.
cat >inside <<EOF
#!/bin/bash
mount --make-rprivate / && mount -t tmpfs none "$work/dev" || exit 99
for node in null zero random urandom full; do
	touch "$work/dev/\$node" && mount --bind /dev/\$node "$work/dev/\$node" || exit 99
done
mount --move "$work/dev" /dev || mount --rbind "$work/dev" /dev || exit 99
rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslogd.pid" >"$work/rsyslogd.log" 2>&1 &
for i in \$(seq 100); do [ -S /dev/log ] && break; sleep 0.1; done
[ -S /dev/log ] || exit 98
"\$@"
status=\$?
sleep 0.5                               # what was said last is to be written
kill %1 2>/dev/null
exit \$status
EOF
chmod +x inside

conf() {
	printf 'live = "%s";\nbackup = "%s";\nstate_dir = "%s";\nsocket = "%s";\nuser = "root";\n%s\n' \
		"$work/live" "$work/backup" "$work/state" "$work/sock" "${1:-}" >conf
}

within() {
	: >messages
	run unshare -m ./inside "$@"
}

# want_message REGEX
want_message() {
	if grep -qE "$1" messages; then pass "message $1"; else
		fail "syslog has no $1"; head -n 20 messages | sed 's/^/    /'; fi
}

mkdir -p live/web01 backup/web01
make_pair backup/web01/PING.rrd live/web01/PING.rrd
name=$'evil\n<0>fake[1]: merged\e[31m\xff.rrd'
make_pair "backup/$name" "live/$name"
make_rrd backup/TYPE.rrd 0 20 DS:1:COUNTER:8640:U:U RRA:AVERAGE:0.5:1:50
make_rrd live/TYPE.rrd 30 31 DS:1:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
conf
sleep 10.2
within "$rrdmergd" -f conf --once
if [ "$rc" = 98 ]; then cat rsyslogd.log; skip_all "rsyslogd makes no socket here"; fi
want_rc 1
want_silent_err                         # syslog listens: nothing goes to stderr without -e
want_message "^daemon\.notice rrdmergd\| ?watching live=$work/live dirs=2 backup=$work/backup\$"
want_message '^daemon\.info rrdmergd\| ?merged cells=[0-9]+ seam=0 .* file=web01/PING\.rrd$'
want_message '^daemon\.info rrdmergd\| ?merged .* file=evil\\x0A<0>fake\[1\]: merged\\x1B\[31m\\xFF\.rrd$'
want_message '^daemon\.warning rrdmergd\| ?refused reason="[^"]*COUNTER[^"]*" file=TYPE\.rrd$'
want_message '^daemon\.notice rrdmergd\| ?idle merged=2 unchanged=0 skipped=0 failed=1 waiting=0 backup_needed=no$'
want_same "lines of anybody else" "$(grep -c 'fake' messages)" 1
want_same "control characters" "$(LC_ALL=C grep -c '[[:cntrl:]]' messages)" 0

# -e says the same on stderr as well; facility is heeded.
conf 'facility = "local3";'
within "$rrdmergd" -f conf -e --once
want_message '^local3\.notice rrdmergd\| ?idle '
want_err '^rrdmergd: idle '

# Many files: the per-file lines are bounded, what is left out is counted, the sums are right.
rm -rf live backup && mkdir live backup
make_pair one.rrd two.rrd
for i in $(seq 2000); do cp one.rrd backup/$i.rrd; cp two.rrd live/$i.rrd; done
conf
sleep 10.2
within "$rrdmergd" -f conf --once
want_rc 0
want_message 'idle merged=2000 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no$'
said=$(grep -c '| \?merged cells=' messages)
left_out=$(grep -oE 'omitted lines=[0-9]+' messages | awk -F= '{n += $2} END {print n + 0}')
echo "# 2000 files: $said lines, $left_out left out"
if [ "$said" -gt 0 ] && [ "$said" -lt 1000 ]; then pass bounded; else fail "$said per-file lines"; fi
want_same "said and left out" $((said + left_out)) 2000

finish
