# sys-alien: what else may answer on the socket, or not: another program, a broken or a hostile one.
# Neither rrdmergctl nor check_rrdmergd takes that for an answer, or lets it speak to the terminal.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
plugin=$builddir/check_rrdmergd
need perl
need_programs "$rrdmergctl" "$plugin"
perl -MIO::Socket::UNIX -e1 2>/dev/null || skip_all "perl has no IO::Socket::UNIX"
cd "$work" || exit 99

# alien ANSWER: answers so whatever it is asked, in the place of the one before.  An empty one: never.
alien() {
	[ -z "$daemon" ] || { kill "$daemon"; wait "$daemon" 2>/dev/null; }
	rm -f sock listening
	printf '%b' "$1" >answer
	perl -MIO::Socket::UNIX -e '
		local $/;
		open(my $file, "<", "answer") or die;
		my $answer = <$file>;
		$SIG{PIPE} = "IGNORE";
		my $server = IO::Socket::UNIX->new(Local => "sock", Listen => 5) or die;
		open(my $listening, ">", "listening") or die;   # the name is there a little before
		while (my $peer = $server->accept) {
			sysread($peer, my $request, 4096);
			length($answer) ? print $peer $answer : sleep(60);
			close($peer);
		}' &
	daemon=$!
	wait_for '[ -e listening ]' 10
}

# What a terminal heeds: control characters, but for the end of a line.
want_tame() {
	local found

	found=$(cat out err | LC_ALL=C grep -acP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]')
	want_same "nothing for a terminal to heed: $last" "$found" 0
}

commands=(status 'status --json' list 'list --json' 'show x' 'show x --json' history help)

# ---- escapes in each value that there is ----

evil='\\\\x1B[2J\xc2\x9b31mevil'
alien "file: f$evil\nstate: s$evil\nwell: w$evil\nreason: r$evil\nwaits_for: w$evil\ncommand: c$evil\narguments: a$evil\nhelp: h$evil

id: i$evil\ntime: t$evil\nwhat: w$evil\ncells: c$evil\nexact: e$evil\nundone_by: u$evil\nundone_in_part_by: v$evil\nsources: s$evil\nrefusals: 1\nkind: k$evil\nexample: e$evil\nreason: r$evil

archives: a$evil\nresolution: 60\nrows: 1\nfrom: 60\nto: 120\nline: #$evil

source: s$evil\nkind: k$evil\npath: p$evil\nrule: r$evil\naway: a$evil\nok\n"
for command in "${commands[@]}"; do
	# shellcheck disable=SC2086
	ctl $command
	want_rc 0
	want_tame
	want_out evil
done
ctl show x
want_out '; undone by u.*; undone in part by v'
ctl_waits '^rrdmergctl: rrdmergd is s' status --wait
want_tame
run "$plugin" -s sock
want_rc 3
want_tame
alien "error: e$evil\n"
for command in "${commands[@]}"; do
	# shellcheck disable=SC2086
	ctl $command
	want_rc 1
	want_err '^rrdmergctl: e'
	want_tame
done

# ---- what is no answer ----

for answer in '\n\n\n' 'HTTP/1.0 400 Bad Request\r\n\r\n' 'state: \033[2J\nok\n' 'state: idle\nstate: merging\nok\n' \
	'state: idle\n' 'ok' 'ok\nmore: 1\n' 'state: \x00idle\nok\n'; do
	alien "$answer"
	for command in "${commands[@]}" 'status --wait'; do
		# shellcheck disable=SC2086
		run timeout 20 "$rrdmergctl" -s sock $command
		[ "$command" = help ] || want_rc 3
		want_tame
	done
	run "$plugin" -s sock
	want_rc 3
	want_tame
	want_same "one line: $answer" "$(wc -l <out)" 1
done
# Nothing at all is no status, which must not be waited for without an end.
alien 'ok\n'
for command in status 'status --wait' 'status --json'; do
	# shellcheck disable=SC2086
	run timeout 20 "$rrdmergctl" -s sock $command
	want_rc 3
	want_err 'what answers on the socket sock does not say how it is'
done
# A figure that is missing is not 0.
all='merged: 1\nunchanged: 1\nwaiting: 1\nrefused: 0\nfailed: 0\npending: 0\ncells: 1\nwatch_overflows: 0'
alien "state: idle\n$all\nunwatched_dirs: 0\nok\n"
run "$plugin" -s sock
want_rc 0
for answer in "state: idle\n$all\nok\n" "state: idle\n$all\nunwatched_dirs: few\nok\n" "$all\nunwatched_dirs: 0\nok\n"; do
	alien "$answer"
	run "$plugin" -s sock
	want_rc 3
	want_out '^RRDMERGD UNKNOWN - rrdmergd does not say how it is'
done

alien "state: idle\n$all\nunwatched_dirs: 0\nundone_in_part: 2\nok\n"
run "$plugin" -s sock
want_rc 1
want_out '^RRDMERGD WARNING - idle, 1 merged, 1 unchanged, 2 undone in part; '
# What the daemon has made up for needs nobody.
alien "state: idle\nwell: yes\nfiles: 2\n${all%0}3\nunwatched_dirs: 0\nbackup_needed: no\nok\n"
ctl status
want_rc 0
want_out '^All is well'
want_out '^No file needs a person\.$'
want_no_out '^What needs a person'
want_out '^Events were lost 3 times, and all was looked through again'

# ---- nobody speaks ----

alien ''
run "$plugin" -s sock -t 1
want_rc 3
want_out '^RRDMERGD UNKNOWN - .* has not answered within 1 s'
ctl_waits '^rrdmergctl: waiting for rrdmergd to answer on sock' status

finish
