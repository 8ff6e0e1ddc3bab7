#!/bin/bash
# A daemon works through a tree of 200 files while all of them are updated through librrd and some
# are begun anew; it is killed (SIGKILL) at random moments and started again.  In the end, after a
# last run that nobody disturbs, each file must be as its twin, which was merged before its first
# update, by rrdmerge, and has seen the same updates; and no update may have been refused.
#
# KILLS=500 kills it so often, 40 times is usual; SEED repeats the choices.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd" "$rrdmerge"
survive=$builddir/tests/survive
[ -x "$survive" ] || skip_all "tests/survive is not built: configured without librrd"
cd "$work" || exit 99

files=200
kills=${KILLS:-$(by_build 40 16)}
export SEED=${SEED:-$(date +%s)}
echo "SEED=$SEED KILLS=$kills"
RANDOM=$((SEED % 32768))

for host in $(seq 0 19); do
	mkdir -p backup/h$host pristine/h$host
done
"$survive" make . "$files" || { rc=$?; finished=1; exit $rc; }
made=$SECONDS
cp -r pristine merged
# As a row that live knows from its own part alone is to come out, whenever it is merged.
run "$rrdmerge" --seam rebuild backup merged
want_rc 0
want_summary "$files" 0 0 0
cp -r pristine live
cp -r merged twin

settings=('workers = 2;' 'seam = "rebuild";')
configure live backup

begin() {
	"$rrdmergd" -f conf -e 2>>log &
	daemon=$!
}

wait_for "[ \$SECONDS -ge $((made + 11)) ]" 12        # a backup is left alone until it has rested
"$survive" update . "$files" >updates &
updater=$!
others=($updater)
sleep 1.5                       # the first rows of live's own are finished before it is merged

# pause MILLISECONDS
pause() {
	sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"
}

# How long a life must be to merge something depends on the machine, and on what else it does.
begin
begun=$(date +%s%N)
wait_for "grep -q '^rrdmergd: merged' log" 60 || fail "nothing is merged"
lead=$((($(date +%s%N) - begun) / 1000000))
kill -9 "$daemon"
wait "$daemon" 2>/dev/null
echo "# the first merge came after $lead ms"

amid=0
for ((k = 0; k < kills; k++)); do
	before=$(grep -c '^rrdmergd: merged' log 2>/dev/null)
	begin
	# Many short lives, in which it has just begun, and some longer ones.
	pause $((k % 4 ? RANDOM % (lead + 100) : lead + RANDOM % 800))
	kill -0 "$daemon" 2>/dev/null || fail "the daemon has ended by itself"
	kill -9 "$daemon"
	wait "$daemon" 2>/dev/null
	daemon=
	pause $((RANDOM % (k % 8 ? 50 : 999)))
	[ "$(grep -c '^rrdmergd: merged' log)" = "${before:-0}" ] || amid=$((amid + 1))
done
echo "# $amid of $kills lives were long enough to merge something"
[ "$amid" -ge $((kills / 10)) ] && pass "killed at work" ||
	fail "only $amid of $kills lives have merged anything: nothing was tested"

kill -TERM "$updater"
wait "$updater"
want_same "updater's exit code: $(tail -n 3 updates)" $? 0
sed 's/^/# /' updates
others=()

# To its end.
lines=$(wc -l <log)
begin
wait_for "tail -n +$((lines + 1)) log | grep -q '^rrdmergd: idle merged=.* failed=0 waiting=0 '" 60 &&
	pass idle || { fail "does not become idle"; tail -n 5 log; }
kill -TERM "$daemon"
wait "$daemon"
want_same "exit code" $? 0
daemon=
grep -vE '^rrdmergd: (merged|unchanged|progress|idle|watching|ended|terminat|skipped)' log | sort |
	uniq -c | sort -rn | head -n 10 | sed 's/^/# /'
grep -q '^rrdmergd: refused\|^rrdmergd: failed' log &&
	fail "something was refused: $(grep -m1 '^rrdmergd: refused\|^rrdmergd: failed' log)"
run "$survive" compare . "$files"
want_rc 0
sed 's/^/# /' out
finish
