#!/bin/bash
# make bench: a pnp4nagios site merged by rrdmerge, against cp -r and against what one would do
# with rrdtool's own means.  Prints the tables of docs/benchmarks.md.
#
#   BENCH_FILES   files in a tree (400)        BENCH_RUNS    rounds (9)
#   BENCH_SAMPLE  files for dump/restore (20)  BENCH_DIR     where the trees go (TMPDIR)
#
# In each round every method runs once, in another order each time, on a fresh live tree that is
# copied, synced and read outside the timing.  So what drifts, drifts for all of them.
set -u
export LC_ALL=C

top_builddir=${top_builddir:-.}
rrdmerge=$top_builddir/rrdmerge
sitegen=$top_builddir/tests/sitegen
judge=$top_builddir/tests/judge
files=${BENCH_FILES:-400}
runs=${BENCH_RUNS:-9}
sample=${BENCH_SAMPLE:-20}

die() {
	echo "bench: $*" >&2
	exit 1
}

for program in "$rrdmerge" "$sitegen" "$judge"; do
	[ -x "$program" ] || die "$program is missing: make check_PROGRAMS first"
done
command -v rrdtool >/dev/null || die "rrdtool is not installed"

dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bench.XXXXXX") || exit 1
trap 'exit 130' INT TERM
trap 'rm -rf "$dir"' EXIT

# ---- the methods: each is given the backup and the live tree ----

run_new() { cp -r "$dir/backup" "$dir/new"; }
run_cp() { cp -r "$dir/backup/." "$dir/live/"; }
run_j1() { "$rrdmerge" -j1 "$dir/backup" "$dir/live" >"$dir/out"; }
run_j2() { "$rrdmerge" -j2 "$dir/backup" "$dir/live" >"$dir/out"; }
run_create() { rrdtool - <"$dir/commands" >"$dir/create.out"; }

merge_text() {	# BACKUP.xml LIVE.xml: live's rows, the unknown ones from the backup where it knows
	perl -e '
		my (%old, $rra, $cf);
		for my $file (0, 1) {
			open(my $in, "<", $ARGV[$file]) or die;
			while (<$in>) {
				$cf = $1 if m{<cf>(.*?)</cf>};
				$rra = "$cf/$1" if m{<pdp_per_row>(\d+)};
				if (m{ / (\d+) --> <row>(.*)</row>}) {
					my ($t, $row) = ($1, $2);
					if ($file == 0) { $old{"$rra/$t"} = $row; next; }
					if ($row =~ /NaN/ && defined(my $o = $old{"$rra/$t"})) {
						my @o = $o =~ m{<v>(.*?)</v>}g;
						s{<v>(.*?)</v>}{my $v = shift @o; $1 eq "NaN" ? "<v>$v</v>" : "<v>$1</v>"}ge;
					}
				}
				print if $file == 1;
			}
		}' "$1" "$2"
}

run_dump() {
	local file
	while read -r file; do
		rrdtool dump "$dir/backup/$file" >"$dir/b.xml" &&
			rrdtool dump "$dir/live/$file" >"$dir/l.xml" &&
			merge_text "$dir/b.xml" "$dir/l.xml" >"$dir/m.xml" &&
			rrdtool restore -f "$dir/m.xml" "$dir/live/$file" || return 1
	done <"$dir/sample"
}

# ---- measuring ----

fresh() {
	rm -rf "$dir/live" "$dir/new"
	cp -r "$dir/pristine" "$dir/live"
	sync
	find "$dir/backup" "$dir/live" -type f -exec cat {} + >/dev/null
}

measure() {	# METHOD: appends its seconds to METHOD.times
	local begun ended
	fresh
	begun=$EPOCHREALTIME
	"run_$1" || die "$1 failed"
	ended=$EPOCHREALTIME
	awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.4f\n", b - a }' >>"$dir/$1.times"
	case $1 in
	create) ! grep -q ERROR "$dir/create.out" || die "$(grep -m 1 ERROR "$dir/create.out")" ;;
	j?) grep -q "^$files merged, 0 unchanged, 0 skipped, 0 failed; " "$dir/out" ||
		die "$1: $(tail -n 1 "$dir/out")" ;;
	esac
}

quantile() {	# FILE SHARE
	sort -n "$1" | awk -v q="$2" '{ v[NR] = $1 } END {
		i = int(q * NR + 0.999999); if (i < 1) i = 1; print v[i] }'
}

# the median over the rounds of this method's time divided by cp's in the same round
ratio() {
	paste "$dir/$1.times" "$dir/cp.times" | awk -v s="${2:-1}" '{ print $1 * s / $2 }' \
		>"$dir/ratio"
	quantile "$dir/ratio" 0.5
}

row() {	# METHOD LABEL FILES
	local t n=${3:-$files} r
	t=$(quantile "$dir/$1.times" 0.5)
	r=$(ratio "$1" "$(awk -v a="$files" -v b="$n" 'BEGIN { print a / b }')")
	awk -v label="$2" -v t="$t" -v n="$n" -v size="$size" -v r="$r" \
		-v min="$(quantile "$dir/$1.times" 0)" -v max="$(quantile "$dir/$1.times" 1)" 'BEGIN {
		printf "| %s | %d | %.3f (%.3f to %.3f) | %.0f | %.0f | %.2f |\n",
			label, n, t, min, max, n / t, n * size / t / 1e6, r }'
}

hold() {	# JOBS: the longest hold of each file, microseconds
	fresh
	"$rrdmerge" -v "-j$1" "$dir/backup" "$dir/live" |
		sed -n 's/.*hold_us=\([0-9.]*\).*/\1/p' >>"$dir/hold$1"
}

hold_row() {
	[ -s "$dir/hold$1" ] || return
	printf '| %s | %s | %s | %s | %s |\n' "-j$1" "$(wc -l <"$dir/hold$1")" \
		"$(quantile "$dir/hold$1" 0.5)" "$(quantile "$dir/hold$1" 0.99)" \
		"$(quantile "$dir/hold$1" 1)"
}

# ---- the site ----

"$sitegen" pnp "$dir/backup" --files "$files" --ds 2 --end 1700000000 --days 1470 || exit 1
"$sitegen" pnp "$dir/pristine" --files "$files" --ds 2 --end 1700010000 --days 0.04 || exit 1
(cd "$dir/backup" && find . -name '*.rrd' | sort) >"$dir/list"
head -n "$sample" "$dir/list" >"$dir/sample"
sample=$(wc -l <"$dir/sample")
size=$(stat -c %s "$dir/backup/$(head -n 1 "$dir/list")")
while read -r file; do
	echo "create $dir/live/$file --template $dir/live/$file" \
		"--source $dir/live/$file --source $dir/backup/$file"
done <"$dir/list" >"$dir/commands"

# What is measured must also be right: the copies here; what is made of other rows has judges of its
# own (tests/paused.c, tests/reshape.c).
fresh
"$rrdmerge" --exact -j2 "$dir/backup" "$dir/live" >"$dir/out" || die "rrdmerge failed"
while read -r file; do
	"$judge" --pair "$dir/pristine/$file" "$dir/backup/$file" "$dir/live/$file" >"$dir/judged" ||
		die "$file is not as it must be: $(cat "$dir/judged")"
done <"$dir/sample"

methods=(cp new j1 j2 create dump)
for ((round = 0; round < runs; round++)); do
	for ((i = 0; i < ${#methods[@]}; i++)); do
		method=${methods[(i + round) % ${#methods[@]}]}
		measure "$method"
	done
	hold 1
	hold 2
	[ -t 2 ] && echo "round $((round + 1)) of $runs" >&2
done

cat <<END
$(date -u +%Y-%m-%d); $(nproc) cores ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed 1q)),
Linux $(uname -r), $(df --output=fstype "$dir" | tail -n 1), rrdtool $(rrdtool --version |
	sed -n '1s/^RRDtool \([^ ]*\).*/\1/p'); $files files of $size bytes, $runs rounds, warm cache.

| method | files | seconds, median (min to max) | files/s | MB/s of backup | times cp -r |
|---|---|---|---|---|---|
$(row cp 'cp -r of the backup over the live tree')
$(row new 'cp -r of the backup into a new directory')
$(row j1 'rrdmerge -j1')
$(row j2 'rrdmerge -j2')
$(row create 'rrdtool create --template --source --source, one process')
$(row dump 'rrdtool dump, merge the text, restore' "$sample")

The longest hold of each file (lease and lock), microseconds:

| | files | median | 99 % | longest |
|---|---|---|---|---|
$(hold_row 1)
$(hold_row 2)
END
