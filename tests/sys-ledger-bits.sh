#!/bin/bash
# A bit turns in a ledger: whatever it is, undo gives back what was there before, byte for byte, or
# leaves the file alone; and where it is a bit of what a merge has recorded, that is said.
set -u
. "$(dirname "$0")/lib.sh"
need rrdtool perl sqlite3
need_programs "$rrdmerge"
cd "$work" || exit 99

SEED=${SEED:-$(date +%s)}
echo "# SEED=$SEED"

ds=(DS:x:GAUGE:8640:U:U DS:y:GAUGE:8640:U:U)
rows=(RRA:AVERAGE:0.3:1:100 RRA:AVERAGE:0.3:10:300 RRA:MAX:0.3:10:200 RRA:LAST:0.3:60:40
	RRA:AVERAGE:0.3:60:40)
make_rrd old.rrd 0 484 "${ds[@]}" "${rows[@]}"
make_rrd new.rrd 487 522 "${ds[@]}" "${rows[@]}"
cp new.rrd one.rrd
run "$rrdmerge" --ledger good old.rrd one.rrd
want_summary 1 0 0 0
cp one.rrd merged.rrd
runs=$(sqlite3 -readonly good 'SELECT hex(runs) FROM merge')
rm -f good-wal good-shm

# sample FROM COUNT BITS: that many of the bits of the file from byte FROM on, "byte mask" each.
sample() {
	perl -e 'srand($ARGV[0]); for (1 .. $ARGV[3]) { my $bit = int(rand($ARGV[2] * 8));
		printf "%d %d\n", $ARGV[1] + ($bit >> 3), 1 << ($bit & 7) }' "$SEED" "$1" "$2" "$3"
}

# turned BYTE MASK: undo by a ledger of which that bit has turned.
turned() {
	rm -f led led[.-]*
	cp good led
	perl -e 'open my $f, "+<", "led"; seek $f, $ARGV[0], 0; read $f, my $byte, 1;
		seek $f, $ARGV[0], 0; print $f chr(ord($byte) ^ $ARGV[1])' "$1" "$2"
	cat merged.rrd >one.rrd
	"$rrdmerge" --undo led 1 >out 2>err
	rc=$?
}

at=$(perl -e 'local $/; open my $f, "<", "good"; print index(<$f>, pack("H*", $ARGV[0]))' "$runs")
want_differ "the runs are found in the file" "$at" -1
turned 0 0
want_same "undo with no bit turned" "$rc" 0
same_file "undo with no bit turned" one.rrd new.rrd

while read -r byte mask; do
	turned "$byte" "$mask"
	what="byte $((byte - at)) of the runs, mask $mask"
	want_same "$what: undo" "$rc" 1
	grep -q '^rrdmerge: merge 1 is not undone: cannot be undone: what the ledger has of its merge 1 is damaged file=.*/one\.rrd$' err ||
		fail "$what: says $(cat err)"
	same_file "$what: the file" one.rrd merged.rrd
done < <(echo "$((at + 24)) 64"; sample "$at" $((${#runs} / 2)) 60)

size=$(stat -c %s good)
while read -r byte mask; do
	turned "$byte" "$mask"
	if cmp -s one.rrd new.rrd; then
		want_same "byte $byte, mask $mask: undone" "$rc" 0
	else
		same_file "byte $byte, mask $mask: not undone" one.rrd merged.rrd
		want_same "byte $byte, mask $mask: not undone, said" "$rc" 1
		[ -s err ] || fail "byte $byte, mask $mask: not undone, and nothing said"
	fi
done < <(sample 0 "$size" 100)

finish
