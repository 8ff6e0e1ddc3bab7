#!/bin/bash
# An undo that does not come to its end is not done, and everybody says so; so is what was undone and
# is asked for while its backup is away, and what the ledger does not take.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool sqlite3
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
cd "$work" || exit 99

settings=('workers = 2;')

make_rrd old.rrd 0 180 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:300 RRA:MAX:0.5:10:60
make_rrd new.rrd 190 250 DS:x:GAUGE:8640:U:U RRA:AVERAGE:0.5:1:300 RRA:MAX:0.5:10:60
cp new.rrd merged.rrd && "$rrdmerge" old.rrd merged.rrd >/dev/null
mkdir -p backup/h live/h
for name in one two three four; do
	cp old.rrd backup/h/$name.rrd
	cp new.rrd live/h/$name.rrd
done
touch -d '1 hour ago' backup/h/*.rrd

# what FILE: of all that is on record, the latest first.
what() {
	"$rrdmergctl" -s sock history "$1" | sed -n 's/^what: *//p' | tr '\n' ,
}

# shown FILE: as what, by `show`.
shown() {
	"$rrdmergctl" -s sock show "$1" | sed -n 's/^h[^:]*: //p' | head -n 1
}

# value KEY: of the plain answer.
value() {
	sed -n "s/^$1: *//p" out | head -n 1
}

status_is() {
	"$rrdmergctl" -s sock status | grep -qE "^$1: *$2\$"
}

same_as() {
	if cmp -s "$2" "$3"; then pass "$1"; else fail "$1: $2 is not $3"; fi
}

# undo_in_vain FILE: somebody keeps it open, and who asks goes away.
undo_in_vain() {
	exec 7<"$1"
	timeout 2 "$rrdmergctl" -s sock undo "${1#live/}" >out 2>err
	want_same "undo of a file that is kept open, broken off" $? 124
	sleep 1
	exec 7<&-
}

configure live backup
start_daemon
want_log '^rrdmergd: idle merged=4 '

# ---- given up: it is not done ----

undo_in_vain live/h/one.rrd
same_as "broken off, nothing is taken back" live/h/one.rrd merged.rrd
wait_for '[ "$(what h/one.rrd)" = merged, ]' 5
want_same "broken off: on record" "$(what h/one.rrd)" "merged,"
wait_for '[ "$(shown h/one.rrd)" = merged ]' 5
want_same "broken off: shown" "$(shown h/one.rrd)" merged
# As a file that nobody has tried to undo: it goes on being merged.
cp new.rrd live/h/one.new && mv live/h/one.new live/h/one.rrd
wait_for 'cmp -s live/h/one.rrd merged.rrd' 10
same_as "broken off, and made anew: it is merged" live/h/one.rrd merged.rrd
ctl undo h/one.rrd
want_rc 0
same_as "undone after all" live/h/one.rrd new.rrd
want_same "undone after all: shown" "$(shown h/one.rrd)" "unchanged, undone"

# ---- given up, and merged ----

undo_in_vain live/h/two.rrd &
undoing=$!
sleep 1.2                       # the intention is durable, and nobody has given up yet
ctl merge h/two.rrd
want_rc 0
wait "$undoing"
wait_for '[ "$(what h/two.rrd)" = merged, ]' 5
want_same "merged while it is undone: on record" "$(what h/two.rrd)" "merged,"
want_same "merged while it is undone: shown" "$(shown h/two.rrd)" merged
ctl undo h/two.rrd
want_rc 0
same_as "it can be undone" live/h/two.rrd new.rrd
ctl merge h/two.rrd
wait_for 'cmp -s live/h/two.rrd merged.rrd' 10

# ---- asked for while the backup is away ----

ctl undo h/three.rrd
want_rc 0
wait_for 'status_is backup_needed no' 20 || fail "the backup is still needed"
mv backup away
ctl rescan
want_log '^rrdmergd: backup has gone: '
ctl merge h/three.rrd
want_rc 0
wait_for 'status_is backup_needed yes' 5
ctl status
want_same "backup needed" "$(value backup_needed)" yes
same_as "its backup is away" live/h/three.rrd new.rrd
mv away backup
ctl rescan
wait_for 'cmp -s live/h/three.rrd merged.rrd' 20
same_as "merged when the backup is back" live/h/three.rrd merged.rrd
wait_for 'status_is backup_needed no' 20 || fail "the backup is still needed"

# It goes and comes back between two looks at the backups, and nobody rescans.
ctl undo h/three.rrd
want_rc 0
wait_for 'status_is backup_needed no' 20 || fail "the backup is still needed"
ctl rescan
sleep 1.5                       # a search comes within a second; the next in its turn after 45
mv backup away
ctl merge h/three.rrd
want_rc 0
wait_for 'status_is backup_needed yes' 5
mv away backup
wait_for 'cmp -s live/h/three.rrd merged.rrd' 20
same_as "merged when the backup is back, unasked" live/h/three.rrd merged.rrd
wait_for 'status_is backup_needed no' 20 || fail "the backup is still needed"

# ---- what the ledger does not take ----

mv state state.good && mkdir -p state/ledger.db
want_log '^rrdmergd: the ledger does not work: '
for what in h/two.rrd --all; do
	ctl undo $what
	want_rc 1
	want_no_out '^undone'
	want_no_err 'undone, but not on record'
	want_err 'the ledger does not work: '
done
same_as "nothing is taken back" live/h/two.rrd merged.rrd
rmdir state/ledger.db state && mv state.good state
want_log '^rrdmergd: the ledger works again '
want_same "nothing was begun" "$(what h/two.rrd)" "merged,undo,merged,"

# It fails when the undo is on record, and not done yet.
exec 7<live/h/four.rrd
: >log
run "$rrdmergctl" -s sock undo h/four.rrd 7<&- &
undoing=$!
wait_for '[ "$(what h/four.rrd)" = "undo under way,merged," ]' 5
mkfifo questions
sqlite3 state/ledger.db <questions >answers 7<&- &
others=($!)
exec 8>questions
echo "BEGIN IMMEDIATE; SELECT 'locked';" >&8
wait_for 'grep -q locked answers' 5
exec 7<&-
wait "$undoing"
want_out '^undone: +h/four\.rrd$'
want_err '^rrdmergctl: undone, but not on record yet: '
same_as "undone" live/h/four.rrd new.rrd
exec 8>&-
wait "${others[0]}"
others=()
want_log '^rrdmergd: the ledger works again '
wait_for '[ "$(what h/four.rrd)" = undo,merged, ]' 5
want_same "on record in the end" "$(what h/four.rrd)" "undo,merged,"

want_same "on record, when it works again" "$(what h/two.rrd)" "merged,undo,merged,"
ctl undo h/two.rrd
want_rc 0
same_as "undone when it works again" live/h/two.rrd new.rrd

# ---- another file at its path ----

# It goes by the path: a copy that is moved there may be the very same data.
cp new.rrd live/h/one.new && mv live/h/one.new live/h/one.rrd
ctl rescan
"$rrdmergctl" -s sock status --wait >/dev/null
same_as "a file made anew where one was undone" live/h/one.rrd new.rrd
want_same "… is left alone: shown" "$(shown h/one.rrd)" "unchanged, undone"

# ---- what was undone comes back without a record ----

end_daemon
cp conf conf.kept && echo 'ledger = false;' >>conf
start_daemon
want_log '^rrdmergd: ledger = false: .*undone'
want_log '^rrdmergd: idle merged=[0-9]+ '
same_as "without a ledger, it is merged" live/h/four.rrd merged.rrd
end_daemon
cp conf.kept conf
start_daemon
ctl undo h/four.rrd
want_rc 0
want_same "taken back again" "$(value undone)" h/four.rrd
same_as "taken back again" live/h/four.rrd new.rrd
want_same "taken back again: on record" "$(what h/four.rrd)" "undo,undo,merged,"
ctl undo h/four.rrd
want_rc 1
want_err 'h/four\.rrd: was undone already'
# The other two as they were; one of them has no record that could be undone again.
ctl undo h/two.rrd
cat new.rrd >live/h/one.rrd

# ---- what is said ----

rrdtool tune live/h/three.rrd --data-source-rename x:z
ctl undo h/three.rrd
want_rc 1
want_err 'h/three\.rrd: cannot be undone: its data sources or archives are not those '
rrdtool tune live/h/three.rrd --data-source-rename z:x
ctl undo 9223372036854775808
want_rc 1
want_err '^rrdmergctl: there is no merge 9223372036854775808 on record$'
ctl undo 0
want_err '^rrdmergctl: 0: is not in the live tree, nor the number of a merge$'
ctl undo ''
want_err '^rrdmergctl: an empty path'
ctl undo /etc/passwd
want_err '^rrdmergctl: /etc/passwd is not beneath the live tree, '

# ---- the live tree by another name ----

# What was undone stays so, and is found, however the path is spelt.
ctl merge h/one.rrd
ctl merge h/three.rrd
wait_for 'cmp -s live/h/one.rrd merged.rrd && cmp -s live/h/three.rrd merged.rrd' 10
ln -s . here && ln -s live link
sum=$(tree_sum live)
for name in here/live //live link live/; do
	end_daemon
	sed -i "s|^live = .*|live = \"$work/$name\";|" conf
	start_daemon
	want_log '^rrdmergd: idle merged=0 unchanged=4 '
	want_same "live is $name" "$(tree_sum live)" "$sum"
done
ctl undo "$work/live/h/one.rrd"
want_rc 0
same_as "undone by the tree's other name" live/h/one.rrd new.rrd
end_daemon
sed -i "s|^live = .*|live = \"$work/link\";|" conf
start_daemon
ctl undo --all
want_rc 0
want_same "all" "$(sed -n 's/^undone: *//p' out)" h/three.rrd

# Where the link leads elsewhere, that is another tree.
mkdir -p other/h && cp new.rrd other/h/one.rrd && cp new.rrd other/h/two.rrd
ln -s other new.link && mv -T new.link link
want_log '^rrdmergd: the path of the live tree leads elsewhere now: '
wait_for 'cmp -s other/h/one.rrd merged.rrd && cmp -s other/h/two.rrd merged.rrd' 20
same_as "another tree" other/h/one.rrd merged.rrd
same_as "another tree" other/h/two.rrd merged.rrd
ctl undo --all
want_rc 0
want_same "all of the other tree" "$(sed -n 's/^undone: *//p' out | sort)" $'h/one.rrd\nh/two.rrd'
ln -s live new.link && mv -T new.link link
wait_lines '^rrdmergd: the path of the live tree leads elsewhere now: ' 2
want_log '^rrdmergd: idle merged=0 unchanged=4 '
same_as "the first tree again: what was undone" live/h/one.rrd new.rrd
end_daemon

finish
