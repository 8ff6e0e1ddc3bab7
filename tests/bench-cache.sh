#!/bin/bash
# make bench-cache: what a merge of a cold backup pushes out of the page cache.  Run it under a limit
# on memory (docs/benchmarks.md): by default one that holds the live tree, but not the backup as well.
#
#   BENCH_FILES  files in the backup (800)     BENCH_RUNS  rounds (3)
#   BENCH_HOT    live files that are done (200)
#   BENCH_DIR    where the trees go (TMPDIR); no tmpfs
#
# rrdtool updates the files that are done, one after the other, once a second.  What of them was in
# the page cache before is counted while others are merged.
set -u
export LC_ALL=C TZ=UTC
files=${BENCH_FILES:-800}
hot=${BENCH_HOT:-200}
runs=${BENCH_RUNS:-3}
top_builddir=${top_builddir:-.}
sitegen=$top_builddir/tests/sitegen

die() {
	echo "bench-cache: $*" >&2
	exit 1
}

for program in "$top_builddir/rrdmerge" "$top_builddir/rrdmergd" "$sitegen"; do
	[ -x "$program" ] || die "$program is missing"
done
for program in rrdtool fincore dd; do
	command -v $program >/dev/null || die "$program is not installed"
done
dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bench.XXXXXX") || exit 1
updater=
finish() {
	[ -z "$updater" ] || { kill "$updater" && wait "$updater"; } 2>/dev/null
	rm -rf "$dir"
}
trap 'exit 130' INT TERM
trap finish EXIT

cool() {
	sync
	find "$@" -name '*.rrd' -exec dd if={} iflag=nocache count=0 status=none \;
}

cached() {	# DIR: pages
	find "$1" -name '*.rrd' -exec fincore --raw --noheadings --output PAGES {} + |
		awk '{ n += $1 } END { print n + 0 }'
}

update() {	# until it is killed
	local at=1700010060 began rrd

	coproc rrd { exec rrdtool -; }
	trap 'kill $rrd_PID; exit' TERM
	for ((;; at += 60)); do
		began=${EPOCHREALTIME/./}
		sed "s|.*|update & $at:1:2|" "$dir/hot" >&"${rrd[1]}"
		for ((i = 0; i < hot; i++)); do read -r _ <&"${rrd[0]}"; done
		while [ $((${EPOCHREALTIME/./} - began)) -lt 1000000 ]; do sleep 0.02; done
	done
}

run_nothing() { sleep 2; }
run_rrdmerge() { "$top_builddir/rrdmerge" -j2 "$dir/backup" "$dir/live" >"$dir/out" 2>&1; }
run_rrdmergd() {
	rm -rf "$dir/state"
	printf 'live = "%s";\nbackup = "%s";\nuser = "%s";\nstate_dir = "%s";\nsocket = "%s";\n' \
		"$dir/live" "$dir/backup" "$(id -un)" "$dir/state" "$dir/state/control.sock" \
		>"$dir/conf"
	"$top_builddir/rrdmergd" --once -e -f "$dir/conf" >"$dir/out" 2>&1
}

measure() {	# METHOD
	local begun ended before job

	rm -rf "$dir/live"
	cp -r "$dir/pristine" "$dir/live"
	cp -r "$dir/done" "$dir/live/done"
	find "$dir/live/done" -name '*.rrd' >"$dir/hot"
	cool "$dir/live" "$dir/backup"
	update &
	updater=$!
	sleep 5
	before=-1
	until [ "$before" = "$(cached "$dir/live/done")" ]; do
		before=$(cached "$dir/live/done")
		sleep 1
	done
	begun=$EPOCHREALTIME
	"run_$1" &
	job=$!
	: >"$dir/seen"
	while kill -0 $job 2>/dev/null; do
		cached "$dir/live/done" >>"$dir/seen"
		sleep 0.05
	done
	wait $job || die "$1 failed: $(tail -n 3 "$dir/out")"
	ended=$EPOCHREALTIME
	kill $updater && wait $updater 2>/dev/null
	updater=
	awk -v a="$begun" -v b="$ended" -v before="$before" -v backup="$(cached "$dir/backup")" '
		NR == 1 || $1 < least { least = $1 }
		{ sum += $1 }
		END { print b - a, 100 * least / before, 100 * sum / NR / before, backup * 4096 / 1e6 }
		' "$dir/seen" >>"$dir/$1.figures"
}

median() {	# METHOD COLUMN
	cut -d' ' -f"$2" "$dir/$1.figures" | sort -n | awk '{ v[NR] = $1 } END {
		printf "%.*f", v[NR] < 10 ? 1 : 0, v[int((NR + 1) / 2)] }'
}

"$sitegen" pnp "$dir/backup" --files "$files" --ds 2 --end 1700000000 --days 1470 || exit 1
"$sitegen" pnp "$dir/pristine" --files "$files" --ds 2 --end 1700010000 --days 0.04 || exit 1
"$sitegen" pnp "$dir/done" --files "$hot" --ds 2 --end 1700010000 --days 0.04 || exit 1
methods=(nothing rrdmerge rrdmergd)
for ((round = 0; round < runs; round++)); do
	for ((i = 0; i < ${#methods[@]}; i++)); do
		measure "${methods[(i + round) % ${#methods[@]}]}"
	done
done

echo "| beside the updates, with $(du -sm "$dir/backup" | cut -f1) MB of backup | seconds | updated pages" \
	"still in memory: least, mean | of the backup in memory at the end |"
echo "|---|---|---|---|"
for method in "${methods[@]}"; do
	case $method in
	rrdmerge) name='rrdmerge -j2' ;;
	rrdmergd) name='rrdmergd --once, with the ledger' ;;
	*) name=$method ;;
	esac
	echo "| $name | $(median $method 1) | $(median $method 2) %, $(median $method 3) %" \
		"| $(median $method 4) MB |"
done
