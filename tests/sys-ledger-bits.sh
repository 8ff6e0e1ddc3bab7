#!/bin/bash
# A ledger is damaged: whatever it is, undo gives back what was there before, byte for byte, or leaves
# the file alone; and where it is a bit of what a merge has recorded, that is said.
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

# ---- three merges of one file, and damage of every size ----

# Each word of eight bytes is as it was before the merges, or as one of them has left it.
cat >judge.pl <<'END'
use strict;
my @text = map { local $/; open my $f, '<:raw', $_ or die "$_: $!"; scalar <$f> } @ARGV;
die "another size\n" if length $text[0] != length $text[1];
for (my $at = 0; $at < length $text[0]; $at += 8) {
	my ($is, @known) = map { substr $_, $at, 8 } @text;
	die "byte $at is another\n" if !grep { $_ eq $is } @known;
}
END
cat >damage.pl <<'END'
use strict;
my ($name, $seed) = @ARGV;
srand $seed;
my $size = -s $name;
open my $f, '+<:raw', $name or die;
sub at { seek $f, $_[0], 0 }
sub put { at($_[0]); print $f $_[1] }
sub get { at($_[0]); read $f, my $bytes, $_[1]; $bytes }
my $kind = int rand 6;
if ($kind < 3) {                # a bit, some, many
	for (1 .. (2, 10, 200)[$kind]) {
		my $byte = int rand $size;
		put($byte, chr(ord(get($byte, 1)) ^ 1 << int rand 8));
	}
} elsif ($kind == 3) {          # zeros, from a few to a page
	put(int rand $size - 4096, "\0" x (1 << int rand 13));
} elsif ($kind == 4) {          # a sector of another place
	put(512 * int rand $size / 512, get(512 * int rand $size / 512, 512));
} else {                        # its end is missing
	truncate $f, int rand $size;
}
print "kind $kind\n";
END
make_rrd middle.rrd 200 400 "${ds[@]}" "${rows[@]}"
make_rrd coarse.rrd 0 484 "${ds[@]}" RRA:AVERAGE:0.3:10:300
rm -f good good.lock
cp new.rrd one.rrd
for old in coarse middle old; do
	run "$rrdmerge" --ledger good $old.rrd one.rrd
	want_summary 1 0 0 0
	cp one.rrd $old.merged
done
cp one.rrd merged.rrd
cp good whole
run "$rrdmerge" --undo whole 3 2 1
same_file "undone by the whole ledger" one.rrd new.rrd
for ((n = 0; n < ${CASES:-120}; n++)); do
	rm -f led led[.-]*
	cp good led
	what="damage SEED=$((SEED + n)), $(perl damage.pl led $((SEED + n)))"
	cat merged.rrd >one.rrd
	ids=(3 2 1)
	((n % 3)) || ids=($((1 + n / 3 % 3)))
	"$rrdmerge" --undo led "${ids[@]}" >out 2>err
	rc=$?
	[ $rc -le 1 ] || fail "$what: ends with $rc"
	perl judge.pl one.rrd ./*.merged new.rrd 2>judged && pass "$what" ||
		fail "$what: undo ${ids[*]}: $(cat judged); $(cat out err)"
	rrdtool info one.rrd >/dev/null || fail "$what: rrdtool cannot read it"
done

finish
