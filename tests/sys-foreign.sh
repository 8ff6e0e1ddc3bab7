# sys-foreign: what other kinds of machines wrote, merged and converted here.  The files of
# data/foreign are judged by what rrdtool said of them over there; for the rest, tests/abroad writes
# files of this machine as others would have.
#
# Real, written by that machine's rrdtool: 32 bit of both byte orders and of both widths of time_t,
# i386 with both, 64 bit of both byte orders.  Made by tests/abroad alone: big endian with doubles
# at 4, as on AIX.

. "$(dirname "$0")/lib.sh"
need rrdtool perl
need_programs "$rrdmerge"
abroad=$builddir/tests/abroad
[ -x "$abroad" ] || skip_all "tests/abroad is not built: configured without librrd"
cd "$work" || exit 99
. "$here/data/foreign/recipe.sh"
foreign=$testdata/foreign

# same_dump EXPECTED GOT [TAG...]: two dumps say the same, but for comments, the way in which tags
# and values are laid out, and these tags.  Numbers are compared as far as EXPECTED prints them; with
# LAST_DIGIT=1 their last digit may be one more or less.
same_dump() {
	perl -e '
		my ($expected, $got, @not) = @ARGV;
		my %not = map { $_ => 1 } @not;
		sub load {
			my ($file) = @_;
			open(my $in, $file =~ /gz$/ ? "gzip -dc \Q$file\E |" : "<$file") or die "$file: $!";
			local $/;
			my $text = <$in>;
			$text =~ s{<!.*?>}{}gs;
			my @all;
			push @all, [$1, $2] while $text =~ m{<(\w+)>\s*([^<>]*?)\s*</\1>}g;
			return grep { !$not{$_->[0]} } @all;
		}
		my @a = load($expected);
		my @b = load($got);
		print "$expected has ", scalar @a, " values, $got ", scalar @b, "\n" if @a != @b;
		my $bad = !@a || @a != @b;
		for my $i (0 .. $#a) {
			last if $i > $#b;
			my ($x, $y) = ($a[$i][1], $b[$i][1]);
			next if $a[$i][0] eq $b[$i][0] && $x eq $y;
			if ($a[$i][0] eq $b[$i][0] && $x =~ /^-?\d\.(\d+)e([-+]\d+)$/) {
				my $last = 10 ** ($2 - length $1);
				next if $y =~ /^-?\d\.\d+e[-+]\d+$/ && 
					abs($x - $y) <= 0.51 * $last + ($ENV{LAST_DIGIT} || 0) * $last / 2;
			}
			print "$expected: $a[$i][0] is $x, and here $b[$i][0] is $y\n" if $bad++ < 5;
		}
		exit($bad ? 1 : 0)' "$@"
}

# ---- real files, by what rrdtool said of them there ----

convert() {     # convert OLD NEW: done, and not one word
	rm -f "$2"
	run "$rrdmerge" --convert "$1" "$2"
	want_rc 0
	want_silent_err
	want_no_out .
}

want_dump() {   # want_dump EXPECTED FILE TAG...: what FILE says of itself here
	local expected=$1 file=$2
	shift 2
	rrdtool dump "$file" >got.xml || { fail "rrdtool cannot read $file"; return; }
	if same_dump "$expected" got.xml "$@"; then pass "$file"; else
		fail "$last: another dump than there"; fi
	rrdtool info "$file" >got.info || fail "rrdtool info $file"
}

real=0
for file in "$foreign"/*-*.rrd; do
	convert "$file" converted.rrd
	# rrdtool 1.7 rounds in its own way (26.8359422834999966 is 2.6835942284e+01), 1.4 as printf.
	case $file in
	*/powerpc* | */i386-t64*) digit=1 ;;
	*) digit=0 ;;
	esac
	LAST_DIGIT=$digit want_dump "${file%.rrd}.xml.gz" converted.rrd
	real=$((real + 1))
done
want_same "fixtures" "$real" 16
for file in "$foreign"/*.rrd; do
	"$rrdmerge" -nv --convert "$file" none.rrd
done | sed -n 's/^would convert from="\([^"]*\)".*/\1/p' | sort -u >kinds
want_same "kinds of machines with real files" "$(tr '\n' '|' <kinds)" "$(printf '%s|' \
	"32-bit big-endian" "32-bit big-endian, 64-bit time_t" "32-bit little-endian" \
	"32-bit little-endian, 64-bit time_t" "64-bit big-endian" i386 "i386, 64-bit time_t" \
	"this kind of machine" | LC_ALL=C sort)"
# Old dumps know fewer tags; rrdtool says 0003 of a file of version 0001.
old='primary_value secondary_value version'
for file in 0001b328 0001b648 0001l324 0001l648 0003b328 0003l324; do
	convert "$foreign/$file.rrd" $file.rrd
	want_dump "$foreign/rrdtool1.xml" $file.rrd $old
done
for file in 0003l328 0003l648 rrdtool; do
	convert "$foreign/$file.rrd" $file.rrd
	want_dump "$foreign/rrdtool3.xml" $file.rrd
done
# Both were written by the same updates, and hold what the dump of version 1 does not tell.
rrdtool dump 0003b328.rrd >b.xml
rrdtool dump 0003l324.rrd >l.xml
if same_dump b.xml l.xml; then pass; else fail "0003b328 and 0003l324 differ"; fi
want_same "the version stays" "$(head -c 8 0001b328.rrd | tail -c 4)" 0001

# The judge can fail.
sed 's/1.4316557593e+07/1.4316557693e+07/' "$foreign/rrdtool3.xml" >wrong.xml
if same_dump wrong.xml got.xml >/dev/null; then fail "the judge sees no difference"; else pass; fi

# ---- pairs: one of simple means, one that ends in the middle of everything, Holt-Winters ----

make_pair pair-old.rrd pair-new.rrd || exit 99
recipe . rrdtool || exit 99
mv plain.rrd plain-old.rrd
mv predict.rrd predict-old.rrd
last=$(rrdtool last plain-old.rrd)
rrdtool create plain-new.rrd --start $((last + 500)) --step 60 \
	DS:jobs:ABSOLUTE:300:0:U DS:load:GAUGE:180:U:U DS:octets:COUNTER:120:0:1e9 \
	DS:sum:COMPUTE:load,octets,+,-1000,MAX \
	RRA:LAST:0.99:30:6 RRA:AVERAGE:0.25:7:22 RRA:AVERAGE:0.5:1:60 RRA:MAX:0:5:28 \
	RRA:AVERAGE:0.5:14:9 RRA:MIN:0.9:5:8 || exit 99
rrdtool update plain-new.rrd $((last + 520)):3:7:1000 $((last + 590)):4:8:5000 \
	$((last + 655)):5:9:7000 || exit 99
last=$(rrdtool last predict-old.rrd)
rrdtool create predict-new.rrd --start $((last + 1000)) --step 300 \
	DS:other:DDERIVE:700:U:U DS:seen:DCOUNTER:700:U:U RRA:AVERAGE:0.5:1:24 \
	RRA:HWPREDICT:30:0.1:0.0035:6:3 RRA:SEASONAL:6:0.2:2 RRA:DEVSEASONAL:6:0.2:2 \
	RRA:DEVPREDICT:30:4 RRA:FAILURES:18:2:9:4 || exit 99
rrdtool update predict-new.rrd $((last + 1310)):1:1 $((last + 1630)):2:2 || exit 99

machines=$("$abroad")
want_same "machines" "$(wc -w <<<"$machines")" 10

# ---- merged from another kind of machine as from this one: byte for byte, seams included ----

for pair in pair plain predict; do
	cp $pair-new.rrd expected.rrd
	run "$rrdmerge" -v $pair-old.rrd expected.rrd
	want_rc 0
	want_out '^merged cells=[1-9]'
	[ $pair != plain ] || want_out ' seam=[1-9]'
	for machine in $machines; do
		"$abroad" $machine $pair-old.rrd theirs.rrd || exit 99
		cp $pair-new.rrd new.rrd
		run "$rrdmerge" theirs.rrd new.rrd
		want_rc 0
		want_silent_err
		if cmp -s expected.rrd new.rrd; then pass "$pair from $machine"; else
			fail "$pair: from $machine comes another file"; cmp expected.rrd new.rrd; fi
		# Once more: nothing.
		run "$rrdmerge" theirs.rrd new.rrd
		want_rc 0
		want_summary 0 1 0 0
		convert theirs.rrd converted.rrd
		# In one of our own, even what no field covers stays as it is.
		original=$pair-old.rrd
		rrdtool info theirs.rrd >got.info 2>&1 && original=theirs.rrd
		if cmp -s converted.rrd "$original"; then pass "$pair converted from $machine"; else
			fail "$pair: converted from $machine is another file"
			cmp converted.rrd "$original"; fi
	done
done
for file in "$foreign"/*-plain.rrd "$foreign"/*-predict.rrd; do
	kind=${file%.rrd} kind=${kind##*-}
	convert "$file" converted.rrd
	cp $kind-new.rrd new.rrd
	cp $kind-new.rrd expected.rrd
	run "$rrdmerge" converted.rrd expected.rrd
	want_summary 1 0 0 0
	run "$rrdmerge" "$file" new.rrd
	want_summary 1 0 0 0
	if cmp -s expected.rrd new.rrd; then pass; else fail "$file merges otherwise than converted"; fi
done

# ---- a live file of another kind is refused, with what to do ----

for machine in i386 s390x armhf-t64; do
	"$abroad" $machine pair-new.rrd theirs.rrd
	sum=$(sha256sum <theirs.rrd)
	run "$rrdmerge" pair-old.rrd theirs.rrd
	want_rc 1
	want_err 'refused reason="live was written on another kind of machine \(.*--convert OLD NEW\.rrd.*rrdtool dump'
	want_same "untouched" "$sum" "$(sha256sum <theirs.rrd)"
	# As told: converted, and merged into.
	convert theirs.rrd taken.rrd
	cp pair-new.rrd expected.rrd
	"$rrdmerge" pair-old.rrd expected.rrd >out
	run "$rrdmerge" pair-old.rrd taken.rrd
	want_rc 0
	if cmp -s expected.rrd taken.rrd; then pass; else fail "$machine: converted live differs"; fi
done

# ---- a tree of them, in many threads ----

cp pair-new.rrd expected.rrd
"$rrdmerge" pair-old.rrd expected.rrd >out || fail "no expectation"
mkdir old live
for machine in $machines; do
	"$abroad" $machine pair-old.rrd old/$machine.rrd
	cp pair-new.rrd live/$machine.rrd
done
head -c 900 old/i386.rrd >old/cut.rrd
cp pair-new.rrd live/cut.rrd
run "$rrdmerge" -j 4 old live
want_rc 1
want_summary 10 0 0 1
want_err 'refused reason="backup is truncated.* file=cut.rrd'
for machine in $machines; do
	if cmp -s expected.rrd live/$machine.rrd; then pass "in the tree: $machine"; else
		fail "in the tree: $machine"; fi
done

finish
