#!/bin/bash
# What a merge has filled is taken back: by rrdmerge --undo from a ledger, and by the daemon, which
# is asked through its socket, while rrdtool goes on updating.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
cd "$work" || exit 99

settings=('workers = 2;')

# ---- what is judged ----

# words_of EXPRESSION FILE…: the expression over the words $w[0], $w[1] … of the files, each of the
# same size, is the number of words for which it holds.
words_of() {
	perl -e '
		my $expression = shift;
		my @file = map {
			local $/; open(my $in, "<", $_) or die "$_: $!";
			[ unpack "Q*", <$in> ]
		} @ARGV;
		my $count = 0;
		my $holds = eval "sub { my \@w = \@_; $expression }" or die $@;
		for my $i (0 .. $#{$file[0]}) {
			$count++ if $holds->(map { $_->[$i] } @file);
		}
		print "$count\n";
	' "$@"
}

# differing A B: in how many words, which are cells, two files of one structure differ.
differing() {
	words_of '$w[0] != $w[1]' "$1" "$2"
}

# undone ID: what rrdmerge --undo says of it.  $cells, $open: how many.
undone() {
	local line

	line=$(grep -a "^undone id=$1 cells=[0-9]* open=[0-9]* file=/.*\.rrd\$" out)
	cells=$(sed 's/.* cells=\([0-9]*\) .*/\1/' <<<"$line")
	open=$(sed 's/.* open=\([0-9]*\) .*/\1/' <<<"$line")
	if [ "$line" ]; then pass "undone $1"; else fail "merge $1 is not said to be undone"; show_last
	fi
}

# update FILE FROM TO: minute by minute.
update() {
	local m
	local -a values=()

	for ((m = $2; m <= $3; m++)); do
		values+=("$((T0 + 60 * m)):$((m * 7 % 101)):$((m * 3 % 89))")
	done
	rrdtool update "$1" "${values[@]}"
}

# merge_one NAME OLD [OPTION…]: NAME.rrd takes what OLD has, on record in NAME.ledger.
merge_one() {
	local name=$1 old=$2
	shift 2

	run "$rrdmerge" -v "$@" --ledger "$name.ledger" "$old" "$name.rrd"
	want_rc 0
	want_silent_err
	want_summary 1 0 0 0
}

undo_one() {
	run "$rrdmerge" --undo "$1.ledger" "${@:2}"
}

# counted KIND: how many the line of the merge says, 1 at least.
counted() {
	if grep -aqE "^merged .* $1=[1-9]" out; then pass "$1"; else
		fail "nothing of the kind $1 was filled: nothing is tested"; show_last; fi
}

# ---- the pairs ----

ds=(DS:x:GAUGE:8640:U:U DS:y:GAUGE:8640:U:U)
rows=(RRA:AVERAGE:0.3:1:100 RRA:AVERAGE:0.3:10:300 RRA:MAX:0.3:10:200 RRA:LAST:0.3:60:40
	RRA:AVERAGE:0.3:60:40)
# The outage lies within the hour that ends at 540, and within one of ten minutes.
make_rrd old.rrd 0 484 "${ds[@]}" "${rows[@]}"
make_rrd all.rrd 487 522 "${ds[@]}" RRA:AVERAGE:0.3:1:600 RRA:AVERAGE:0.3:5:300 "${rows[@]:1}"
make_rrd ring.rrd 487 522 "${ds[@]}" "${rows[@]}"

# ---- right after the merge: as if nothing had been ----

for name in all ring; do
	cp $name.rrd $name.before
	inode=$(stat -c '%i %a %u:%g' $name.rrd)
	merge_one $name old.rrd
	for kind in seam exact open; do counted $kind; done
	[ $name = ring ] || for kind in consolidated spread; do counted $kind; done
	cp $name.rrd $name.merged
	filled=$(sed -n 's/^merged cells=\([0-9]*\) .*/\1/p' out)
	opens=$(sed -n 's/^merged .* open=\([0-9]*\) .*/\1/p' out)
	want_differ "$name: the merge" "$(file_sum $name.rrd)" "$(file_sum $name.before)"
	undo_one $name 1
	want_rc 0
	want_silent_err
	undone 1
	want_same "$name: cells" "$cells" "$filled"
	want_same "$name: open rows" "$open" "$opens"
	same_file "$name: undone at once" $name.rrd $name.before
	want_same "$name: inode, mode, owner" "$(stat -c '%i %a %u:%g' $name.rrd)" "$inode"

	# Again, or what is no merge: said, and nothing is touched.
	state=$(file_sum $name.rrd; stat -c '%y %z' $name.rrd)
	undo_one $name 1
	want_rc 1
	want_err '^rrdmerge: merge 1 is not undone: was undone already file=/'
	undo_one $name 2
	want_rc 1
	want_err '^rrdmerge: merge 2 is not undone: it is an undo; merging anew '
	for id in 99 9223372036854775807; do
		undo_one $name $id
		want_rc 1
		want_err "^rrdmerge: merge $id: is not on record\$"
	done
	for id in abc 0 1x '' 99999999999999999999999 $'1\n'; do
		undo_one $name "$id"
		want_rc 1
		want_err '^rrdmerge: .*(is no number of a merge|is not on record)$'
		want_no_out undone
	done
	undo_one $name -- -1
	want_rc 1
	want_err 'is no number of a merge$'
	run "$rrdmerge" --undo $name.ledger
	want_rc 0                       # lists what is on record
	want_silent_err
	want_out '^id=1 time=[^ ]+ what=[a-z]+ cells=[0-9]+ file=/'
	want_same "$name: refused undo touches nothing" "$state" \
		"$(file_sum $name.rrd; stat -c '%y %z' $name.rrd)"

	# Named, it is merged again, and comes out as the first time.
	merge_one $name old.rrd
	same_file "$name: merged again" $name.rrd $name.merged
	undo_one $name 99 3 abc
	want_rc 1
	undone 3
	want_err 'merge 99: is not on record'
	want_err 'abc is no number of a merge'
	same_file "$name: the good number among bad ones" $name.rrd $name.before
done

# ---- more than one hold writes ----

# One update a day fills the 1,440 rows of that day.
wide=(DS:x:GAUGE:200000:U:U DS:y:GAUGE:200000:U:U RRA:AVERAGE:0.5:1:110000 RRA:MAX:0.5:60:2000)
days() {
	local d
	local -a values=()

	rrdtool create "$1" --start $((T0 + 86400 * $2)) --step 60 "${wide[@]}" || return
	for ((d = $2 + 1; d <= $3; d++)); do values+=("$((T0 + 86400 * d)):$d:$((d * 3))"); done
	rrdtool update "$1" "${values[@]}"
}
days bigold.rrd 0 70
days big.rrd 70 72
cp big.rrd big.before
! can_trace || traced+=(-e trace=fcntl)
merge_one big bigold.rrd
filled=$(differing big.rrd big.before)
if [ "$filled" -gt $(((1 << 20) / 8)) ]; then pass "more than 1 MB"; else
	fail "only $filled cells: one hold is enough for them"; fi
run "${traced[@]}" "$rrdmerge" --undo big.ledger 1
want_rc 0
undone 1
want_same "a large file: cells" "$cells" "$filled"
same_file "a large file" big.rrd big.before
if [ ${#traced[@]} != 0 ]; then
	holds=$(grep -c 'F_SETLEASE, F_WRLCK) *= 0' trace)
	if [ "$holds" -ge 2 ]; then pass "$holds holds"; else fail "$holds holds, not several"; fi
fi

# ---- with updates between ----

# later NAME FROM TO: NAME.rrd is merged and then updated; twin.rrd is updated without a merge.
later() {
	rm -f "$1.ledger" "$1.ledger.lock"
	cp "$1.before" "$1.rrd"
	cp "$1.before" twin.rrd
	merge_one "$1" old.rrd
	update "$1.rrd" "$2" "$3" && update twin.rrd "$2" "$3" || fail "rrdtool cannot update"
	cp "$1.rrd" updated.rrd
}

# Where no open row was completed, the file is the one that was never merged.
shut=(DS:x:GAUGE:8640:U:U DS:y:GAUGE:8640:U:U RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:60)
make_rrd old.rrd 0 484 "${shut[@]}"
make_rrd shut.rrd 490 522 "${shut[@]}"
cp shut.rrd shut.before
for to in 523 541 590 621 700; do       # at 700 the ring of 100 minutes has gone round
	later shut 523 $to
	known=$(differing updated.rrd twin.rrd)
	undo_one shut 1
	want_rc 0
	want_silent_err
	undone 1
	want_same "updated to $to: cells" "$cells" "$known"
	same_file "updated to $to: as never merged" shut.rrd twin.rrd
done
want_same "what is left to undo, in the end" "$([ "$known" -gt 0 ] && echo some)" some

# An open row that was completed stays so, and the row that was made of it; that is said.
make_rrd old.rrd 0 484 "${ds[@]}" "${rows[@]}"
for to in 523 535 545 700; do
	later ring 523 $to
	undo_one ring 1
	want_rc 0
	undone 1
	want_same "updated to $to: open rows given back" "$open" 0
	want_err '^rrdmerge: [1-9][0-9]* open rows? stays? completed, .* file=/.*/ring\.rrd$'
	# Nothing but what the merge and the updates left or what is without the merge.
	want_same "updated to $to: words of neither" \
		"$(words_of '$w[0] != $w[1] && $w[0] != $w[2]' ring.rrd twin.rrd updated.rrd)" 0
	want_same "updated to $to: cells" "$cells" "$(differing ring.rrd updated.rrd)"
	# The open rows are those of an hour: at most two archives with two data sources each, a value
	# and a count.  Once they are finished, so many cells.
	kept=$(differing ring.rrd twin.rrd)
	if [ "$kept" -gt 0 ] && [ "$kept" -le 8 ]; then pass "$kept words stay healed"; else
		fail "updated to $to: $kept words differ from those of a file never merged"; fi
	if [ "$to" = 523 ] || [ "$to" = 545 ]; then
		healed=$(words_of '$w[0] != $w[1] && $w[0] == $w[2]' ring.rrd twin.rrd updated.rrd)
		want_same "updated to $to: healed ones as they were" "$healed" "$kept"
	fi
done

# ---- it is another file by now ----

# refused WHAT REASON: the undo of merge 1 is refused, the file left alone.
refused() {
	local state

	state=$(file_sum shut.rrd; stat -c '%i %y %z' shut.rrd)
	undo_one shut 1
	want_rc 1
	want_err "^rrdmerge: merge 1 is not undone: .*$2.* file=/.*/shut\\.rrd\$"
	want_no_out undone
	want_same "$1: untouched" "$(file_sum shut.rrd; stat -c '%i %y %z' shut.rrd)" "$state"
}

make_rrd old.rrd 0 484 "${shut[@]}"
later shut 523 530
cp shut.rrd copy.rrd
mv copy.rrd shut.rrd                    # the same, in another inode
refused "another inode" 'made anew'
later shut 523 530
make_rrd other.rrd 490 522 DS:x:GAUGE:8640:U:U DS:z:GAUGE:8640:U:U "${shut[@]:2}"
cat other.rrd >shut.rrd
refused "another data source" 'data sources or archives are not those'
make_rrd other.rrd 490 522 "${shut[@]:0:2}" RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:61
cat other.rrd >shut.rrd
refused "another archive" 'data sources or archives are not those'
# Written over in place, by one of the same structure.  same FILE X Y: values of x and y are so much
# more than those of make_rrd.
same() {
	local m
	local -a updates=()

	for ((m = 1; m <= 540; m++)); do
		updates+=("$((T0 + 60 * m)):$((1000 + m * 7 % 101 + $2)):$((2000 + m * 7 % 101 + $3))")
	done
	rrdtool create "$1" --start $T0 --step 60 "${shut[@]}" && rrdtool update "$1" "${updates[@]}"
}
later shut 523 530
same other.rrd 1 1
cat other.rrd >shut.rrd
refused "other values" 'it holds other values'
later shut 523 530
cat old.rrd >shut.rrd
refused "an older file" 'it is older than it was when it was merged'
if rrdtool dump old.rrd old.xml && later shut 523 530 && inode=$(stat -c %i shut.rrd) &&
	rrdtool restore -f old.xml shut.rrd && [ "$(stat -c %i shut.rrd)" = "$inode" ]; then
	refused "an older file, restored" 'it is older than it was when it was merged'
fi
# What somebody has put there is left, the rest is taken back.
later shut 523 530
same other.rrd 0 1
cat other.rrd >shut.rrd
undo_one shut 1
want_rc 0
want_err '[1-9][0-9]* runs of rows stay: they hold other values than were put there file=/'
fetch_ds() {
	rrdtool fetch "$1" AVERAGE -r 60 -s $((T0 + 60 * 450)) -e $((T0 + 60 * 470)) |
		awk -v n="$2" '/: / { print $n }'
}
want_same "values that were put there by somebody" "$(fetch_ds shut.rrd 3)" "$(fetch_ds other.rrd 3)"
want_same "values of the merge" "$(fetch_ds shut.rrd 2 | sort -u)" "$(fetch_ds shut.before 2 | sort -u)"
make_rrd other.rrd 490 522 "${shut[@]:0:2}" RRA:AVERAGE:0.3:1:100 RRA:MAX:0.3:10:61
head -c 700 other.rrd >shut.rrd
refused "a torso" '.'
echo garbage >shut.rrd
refused "garbage" '.'
rm shut.rrd
undo_one shut 1
want_rc 1
want_err '^rrdmerge: merge 1 is not undone: the file is not there any more file=/'
[ -e shut.rrd ] && fail "an undo has made a file"
mkdir shut.rrd
undo_one shut 1
want_rc 1
want_err '^rrdmerge: merge 1 is not undone: '
rmdir shut.rrd
ln -s other.rrd shut.rrd
sum=$(file_sum other.rrd)
undo_one shut 1
want_rc 1
want_same "what a link leads to" "$(file_sum other.rrd)" "$sum"
rm shut.rrd

# ---- after an undo: a tree leaves the file alone, naming the two files merges it ----

mkdir -p A/sub B/sub
cp old.rrd A/sub/held.rrd && cp old.rrd A/sub/other.rrd
cp shut.before B/sub/held.rrd && cp shut.before B/sub/other.rrd
run "$rrdmerge" --ledger tree.ledger A B
want_rc 0
want_summary 2 0 0 0
cp B/sub/held.rrd merged.rrd
# Both are the same: which number is whose does not matter, but the file that is said does.
undo_one tree 1
want_rc 0
undone 1
if grep -aq 'file=/.*/B/sub/held\.rrd$' out; then held=held left=other; else held=other left=held; fi
same_file "undone" B/sub/$held.rrd shut.before
same_file "the other one" B/sub/$left.rrd merged.rrd
for _ in 1 2; do
	state=$(tree_state B)
	run "$rrdmerge" --ledger tree.ledger A B
	want_rc 0
	want_summary 0 2 0 0 0
	want_err "^rrdmerge: held .*was undone.* file=sub/$held\\.rrd\$"
	want_no_err "sub/$left"
	want_same "a tree leaves it alone" "$(tree_state B)" "$state"
done
# From anywhere, by any name: the record has its whole path.
mkdir elsewhere
(cd elsewhere && run "$rrdmerge" --ledger ../tree.ledger "$work/A" ../B/.
	cp ../err . 2>/dev/null; exit $rc)
want_same "the tree by another name" $? 0
want_same "… leaves it alone" "$(tree_state B)" "$state"
run "$rrdmerge" --ledger tree.ledger A/sub/$held.rrd B/sub/$held.rrd
want_rc 0
want_silent_err
want_summary 1 0 0 0
same_file "named, it is merged" B/sub/$held.rrd merged.rrd
run "$rrdmerge" --ledger tree.ledger A B
want_rc 0
want_silent_err
want_summary 0 2 0 0 0
# Several numbers at once.
ids=$(grep -aoE '[0-9]+' <<<"2 4")
# shellcheck disable=SC2086
undo_one tree $ids
want_rc 0
same_file "one of two" B/sub/held.rrd shut.before
same_file "two of two" B/sub/other.rrd shut.before

# ---- seam = rebuild: what stood there comes back ----

make_rrd old.rrd 0 484 "${ds[@]}" "${rows[@]}"
make_rrd seam.rrd 487 585 "${ds[@]}" "${rows[@]}"     # it knows the hour at 540 from its part
cp seam.rrd seam.before
nan=$(perl -e 'print unpack("Q", pack("d", 9**9**9 / 9**9**9)) & 0x7fffffffffffffff')
unknown="(\$w[0] & 0x7fffffffffffffff) == $nan"
merge_one seam old.rrd
want_same "without rebuild: known words changed" \
	"$(words_of "\$w[0] != \$w[1] && !($unknown)" seam.before seam.rrd)" 0
undo_one seam 1
same_file "without rebuild" seam.rrd seam.before
merge_one seam old.rrd --seam rebuild
rebuilt=$(words_of "\$w[0] != \$w[1] && !($unknown)" seam.before seam.rrd)
if [ "$rebuilt" -gt 0 ]; then pass "$rebuilt rebuilt"; else fail "nothing is rebuilt: no test"; fi
undo_one seam 3
want_rc 0
want_silent_err
undone 3
same_file "rebuilt rows have their old values back" seam.rrd seam.before
merge_one seam old.rrd --seam rebuild
update seam.rrd 586 595
cp seam.before twin.rrd && update twin.rrd 586 595
undo_one seam 5
want_rc 0
undone 5
same_file "… and after updates" seam.rrd twin.rrd

# ---- two generations: each merge has its own cells ----

rm -rf gen && mkdir gen
make_rrd gen/older.rrd 0 300 "${shut[@]:0:2}" RRA:AVERAGE:0.3:1:600 RRA:MAX:0.3:10:60
make_rrd gen/newer.rrd 200 484 "${shut[@]:0:2}" RRA:AVERAGE:0.3:1:600 RRA:MAX:0.3:10:60
make_rrd live.before 490 522 "${shut[@]:0:2}" RRA:AVERAGE:0.3:1:600 RRA:MAX:0.3:10:60
for undo in "1" "2" "1 2" "2 1"; do
	cp live.before gen.rrd
	rm -f gen.ledger
	merge_one gen gen/older.rrd
	cp gen.rrd first.rrd
	merge_one gen gen/newer.rrd
	cp gen.rrd second.rrd
	# shellcheck disable=SC2086
	undo_one gen $undo
	want_rc 0
	want_silent_err
	case $undo in
	1)
		# What the second merge wrote is there, and nothing of the first.
		want_same "the older of two" "$(words_of \
			'$w[3] != ($w[1] != $w[2] ? $w[2] : $w[0])' \
			live.before first.rrd second.rrd gen.rrd)" 0
		want_differ "the newer one's cells" "$(file_sum gen.rrd)" "$(file_sum live.before)"
		undo_one gen 2
		want_rc 0
		same_file "and then the newer" gen.rrd live.before
		;;
	2)
		same_file "the newer of two" gen.rrd first.rrd
		undo_one gen 1
		want_rc 0
		same_file "and then the older" gen.rrd live.before
		;;
	*)
		same_file "both, $undo" gen.rrd live.before
		;;
	esac
done

# ---- the daemon ----

# begin, begin_again: until it is idle.
begin() {
	start_daemon
	want_log '^rrdmergd: idle '
}

begin_again() {
	end_daemon
	begin
}

# value KEY [N]: of the Nth record of the plain answer, or of any.
value() {
	awk -v key="$1:" -v want="${2:-0}" '
		BEGIN { n = 1 }
		/^$/ { n++ }
		$1 == key && (!want || n == want) { sub(/^[^ ]* */, ""); print; exit }' out
}

want_value() {
	want_same "$1" "$(value "$1")" "$2"
}

# want_undone REL CELLS: one record says so.
want_undone() {
	want_rc 0
	want_silent_err
	want_same "undone" "$(sed -n 's/^undone: *//p' out)" "$1"
	want_same "cells of $1" "$(sed -n 's/^cells: *//p' out)" "$2"
}

# stays_undone WHAT FILE IMAGE
stays_undone() {
	sleep 0.5
	same_file "$1" "$2" "$3"
}

# id_of REL: the number of its latest merge.
id_of() {
	"$rrdmergctl" -s sock history "$1" | awk '$1 == "id:" { print $2; exit }'
}

mkdir -p backup/web01 live/web01 state
make_rrd now.rrd 487 522 "${ds[@]}" "${rows[@]}"
for name in one two three; do
	cp old.rrd backup/web01/$name.rrd
	cp now.rrd live/web01/$name.rrd
done
cp old.rrd backup/top.rrd && cp now.rrd live/top.rrd
cp old.rrd backup/busy.rrd
cp now.rrd want.rrd && "$rrdmerge" old.rrd want.rrd >/dev/null
cells=$(differing now.rrd want.rrd)
sleep 10.2                              # a backup is left alone until it has rested
configure live backup
begin
want_log '^rrdmergd: idle merged=4 unchanged=0 skipped=0 failed=0 waiting=1 '
for file in web01/one web01/two web01/three top; do
	same_file "merged: $file" live/$file.rrd want.rrd
done
filled=$(sed -n 's/^rrdmergd: merged cells=\([0-9]*\) .*file=top\.rrd$/\1/p' log)

# By its path, as it lies beneath the live tree, and whole; by its number.
ctl undo web01/one.rrd
want_undone web01/one.rrd "$filled"
want_differ "open rows" "$(value open_rows)" 0
same_file "undone by its path" live/web01/one.rrd now.rrd
ctl undo "$work/live/web01/two.rrd"
want_undone web01/two.rrd "$filled"
same_file "undone by its whole path" live/web01/two.rrd now.rrd
id=$(id_of top.rrd)
ctl undo "$id"
want_undone top.rrd "$filled"
same_file "undone by its number" live/top.rrd now.rrd
same_file "the one that is left" live/web01/three.rrd want.rrd
want_log "^rrdmergd: undone cells=$filled open=[1-9][0-9]* file=top\\.rrd\$"

# What cannot be undone is said, and touches nothing.
state=$(tree_state live)
ctl undo "$id"
want_rc 1
want_err 'top\.rrd: .*was undone already'
ctl undo top.rrd
want_rc 1
want_err 'top\.rrd: .*was undone already'
ctl undo 4711
want_rc 1
want_err 'there is no merge 4711 on record'
undo=$(id_of top.rrd)
want_differ "number of the undo" "$undo" "$id"
ctl undo "$undo"
want_rc 1
want_err "^rrdmergctl: $undo is an undo; \"rrdmergctl merge top\\.rrd\" brings the values back\$"
for path in web01 web01/ "$work/live/web01" "$work/live/"; do
	ctl undo "$path"
	want_rc 1
	want_err "^rrdmergctl: $path is a directory: name a file, a merge by its id, or all of them by --all\$"
done
for path in nowhere.rrd web01 "$work/live/nowhere.rrd" "$work/backup/top.rrd" ../backup/top.rrd /; do
	ctl undo "$path"
	want_rc 1
	want_err '.'
	want_no_out '.'
done
ctl undo
want_rc 2
want_err 'undo PATH, undo ID, or undo --all'
ctl undo --all top.rrd
want_differ "undo --all PATH" "$rc" 0
ctl undo top.rrd web01/one.rrd
want_differ "undo PATH PATH" "$rc" 0
want_same "what was refused touched nothing" "$(tree_state live)" "$state"

# Undone it stays: over a restart, a reload, rescans, updates, and all of them.
configure live backup 'rescan_interval = 1;'
merged=$(lines '^rrdmergd: merged ')
kill -HUP "$daemon"
want_log '^rrdmergd: reloaded '
sleep 2.5                               # two rescans
same_file "over a reload and a rescan" live/web01/one.rrd now.rrd
want_lines '^rrdmergd: merged ' "$merged"
begin_again
want_log '^rrdmergd: idle merged=0 unchanged=4 skipped=0 failed=0 waiting=1 '
for file in web01/one web01/two top; do
	stays_undone "over a restart: $file" live/$file.rrd now.rrd
done
same_file "what was not undone" live/web01/three.rrd want.rrd
cp now.rrd twin.rrd
for m in 523 524; do
	update live/web01/one.rrd $m $m && update twin.rrd $m $m
done
sleep 1.5
same_file "over an update" live/web01/one.rrd twin.rrd
begin_again
stays_undone "over an update and a restart" live/web01/one.rrd twin.rrd
want_lines '^rrdmergd: merged ' 0

# merge PATH asks for it.
ctl merge web01/two.rrd
want_rc 0
want_value queued web01/two.rrd
want_log '^rrdmergd: merged .* file=web01/two\.rrd$'
same_file "merged again" live/web01/two.rrd want.rrd
ctl merge "$work/live/top.rrd"
want_rc 0
want_log '^rrdmergd: merged .* file=top\.rrd$'
same_file "merged again by its whole path" live/top.rrd want.rrd
same_file "those that nobody named" live/web01/one.rrd twin.rrd
for path in nowhere.rrd "$work/backup/top.rrd" ../backup/top.rrd; do
	ctl merge "$path"
	want_rc 1
	want_err '.'
done
begin_again
stays_undone "merged again, and a restart" live/web01/two.rrd want.rrd
ctl merge web01/one.rrd
want_log '^rrdmergd: merged .* file=web01/one\.rrd$'
want_differ "merged with updates between" "$(file_sum live/web01/one.rrd)" "$(file_sum twin.rrd)"

# While it is updated all the time.
cp now.rrd busy.rrd && mv busy.rrd live/
cp now.rrd twin.rrd
want_log '^rrdmergd: merged .* file=busy\.rrd$'
update live/busy.rrd 523 523
ctl undo busy.rrd
want_rc 0
want_value open_rows 0
if [[ $(value open_rows_kept) == [1-9]* ]]; then pass kept; else
	fail "open rows that stay completed are not said"; show_last; fi
want_same "the row that was open" "$(rrdtool dump live/busy.rrd | grep -c '<value>[^N]')" \
	"$(rrdtool dump want.rrd | grep -c '<value>[^N]')"
ctl merge busy.rrd
wait_lines 'merged .* file=busy' 2 || fail "is not merged again"
(
	trap - EXIT
	for ((m = 524; ; m++)); do
		[ ! -e stop ] || break
		rrdtool update live/busy.rrd $((T0 + 60 * m)):$((m * 7 % 101)):$((m * 3 % 89)) \
			2>>updates.err || echo "$m" >>updates.failed
		echo "$m" >updates.last
	done
) &
updater=$!
others=($updater)
wait_for '[ -s updates.last ]' 10
undone=0
for ((k = 0; k < 10; k++)); do
	ctl undo busy.rrd
	want_rc 0
	[ "$rc" != 0 ] || undone=$((undone + 1))
	merged=$(lines '^rrdmergd: merged ')
	ctl merge busy.rrd
	want_rc 0
	wait_lines '^rrdmergd: merged ' $((merged + 1)) || fail "is not merged again"
done
ctl undo busy.rrd
want_rc 0
touch stop
wait "$updater"
others=()
last=$(cat updates.last)
want_same "updates that failed" "$(cat updates.failed updates.err 2>/dev/null | head -n 3)" ""
want_same "last_update" "$(last_update live/busy.rrd)" $((T0 + 60 * last))
echo "# undone and merged again $undone times in $((last - 522)) updates"
update twin.rrd 523 "$last"
# Open rows that were completed while it was merged are not given back: an hour in all.
differ=$(differing live/busy.rrd twin.rrd)
if [ "$differ" -le 40 ]; then pass "$differ words stay healed"; else
	fail "$differ words of a file that was updated are not as if never merged"; fi
cp live/busy.rrd copy.rrd
want_same "known rows of minutes" \
	"$(rrdtool fetch copy.rrd AVERAGE -r 60 -s $((T0 + 60 * 400)) -e $((T0 + 60 * 480)) |
		grep -c ': [0-9]')" \
	"$(rrdtool fetch twin.rrd AVERAGE -r 60 -s $((T0 + 60 * 400)) -e $((T0 + 60 * 480)) |
		grep -c ': [0-9]')"

# Made anew, it is another database: nothing of its own is taken back.
cp now.rrd other.rrd
id=$(id_of web01/three.rrd)
merged=$(lines '^rrdmergd: merged ')
mv other.rrd live/web01/three.rrd
wait_lines '^rrdmergd: merged ' $((merged + 1)) && pass "merged as a new one" || fail "is not merged"
same_file "made anew" live/web01/three.rrd want.rrd
ctl undo "$id"
want_rc 1
want_err 'web01/three\.rrd: .*made anew'
same_file "a merge of the file before it" live/web01/three.rrd want.rrd
ctl undo web01/three.rrd
want_rc 0
same_file "its own merge" live/web01/three.rrd now.rrd

# ---- history ----

ctl history web01/three.rrd
want_rc 0
want_same "records" "$(grep -c '^id:' out)" 3
want_same "what" "$(sed -n 's/^what: *//p' out | tr '\n' ,)" "undo,merged,merged,"
want_same "files" "$(sed -n 's/^file: *//p' out | sort -u)" "$work/live/web01/three.rrd"
want_same "sources" "$(sed -n 's/^sources: *//p' out | sort -u)" "$work/backup/web01/three.rrd"
want_same "undone by" "$(value undone_by 2)" "$(value id 1)"
want_same "cells" "$(value cells 3)" "$filled"
want_same "kinds sum up" "$(($(value exact 3) + $(value seam 3)))" "$filled"
# What is taken back is counted by the kind that it was.
for kind in cells exact seam; do
	want_same "$kind taken back" "$(value $kind 1)" "$(value $kind 2)"
done
want_out '^time: +20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$'
cp out plain
ctl history "$work/live/web01/three.rrd"
want_same "by its whole path" "$(cat out)" "$(cat plain)"
ctl history
want_rc 0
want_same "the latest first" "$(sed -n 's/^id: *//p' out)" \
	"$(sed -n 's/^id: *//p' out | sort -rn)"
ctl history nowhere.rrd
want_rc 1
want_err 'nothing is on record for .*/nowhere\.rrd'
ctl history web01/three.rrd web01/two.rrd
want_differ "two paths" "$rc" 0
if command -v jq >/dev/null; then
	ctl --json history web01/three.rrd
	want_rc 0
	want_same "history in JSON" \
		"$(jq -r '.status, (.records[] | .id, .what, .cells, .file)' out | tr '\n' ' ')" \
		"ok $(awk '/^id:|^what:|^cells:/ { $1 = ""; printf "%s", $0 }
			/^file:/ { printf " %s ", $2 }' plain | sed 's/  */ /g;s/^ //')"
	ctl --json undo 4711
	want_rc 1
	want_same "an error in JSON" "$(jq -r '.status + ", " + .error' out)" \
		"error, there is no merge 4711 on record"
fi

# ---- status ----

# Idle twice in a row: what the tests themselves have written is seen to now and then.
settled() {
	ctl status
	[ "$(value state)" = idle ] && cp out plain || return
	ctl --json status
	grep -q '"state": *"idle"' out && cp out json
}

wait_for settled 20 || fail "is not idle"
sed '1,/^$/d' plain >out                 # sentences for people come first
cp out plain
want_same "keys" "$(sed -n 's/^\([a-z_]*\):.*/\1/p' out | tr '\n' ' ')" "state well live files \
merged unchanged skipped failed refused pending waiting forgotten unproven cells backup_needed \
needed_by backups_seen lost paused watch_overflows unwatched_dirs \
stalled_seconds ledger tried_again undone unsynced undone_in_part "
want_value live "$work/live"
want_value files 5
want_value failed 0
want_value ledger works
if command -v jq >/dev/null; then
	want_same "status in JSON" \
		"$(jq -r '.records[0] | to_entries[] | .key + " " + (.value | tostring)' json)" \
		"$(sed 's/:  */ /' plain)"
fi

# ---- all of it ----

# What a file was that was made anew cannot be undone, which is said with its name or is no error.
sums=$(file_sum live/busy.rrd)
ctl undo --all
[ "$rc" = 0 ] || want_err 'web01/three\.rrd'
for name in one two three; do
	want_same "known to be held: $name" "$(grep -c "^undone: *web01/$name.rrd\$" out)" \
		"$([ $name = three ] && echo 0 || echo 1)"
done
want_out '^undone: +top\.rrd$'
want_no_out 'busy\.rrd$'
same_file "all: two" live/web01/two.rrd now.rrd
same_file "all: top" live/top.rrd now.rrd
want_same "all: what was undone before" "$(file_sum live/busy.rrd)" "$sums"
state=$(tree_sum live)
ctl undo --all
want_rc 0
want_same "nothing is left to undo" "$(cat out)" "note: there is nothing left to undo"
want_no_err 'of [2-9] files'
want_same "nothing is touched" "$(tree_sum live)" "$state"
begin_again
sleep 1.5
want_same "undone all, over a restart and a rescan" "$(tree_sum live)" "$state"

# Of two merges one was undone; the other is not forgotten.
end_daemon
cp live.before live/gen.rrd
for generation in older newer; do
	run "$rrdmerge" --ledger state/ledger.db gen/$generation.rrd live/gen.rrd
	want_rc 0
done
cp live/gen.rrd second.rrd
begin
ids=$("$rrdmergctl" -s sock history gen.rrd | awk '$1 == "id:" { print $2 }' | tail -n 1)
ctl undo "$ids"
want_rc 0
want_differ "the older of two, undone" "$(file_sum live/gen.rrd)" "$(file_sum second.rrd)"
want_differ "the newer one's cells" "$(file_sum live/gen.rrd)" "$(file_sum live.before)"
ctl undo --all
want_out '^undone: +gen\.rrd$'
same_file "both, one after the other" live/gen.rrd live.before
rm live/gen.rrd

# Of another tree: it is not this daemon's any more.
ctl merge top.rrd
want_log '^rrdmergd: merged .* file=top\.rrd$'
id=$(id_of top.rrd)
mkdir -p second && cp now.rrd second/top.rrd
configure second backup
kill -HUP "$daemon"
want_log '^rrdmergd: merged .* file=top\.rrd$'
wait_for 'cmp -s second/top.rrd want.rrd' 10
ctl undo "$id"
want_rc 1
want_err '.'
same_file "another tree's file, by its number" live/top.rrd want.rrd
same_file "its namesake" second/top.rrd want.rrd
ctl undo "$work/live/top.rrd"
want_rc 1
same_file "another tree's file, by its path" live/top.rrd want.rrd
ctl undo --all
want_rc 0
want_same "all of this tree" "$(sed -n 's/^undone: *//p' out)" top.rrd
same_file "all: another tree's file" live/top.rrd want.rrd
same_file "all: this tree's" second/top.rrd now.rrd
end_daemon

# ---- without a ledger ----

configure live backup 'ledger = false;'
rm -rf state
begin
for command in "undo top.rrd" "undo 1" "undo --all" history "history top.rrd"; do
	# shellcheck disable=SC2086
	ctl $command
	want_rc 1
	want_err 'no record is kept: the configuration has ledger = false'
done
ctl status
want_rc 0
want_value ledger none
ctl merge top.rrd
want_rc 0
end_daemon
want_same "files of the ledger" "$(find state -name 'ledger*' 2>/dev/null)" ""

finish
