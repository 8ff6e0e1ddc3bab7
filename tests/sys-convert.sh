# sys-convert: rrdmerge --convert: what it writes and where, and what it leaves alone.  (That the
# contents are right, from every kind of machine, is in sys-foreign.sh.)

. "$(dirname "$0")/lib.sh"
need rrdtool
need_programs "$rrdmerge"
cd "$work" || exit 99
foreign=$testdata/foreign
i386=$foreign/i386-plain.rrd

names() {       # all that is in a directory
	ls -A "$1" | tr '\n' ' '
}

# ---- what it says ----

mkdir to
run "$rrdmerge" --convert "$i386" to/a.rrd
want_rc 0
want_silent_err
want_same "nothing is said" "$(wc -c <out)" 0
want_same "nothing else is made" "$(names to)" "a.rrd "
run "$rrdmerge" --convert -v "$i386" to/b.rrd
want_rc 0
want_silent_err
size=$(stat -c %s to/b.rrd)
want_same "one line" "$(cat out)" \
	"converted from=\"i386\" version=0003 ds=5 rras=5 last_update=1600007060 bytes=$size file=to/b.rrd"
want_same "twice the same" "$(file_sum to/a.rrd)" "$(file_sum to/b.rrd)"
run "$rrdmerge" --convert --verbose to/a.rrd to/c.rrd
want_rc 0
want_out '^converted from="this kind of machine" version=0003 '
want_same "its own kind comes out as it is" "$(file_sum to/a.rrd)" "$(file_sum to/c.rrd)"
run "$rrdmerge" -n --convert "$foreign/s390x-predict.rrd" to/d.rrd
want_rc 0
want_out '^would convert from="64-bit big-endian" version=0005 ds=2 rras=6 .* file=to/d\.rrd$'
want_same "a dry run writes nothing" "$(names to)" "a.rrd b.rrd c.rrd "

# What follows the rows is not taken along; the old file is only read.
cp to/a.rrd longer.rrd
printf 'tail' >>longer.rrd
state=$(stat -c '%i %a %s %y %z' longer.rrd)
run "$rrdmerge" --convert longer.rrd to/d.rrd
want_rc 0
want_same "without a tail" "$(file_sum to/a.rrd)" "$(file_sum to/d.rrd)"
want_same "the old one" "$state" "$(stat -c '%i %a %s %y %z' longer.rrd)"

# A torn file is converted as it is, and said: the newest row of RRA 1, behind RRA 0, is another.
cp to/a.rrd torn.rrd
rrdtool info torn.rrd >info
at=$(sed -n 's/^header_size = //p' info) row=$(sed -n 's/^rra\[1\].cur_row = //p' info)
perl -e 'open(my $f, "+<", $ARGV[0]) or die; seek($f, $ARGV[1], 0); print $f pack("d", 12345)' \
	torn.rrd $((at + (20 + row) * 5 * 8))
run "$rrdmerge" --convert torn.rrd to/e.rrd
want_rc 0
want_err 'torn\.rrd is torn.*; converted as it is'
want_same "as it is" "$(file_sum torn.rrd)" "$(file_sum to/e.rrd)"

# ---- dumps, packed or not, under any name ----

rrdtool dump to/a.rrd >dump.xml
gzip -9nk dump.xml
cp dump.xml some.text
for file in dump.xml dump.xml.gz some.text; do
	rm -f to/f.rrd
	run "$rrdmerge" -v --convert $file to/f.rrd
	want_rc 0
	want_silent_err
	want_out '^converted from="dump" version=0003 ds=5 rras=5 last_update=1600007060 '
	rrdtool dump to/f.rrd >again.xml
	if cmp -s dump.xml again.xml; then pass $file; else fail "$file: dumped again, another"; fi
done
# As rrdtool restores it, but for the second's fraction and the ring, which the dump does not tell.
rrdtool restore dump.xml restored.rrd
want_same "as large as restored" "$(stat -c %s restored.rrd)" "$(stat -c %s to/f.rrd)"

# ---- the new file's permissions ----

for mask in 022 077 027 002; do
	(umask $mask; "$rrdmerge" --convert "$i386" to/mode-$mask.rrd)
	want_same "umask $mask" "$(stat -c %a to/mode-$mask.rrd)" \
		"$(printf %o $((0666 & ~mask)))"
done
rm -rf to; mkdir to

# ---- nothing is overwritten ----

printf 'precious' >to/there.rrd
ln -s nowhere to/dangling.rrd
mkdir to/dir.rrd
mkfifo to/fifo.rrd
before=$(names to)
for name in there dangling dir fifo; do
	run timeout 20 "$rrdmerge" --convert "$i386" to/$name.rrd
	want_rc 1
	want_err "refused reason=\"is there already, and is not overwritten\" file=to/$name\.rrd\$"
	want_no_out .
done
want_same "as it was" "$(cat to/there.rrd)" precious
want_same "nothing new" "$(names to)" "$before"
want_same "the link leads nowhere still" "$(readlink to/dangling.rrd)" nowhere
cp "$i386" self.rrd
run "$rrdmerge" --convert self.rrd self.rrd
want_rc 1
want_same "onto itself" "$(file_sum self.rrd)" "$(file_sum "$i386")"
for name in to to/; do
	run "$rrdmerge" --convert "$i386" $name
	want_rc 1
	want_err 'is there already, and is not overwritten" file=to$'
done

# ---- nothing is left behind ----

rm -rf to; mkdir to
refused() {     # refused WHAT REGEX OLD NEW
	run timeout 20 "$rrdmerge" --convert "$3" "$4"
	if [ "$rc" = 1 ]; then pass; else fail "$1: exit code $rc"; show_last; fi
	want_err "$2"
	want_no_out .
	want_same "$1: nothing is left" "$(names to)" ""
}
head -c 3000 "$i386" >cut.rrd
printf 'text' >text.rrd
: >empty.rrd
ln -s "$i386" link.rrd
mkfifo pipe.rrd
refused "truncated" 'refused reason="is truncated.* file=cut\.rrd' cut.rrd to/x.rrd
refused "no RRD" 'reason="is not an RRD file" file=text\.rrd' text.rrd to/x.rrd
refused "empty" 'reason="is empty" file=empty\.rrd' empty.rrd to/x.rrd
head -c 5000 dump.xml >cut.xml
printf '<NAGIOS><NAME>x</NAME></NAGIOS>' >sidecar.xml
refused "half a dump" 'refused reason=".* file=cut\.xml' cut.xml to/x.rrd
refused "a sidecar" 'refused reason=".* file=sidecar\.xml' sidecar.xml to/x.rrd
refused "a link" 'symbolic link' link.rrd to/x.rrd
refused "a FIFO" 'FIFO' pipe.rrd to/x.rrd
refused "no directory" 'No such file or directory.* file=nowhere/x\.rrd' "$i386" nowhere/x.rrd
# A file that may not grow so large.  (SIGXFSZ, where it is not ignored, ends the program.)
(
	trap '' XFSZ
	ulimit -f 2
	"$rrdmerge" --convert "$i386" to/x.rrd >"$work/small" 2>&1
	echo $? >small.rc
)
want_same "a file too large" "$(cat small.rc)" 1
if grep -q 'refused reason="cannot be written: File too large" file=to/x.rrd' small; then pass; else
	fail "not said:"; cat small; fi
want_same "nothing is left" "$(names to)" ""
mkdir full
if [ "$(id -u)" = 0 ] && unshare --mount mount -t tmpfs -o size=4k tmpfs full 2>err; then
	run unshare --mount sh -c 'mount -t tmpfs -o size=4k tmpfs full && "$1" --convert "$2" full/x.rrd
		rc=$?; ls -A full; exit $rc' sh "$rrdmerge" "$i386"
	want_rc 1
	want_err 'No space left on device.* file=full/x\.rrd'
	want_same "on a full disk nothing is left" "$(wc -c <out)" 0
else
	echo "note: no tmpfs can be mounted here; a full disk is not tried"
fi
# What may not be written, or read; root may do both, and so becomes nobody where it can.
plain=
program=$rrdmerge
if [ "$(id -u)" = 0 ]; then
	plain=as_nobody program=./theirs
	cp "$rrdmerge" theirs && chmod 755 theirs "$work"
fi
if [ -n "$plain" ] && { [ -z "$(other_user)" ] || ! $plain $program --version >out 2>&1; }; then
	echo "note: nobody else can run the program here; permissions are not tried"
else
	cp "$i386" secret.rrd
	cp "$i386" given.rrd
	chmod 000 secret.rrd
	chmod 644 given.rrd
	mkdir shut
	chmod 555 shut
	run $plain "$program" --convert given.rrd shut/x.rrd
	want_rc 1
	want_err 'refused reason="cannot be made: Permission denied" file=shut/x\.rrd'
	chmod 777 to
	run $plain "$program" --convert secret.rrd to/x.rrd
	want_rc 1
	want_err 'refused reason="cannot be opened: Permission denied" file=secret\.rrd'
	want_same "nothing is left" "$(names to)$(names shut)" ""
	run $plain "$program" --convert given.rrd to/x.rrd
	want_rc 0
	rm -f to/x.rrd
fi

# ---- usage ----

usage() {       # usage REGEX ARGS…
	local regex=$1
	shift

	run "$rrdmerge" "$@"
	want_rc 2
	want_err "$regex"
	want_same "nothing is made" "$(names to)" ""
}
usage 'give two files: OLD, and NEW' --convert
usage 'give two files: OLD, and NEW' --convert "$i386"
usage 'give two files: OLD, and NEW' --convert "$i386" to/x.rrd to/y.rrd
usage 'No such file' --convert nothing.rrd to/x.rrd
usage 'standard input and output are no RRD files.*\./-' --convert "$i386" -
usage 'standard input and output are no RRD files.*\./-' --convert - to/x.rrd
if [ -e - ]; then fail "a file called -"; else pass; fi
run "$rrdmerge" --convert "$i386" ./-
want_rc 0
if [ -s ./- ]; then pass; else fail "./- is a file as any other"; fi
usage 'is a directory' --convert "$foreign" to/x.rrd
for option in --exact --no-spread '--seam heal' '--ledger l' '--undo l' --json '-j 2'; do
	usage 'convert merges nothing: .* does not go with it' --convert $option "$i386" to/x.rrd
done

finish
