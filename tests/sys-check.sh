# sys-check: check_rrdmergd as a Nagios runs it: its line, its exit status, its performance data, and
# the sample objects before a real nagios4 -v.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
plugin=$builddir/check_rrdmergd
need rrdtool
need_programs "$rrdmergd" "$rrdmergctl" "$plugin"
cd "$work" || exit 99

# check [ARGUMENT…]: as a Nagios does: through a shell, with hardly an environment.
check() {
	run env -i PATH=/usr/bin:/bin ASAN_OPTIONS="${ASAN_OPTIONS:-}" UBSAN_OPTIONS="${UBSAN_OPTIONS:-}" \
		TSAN_OPTIONS="${TSAN_OPTIONS:-}" sh -c "exec \"$plugin\" -s sock $*" <&-
}

# want STATUS REGEX: one line, which begins as it should, and nothing on stderr.
want() {
	local names=(OK WARNING CRITICAL UNKNOWN)

	want_rc "$1"
	want_silent_err
	want_same "lines: $last" "$(wc -l <out)" 1
	want_out "^RRDMERGD ${names[$1]} - $2"
}

# want_figures WARNING CRITICAL MERGED UNCHANGED WAITING REFUSED FAILED PENDING CELLS
want_figures() {
	want_same "performance data: $last" "$(sed 's/^[^|]*|//' out)" \
		"merged=$3;;;0; unchanged=$4;;;0; waiting=$5;;;0; refused=$6;$1;$2;0; failed=$7;;;0; pending=$8;;;0; cells=$9;;;0; watch_overflows=0;;;0; unwatched_dirs=0;;;0;"
}

# ---- the command line ----

for arguments in '-w x' '-w ""' '-w 5:1' '-w 1:2:3' '-c 0x10' '-c nan' '-c "1 2"' '-t 0' '-t -1' \
	'-t 99999999999' more; do
	check "$arguments"
	want 3 '[^|]*$'
done
check --frobnicate
want_rc 3
want_out '^RRDMERGD UNKNOWN - the command line is wrong'
check -h
want_rc 3
want_out '^usage: check_rrdmergd'
check -V
want_rc 3
want_out '^check_rrdmergd [0-9]'

# ---- no daemon ----

check
want 3 'rrdmergd is not running: nobody answers on the socket sock; .*systemctl start rrdmergd[^|]*$'

# ---- a daemon ----

mkdir -p live/h old/h
make_pair "$work/one.rrd" "$work/two.rrd"
cp one.rrd old/h/a.rrd
cp two.rrd live/h/a.rrd
cp one.rrd old/h/gone.rrd
make_rrd old/h/no.rrd 0 60 DS:one:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
make_rrd live/h/no.rrd 70 80 DS:two:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
mv live/h/no.rrd 'live/h/no|!.rrd'
mv old/h/no.rrd 'old/h/no|!.rrd'
touch -d '1 hour ago' old/h/*
configure live old 'ledger = false;'
start_daemon
wait_for 'grep -q "^rrdmergd: idle " log' 30 || { fail "never idle"; show_log; }
cells=$(sed -nE 's/^rrdmergd: merged cells=([0-9]+) .*/\1/p' log)
check
want 1 'idle, 1 merged, 0 unchanged, 1 refused; the backup is still needed\|'
want_figures 0 '' 1 0 1 1 1 0 "$cells"
check -w 1 -c 5
want 0 'idle, 1 merged'
want_figures 1 5 1 0 1 1 1 0 "$cells"
check -w 5 -c 0
want 2 'idle'
want_figures 5 0 1 0 1 1 1 0 "$cells"
# status of each range for the one file refused, as a warning
while read -r range status; do
	check -w "$range"
	want "$status" 'idle'
done <<-END
	0: 0
	1: 0
	2: 1
	~:0 1
	~:1 0
	0:0 1
	1:1 0
	@1 1
	@0:1 1
	@1:3 1
	@2:3 0
	@~:0 0
	0.5 1
	1e3 0
END
# The sample's command line, with a range that a shell would take for a home directory.
sample=$(sed -nE 's/^[[:space:]]*command_line[[:space:]]+//p' "$srcdir/etc/nagios-rrdmergd.cfg")
sample=${sample//\$USER1\$/$builddir} sample=${sample//\$ARG1\$/'~:5'} sample=${sample//\$ARG2\$/'~:7'}
run bash -c "$sample -s sock"             # as /bin/sh is on many a system
want 0 'idle, 1 merged'
want_figures '~:5' '~:7' 1 0 1 1 1 0 "$cells"
check -v
want_rc 1
want_same "lines with -v" "$(wc -l <out)" 2
want_out '^1 refused: no data source in common: .* file=h/no!!\.rrd$'

rm 'live/h/no|!.rrd'
wait_for "\"$plugin\" -s sock >said; grep -q 'OK - idle' said" 20
check
want 0 'idle, 1 merged, 0 unchanged; the backup is still needed\|'
ctl pause
want_rc 0
check
want 1 'paused, '
ctl resume
mv live elsewhere
wait_for "\"$plugin\" -s sock >said; grep -q 'CRITICAL' said" 20
check -w 100
want 2 'waiting for the live tree, '
mv elsewhere live
wait_for "\"$plugin\" -s sock >said; grep -q 'OK - idle' said" 20

# ---- what nothing is refused for, and is wrong all the same ----

end_daemon
mkdir nobody
cp -r old/h nobody/elsewhere
configure live nobody 'ledger = false;'
start_daemon
wait_for "\"$plugin\" -s sock >said; grep -q 'WARNING - idle' said" 20
check
want 1 'idle, 0 merged, 0 unchanged, not one live file has a counterpart; the backup is still needed\|'
end_daemon
configure live no_such_backup 'ledger = false;'
start_daemon
wait_for "\"$plugin\" -s sock >said; grep -q 'WARNING - idle' said" 20
check
want 1 'idle, .*, a backup is not there or cannot be read; the backup is still needed\|'
end_daemon
configure live old 'ledger = false;'
start_daemon
wait_for "\"$plugin\" -s sock >said; grep -q 'OK - idle' said" 20

# ---- who may not, and who waits ----

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 711 "$work"
	run setpriv --reuid=65534 --regid=65534 --clear-groups "$plugin" -s "$work/sock"
	want_rc 3
	want_out '^RRDMERGD UNKNOWN - .*[Pp]ermission'
	chmod 700 "$work"
fi
kill -STOP "$daemon"
check -t 1
want 3 '[^|]*$'
kill -CONT "$daemon"
wait_for "\"$plugin\" -s sock >said; grep -q 'OK - idle' said" 20
check
want 0 'idle'
end_daemon

# ---- a real Nagios reads the sample ----

nagios=$(command -v nagios4 || command -v nagios)
if [ -z "$nagios" ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
	# Of the package the program alone: it needs nothing but the C library.
	mkdir apt && (cd apt && apt-get -q download nagios4-core >/dev/null 2>&1 &&
		dpkg -x nagios4-core_*.deb .) && nagios=$work/apt/usr/sbin/nagios4
fi
if [ -n "$nagios" ]; then
	mkdir -p var/rw var/spool
	cat >objects.cfg <<-'END'
		define timeperiod {
		timeperiod_name 24x7
		alias always
		sunday 00:00-24:00
		}
		define command {
		command_name notify
		command_line /bin/true
		}
		define contact {
		contact_name admin
		service_notification_period 24x7
		host_notification_period 24x7
		service_notification_options w,c,u,r
		host_notification_options d,r
		service_notification_commands notify
		host_notification_commands notify
		}
		define contactgroup {
		contactgroup_name admins
		alias admins
		members admin
		}
		define host {
		host_name localhost
		alias localhost
		address 127.0.0.1
		check_command notify
		max_check_attempts 3
		check_period 24x7
		notification_period 24x7
		notification_interval 60
		contact_groups admins
		}
	END
	echo "\$USER1\$=$builddir" >resource.cfg
	cat >nagios.cfg <<-END
		log_file=$work/var/nagios.log
		cfg_file=$work/objects.cfg
		cfg_file=$srcdir/etc/nagios-rrdmergd.cfg
		resource_file=$work/resource.cfg
		object_cache_file=$work/var/objects.cache
		status_file=$work/var/status.dat
		command_file=$work/var/rw/nagios.cmd
		lock_file=$work/var/nagios.lock
		temp_file=$work/var/nagios.tmp
		temp_path=$work/var
		check_result_path=$work/var/spool
		nagios_user=$(id -un)
		nagios_group=$(id -gn)
	END
	run "$nagios" -v nagios.cfg
	want_rc 0
	want_out 'Checked 1 services\.'
	want_out 'Total Errors: +0'
	sed 's/check_rrdmergd!/check_no_such!/' "$srcdir/etc/nagios-rrdmergd.cfg" >wrong.cfg
	sed "s|$srcdir/etc/nagios-rrdmergd.cfg|$work/wrong.cfg|" nagios.cfg >wrong-nagios.cfg
	run "$nagios" -v wrong-nagios.cfg
	want_rc 1
else
	echo "not tried: there is no nagios4, and its package cannot be had"
fi

finish
