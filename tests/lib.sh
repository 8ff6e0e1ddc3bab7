# Sourced by the system tests (bash).
#
# A test makes its files beneath $work (removed at its end), says what held with `pass` and what
# did not with `fail`, and ends with `finish`.  A test that cannot run calls `skip_all REASON`.
#
# The programs are those of the build directory: make check sets builddir_abs and top_srcdir;
# by hand, they are looked for at the top of the sources, or in $builddir_abs.

set -u
export LC_ALL=C TZ=UTC
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
srcdir=$(cd "${top_srcdir:-$here/..}" && pwd)
builddir=${builddir_abs:-$srcdir}
rrdmerge=$builddir/rrdmerge
rrdmergd=$builddir/rrdmergd
testdata=$here/data

# A round time in the past: a multiple of a day.  All files of the tests begin somewhere here.
T0=1699920000

failures=0
checks=0
finished=
work=$(mktemp -d "${TMPDIR:-/tmp}/rrdmerge-test.XXXXXX") || exit 99

leave() {
	local rc=$?

	# Descriptors and processes that a test left are its own bug; the files go in any case.
	# What a test has left mounted is not gone into.
	find "$work" -xdev -type d ! -perm -700 -exec chmod u+rwx {} \; 2>/dev/null
	rm -rf --one-file-system "$work"
	if [ -z "$finished" ] && [ "$rc" = 0 ]; then
		echo "FAIL: the test ended before its end"
		exit 1
	fi
	exit "$rc"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

skip_all() {
	echo "SKIP: $*"
	finished=1
	exit 77
}

pass() {
	checks=$((checks + 1))
	[ -z "${VERBOSE:-}" ] || echo "ok: $*"
}

fail() {
	checks=$((checks + 1))
	failures=$((failures + 1))
	echo "FAIL (line ${BASH_LINENO[-2]}): $*"
}

finish() {
	finished=1
	echo "$checks checks, $failures failed"
	[ "$failures" = 0 ]
	exit
}

need() {
	local what

	for what; do
		command -v "$what" >/dev/null || skip_all "$what is not installed"
	done
}

need_programs() {
	local what

	for what; do
		[ -x "$what" ] || { echo "FAIL: $what is not built"; exit 1; }
	done
}

# by_build PLAIN SANITIZED: how many of what is random or of what there are many; where a sanitizer
# watches the programs, each costs several times as much, and the plain build has seen them all.
by_build() {
	if grep -qE '__(asan|tsan|ubsan)_' "$rrdmerge"; then echo "$2"; else echo "$1"; fi
}

# ---- running a program and judging what it did ----

rc=0
last='(none yet)'
: >"$work/out"
: >"$work/err"

# run COMMAND…: afterwards $rc is its exit code, $work/out and $work/err what it wrote.
run() {
	last="$*"
	"$@" >"$work/out" 2>"$work/err" </dev/null
	rc=$?
}

show_last() {
	echo "    command: $last"
	echo "    exit code: $rc"
	sed 's/^/    out: /' "$work/out" | head -20
	sed 's/^/    err: /' "$work/err" | head -20
}

want_rc() {
	if [ "$rc" = "$1" ]; then pass "exit code $1"; else
		fail "exit code $rc and not $1"; show_last; fi
}

# want_out REGEX, want_err REGEX: some line matches (extended regular expression).
want_out() {
	if grep -aqE -- "$1" "$work/out"; then pass "stdout: $1"; else
		fail "no line on stdout matches $1"; show_last; fi
}

want_err() {
	if grep -aqE -- "$1" "$work/err"; then pass "stderr: $1"; else
		fail "no line on stderr matches $1"; show_last; fi
}

want_no_out() {
	if grep -aqE -- "$1" "$work/out"; then
		fail "a line on stdout matches $1"; show_last; else pass "stdout lacks $1"; fi
}

want_no_err() {
	if grep -aqE -- "$1" "$work/err"; then
		fail "a line on stderr matches $1"; show_last; else pass "stderr lacks $1"; fi
}

want_silent_err() {
	if [ -s "$work/err" ]; then fail "stderr is not empty"; show_last; else pass "no stderr"; fi
}

# want_same WHAT A B: two strings are equal.
want_same() {
	if [ "$2" = "$3" ]; then pass "$1"; else
		fail "$1"; echo "    one: $2" | head -5; echo "    two: $3" | head -5; fi
}

want_differ() {
	if [ "$2" != "$3" ]; then pass "$1"; else fail "$1: both are $2"; fi
}

# same_file WHAT A B: byte for byte.
same_file() {
	if cmp -s "$2" "$3"; then pass "$1"; else
		fail "$1: $(cmp -l "$2" "$3" 2>&1 | wc -l) bytes differ"; show_last; fi
}

summary_regex='^[0-9]+ merged, [0-9]+ unchanged, [0-9]+ skipped, [0-9]+ failed; '
summary_regex+='[0-9]+ cells filled in [0-9]+\.[0-9]{2} s$'

# want_summary MERGED UNCHANGED SKIPPED FAILED [CELLS]: the last line on stdout says so.
want_summary() {
	local line

	line=$(tail -n 1 "$work/out")
	if ! grep -qE "$summary_regex" <<<"$line"; then
		fail "the last line is no summary: $line"
		show_last
	elif [[ $line != "$1 merged, $2 unchanged, $3 skipped, $4 failed; ${5:-}"* ]] ||
	     { [ -n "${5:-}" ] && [[ $line != *"; $5 cells filled in "* ]]; }; then
		fail "the summary is not $*: $line"
		show_last
	else
		pass "summary $*"
	fi
}

# wait_for CONDITION SECONDS: evaluates CONDITION until it holds; 1 when the time is over.
wait_for() {
	local until=$((SECONDS + $2 + 1))

	until eval "$1"; do
		[ "$SECONDS" -lt "$until" ] || return 1
		sleep 0.05
	done
}

# ---- trees ----

# What a tree holds: names and contents.
tree_sum() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum -z | sha256sum)
}

# The same with kind, inode, owner, mode, links and times of everything.
tree_state() {
	(cd "$1" && find . -printf '%p %y %i %u:%g %m %n %s %T@ %l\0' | sort -z | sha256sum)
	tree_sum "$1"
}

file_sum() {
	sha256sum <"$1"
}

# ---- databases ----

# default_rras N: RRAs at 1, 5 and 30 steps, N rows of the first.
default_rras() {
	local n=$1

	echo "RRA:AVERAGE:0.5:1:$n RRA:AVERAGE:0.5:5:$n RRA:MAX:0.5:5:$n RRA:MIN:0.5:30:$n" \
	     "RRA:LAST:0.5:30:$n"
}

# make_rrd FILE FROM TO [DS… RRA…]: created at T0 + FROM minutes with a step of 60 s, updated
# every minute until T0 + TO minutes.  The value of DS number i at minute m is a function of both
# alone, so that two files agree where they overlap.  Without DS: two gauges called 1 and 2.
make_rrd() {
	local file=$1 from=$2 to=$3 ds=0 arg m i value
	local -a create updates=()
	shift 3

	create=("$@")
	[[ " $* " == *" DS:"* ]] || create+=(DS:in:GAUGE:8640:U:U DS:out:GAUGE:8640:U:U)
	[[ " $* " == *" RRA:"* ]] || create+=($(default_rras 300))
	for arg in "${create[@]}"; do
		[[ $arg != DS:* || $arg == *:COMPUTE:* ]] || ds=$((ds + 1))
	done
	for ((m = from + 1; m <= to; m++)); do
		value=$((T0 + 60 * m))
		for ((i = 1; i <= ds; i++)); do
			value+=:$((i * 1000 + m * 7 % 101))
		done
		updates+=("$value")
	done
	rrdtool create "$file" --start $((T0 + 60 * from)) --step 60 "${create[@]}" || return
	[ ${#updates[@]} = 0 ] || rrdtool update "$file" "${updates[@]}"
}

# make_pair DIR/OLD DIR/NEW [DS… RRA…]: a backup of three hours, and the live file that began ten
# minutes after its end and has run for an hour.
make_pair() {
	make_rrd "$1" 0 180 "${@:3}" && make_rrd "$2" 190 250 "${@:3}"
}

# How many known cells a file holds, over all RRAs.
known() {
	rrdtool dump "$1" | grep -o '<v>[^<]*</v>' | grep -vc NaN
}

last_update() {
	rrdtool last "$1"
}

# merge_judge OLD BEFORE AFTER: AFTER, once BEFORE, holds what a merge of OLD into it should, and
# nothing else.  Says what does not hold; prints the number of cells filled.  Works on rrdtool's
# own dumps: rows by time, data sources by name, archives by function and resolution.
merge_judge() {
	rrdtool dump "$1" >"$work/judge.old" && rrdtool dump "$2" >"$work/judge.before" &&
	rrdtool dump "$3" >"$work/judge.after" || return 1
	perl -e '
		sub load {
			my ($file) = @_;
			my (%cell, @ds, $step, $cf, $pdp, $rra, $rest);
			open(my $in, "<", $file) or die "$file: $!";
			while (<$in>) {
				$step = $1 if m{<step>(\d+)</step>};
				$rra++ if m{<rra>};
				push @ds, $1 if !$rra && m{<name>\s*(\S+)\s*</name>};
				$cf = $1 if m{<cf>\s*(\S+)\s*</cf>};
				$pdp = $1 if m{<pdp_per_row>(\d+)};
				if (m{/ (\d+) --> <row>(.*)</row>}) {
					my ($time, $row) = ($1, $2);
					my @v = $row =~ m{<v>([^<]*)</v>}g;
					$cell{join " ", $rra, $cf, $pdp * $step, $time, $ds[$_]} = $v[$_]
						for 0 .. $#v;
				} else {
					s{<!--.*-->}{};
					$rest .= $_;
				}
			}
			return (\%cell, $rest);
		}
		my ($source) = load($ARGV[0]);
		my %old;        # the first known value, whichever archive of its kind holds it
		for (sort keys %$source) {
			my $key = s/^\d+ //r;
			$old{$key} = $source->{$_} if $source->{$_} !~ /nan/i && !exists $old{$key};
		}
		my ($before, $head) = load($ARGV[1]);
		my ($after, $head_after) = load($ARGV[2]);
		my ($filled, $wrong) = (0, 0);
		$wrong++, print STDERR "    something else than rows has changed\n"
			if $head ne $head_after;
		$wrong++, print STDERR "    rows have appeared or gone\n"
			if keys %$before != keys %$after;
		for (sort keys %$before) {
			my $want = $before->{$_};
			my $key = s/^\d+ //r;
			if ($want =~ /nan/i && exists $old{$key} && $key !~ /^(DEV)?SEASONAL/) {
				$want = $old{$key};
				$filled++;
			}
			next if defined $after->{$_} && $after->{$_} eq $want;
			print STDERR "    $_: $after->{$_} and not $want\n" if $wrong++ < 5;
		}
		print "$filled\n";
		exit($wrong ? 1 : 0);
	' "$work/judge.old" "$work/judge.before" "$work/judge.after"
}

# want_merged OLD BEFORE AFTER: the judge agrees, and something was filled.  $filled: how many.
want_merged() {
	if filled=$(merge_judge "$@") && [ "$filled" -gt 0 ]; then pass "merged: $3"; else
		fail "$3 is not the merge of $1 into $2 (${filled:-?} cells)"; show_last; fi
}

# A user other than root whom root can become; prints nothing where there is none.
other_user() {
	[ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && id -u nobody >/dev/null 2>&1 &&
	setpriv --reuid=nobody --clear-groups true 2>/dev/null && echo nobody
}

as_nobody() {
	setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"
}
