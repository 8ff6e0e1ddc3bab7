# rrdmerge's options, and its progress bar: on a terminal, and nowhere else.

. "$(dirname "$0")/lib.sh"
need rrdtool perl
need_programs "$rrdmerge"
cd "$work" || exit 99

make_pair base-old.rrd base-new.rrd || exit 99

site() {        # site N: two trees of N files
	local first

	rm -rf old new
	mkdir old new
	for ((first = 1; first <= $1; first += 100)); do
		local -a names=($(seq $first $((first + 99 < $1 ? first + 99 : $1))))
		names=("${names[@]/%/.rrd}")
		tee -- "${names[@]/#/old/}" <base-old.rrd >/dev/null
		tee -- "${names[@]/#/new/}" <base-new.rrd >/dev/null
	done
}

usage() {       # usage REGEX ARGS…
	local regex=$1
	shift

	run "$rrdmerge" "$@"
	want_rc 2
	want_err "$regex"
	want_no_out .
}

# ---- --help and --version ----

for option in -h --help; do
	run "$rrdmerge" $option
	want_rc 0
	want_silent_err
	want_out 'OLD'
	want_out 'NEW'
	for name in -n --dry-run -v --verbose -j --jobs --json -h --help -V --version; do
		want_out "(^|[ ,])$name([ ,=]|\$)"
	done
	if [ "$(awk 'length > 80' out | wc -l)" = 0 ]; then pass "80 columns"; else
		fail "a line of $option is longer than 80 columns"; show_last; fi
done
for option in -V --version; do
	run "$rrdmerge" $option
	want_rc 0
	want_silent_err
	want_out '^rrdmerge .*[0-9]+\.[0-9]+'
	# The version is that of the package where we can see it.
	if [ -f "$builddir/config.h" ]; then
		version=$(sed -n 's/^#define PACKAGE_VERSION "\(.*\)"/\1/p' "$builddir/config.h")
		want_out "(^| )${version//./\\.}( |\$)"
	fi
done
# They win over whatever else stands there, and nothing is done.
site 1
sum=$(tree_sum new)
run "$rrdmerge" old new --help
want_rc 0
run "$rrdmerge" -V old new
want_rc 0
want_same "nothing was merged" "$sum" "$(tree_sum new)"
# Output that cannot be written is not taken for written.
if [ -c /dev/full ]; then
	"$rrdmerge" --help >/dev/full 2>err
	want_differ "--help to a full disk" "$?" 0
	"$rrdmerge" -n old new >/dev/full 2>err
	want_differ "the summary to a full disk" "$?" 0
fi

# ---- unknown options ----

usage "rrdmerge: .*--frobnicate" --frobnicate old new
usage "rrdmerge: .*(-- )?'?x'?" -x old new
usage "rrdmerge: .*--json" --json=1 old new
usage "rrdmerge: .*--dry" --dry-run=yes old new
usage '(--help|[Uu]sage)' --frobnicate
want_same "nothing was merged" "$sum" "$(tree_sum new)"

# ---- -j ----

for jobs in 0 65 -1 +1x abc '' ' ' 1x 1.5 0x10 99999999999999999999 4294967297; do
	usage "rrdmerge: .*(-j|jobs)" -j "$jobs" old new
	want_err '64'
	usage "rrdmerge: .*(-j|jobs)" --jobs="$jobs" old new
done
usage "rrdmerge: .*(-j|'j'|jobs)" old new -j
usage "rrdmerge: .*jobs" old new --jobs
want_same "nothing was merged" "$sum" "$(tree_sum new)"
for jobs in '-j 1' '-j1' '-j 64' '-j 4' '--jobs 2' '--jobs=64' '-vj2' '-nj3'; do
	site 3
	run "$rrdmerge" $jobs old new
	want_rc 0
	want_silent_err
	want_summary 3 0 0 0
done
site 3
run "$rrdmerge" old new -j 2 -v         # options behind the arguments
want_rc 0
want_summary 3 0 0 0
want_same "-v counts" "$(grep -c '^merged cells=' out)" 3

# The last line is the last also where the lines of a file come from several threads.
site 200
run "$rrdmerge" -v -j 8 old new
want_rc 0
want_summary 200 0 0 0
want_same "200 lines and the summary" "$(wc -l <out)" 201
want_same "each file once" "$(sed -n 's/^merged .* file=//p' out | sort -u | wc -l)" 200
line='^merged cells=[0-9]+ seam=[0-9]+ from=[^ ]+ to=[^ ]+ ms=[^ ]+ hold_us=[^ ]+ source=1 '
line+='([a-z]+=[0-9]+ )*file=[0-9]+\.rrd$'
want_same "no line is broken" "$(grep -vcE "$line" out)" 1

# ---- the progress bar ----

# No terminal: nothing on stderr, nor anything but lines on stdout.
site 300
run "$rrdmerge" old new
want_rc 0
want_silent_err
want_no_out $'\r'

if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	columns=80
	# on_terminal FILE COMMAND: what COMMAND writes to the terminal goes to FILE.
	on_terminal() {
		script -qefc "stty cols $columns; timeout 100 $2" /dev/null >"$1" 2>&1 </dev/null
	}
	states() {      # what stood on the terminal's line, one state after the other
		tr '\r' '\n' <terminal | sed 's/\x1b\[[0-9;?]*[A-Za-z]//g'
	}
	# held COMMAND: the same with a live file held open until a bar is seen; so there is
	# one, however fast the rest goes.
	held() {
		local job

		exec 9<new/1.rrd
		: >terminal
		on_terminal terminal "$1" 9<&- &
		job=$!
		wait_for "states | grep -aqE '[0-9] ?%'" 60 || fail "no bar on a terminal: $1"
		exec 9<&-
		wait $job
		rc=$? last="$1"
		: >err
	}

	# stderr is the terminal, stdout a file.
	site 200
	held "'$rrdmerge' -j 1 old new >out"
	want_rc 0
	want_summary 200 0 0 0
	want_no_out $'\r'
	if states | grep -aqE '[0-9](\.[0-9]+)? ?(files|MB)/s' &&
	   states | grep -aqE '[0-9]:[0-9]{2}'; then pass "rate and time left"; else
		fail "no rate or no time left"; cat -v terminal | head -c 2000; fi
	# When the program ends, the bar is gone or its line is ended.
	case $(tail -c 4 terminal; echo .) in
	*$'\n.' | $'\r\e[K.') pass "ends clean" ;;
	*) fail "the bar leaves the cursor amid a line"; tail -c 200 terminal | cat -v ;;
	esac

	# It fits the terminal, a narrow one too: a line that wraps cannot be drawn again.
	for columns in 120 80 60 40 20; do
		site 200
		held "'$rrdmerge' old new >out"
		if [ "$(states | awk -v w=$columns 'length > w' | grep -vc busy)" = 0 ]; then
			pass "$columns columns"; else
			fail "the bar is wider than a terminal of $columns columns"
			states | awk -v w=$columns 'length > w' | head -n 2; fi
	done
	columns=80

	# stdout is the terminal, stderr is not: no bar.
	site 300
	on_terminal terminal "'$rrdmerge' old new 2>err"
	want_silent_err
	if grep -aqE '%' terminal; then fail "a bar on stdout"; cat -v terminal; else
		pass "no bar on stdout"; fi

	# Both: the last line on the terminal is the summary, whole.
	site 300
	held "'$rrdmerge' old new"
	if states | grep -v '^$' | tail -n 1 | grep -qE '^300 merged, 0 unchanged, 0 skipped, 0 failed; [0-9]+ cells filled in [0-9.]+ s$'
	then pass "summary"; else fail "no summary on the terminal"; tail -c 300 terminal | cat -v; fi

	# A refusal is a line of its own, not the rest of a bar.
	site 300
	printf x >old/150.rrd
	held "'$rrdmerge' old new >out"
	want_rc 1
	if states | grep -aqE '^rrdmerge: (refused|failed) reason=".*" file=150.rrd *$'; then pass "refusal"; else
		fail "the refusal is not on a line of its own"; cat -v terminal | head -c 2000; fi

	# --json on a terminal: the object is whole, the bar apart.
	site 300
	held "'$rrdmerge' --json old new >out"
	want_same "--json beside a bar" "$(wc -l <out)" 1
	want_out '^\{.*\}$'
else
	echo "note: script(1) cannot make a terminal here; the bar is not tested"
fi

finish
