#!/bin/bash
# Updates through librrd without a pause while the same files are merged again and again: none may
# fail, no value may be lost.  HAMMER_SECONDS makes it last longer, SEED repeats a run.
set -u

top_builddir=${top_builddir:-.}
if [ ! -x "$top_builddir/tests/hammer" ]; then
	echo "tests/hammer is not built: configured without librrd"
	exit 77
fi

dir=$(mktemp -d) || exit 2
trap 'exit 130' INT TERM
trap 'rm -rf "$dir"' EXIT

seconds=${HAMMER_SECONDS:-16}

hammer() {
	"$top_builddir/tests/hammer" --dir "$dir" "$@"
	status=$?
	if [ "$status" -ne 0 ]; then
		# keep what a failure leaves behind
		[ "$status" -eq 77 ] || trap - EXIT
		exit "$status"
	fi
}

echo "# one file, then several"
hammer --seconds "$((seconds / 2))" --files 1 "$top_builddir/rrdmerge"
hammer --seconds "$((seconds / 2))" --files 4 "$top_builddir/rrdmerge"

# Not asserted: what the same updater meets where a lock is all that a merger holds.
echo "# for comparison"
hammer --seconds 2 --files 4 --control
exit 0
