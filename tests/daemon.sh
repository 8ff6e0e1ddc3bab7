# Sourced by the system tests of the daemon (bash), after lib.sh.
#
# A daemon reads `conf` and writes to `log`, both in the current directory.  It is killed when the
# test ends, whichever way, and so are the processes in $others; then `tidy` is called, which a test
# may define anew, to unmount something.

rrdmergctl=$builddir/rrdmergctl
daemon=
others=()
user=$(id -un)          # of the configuration; empty: it names none
settings=()             # lines that each configuration has
socket=                 # by default `sock` in $work

tidy() {
	:
}

stop_all() {
	local rc=$? pid

	for pid in $daemon "${others[@]}"; do
		kill -9 "$pid" 2>/dev/null
	done
	tidy
	(exit $rc)
	leave
}
trap stop_all EXIT

# in_work PATH: from $work, if it is not absolute.
in_work() {
	case $1 in
	/*) echo "$1" ;;
	*) echo "$work/$1" ;;
	esac
}

# configure LIVE BACKUP[,BACKUP…] [LINE…]: writes conf.
configure() {
	local live list='' backup
	local -a backups

	live=$(in_work "$1")
	IFS=, read -ra backups <<<"$2"
	shift 2
	for backup in "${backups[@]}"; do
		list+="${list:+, }\"$(in_work "$backup")\""
	done
	{
		echo "live = \"$live\";"
		echo "backup = [ $list ];"
		echo "state_dir = \"$work/state\";"
		echo "socket = \"${socket:-$work/sock}\";"
		[ -z "$user" ] || echo "user = \"$user\";"
		[ $((${#settings[@]} + $#)) = 0 ] || printf '%s\n' "${settings[@]}" "$@"
	} >conf
}

# launch [COMMAND…]: the daemon, behind a command such as strace.
launch() {
	: >log                          # a test may empty it, too, for it is appended to
	"$@" "$rrdmergd" -f conf -e 2>>log &
	daemon=$!
}

# start_daemon [COMMAND…]: waits until it watches.
start_daemon() {
	launch "$@"
	if wait_for 'grep -q "^rrdmergd: watching live=" log' 20; then pass started; else
		fail "the daemon does not say that it watches"; show_log; fi
}

# end_daemon [SECONDS [PID]]: SIGTERM, and it ends well.  PID: where another process is between.
end_daemon() {
	local seconds=${1:-10} pid=$daemon

	kill -TERM "${2:-$pid}"
	if wait_for "! kill -0 $pid 2>/dev/null" "$seconds"; then pass ended; else
		fail "does not end on SIGTERM"; show_log; kill -9 "$pid"; fi
	daemon=
	wait "$pid"
	want_same "exit code after SIGTERM" $? 0
}

# can_trace: whether strace may trace; then $traced is what goes before a command, but for what
# is to be traced.  It writes to `trace`.  LeakSanitizer cannot look where another traces.
can_trace() {
	traced=()
	command -v strace >/dev/null && strace -f -qq -o /dev/null true 2>/dev/null || return
	traced=(env "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
		strace -f -qq -o trace)
}

# start_traced TRACE-OPTION…: $daemon is the one that is traced, $tracer its parent.
start_traced() {
	start_daemon "${traced[@]}" "$@"
	tracer=$daemon
	others+=("$tracer")
	daemon=$(pgrep -P "$tracer" | head -n 1)
}

ctl() {
	run "$rrdmergctl" -s sock "$@"
}

# ctl_waits REGEX ARGUMENT…: it says so, and goes on waiting.
ctl_waits() {
	local said=$1 waiting
	shift

	last="rrdmergctl $*"
	"$rrdmergctl" -s sock "$@" >out 2>err &
	waiting=$!
	wait_for "grep -qE -- '$said' err" 20
	want_err "$said"
	kill -TERM $waiting
	wait $waiting
	want_same "it waits until it is ended: $last" $? 143
}

# ---- what it has said ----

show_log() {
	grep -av '^rrdmergd: merged' log | tail -n 40 | cut -c1-300 | sed 's/^/    /'
}

# want_log REGEX [SECONDS]
want_log() {
	if wait_for "grep -qaE -- '$1' log" "${2:-20}"; then pass "log: $1"; else
		fail "the log has no $1"; show_log; fi
}

want_no_log() {
	if grep -qaE -- "$1" log; then fail "the log has $1"; show_log; else
		pass "the log lacks $1"; fi
}

# lines REGEX: how many match.
lines() {
	grep -caE -- "$1" log
}

# want_lines REGEX MOST [LEAST]: so many lines match, MOST without LEAST.
want_lines() {
	local n least=${3:-$2}

	n=$(lines "$1")
	if [ "$n" -le "$2" ] && [ "$n" -ge "$least" ]; then pass "$n lines $1"; else
		fail "$n lines, and not $least to $2, match $1"
		grep -aE -- "$1" log | head -n 10 | cut -c1-300 | sed 's/^/    /'
	fi
}

# wait_lines REGEX N [SECONDS]: until so many match.
wait_lines() {
	wait_for "[ \$(lines '$1') -ge $2 ]" "${3:-20}"
}

# want_idle REGEX [SECONDS]: the last idle line is to become one that matches.
want_idle() {
	if wait_for "grep -a '^rrdmergd: idle' log | tail -n 1 | grep -qE -- 'idle $1\$'" \
		"${2:-20}"; then
		pass "idle $1"
	else
		fail "does not become idle $1"
		show_log
		return 1
	fi
}
