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
module(load="imuxsock" SysSock.Name="/dev/log" SysSock.RateLimit.Interval="0"
	SysSock.UseSysTimeStamp="on")
template(name="all" type="string" string="%syslogfacility-text%.%syslogseverity-text% %programname%|%msg%\n")
\$EscapeControlCharactersOnReceive on
*.* action(type="omfile" file="$work/messages" template="all")
template(name="timed" type="string" string="%timegenerated:::date-unixtimestamp%.%timegenerated:::date-subseconds% %msg%\n")
*.* action(type="omfile" file="$work/timed" template="timed")
EOF
: >messages
: >timed

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
	: >timed
	run unshare -m ./inside "$@"
}

# want_message REGEX
want_message() {
	if grep -qE "$1" messages; then pass "message $1"; else
		fail "syslog has no $1"; head -n 20 messages | sed 's/^/    /'; fi
}

mkdir -p live/web01 backup/web01
numbers=(DS:1:GAUGE:8640:U:U DS:2:GAUGE:8640:U:U)
make_pair backup/web01/PING.rrd live/web01/PING.rrd "${numbers[@]}"
name=$'evil\n<0>fake[1]: merged\e[31m\xff.rrd'
make_pair "backup/$name" "live/$name" "${numbers[@]}"
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
want_message '^daemon\.notice rrdmergd\| ?unproven count=2 '  # which names either of the two
want_same "lines that merge it" "$(grep -cE '\| ?merged .*fake' messages)" 1
want_same "lines of anybody else" \
	"$(grep 'fake' messages | grep -vcE '^daemon\.(info|notice) rrdmergd\|')" 0
want_same "control characters" "$(LC_ALL=C grep -c '[[:cntrl:]]' messages)" 0

# -e says the same on stderr as well; facility is heeded.
conf 'facility = "local3";'
within "$rrdmergd" -f conf -e --once
want_message '^local3\.notice rrdmergd\| ?idle '
want_err '^rrdmergd: idle '

# ---- many files: few lines ----

# site OLD NEW COUNT PREFIX: a host for each 100 files; the last one has the rest.
site() {
	local old=$1 new=$2 count=$3 prefix=$4 i host

	mkdir -p backup live first/backup first/live
	for ((i = 0; i < 100; i++)); do
		cp "$old" first/backup/$i.rrd
		cp "$new" first/live/$i.rrd
	done
	for ((host = 0; host < count / 100; host++)); do
		cp -r first/backup backup/$prefix$host
		cp -r first/live live/$prefix$host
	done
	mkdir -p {backup,live}/$prefix$host
	for ((i = 0; i < count % 100; i++)); do
		cp "$old" backup/$prefix$host/$i.rrd
		cp "$new" live/$prefix$host/$i.rrd
	done
	rm -r first
}

# The number of lines, one per file, in the second that has the most, wherever that begins.  Their
# times are the kernel's, of when each was sent: however late they are read.
most_a_second() {
	grep -aE '^[0-9]+\.[0-9]+ +(merged cells|refused reason|partial|later|busy|failed)' timed |
		cut -d' ' -f1 | sort | awk -F. '{
			at[++n] = $1 * 1000000 + $2
			while (at[n] - at[first + 1] >= 1000000)
				first++
			if (n - first > most)
				most = n - first
		} END { print most + 0 }'
}

# sum_of WORD: over the lines that begin with "refused" or "omitted" and count what they stand for.
sum_of() {
	grep -aoE "\| ?$1=[0-9]+" messages | awk -F= '{ n += $2 } END { print n + 0 }'
}

want_bounded() {
	local most

	most=$(most_a_second)
	echo "# $1: at most $most lines a second"
	if [ "$most" -gt 0 ] && [ "$most" -lt 100 ]; then pass bounded; else
		fail "$1: $most per-file lines in one second"; fi
}

files=${FILES:-$(by_build 50000 10000)}
odd=$((files / 50 + 7))                 # refused
tiny='RRA:AVERAGE:0.5:1:60'
make_rrd one.rrd 0 40 DS:1:GAUGE:8640:U:U $tiny
make_rrd two.rrd 45 46 DS:1:GAUGE:8640:U:U $tiny
make_rrd counter.rrd 0 40 DS:1:COUNTER:8640:U:U $tiny
cp two.rrd want.rrd && "$rrdmerge" one.rrd want.rrd >/dev/null
want_merged one.rrd two.rrd want.rrd

rm -rf live backup
site one.rrd two.rrd "$files" host
site counter.rrd two.rrd "$odd" odd
conf
sleep 10.2
within "$rrdmergd" -f conf --once
want_rc 1
want_message "idle merged=$files unchanged=0 skipped=0 failed=$odd waiting=0 backup_needed=no\$"
want_bounded "$((files + odd)) files"
said=$(grep -c '| \?merged cells=' messages)
want_same "merged: said and left out" $((said + $(sum_of 'omitted lines'))) "$files"
named=$(grep -c '| \?refused reason=' messages)
want_same "refused: named and counted" $((named + $(sum_of 'refused count'))) "$odd"
echo "# merged: $said of $files named; refused: $named of $odd"
cmp -s want.rrd live/host0/7.rrd && pass merged || fail "the files are not merged"

# Where most is refused and all is over within a second, the end is not a flood of lines either.
rm -rf live backup
site one.rrd two.rrd 200 host
site counter.rrd two.rrd 2000 odd
conf
sleep 10.2
within "$rrdmergd" -f conf --once
want_rc 1
want_message 'idle merged=200 unchanged=0 skipped=0 failed=2000 waiting=0 backup_needed=no$'
want_bounded "2000 refusals"
named=$(grep -c '| \?refused reason=' messages)
want_same "named and counted" $((named + $(sum_of 'refused count'))) 2000
want_same "named twice" "$(grep -o '| \?refused reason=.*' messages | sort | uniq -d | wc -l)" 0
want_message 'refused count=[0-9]+ reason="data source 1: live is GAUGE and backup is COUNTER" file=odd[0-9]+/[0-9]+\.rrd$'

finish
