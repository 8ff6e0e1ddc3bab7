# sys-ctl: rrdmergctl sees and steers a daemon: status, list, forget, pause, rescan, reload.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
cd "$work" || exit 99

mkdir -p live/web01 live/web02 old/web01 old/web02 old/gone/sub other
make_pair "$work/one.rrd" "$work/two.rrd"
for file in web01/a web01/b web02/c; do
	cp one.rrd "old/$file.rrd"
	cp two.rrd "live/$file.rrd"
done
cp one.rrd old/gone/x.rrd
cp one.rrd old/gone/sub/y.rrd
cp one.rrd 'old/web02/a b.rrd'
cp two.rrd live/web02/alone.rrd
# Refused, two for one reason and one for another.
for n in 1 2; do
	make_rrd old/web01/no$n.rrd 0 60 DS:one:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
	make_rrd live/web01/no$n.rrd 70 80 DS:two$n:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
done
echo rubbish >live/web02/torn.rrd
cp one.rrd old/web02/torn.rrd
touch -d '1 hour ago' old/*/*.rrd old/*/*/*.rrd

json() {
	perl -MJSON::PP -0777 -e '
		my $a = decode_json(<STDIN>);
		print eval($ARGV[0]) // "undef";' -- "$1" <"$work/out"
}
have_json=
perl -MJSON::PP -e1 2>/dev/null && have_json=1

# want_json EXPRESSION VALUE: over $a, the answer.
want_json() {
	[ -n "$have_json" ] || return
	want_same "json: $1" "$(json "$1")" "$2"
}

# ---- two files, before anything is done ----

before=$(file_sum two.rrd)
COLUMNS=60 run "$rrdmerge" -n --show one.rrd two.rrd
want_rc 0
want_same "-n --show changes nothing" "$(file_sum two.rrd)" "$before"
want_same "one line each" "$(grep -c '^every ' out)" 3
want_same "the finest" "$(grep -A1 '^every 1 min' out | tail -n 1 | sed -E 's/(.)\1*/\1/g')" '.+.#'
planned=$(sed -nE 's/.*[+] filled as the backup has it: ([0-9]+).*/\1/p' out)
want_out "^1 merged, .*; $planned cells filled in"
want_out "^one\.rrd gives $planned cells \($planned exact\), [-0-9T:]+Z to [-0-9T:]+Z$"
cp two.rrd shown.rrd
run "$rrdmerge" --show one.rrd shown.rrd
want_out "^# known in live: $(known two.rrd)   [+] filled as the backup has it: $planned  "
want_same "what was drawn was done" "$(known shown.rrd)" $(($(known two.rrd) + planned))
run "$rrdmerge" --show one.rrd shown.rrd
want_out "^# known in live: $(known shown.rrd)   [.] unknown: "
want_summary 0 1 0 0 0
for wrong in '--json one.rrd two.rrd' 'old live' '--undo ledger'; do
	# shellcheck disable=SC2086
	run "$rrdmerge" --show $wrong
	want_rc 2
	want_err '^rrdmerge: --show draws '
done

# ---- no daemon ----

ctl status
want_rc 3
want_err "^rrdmergctl: rrdmergd is not running: nobody answers on the socket sock; .*systemctl start rrdmergd"
ctl help
want_rc 0
want_out '^  forget '
ctl help list
want_rc 0
want_out '^usage: rrdmergctl list \[merged'

# ---- status ----

mkdir empty
configure live empty
start_daemon
ctl status --wait
want_out '^All that could be done is done, and something needs a person'
want_out 'A backup is not there, or cannot be read as a whole'
# That is the whole reason.
want_no_out 'Not one live file has a counterpart'
want_out '^lost: +no$'
want_out '^The backup is still needed'
want_out '^backups_seen: +no$'
end_daemon

configure live old
start_daemon
ctl status --wait
want_rc 0
want_out '^All that could be done is done, and something needs a person\.$'
want_out '^7 files, all looked at: 3 merged, 0 unchanged, 1 without a counterpart, 3 failed\. [0-9]+ cells filled'
want_out '^ +2 files refused: no data source in common'
want_out '^ +e\.g\. web01/no1\.rrd: no data source in common: live has two1 and backup has one$'
want_out '^ +1 file refused: .*is not an RRD file$'
want_out '^The backup is still needed, by [0-9]+ files: .* 3 of its own wait for a live file'
want_out '^state: +idle$'
# In this order.
want_same "the order of what status says" \
	"$(grep -nE '^(All that|7 files|What needs|The backup is)' out | cut -d: -f2 | cut -c1-8 | tr '\n' ,)" \
	'All that,7 files,,What nee,The back,'
for key in merged unchanged waiting refused failed pending cells watch_overflows unwatched_dirs; do
	want_out "^$key: +[0-9]+\$"
done
ctl status --json
want_json '$a->{records}[0]{merged}' 3
want_json '$a->{records}[0]{waiting}' 3
want_json '$a->{records}[0]{well}' no
want_json 'join ",", map { $_->{refusals} } @{$a->{records}}[1, 2]' 2,1
want_json '$a->{records}[1]{kind}' 'no data source in common'

# ---- list ----

ctl list
want_rc 0
want_same "list has each once, in order" "$(awk '{ print $1 }' out | sort | uniq -c | tr -s ' \n' ' ')" \
	" 3 failed 3 merged 1 skipped 3 waiting "
want_out '^merged    web01/a\.rrd$'
want_out '^failed    web02/torn\.rrd: .*is not an RRD file$'
want_out '^skipped   web02/alone\.rrd$'
ctl list waiting
want_same "waiting" "$(cat out)" "waiting   gone/sub/y.rrd
waiting   gone/x.rrd
waiting   web02/a b.rrd"
ctl list merged 'web01/*'
want_same "a pattern" "$(cat out)" "merged    web01/a.rrd
merged    web01/b.rrd"
ctl list merged "$work/live/web02"
want_same "a directory, by its whole path" "$(cat out)" "merged    web02/c.rrd"
ctl list '*/a*'
want_same "a pattern alone" "$(sed 's/^[a-z]* *//' out | tr '\n' ,)" "web01/a.rrd,web02/a b.rrd,web02/alone.rrd,"
ctl list pending
want_rc 0
want_same "nothing is pending" "$(cat out)" ''
ctl list refusd
want_rc 2
want_err 'neither a state nor a directory'
ctl list refusd 'x*'
want_rc 2
ctl list refused --json
want_json 'join ",", map { $_->{file} } @{$a->{records}}' 'web01/no1.rrd,web01/no2.rrd,web02/torn.rrd'
want_json '$a->{records}[0]{refused}' wholly

# ---- paths: one spelling, beneath the live tree ----

ctl list
cp out all
ctl list "$work/live/"
same_file "the tree itself is all of it" all out
ctl list merged "$work/live//web02"
want_same "slashes" "$(cat out)" "merged    web02/c.rrd"
for command in show merge undo 'list merged' forget; do
	for path in /etc/passwd "$work/live2/web01/a.rrd" "$work/liv"; do
		# shellcheck disable=SC2086
		ctl $command "$path"
		want_rc 1
		want_err "^rrdmergctl: $path is not beneath the live tree, $work/live\$"
	done
done
for command in show merge undo history; do
	for path in ../x ./web01/a.rrd web01//a.rrd web01/a.rrd/ "$work/live//web01/a.rrd"; do
		ctl $command "$path"
		want_rc 1
		want_err "^rrdmergctl: $path: write the path without"
	done
	ctl $command "$work/live/"
	want_rc 1
	want_err 'is the live tree: name a file in it|live/ is a directory: name a file'
	ctl $command ''
	want_rc 1
	want_err 'an empty path: name a file'
done
ctl forget "$work/live"
want_rc 2
want_err 'that is the whole tree'
ctl forget
want_same "nothing was forgotten by that" "$(cat out)" ''

# ---- show ----

COLUMNS=60 ctl show web01/a.rrd
want_rc 0
want_out '^web01/a\.rrd: merged$'
want_out '^  waits for: nothing; it is done$'
want_out '^  [-0-9T:]+Z  merge(d| under way) \(id [0-9]+\), [0-9]+ cells: [0-9]+ exact'
want_out "^    from $work/old/web01/a\\.rrd\$"
want_out '^every 1 min for 5 h: AVERAGE$'
want_out '^every 5 min for 25 h: AVERAGE MAX$'
want_out "^  1: $work/old/web01/a\\.rrd\$"
# Old, the gap, new: in this order, 60 wide, and in ASCII as this is no terminal.
want_same "the finest line" "$(grep -A1 '^every 1 min' out | tail -n 1 | sed -E 's/(.)\1*/\1/g')" '.+.#'
want_same "its width" "$(grep -A1 '^every 1 min' out | tail -n 1 | tr -d '\n' | wc -c)" 60
filled=$(sed -nE 's/.*[+] filled as the backup has it: ([0-9]+).*/\1/p' out)
known_before=$(known two.rrd) known_after=$(known live/web01/a.rrd)
want_same "what is drawn as filled is what was filled" "$filled" $((known_after - known_before))
want_out "^# known in live: $known_before "
ctl show web01/a.rrd --json
want_json '$a->{records}[0]{state}' merged
want_json 'join ",", map { $_->{archives} // () } @{$a->{records}}' 'AVERAGE,AVERAGE MAX,MIN LAST'
want_json '(grep { $_->{archives} } @{$a->{records}})[0]{resolution}' 60
want_json 'my $n = 0; $n += $_->{exact} // 0 for grep { $_->{archives} } @{$a->{records}}; $n' "$filled"
want_json 'length((grep { $_->{archives} } @{$a->{records}})[0]{line})' 100
ctl show "$work/live/web01/no1.rrd"
want_out '^web01/no1\.rrd: failed$'
want_out '^  refused: no data source in common'
ctl show gone/x.rrd
want_out '^  waits for: a live file of this name'
want_out "^  1: $work/old/gone/x\\.rrd\$"
want_no_out '^every'
ctl show web02/torn.rrd
want_out '^  live is not an RRD file'
ctl show nothing.rrd
want_rc 1
want_err 'nothing\.rrd: no such file is known'
ctl show web01/a.rrd 5
want_rc 2
ctl undo web01/b.rrd
ctl show web01/b.rrd
want_out '^web01/b\.rrd: unchanged, undone$'
want_out 'waits for: somebody who asks for it'
want_out '; undone by [0-9]+$'
want_no_out 'filled as'

# ---- forget ----

ctl forget 'gone/'
want_rc 0
want_out '^files: +2$'
want_log '^rrdmergd: forgotten files=2 waiting=1 pattern=gone$'
ctl list waiting
want_same "one is left" "$(cat out)" 'waiting   web02/a b.rrd'
ctl list forgotten
want_same "two are forgotten" "$(wc -l <out)" 2
ctl forget 'gone'
want_rc 1
want_err 'gone is forgotten already'
ctl forget '*/a b.*'
want_rc 0
ctl status
want_out '^waiting: +0$'
want_out '^forgotten: +3$'
ctl forget '#odd\
line'
want_rc 0
want_out '^note: +it matches no file'
end_daemon
want_same "on disk" "$(grep -vc '^#' state/forgotten)" 3
start_daemon
ctl status --wait
want_out '^waiting: +0$'
ctl forget
want_same "over a restart" "$(grep -c '^pattern: ' out)" 3
want_out '^pattern: #odd\\\\\\x0Aline$'
ctl forget --undo
want_rc 2
ctl forget --undo nothing
want_rc 1
want_err 'nothing is no pattern that was forgotten'
ctl forget --undo '*/a b.*'
want_rc 0
want_out '^files: +1$'
ctl list waiting
want_same "it waits again" "$(cat out)" 'waiting   web02/a b.rrd'
# One that comes all the same is merged.
cp two.rrd live/gone.new && mkdir live/gone && mv live/gone.new live/gone/x.rrd
wait_for '"$rrdmergctl" -s sock list merged gone/x.rrd | grep -q merged' 20 &&
	pass "what was forgotten and appears is merged" || fail "what was forgotten is not merged"

# ---- pause and resume ----

ctl pause
want_rc 0
want_log '^rrdmergd: paused: '
before=$(file_sum two.rrd)
cp two.rrd 'live/web02/a b.rrd'
wait_for '"$rrdmergctl" -s sock list pending | grep -q "a b"' 20 &&
	pass "its event is heard" || fail "its event is not heard while paused"
sleep 0.5
want_same "nothing is written while paused" "$(file_sum 'live/web02/a b.rrd')" "$before"
ctl status
want_out '^Paused: '
want_out '^state: +paused$'
cp conf conf.good
kill -HUP "$daemon"
want_log '^rrdmergd: reloaded'
sleep 0.3
want_same "a reload keeps the pause" "$(file_sum 'live/web02/a b.rrd')" "$before"
ctl_waits '^rrdmergctl: rrdmergd is paused; ' status --wait
ctl resume
want_log '^rrdmergd: resumed$'
ctl status --wait
want_differ "merged after resume" "$(file_sum 'live/web02/a b.rrd')" "$before"
ctl list waiting
want_same "nothing waits" "$(cat out)" ''

# ---- rescan and reload ----

cp one.rrd old/web02/alone.rrd
make_rrd old/web01/no1.rrd 0 60 DS:two1:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:50
touch -d '1 hour ago' old/web02/alone.rrd old/web01/no1.rrd
ctl rescan
want_rc 0
wait_for '"$rrdmergctl" -s sock list merged web02/alone.rrd | grep -q merged' 20 &&
	pass "a rescan finds what the backup has now" || fail "a rescan does not find it"
wait_for '[ -z "$("$rrdmergctl" -s sock list failed web01/no1.rrd)" ]' 20 &&
	pass "and looks again at what was refused" || fail "what was refused is not looked at again"
# A backup's file that is exchanged for one that knows more, after its live file was done.
ctl status --wait
make_rrd more.rrd -100 180
cp two.rrd more.all
run "$rrdmerge" more.rrd more.all
want_differ "the other knows more" "$(known live/web02/alone.rrd)" "$(known more.all)"
ctl list merged
cp out merged.before
touch -d '1 hour ago' more.rrd
cp -p more.rrd old/web02/.new && mv old/web02/.new old/web02/alone.rrd
ctl rescan
want_rc 0
wait_for '[ "$(known live/web02/alone.rrd)" = "$(known more.all)" ]' 20 &&
	pass "and takes what a backup has since" || fail "a backup that was exchanged is not looked at"
ctl status --wait
ctl list merged
want_same "what was merged stays so" "$(cat out)" "$(cat merged.before)"
# What no event tells of: it is written by another name of the file, outside the tree.
make_rrd longer.rrd 190 250 RRA:AVERAGE:0.5:1:400
ln live/web02/c.rrd beside.rrd
ctl status --wait
cat longer.rrd >beside.rrd
ctl status --wait
same_file "nobody has noticed" longer.rrd live/web02/c.rrd
ctl rescan
ctl status --wait
want_differ "a rescan looks through the live tree" "$(known live/web02/c.rrd)" "$(known longer.rrd)"
rm beside.rrd
# Whoever waits then waits for the walk over the backups as well, however lately there was one.
for n in 1 2 3 4; do
	cp -p one.rrd old/web01/new$n.rrd
	ctl rescan
	ctl status --wait
	ctl list waiting web01/new$n.rrd
	want_same "waited for, try $n" "$(cat out)" "waiting   web01/new$n.rrd"
done
echo 'nonsense = 1;' >>conf
ctl reload
want_rc 1
want_err 'configuration is not taken over'
cp conf.good conf
ctl reload
want_rc 0
want_out '^reloaded: +yes$'

# ---- a name in an answer is one that the page tells of ----

page=$srcdir/docs/rrdmergctl.8
# named COMMAND: what the figures of status, or the records of a command, are said to be called.
named() {
	sed -n '/^\.Sh '"$([ "$1" = status ] && echo COMMANDS || echo OUTPUT)"'/,/^\.Sh ENV/p' "$page" |
		sed -n '/^\.It Cm '"$1"'\>/,/^\.It /p' | sed -nE 's/^\.(It |Pq )?Cm //p' |
		grep -oE '[a-z_]+'
}
if [ -n "$have_json" ]; then
	ctl undo web01/a.rrd
	for command in status list 'list refused' 'show web01/a.rrd' 'show web01/no2.rrd' \
		'show web02/alone.rrd' history 'forget no*ne' forget 'forget --undo no*ne' pause \
		'merge web01/a.rrd' resume rescan reload 'undo web02/c.rrd' 'undo --all'; do
		# shellcheck disable=SC2086
		ctl $command --json
		want_rc 0
		{
			echo note
			named "${command%% *}"
			case $command in
			status) sed -n '/^\.Sh OUTPUT/,$p' "$page" | sed -n '/^\.It Cm status/,/^\.It /p' |
				grep -oE '[a-z_]+' ;;
			show*) named history ;;
			pause|resume) named 'pause , resume' ;;
			esac
		} | sort -u >named
		json 'join "\n", map { sort keys %$_ } @{$a->{records}}' | sort -u >keys
		echo >>keys
		want_same "names in the answer to $command that the page lacks" \
			"$(sort -u keys | grep . | comm -23 - named | tr '\n' ' ')" ''
	done
fi

# ---- who may ----

chmod 755 . && chmod 666 sock
# Where the programs or this directory are out of his reach, he cannot ask.
if [ -n "$(other_user)" ] && as_nobody "$rrdmergctl" --version >/dev/null 2>&1 &&
	as_nobody test -S "$work/sock"; then
	for command in pause resume reload rescan 'forget x' 'merge x' 'undo x'; do
		# shellcheck disable=SC2086
		run as_nobody "$rrdmergctl" -s "$work/sock" $command
		want_rc 1
		want_err "permission denied: ${command%% *} is for root, and for members of the group"
	done
	run as_nobody "$rrdmergctl" -s "$work/sock" status
	want_rc 0
	run as_nobody "$rrdmergctl" -s "$work/sock" list
	want_rc 0
fi
end_daemon

# ---- killed while somebody waits for it ----

start_daemon
ctl pause
for option in '' --json; do
	# shellcheck disable=SC2086
	timeout 30 "$rrdmergctl" -s sock status --wait $option >"waited$option" 2>"said$option" &
	waits=$!
	wait_for 'grep -q "is paused" "said$option"' 20
	[ -n "$option" ] || first=$waits
done
kill -9 "$daemon"
wait "$daemon" 2>/dev/null
wait "$first"
want_same "status --wait, and the daemon is killed" $? 3
wait "$waits"
want_same "the same with --json" $? 3
want_same "what it says" "$(grep -c 'is not running\|broke off' said said--json)" 'said:1
said--json:1'
cp waited--json out
want_json '$a->{status}' error
daemon=

# ---- a backup's file that is copied by half, and one that was undone ----

rm -rf state site
mkdir -p site/live site/old
cp two.rrd site/live/a.rrd
cp two.rrd site/live/b.rrd
cp one.rrd site/old/a.rrd
touch -d '1 hour ago' site/old/a.rrd
head -c $(($(stat -c %s one.rrd) / 2)) one.rrd >site/old/b.rrd
configure site/live site/old
start_daemon
wait_for 'ctl status && grep -q "^tried_again: *1\$" out && grep -q "^merged: *1\$" out' 30 ||
	fail "the half is not tried again"
sleep 0.5                                       # the daemon's ticks
ctl status
want_out '^1 of 2 files done \(50 %\)\. [0-9]+ cells filled'
want_out '^1 file is to be tried again: '
want_no_out '^left_seconds:'
# Nor does the bar say what nobody knows.
if command -v script >/dev/null && script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	run script -qefc "stty cols 80; timeout 5 '$rrdmergctl' -s sock status --wait" /dev/null
	tr '\r' '\n' <out >drawn && cp drawn out
	want_out '\] +50% 1/2 '
	want_no_out ' left'
fi
cp one.rrd site/old/b.rrd
touch -d '1 hour ago' site/old/b.rrd
ctl rescan
wait_for 'ctl status && grep -q "^backup_needed: *no\$" out' 60 || fail "the backup is still needed"
want_out '^tried_again: +0$'
want_out '^undone: +0$'
want_out '^The backup is not needed any more: it can be unmounted\.$'
want_no_out '^But '
ctl undo a.rrd
want_rc 0
wait_for 'ctl status && grep -q "^undone: *1\$" out && grep -q "^backup_needed: *no\$" out' 60 ||
	fail "what is undone is not counted"
want_out '^But 1 file was undone, and nothing but "rrdmergctl merge", with the backup there, brings its '
# What waits for resume is not done yet, and may need the backup.
ctl pause
ctl merge a.rrd
want_out '^note: +the daemon is paused'
ctl status
want_out '^pending: +1$'
want_out '^The backup is still needed'
ctl show a.rrd
want_out '^  waits for: "rrdmergctl resume"$'
ctl resume
wait_for 'ctl status && grep -q "^undone: *0\$" out' 60 || fail "merged again, it is still undone"
wait_for 'ctl status && grep -q "^backup_needed: *no\$" out' 60 || fail "the backup is still needed"
ctl pause
touch -d '2 hours ago' site/old/a.rrd
ctl rescan
for n in 1 2 3 4 5 6 7 8; do
	ctl status
	want_out '^The backup is still needed'
	sleep 0.1
done
ctl resume
wait_for 'ctl status && grep -q "^backup_needed: *no\$" out' 60 || fail "the backup is still needed"
end_daemon

# ---- without a ledger, and with a file of patterns that is none ----

rm -rf state
configure live/web01 old 'ledger = false;'
start_daemon
ctl status --wait
want_out 'Not one live file has a counterpart'
want_out '^well: +no$'
end_daemon
rm -rf state
configure live old 'ledger = false;'
start_daemon
ctl forget gone
want_rc 0
mv live live.away
ctl merge web01/a.rrd
want_rc 1
want_err '^rrdmergctl: web01/a\.rrd: live tree cannot be opened: No such file'
mv live.away live
end_daemon
printf 'web\001\377\\q' >state/forgotten         # neither an escape nor text
start_daemon
want_log '^rrdmergd: the file "forgotten" '
ctl forget web
want_rc 1
want_err 'the file "forgotten" in state_dir line 1'
end_daemon

finish
