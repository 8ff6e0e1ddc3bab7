# Sourced by the tests of crashes and faults, after lib.sh.

faults=$builddir/tests/faults.so

# with_faults NAME=VALUE… COMMAND…: the command with tests/faults.so preloaded (faults.c has the
# names).
with_faults() {
	local -a set=()

	while [[ $1 == FAULT_*=* ]]; do
		set+=("$1")
		shift
	done
	env LD_PRELOAD="$faults" "${set[@]}" "$@"
}

# start_with_faults NAME=VALUE… COMMAND…: the same in the background; $! is the command's own.
start_with_faults() {
	local -a set=()

	while [[ $1 == FAULT_*=* ]]; do
		set+=("$1")
		shift
	done
	env LD_PRELOAD="$faults" "${set[@]}" "$@" &
}

# A sanitizer wants to be loaded first, or catches the calls before anybody else.
need_faults() {
	[ -e "$faults" ] || skip_all "tests/faults.so is not built: configured without librrd"
	make_rrd "$work/probe.old" 0 10 && make_rrd "$work/probe.new" 12 20 || exit 99
	with_faults FAULT_TRACE="$work/probe" "$rrdmerge" "$work/probe.old" "$work/probe.new" \
		>"$work/out" 2>"$work/err"
	grep -q ' pwrite .*probe\.new$' "$work/probe" 2>/dev/null ||
		skip_all "a preloaded library does not see the calls of a sanitizer's build"
	rm -f "$work"/probe*
}
