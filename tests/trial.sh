# Sourced by sys-paused.sh and sys-reshape.sh (bash), after lib.sh.

# trial JUDGE: runs tests/JUDGE over the built programs, less long where a sanitizer watches them.
trial() {
	local judge=$builddir/tests/$1 status

	[ -x "$judge" ] || skip_all "tests/$1 is not built: configured without librrd"
	need_programs "$rrdmerge" "$rrdmergd"
	TMPDIR=$work CASES=${CASES:-$(by_build 300 60)} "$judge" "$rrdmerge" "$rrdmergd"
	status=$?
	[ "$status" -lt 2 ] || fail "the judge itself could not go on"
	want_same "tests/$1 finds all as it must be" "$status" 0
	finish
}
