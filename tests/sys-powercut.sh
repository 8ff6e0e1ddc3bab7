#!/bin/bash
# What the ledger calls done is on disk: the power is cut while the daemon merges, and of what the
# disk holds then each cell that was changed must be on record, and each cell of a merge that is
# "done" must be there.  Then the daemon goes on from there, and makes what an undisturbed run makes.
#
# How the power is cut.  dm-flakey and dm-log-writes are modules that many kernels lack, those of
# containers and small virtual machines among them; so it is done without:
#
# loop    The live tree and the ledger are on two ext4 filesystems, each on a loop device.  The daemon
#         is stopped, the two images are copied when they hold still, and it goes on.  A copy has
#         what the kernel had sent to the disk; whatever was in its page cache alone is lost, as
#         with a disk that keeps all that it was given.  Needs root.
# shadow  A preloaded library (tests/faults.c) copies a file when it is synced, and dies at a random
#         call; the copies are the disk.  It knows nothing of what a filesystem writes of itself.
#
# The first that is possible; POWERCUT=loop or shadow says which.  In the end the same is done with
# syncfs(2) doing nothing, and must be found out.  CUTS says how often, SEED repeats the moments.
set -u
if [ -z "${SYS_POWERCUT_OWN:-}" ]; then
	if unshare --mount --propagation private true 2>/dev/null; then
		SYS_POWERCUT_OWN=mounts exec unshare --mount --propagation private bash "$0"
	fi
	SYS_POWERCUT_OWN=nothing
fi
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/faults.sh"
need rrdtool
need_programs "$rrdmerge" "$rrdmergd"
crashed=$builddir/tests/crashed
ledgersay=$builddir/tests/ledgersay
[ -x "$crashed" ] || skip_all "tests/crashed is not built: configured without librrd"
cd "$work" || exit 99
SEED=${SEED:-$(date +%s)}
echo "SEED=$SEED"
RANDOM=$((SEED % 32768))

files=150
daemon=
loops=()
is_unmounted() {
	! mountpoint -q "disk/$1" || umount "disk/$1" 2>/dev/null
}
unmount() {
	# One that was only just written to may be busy for a moment.
	wait_for 'is_unmounted live && is_unmounted state' 10 || fail "cannot unmount"
	[ ${#loops[@]} = 0 ] || losetup -d "${loops[@]}" 2>/dev/null
	loops=()
}
leave_all() {
	local rc=$?

	[ -z "$daemon" ] || { kill -9 "$daemon"; wait "$daemon"; } 2>/dev/null
	cd "$work" && unmount
	(exit $rc)
	leave
}
trap leave_all EXIT

# mount_image NAME: it is on disk/NAME then.
mount_image() {
	local loop

	loop=$(losetup --show -f "$1.img" 2>/dev/null) || return
	loops+=("$loop")
	mount -t ext4 "$loop" "disk/$1" 2>/dev/null
}

# ---- the files: live, of which `before` is how it begins and `result` what is to come of it ----

mkdir -p backup before result disk/live disk/state
make_rrd old.rrd 0 184
make_rrd new.rrd 192 207
for ((i = 0; i < files; i++)); do
	mkdir -p backup/$((i % 10)) before/$((i % 10))
	cp old.rrd backup/$((i % 10))/$i.rrd
	cp new.rrd before/$((i % 10))/$i.rrd
done
rested=$((SECONDS + 11))
cp -r before/. result
run "$rrdmerge" backup result
want_summary $files 0 0 0
mapfile -t names < <(cd before && find . -name '*.rrd' -printf '%P\n')
triples=()
for name in "${names[@]}"; do
	triples+=("before/$name" "result/$name" "$work/disk/live/$name")
done
cat >conf <<END
live = "$work/disk/live";
backup = "$work/backup";
workers = 2;
state_dir = "$work/disk/state/here";
socket = "$work/sock";
user = "$(id -un)";
END

how=${POWERCUT:-}
can_loop() {
	[ "$SYS_POWERCUT_OWN" = mounts ] && command -v mkfs.ext4 losetup >/dev/null || return
	truncate -s 24M live.img state.img
	mkfs.ext4 -q -F live.img && mkfs.ext4 -q -F state.img && mount_image live &&
		mount_image state && unmount
}
if [ "${how:-loop}" = loop ]; then
	if can_loop; then how=loop; else
		unmount
		[ -z "$how" ] || skip_all "no ext4 on a loop device can be mounted here"
		how=shadow
	fi
fi
echo "# by $how"
[ "$how" = loop ] || need_faults

# ---- the live tree: its files are there, and get their names by and by ----

hide() {
	cp -r before/. disk/live/
	find disk/live -name '*.rrd' -print0 | perl -0 -ne 'chomp; rename $_, "$_.off" or die'
}

appear() {
	local name n=0

	for name in "${names[@]}"; do
		mv "disk/live/$name.off" "disk/live/$name"
		[ $((n++ % 5)) != 0 ] || sleep 0.04
	done
}

# Which name had reached the disk is not what is judged.
unhide() {
	find disk/live -name '*.off' -print0 |
		perl -0 -ne 'chomp; $to = s/[.]off$//r; -e $to ? unlink : rename $_, $to or die'
}

live_sum() {
	(cd disk/live && find . -name '*.rrd*' -print0 | sort -z | xargs -0 cat | sha256sum)
}

# ---- cuts: each makes cut.N, a disk as it would be ----

cuts=0

# begin [FAULT_…=…]…
begin() {
	if [ "$how$#" = loop0 ]; then "$rrdmergd" -f conf -e 2>log & else
		start_with_faults "$@" "$rrdmergd" -f conf -e 2>log; fi
	daemon=$!
}

# A copy that holds still, for the daemon is stopped: what the kernel writes by itself meanwhile
# would be seen by the comparison.
copy_images() {
	local try

	for ((try = 0; try < 20; try++)); do
		cp --sparse=always live.img state.img "$1" || return
		cmp -s live.img "$1/live.img" && cmp -s state.img "$1/state.img" && return
	done
	return 1
}

# A run with cuts all the while, until it is idle and another half of a second.
cut_loop() {
	local most=$1 end=

	truncate -s 0 live.img state.img && truncate -s 24M live.img state.img
	mkfs.ext4 -q -F live.img && mkfs.ext4 -q -F state.img
	mount_image live && mount_image state || { fail "cannot mount"; return 1; }
	hide && sync -f disk/live
	shift
	begin "$@"
	appear &
	appearing=$!
	while [ "$most" -gt 0 ] && [ -z "$end" -o "$end" \> "$EPOCHREALTIME" ]; do
		sleep "0.$((RANDOM % 100 + 100))"
		kill -STOP "$daemon"
		mkdir cut.$cuts
		copy_images cut.$cuts || { fail "the images do not hold still"; break; }
		# What was there to lose.
		kill -STOP $appearing 2>/dev/null
		live_sum >cut.$cuts/sum
		kill -CONT $appearing 2>/dev/null
		kill -CONT "$daemon"
		cuts=$((cuts + 1)) most=$((most - 1))
		[ -n "$end" ] || kill -0 $appearing 2>/dev/null ||
			end=$(awk -v now="$EPOCHREALTIME" 'BEGIN { printf "%.6f", now + 1.5 }')
	done
	kill -9 "$daemon"
	wait 2>/dev/null
	daemon=
	unmount
}

# One cut, at the Nth call.
cut_shadow() {
	local n=$1
	shift

	rm -rf disk/live disk/state cut.$cuts && mkdir -p disk/live disk/state cut.$cuts
	hide
	cp -r disk/. cut.$cuts/
	mkdir cut.$cuts/state/here
	begin FAULT_SHADOW="$work/disk:$work/cut.$cuts" FAULT_DIE_AT="$n" "$@"
	appear &
	appearing=$!
	wait_for '! kill -0 $daemon 2>/dev/null || ! kill -0 $appearing 2>/dev/null' 20
	sleep 1.2
	kill -9 "$daemon" 2>/dev/null
	wait 2>/dev/null
	daemon=
	live_sum >cut.$cuts/sum
	cuts=$((cuts + 1))
}

# put_back CUT: what it has left is on disk/.
put_back() {
	if [ "$how" = loop ]; then
		cp --sparse=always "cut.$1"/*.img . && mount_image live && mount_image state
	else
		rm -rf disk && mkdir disk && cp -r "cut.$1/live" "cut.$1/state" disk/
	fi
}

# judge CUT: says what does not hold.
judge() {
	rm -rf copy && mkdir copy
	cp disk/state/here/ledger.db* copy/ 2>/dev/null
	"$ledgersay" copy/ledger.db >record 2>err || echo "cut $1: the ledger: $(head -n 3 err)"
	"$crashed" --runs "${triples[@]}" <record >verdict 2>&1 ||
		{ echo "cut $1:"; head -n 5 verdict; }
}

go_on() {
	run "$rrdmergd" --once -e -f conf
	want_rc 0
	diff -rq -x lost+found result disk/live && pass "goes on after cut $1" ||
		fail "cut $1: going on does not end as an undisturbed run does"
}

# judge_all FIRST: cuts from that one on, into `said`.
judge_all() {
	local k

	: >said
	amid=0 lost=0 done_some=0
	for ((k = $1; k < cuts; k++)); do
		put_back $k || { fail "cut $k cannot be mounted"; continue; }
		unhide
		judge $k >>said
		grep -qE '^0 changed| 0 missing$' verdict || amid=$((amid + 1))
		[ "$(live_sum)" = "$(cat cut.$k/sum)" ] ||
			lost=$((lost + 1))
		! grep -q ' done merge ' record || done_some=$((done_some + 1))
		[ "$2" != go-on ] || [ $((k % 8)) != 5 ] || go_on $k
		unmount
	done
	echo "# $((cuts - $1)) cuts: $lost times something was lost, $done_some times some merges" \
		"were done, $amid times the disk had a part of them"
}

wait_for "[ \$SECONDS -ge $rested ]" 12         # the daemon lets a backup rest
if [ "$how" = loop ]; then want=${CUTS:-$(by_build 24 12)}; else want=${CUTS:-8}; fi
while [ "$cuts" -lt "$want" ] && [ "$failures" = 0 ]; do
	if [ "$how" = loop ]; then cut_loop $((want - cuts)); else
		cut_shadow $((RANDOM % (6 * files) + 40)); fi
done
judge_all 0 go-on
if [ -s said ]; then fail "a cut"; head -n 30 said; else pass "$cuts cuts"; fi
[ "$lost" -gt 0 ] && pass "something was lost" || fail "nothing was ever lost: nothing was tested"
[ "$done_some" -gt 0 ] && pass "some was done" || fail "nothing was ever done: nothing was tested"

# The same where a sync does nothing: it would be seen.
if ( need_faults ) >/dev/null; then
	first=$cuts
	if [ "$how" = loop ]; then cut_loop 20 'FAULT_ERROR=syncfs:*:LOST'; else
		for n in 1 2 3 4; do
			cut_shadow $((RANDOM % (2 * files) + 6 * files)) 'FAULT_ERROR=syncfs:*:LOST'
		done
	fi
	judge_all $first no
	grep -q 'is called done and is not there' said && pass "syncs are needed" ||
		fail "a sync that does nothing is not found out"
fi
finish
