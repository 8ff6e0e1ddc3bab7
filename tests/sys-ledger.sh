#!/bin/bash
# The ledger: a record of every merge, kept by rrdmerge --ledger and by the daemon; what is done is
# not done again; and what happens where it is damaged, lost, in use, or may not be written.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl sqlite3
ledgersay=$builddir/tests/ledgersay
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
[ -x "$ledgersay" ] || skip_all "tests/ledgersay is not built: configured without librrd"
cd "$work" || exit 99
chmod 755 .                             # some of it is done as another user

settings=('workers = 2;')

# ---- what is judged ----

# record LEDGER: what it holds, into the file `record`.
record() {
	rm -rf copy && mkdir copy && cp "$1"* copy/ || return
	"$ledgersay" "copy/${1##*/}" >record 2>&1 || fail "the record of $1: $(cat record)"
	rm -rf copy
}

# patch FILE OFFSET BYTES: over what is there.
patch() {
	printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# ---- all backups of this test: the daemon lets them rest for ten seconds ----

ds=(DS:x:GAUGE:8640:U:U DS:y:GAUGE:8640:U:U)
rows=(RRA:AVERAGE:0.3:1:100 RRA:AVERAGE:0.3:10:300 RRA:MAX:0.3:10:200 RRA:AVERAGE:0.3:60:40)
make_rrd old.rrd 0 484 "${ds[@]}" "${rows[@]}"
make_rrd new.rrd 487 522 "${ds[@]}" "${rows[@]}"
cp new.rrd want.rrd && "$rrdmerge" old.rrd want.rrd >/dev/null
mkdir -p many.old many.new few.old
for ((i = 0; i < 200; i++)); do
	mkdir -p many.old/h$((i % 10)) many.new/h$((i % 10))
	cp old.rrd many.old/h$((i % 10))/$i.rrd
	cp new.rrd many.new/h$((i % 10))/$i.rrd
done
cp new.rrd many.new/h0/later.rrd        # its backup appears later
for i in 1 2 3; do cp old.rrd few.old/$i.rrd; done
rested=$((SECONDS + 11))

# ---- rrdmerge --ledger ----

cp new.rrd one.rrd
run "$rrdmerge" -v --ledger led old.rrd one.rrd
want_rc 0
want_silent_err
want_summary 1 0 0 0
same_file "a record does not change the merge" one.rrd want.rrd
cells=$(sed -n 's/^merged cells=\([0-9]*\) .*/\1/p' out)
opens=$(sed -n 's/^merged .* open=\([0-9]*\) .*/\1/p' out)
record led
want_same "the merge on record" "$(grep ^merge record)" "merge 1 done merge $cells $work/one.rrd"
want_same "its cells" "$(awk '$1 == "cell" { sum += $6 } END { print sum }' record)" "$cells"
want_same "its open rows" "$(grep -c ^open record)" "$opens"
want_differ "open rows" "$opens" 0
# The second time there is nothing to record.
run "$rrdmerge" --ledger led old.rrd one.rrd
want_summary 0 1 0 0 0
record led
want_same "merges on record" "$(grep -c ^merge record)" 1
# A tree goes into the same ledger; a refusal is recorded too.
mkdir t.old t.new
for i in 1 2 3; do cp old.rrd t.old/$i.rrd; cp new.rrd t.new/$i.rrd; done
echo garbage >t.new/4.rrd && cp old.rrd t.old/4.rrd
run "$rrdmerge" --ledger led t.old t.new
want_rc 1
want_summary 3 0 0 1
record led
want_same "merges of both" "$(grep -c "^merge .* done merge $cells " record)" 4
want_same "those of the tree, whole paths" \
	"$(grep -c "^merge .* $work/t\.new/[123]\.rrd\$" record)" 3
want_same "the refusal" "$(grep -c "^merge .* refusal 0 $work/t\.new/4\.rrd\$" record)" 1
# -n keeps none.
cp new.rrd two.rrd
run "$rrdmerge" -n --ledger none old.rrd two.rrd
want_rc 0
want_same "a dry run's ledger" "$(ls none* 2>/dev/null)" ""
same_file "a dry run" two.rrd new.rrd
run "$rrdmerge" old.rrd two.rrd
want_same "without --ledger" "$(find . -name '*.lock' | sort)" ./led.lock

# ---- a ledger that is not one, or cannot be used: nothing is merged ----

# refuses WHAT LEDGER REGEX [COMMAND…]: rrdmerge says so, merges nothing, leaves the ledger alone.
refuses() {
	local what=$1 ledger=$2 regex=$3 before
	shift 3

	rm -rf pair && mkdir pair && cp new.rrd pair/new.rrd && mkdir pair/t && cp new.rrd pair/t/1.rrd
	before=$([ ! -f "$ledger" ] || file_sum "$ledger")
	run "$@" "$rrdmerge" --ledger "$ledger" old.rrd pair/new.rrd
	want_rc 2
	want_err "^rrdmerge: ledger $regex; nothing was changed path=.*${ledger##*/}\$"
	want_no_out merged
	same_file "$what: the pair" pair/new.rrd new.rrd
	run "$@" "$rrdmerge" --ledger "$ledger" few.old pair/t
	want_rc 2
	want_err "^rrdmerge: ledger $regex; nothing was changed path="
	same_file "$what: the tree" pair/t/1.rrd new.rrd
	cp want.rrd pair/new.rrd
	run "$@" "$rrdmerge" --undo "$ledger" 1
	want_rc 1
	want_err "^rrdmerge: .*ledger.*path=|^rrdmerge: merge 1"
	want_no_out undone
	same_file "$what: undo" pair/new.rrd want.rrd
	want_same "$what: the ledger" "$([ ! -f "$ledger" ] || file_sum "$ledger")" "$before"
}

printf 'this is a letter to my aunt\n%.0s' {1..400} >aunt
refuses garbage aunt 'is no ledger'
want_same "garbage: nothing set aside" "$(ls aunt.corrupt* 2>/dev/null)" ""
cp old.rrd db.rrd
refuses "an RRD" db.rrd 'is no ledger'
same_file "an RRD" db.rrd old.rrd
cp led newer && patch newer 60 '\0\0\0\0143'
refuses "a newer schema" newer \
	'was written by a newer version of this program \(its schema is 99, this one knows 3\): .*'
cp led other && patch other 68 'abcd'
refuses "another's database" other 'is a database, but no ledger'
refuses "a directory that is not there" nowhere/led '.*No such file or directory.*'
want_same "made on the way" "$(ls -d nowhere 2>/dev/null)" ""
mkdir directory
refuses "a directory" directory 'is a directory'
mkfifo fifo
refuses "a FIFO" fifo 'is a FIFO' timeout -k 5 60
rm fifo
want_same "made beside them" "$(ls -d directory?* fifo?* 2>/dev/null)" ""
cp led linked && ln -s linked symlink
refuses "a symbolic link" symlink 'is a symbolic link: it is opened by its own name only'
ln linked hardlink
refuses "a hard link" hardlink 'has 2 names \(hard links\), .*'
cp led lacking && sqlite3 lacking 'DROP TABLE source; DROP VIEW sources' &&
	refuses "a table is missing" lacking 'is damaged \(no such table: .*source\): move it away, .*'
# A path is a path.
for name in file:led2 :memory: 'file:led3?mode=memory'; do
	cp new.rrd two.rrd
	run "$rrdmerge" --ledger "$name" old.rrd two.rrd
	want_rc 0
	run "$rrdmerge" --undo "$name" 1
	want_rc 0
	same_file "undone by $name" two.rrd new.rrd
	rm "$name" "$name.lock"
done

# Read-only: its file, and its directory.
if [ "$(id -u)" != 0 ]; then
	runner=()
elif [ -n "$(other_user)" ]; then
	runner=(as_nobody)
else
	runner=(none)
	echo "# root cannot become nobody here: a read-only ledger is not tried"
fi
as_other() {
	"${runner[@]}" "$@"
}
readable() {
	"${runner[@]}" test -x "$rrdmerge"
}
if [ "${runner[*]:-}" != none ]; then
	# Nobody may not be able to come to where it was built.
	readable || { mkdir -p bin && cp "$rrdmerge" "$rrdmergd" bin/ && chmod 755 bin bin/*; }
	# readonly_refuses WHAT LEDGER REGEX: as refuses, and without the rights of root.
	readonly_refuses() {
		local program=$rrdmerge

		rm -rf ro && mkdir ro && cp new.rrd ro/new.rrd
		[ "$(id -u)" != 0 ] || chown -R nobody ro
		readable || program=$work/bin/rrdmerge
		run as_other "$program" --ledger "$2" old.rrd ro/new.rrd
		want_rc 2
		want_err "^rrdmerge: ledger $3; nothing was changed path="
		same_file "$1" ro/new.rrd new.rrd
	}
	mkdir fixed && cp led fixed/led && chmod 444 fixed/led && chmod 555 fixed
	readonly_refuses "a read-only directory" "$work/fixed/led" '.*Permission denied.*'
	program=$rrdmerge
	readable || program=$work/bin/rrdmerge
	run as_other "$program" --undo "$work/fixed/led"
	want_rc 0
	want_silent_err
	want_out '^id=1 time=[^ ]+ what=merge cells=[0-9]+ file=/'
	want_same "listed, and nothing made" "$(ls fixed)" led
	readonly_refuses "a read-only directory, no ledger" "$work/fixed/new" '.*Permission denied.*'
	chmod 755 fixed && touch fixed/led.lock && chmod 777 fixed && chmod 666 fixed/led.lock
	readonly_refuses "a read-only file" "$work/fixed/led" '.*(may not be written|read.?only|Permission denied).*'
	want_same "it is as it was" "$(file_sum fixed/led)" "$(file_sum led)"
	chmod -R u+w fixed
fi

# Damaged, and a ledger for certain: set aside, said, begun anew.
for how in pages torso; do
	rm -rf dam && mkdir dam && cp led dam/led && cp new.rrd dam/new.rrd
	case $how in
	pages) head -c 8192 /dev/zero | tr '\0' 'x' | dd of=dam/led bs=4096 seek=2 conv=notrunc \
		2>/dev/null ;;
	torso) truncate -s 9000 dam/led ;;
	esac
	cp dam/led damaged
	run "$rrdmerge" --ledger dam/led old.rrd dam/new.rrd
	want_rc 0
	want_err '^rrdmerge: ledger was damaged \(.*\), was set aside as .*led\.corrupt-[0-9TZ]+ and begun anew path=dam/led$'
	same_file "$how: merged" dam/new.rrd want.rrd
	same_file "$how: what was set aside" "$(echo dam/led.corrupt-*)" damaged
	record dam/led
	want_same "$how: its new record" "$(grep ^merge record)" \
		"merge 1 done merge $cells $work/dam/new.rrd"
	run "$rrdmerge" --undo dam/led 1
	same_file "$how: undone" dam/new.rrd new.rrd
done

# ---- the daemon ----

all_as() {
	local bad=0 file

	while read -r file; do cmp -s "$file" "$2" || bad=$((bad + 1)); done < <(find "$1" -name '*.rrd')
	want_same "files of $1 other than $2" "$bad" "${3:-0}"
}

wait_for "[ \$SECONDS -ge $rested ]" 12
cp -r many.new live
configure live many.old
start_daemon
want_log '^rrdmergd: idle merged=200 unchanged=0 skipped=1 failed=0 waiting=0 ' 60
all_as live want.rrd 1
end_daemon
record state/ledger.db
want_same "merges on record" "$(grep -c "^merge [0-9]* done merge $cells $work/live/" record)" 200
want_same "cells on record" \
	"$(awk '$1 == "cell" { sum += $6 } END { print sum }' record)" $((200 * cells))

# A second start opens no RRD.
can_trace ||
	echo "# no strace, or it may not trace here: what is opened is not looked at"

# opened: the RRDs that were, by name.  The tracer is the daemon's parent.
opened() {
	grep -oE '"[^"]*\.rrd"' trace | tr -d '"' | sed 's|.*/||' | sort -u | tr '\n' ' '
}

traced_start() {
	if [ ${#traced[@]} = 0 ]; then start_daemon; else
		start_traced -e trace=open,openat,openat2,write; fi
}

# The tracer ends as what it traces.
traced_end() {
	local inner=$daemon

	[ ${#traced[@]} = 0 ] || daemon=$tracer
	end_daemon 10 "$inner"
}

state=$(tree_state live)
rm live/h0/later.rrd                    # it has no backup yet: it is looked for each time
traced_start
want_log '^rrdmergd: idle merged=0 unchanged=200 skipped=0 failed=0 waiting=0 backup_needed=no$' 60
traced_end
if [ ${#traced[@]} != 0 ]; then
	want_same "opened by a start that finds all done" "$(opened)" ""
	want_same "opened at all" "$(grep -c 'ledger\.db' trace | sed 's/^[1-9].*/some/')" some
fi
all_as live want.rrd

# What has changed meanwhile is looked at again, and nothing else.
cp new.rrd live/h0/later.rrd
cp old.rrd many.old/h0/later.rrd        # appears
cp new.rrd fresh.rrd && mv fresh.rrd live/h1/1.rrd              # begun anew
make_rrd wide.rrd 487 522 "${ds[@]}" RRA:AVERAGE:0.3:1:300 "${rows[@]:1}"
cat wide.rrd >live/h2/2.rrd             # rewritten, in another size
touch -d '2024-01-01' many.old/h3/3.rrd # another time
make_rrd more.rrd 0 485 "${ds[@]}" "${rows[@]}"
cat more.rrd >many.old/h4/4.rrd         # rewritten
for m in 523 524; do                    # updates are no reason
	rrdtool update live/h5/5.rrd $((T0 + 60 * m)):1:2
done
cp -p live/h5/5.rrd updated.rrd
# By a newer one of the same structure, in place: no stat tells that from updates.
make_rrd newer.rrd 487 526 "${ds[@]}" "${rows[@]}"
rrdtool dump newer.rrd newer.xml
rrdtool restore -f newer.xml live/h6/6.rrd
cp live/h6/6.rrd restored.rrd
cat newer.rrd >live/h7/7.rrd
make_rrd strange.rrd 0 526 "${ds[@]}" "${rows[@]}"      # it knows all, and other values
rrdtool dump strange.rrd | sed 's|<v>[0-9][^<]*</v>|<v>4.2</v>|g' >strange.xml
rrdtool restore -f strange.xml live/h8/8.rrd
cp live/h8/8.rrd strange.rrd
chmod g+w live/h9/9.rrd                 # a change that is none
for want in newer restored; do
	cp $want.rrd $want.want && "$rrdmerge" old.rrd $want.want >/dev/null
done
cp wide.rrd wide.want && "$rrdmerge" old.rrd wide.want >/dev/null
sleep 10.2
traced_start
want_log '^rrdmergd: idle merged=4 unchanged=197 skipped=0 failed=0 waiting=0 backup_needed=yes$' 60
want_log '^rrdmergd: idle merged=6 unchanged=195 skipped=0 failed=0 waiting=0 backup_needed=no$' 60
traced_end
for file in later 1 2 6 7; do
	want_log "^rrdmergd: merged .* file=h[0-9]/$file\\.rrd\$"
done
want_same "those that are done are not merged" \
	"$(grep -aE '^rrdmergd: merged ' log | grep -vcE 'file=h[0-7]/([123467]|later)\.rrd$')" 0
if [ ${#traced[@]} != 0 ]; then
	want_same "opened of those that changed" "$(opened)" \
		"1.rrd 2.rrd 3.rrd 4.rrd 5.rrd 6.rrd 7.rrd 8.rrd 9.rrd later.rrd "
	want_same "opened before it was idle" \
		"$(sed '/"rrdmergd: idle /,$d' trace | grep -oE '/?[5-9]\.rrd"' | sort -u)" ""
	# Only that which is not as it was has its backup read.
	want_same "backups read of files that hold what was merged" \
		"$(grep -E '/[59]\.rrd"' trace | grep -vc O_PATH)" 2
fi
same_file "appeared" live/h0/later.rrd want.rrd
same_file "begun anew" live/h1/1.rrd want.rrd
same_file "rewritten" live/h2/2.rrd wide.want
same_file "its backup has another time" live/h3/3.rrd want.rrd
same_file "updated" live/h5/5.rrd updated.rrd
same_file "restored over it" live/h6/6.rrd restored.want
same_file "copied over it" live/h7/7.rrd newer.want
same_file "another that knows all" live/h8/8.rrd strange.rrd

# Those that were, are done; what was never updated since is not opened again.
traced_start
want_log '^rrdmergd: idle merged=0 unchanged=201 skipped=0 failed=0 waiting=0 backup_needed=no$' 60
traced_end
if [ ${#traced[@]} != 0 ]; then
	want_same "opened once more" "$(opened)" "5.rrd 9.rrd "
fi

# ---- one daemon for one state_dir, one for one socket ----

start_daemon
want_log '^rrdmergd: idle '
pid=$daemon
mkdir -p b.live && cp new.rrd b.live/1.rrd
printf '%s\n' "live = \"$work/b.live\";" "backup = \"$work/few.old\";" "user = \"$(id -un)\";" >base
{ cat base; echo "state_dir = \"$work/state\"; socket = \"$work/sock2\";"; } >conf2
run timeout -k 5 30 "$rrdmergd" -f conf2 -e
want_rc 2
want_err "^rrdmergd: ledger is in use by another process: $pid state_dir=$work/state\$"
same_file "a second with the same state_dir" b.live/1.rrd new.rrd
want_same "its socket" "$(ls sock2 2>/dev/null)" ""
{ cat base; echo "state_dir = \"$work/state2\"; socket = \"$work/sock\";"; } >conf2
run timeout -k 5 30 "$rrdmergd" -f conf2 -e
want_rc 2
want_err '^rrdmergd: control socket .*another process answers on it; is rrdmergd running already'
same_file "a second with the same socket" b.live/1.rrd new.rrd
# It goes on proving what was updated meanwhile, a few files at a time.
wait_for '"$rrdmergctl" -s sock status >out && grep -qE "^state: +idle\$" out' 20 && pass idle ||
	fail "the first does not answer, or is not idle: $(cat out)"
# Nor does rrdmerge write to its ledger.
refuses "the daemon's ledger" state/ledger.db "is in use by another process: $pid"
run timeout -k 5 30 "$rrdmergd" -f conf -e --once
want_rc 2
want_err 'ledger is in use by another process'
# Nor where the lock file is gone.
rm state/ledger.db.lock
{ cat base; echo "state_dir = \"$work/state\"; socket = \"$work/sock2\";"; } >conf2
run timeout -k 5 30 "$rrdmergd" -f conf2 -e
want_rc 2
want_err "^rrdmergd: ledger is in use by another process, whose lock file is gone state_dir=$work/state\$"
# But it can be listed.
run "$rrdmerge" --undo state/ledger.db
want_rc 0
want_silent_err
want_same "listed while a daemon has it" "$(grep -c '^id=.* what=merge ' out)" \
	"$(sqlite3 -readonly state/ledger.db 'SELECT count(*) FROM merge WHERE what = 0')"
kill -9 "$daemon"                       # what it leaves is no lock
wait "$daemon" 2>/dev/null
daemon=
run timeout -k 5 60 "$rrdmergd" -f conf -e --once
want_rc 0
want_err '^rrdmergd: idle merged=0 unchanged=201 '

# ---- the daemon's ledger is lost, or damaged ----

sum=$(tree_sum live)
rm -f state/ledger.db*
start_daemon
want_log '^rrdmergd: idle merged=0 unchanged=201 skipped=0 failed=0 waiting=0 backup_needed=no$' 60
want_same "without its ledger" "$(tree_sum live)" "$sum"
end_daemon
start_daemon
want_log '^rrdmergd: idle merged=0 unchanged=201 '
end_daemon
for how in garbage empty torso pages; do
	case $how in
	garbage) cat aunt >state/ledger.db ;;
	empty) : >state/ledger.db ;;
	torso) truncate -s 9000 state/ledger.db ;;
	pages) tr '\0' 'x' </dev/zero | head -c 8192 |
		dd of=state/ledger.db bs=4096 seek=2 conv=notrunc 2>/dev/null ;;
	esac
	rm -f state/*corrupt* live/h9/9.rrd
	cp state/ledger.db damaged
	cp new.rrd live/h9/9.rrd
	start_daemon
	want_log '^rrdmergd: idle merged=1 unchanged=200 skipped=0 failed=0 waiting=0 ' 60
	want_same "$how: the tree" "$(tree_sum live)" "$sum"
	want_log '^rrdmergd: ledger was damaged .* was set aside as .*/state/ledger\.db\.corrupt-[0-9TZ]+ and begun anew path='
	same_file "$how: what was set aside" "$(echo state/ledger.db.corrupt-*)" damaged
	ctl status
	want_out '^ledger: +works$'
	ctl undo h9/9.rrd
	want_rc 0
	same_file "$how: the new ledger serves" live/h9/9.rrd new.rrd
	ctl merge h9/9.rrd
	want_rc 0
	wait_for 'cmp -s live/h9/9.rrd want.rrd' 20 || fail "$how: is not merged again"
	end_daemon
done
record state/ledger.db
patch state/ledger.db 60 '\0\0\0\0143'
sum2=$(file_sum state/ledger.db)
run timeout -k 5 30 "$rrdmergd" -f conf -e
want_rc 2
want_err "^rrdmergd: ledger was written by a newer version .*99.* state_dir=$work/state\$"
want_same "a newer one's ledger" "$(file_sum state/ledger.db)" "$sum2"
want_same "a newer one's tree" "$(tree_sum live)" "$sum"

# ---- a state_dir that may not be written to ----

if [ "${runner[*]:-}" != none ]; then
	rm -rf shut b.live state2 && mkdir -p shut b.live
	for i in 1 2 3; do cp new.rrd b.live/$i.rrd; done
	chmod 711 shut && touch log && chmod 666 log
	program=$rrdmergd
	if [ "$(id -u)" = 0 ]; then
		chown -R nobody b.live
		readable || program=$work/bin/rrdmergd
		mkdir run && chown nobody run
	else
		mkdir run
		chmod 511 shut
	fi
	printf '%s\n' "live = \"$work/b.live\";" "backup = \"$work/few.old\";" \
		"state_dir = \"$work/shut\";" "socket = \"$work/run/sock\";" >conf
	: >log
	as_other "$program" -f conf -e 2>log &
	daemon=$!
	want_log '^rrdmergd: the ledger does not work: .*Permission denied.*; nothing is merged until it does \(or with ledger = false\) path='
	want_log '^rrdmergd: watching '
	run "$rrdmergctl" -s run/sock status
	want_rc 0
	want_out '^state: +waiting for the ledger$'
	want_out '^ledger: .*Permission denied'
	sleep 2
	all_as b.live new.rrd
	want_no_log '^rrdmergd: merged '
	want_same "said once" "$(grep -c 'the ledger does not work' log)" 1
	run "$rrdmergctl" -s run/sock undo 1.rrd
	want_rc 1
	# A reload changes nothing about it.
	if [ "$(id -u)" = 0 ]; then chown nobody shut; else chmod 755 shut; fi
	want_log '^rrdmergd: the ledger works again path=' 30
	want_log '^rrdmergd: idle merged=3 unchanged=0 skipped=0 failed=0 waiting=0 ' 30
	all_as b.live want.rrd
	pid=$daemon
	[ "$(id -u)" != 0 ] || pid=$(pgrep -P "$daemon" rrdmergd || echo "$daemon")
	end_daemon 10 "$pid"
	# --once does not wait for it.
	rm -rf shut && mkdir shut && chmod 711 shut
	[ "$(id -u)" = 0 ] || chmod 511 shut
	for i in 1 2 3; do cat new.rrd >b.live/$i.rrd; done
	run as_other timeout -k 5 60 "$program" -f conf -e --once
	want_rc 1
	want_err '^rrdmergd: .*Permission denied'
	all_as b.live new.rrd
	chmod 755 shut
fi

# ---- ledger = false ----

rm -rf state b.live && mkdir b.live && cp new.rrd b.live/1.rrd
configure b.live few.old 'ledger = false;'
start_daemon
want_log '^rrdmergd: idle merged=1 unchanged=0 skipped=0 failed=0 waiting=2 '
same_file "without a ledger" b.live/1.rrd want.rrd
ctl status
want_out '^ledger: +none$'
end_daemon
want_same "files in state_dir" "$(find state -type f 2>/dev/null)" ""

finish
