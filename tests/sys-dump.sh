# Dumps as a backup: under which names they are found, what comes of them, which is refused.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl gzip
need_programs "$rrdmerge" "$rrdmergd"
cd "$work" || exit 99

make_pair old.rrd base.rrd || exit 99
rrdtool dump old.rrd old.xml || exit 99

# What rrdtool makes of the dump is what counts, at the seam as well: a merge with the restored file.
rrdtool restore old.xml restored.rrd && cp base.rrd expected.rrd || exit 99
run "$rrdmerge" restored.rrd expected.rrd
want_rc 0
cells=$(tail -n 1 out | sed 's/.*; \([0-9]*\) cells.*/\1/')
rrdtool dump expected.rrd expected.xml

want_expected() {       # want_expected FILE
	rrdtool dump "$1" given.xml
	same_file "$1 is as after restore" given.xml expected.xml
}

# pack NAME: the dump under that name, packed as the name says; false where that cannot be had.
pack() {
	case $1 in
	*.gz) gzip -c old.xml >"$1" ;;
	*.zst) command -v zstd >/dev/null && grep -q '^#define HAVE_ZSTD' "$builddir/config.h" &&
		zstd -q -c old.xml >"$1" ;;
	*.xz) command -v xz >/dev/null && grep -q '^#define HAVE_LZMA' "$builddir/config.h" &&
		xz -c old.xml >"$1" ;;
	*) cp old.xml "$1" ;;
	esac
}

# ---- for the daemon, at the end: it leaves alone what has not rested ----

mkdir -p resting/web01 resting/web02
cp old.xml resting/web01/PING.xml
pack resting/web02/PING.rrd.xml.gz
head -c 20000 old.xml >resting/web02/LOAD.xml
printf '<NAGIOS>\n</NAGIOS>\n' >resting/web02/_HOST_.xml
cp "$testdata/foreign/i386-plain.rrd" resting/web02/i386.rrd && chmod u+w resting/web02/i386.rrd
rested=$((SECONDS + 12))

# ---- two files ----

cp base.rrd live.rrd
run "$rrdmerge" -v old.xml live.rrd
want_rc 0
want_silent_err
want_summary 1 0 0 0 "$cells"
want_out "^merged cells=$cells .* kind=dump .*file=.*live\.rrd$"
want_expected live.rrd
run "$rrdmerge" old.xml live.rrd
want_rc 0
want_summary 0 1 0 0 0

# Whatever its name is, and however it is packed.
gzip -c old.xml >anything
cp base.rrd live.rrd
run "$rrdmerge" anything live.rrd
want_rc 0
want_expected live.rrd

# By the oldest rrdtool and the newest, all that is there to be had.
for fixture in rrdtool1.xml rrdtool3.xml; do
	rm -f from.rrd live.rrd
	rrdtool restore "$testdata/dumps/$fixture" from.rrd &&
	rrdtool create live.rrd --start 920810000 --step 300 DS:weight:GAUGE:600:U:U \
		DS:speed:COUNTER:600:U:U RRA:AVERAGE:0.5:1:40 RRA:AVERAGE:0.5:6:20 || exit 99
	cp live.rrd twin.rrd
	run "$rrdmerge" from.rrd twin.rrd
	want_rc 0
	run "$rrdmerge" "$testdata/dumps/$fixture" live.rrd
	want_rc 0
	want_same "$fixture" "$(rrdtool dump live.rrd | sha256sum)" "$(rrdtool dump twin.rrd | sha256sum)"
	want_differ "$fixture: known cells" "$(known live.rrd)" 0
done

# By others between, of all that they keep; values and all as rrdtool restores them.
ages=0
for fixture in "$testdata"/dumps/*.xml.gz "$testdata"/foreign/*.xml.gz; do
	rm -f made.rrd restored.rrd
	gunzip -c "$fixture" >age.xml
	rrdtool restore age.xml restored.rrd && rrdtool dump restored.rrd >wanted.xml || exit 99
	run "$rrdmerge" -v --convert "$fixture" made.rrd
	want_rc 0
	want_out '^converted from="dump" '
	rrdtool dump made.rrd >made.xml
	same_file "$fixture: as restored" made.xml wanted.xml
	ages=$((ages + 1))
done
want_same "dumps of other ages and machines" "$ages" 20
# 1.8 and 1.9 differ from 1.7 in the headers' addresses.
for header in none dtd xsd; do
	rm -f made.rrd restored.rrd
	rrdtool dump --header $header old.rrd | sed 's,http://oss,https://oss,g' >newest.xml
	rrdtool restore old.xml restored.rrd && rrdtool dump restored.rrd >wanted.xml || exit 99
	run "$rrdmerge" --convert newest.xml made.rrd
	want_rc 0
	rrdtool dump made.rrd >made.xml
	same_file "header $header, as restored" made.xml wanted.xml
done

# ---- names in a tree ----

mkdir live back
for name in x.xml x.rrd.xml x.xml.gz x.rrd.xml.gz x.xml.zst x.rrd.xml.zst x.xml.xz x.rrd.xml.xz; do
	rm -rf back/* live/*
	mkdir -p back/host live/host
	pack "back/host/$name" || { echo "not tried: $name"; continue; }
	cp base.rrd live/host/x.rrd
	state=$(tree_state back)
	run "$rrdmerge" -v back live
	want_rc 0
	want_silent_err
	want_summary 1 0 0 0 "$cells"
	want_out 'kind=dump .*file=host/x\.rrd$'
	want_expected live/host/x.rrd
	want_same "$name is only read" "$state" "$(tree_state back)"
done

# Where there is an RRD, it is the better one; where that cannot be read, the dump is there.
rm -rf back/* live/*
make_rrd back/x.rrd 0 100
cp old.xml back/x.xml
cp base.rrd live/x.rrd
run "$rrdmerge" -v back live
want_no_out kind=dump
want_out ' to=2023-11-14T01:40Z '
truncate -s 3000 back/x.rrd
cp base.rrd live/x.rrd
run "$rrdmerge" -v back live
want_rc 1
want_out kind=dump
want_err 'partial reason="backup is truncated: 3000 bytes .*file=x\.rrd$'
want_expected live/x.rrd

# A sidecar is none, and hides none.
rm -rf back/* live/*
printf '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<NAGIOS>\n' >back/x.xml
printf '<DATASOURCE>\n</DATASOURCE>\n%.0s' 1 2 >>back/x.xml
echo '</NAGIOS>' >>back/x.xml
cp base.rrd live/x.rrd
run "$rrdmerge" back live
want_rc 2
want_err 'no file has a counterpart'
cp old.xml back/x.rrd.xml
run "$rrdmerge" back live
want_rc 0
want_silent_err
want_expected live/x.rrd

# ---- what is refused ----

refused() {     # refused REASON FILE: as a backup's file, and nothing is written
	rm -rf back/* live/*
	cp "$2" back/x.xml
	cp base.rrd live/x.rrd
	run "$rrdmerge" back live
	want_rc 1
	want_err "refused reason=\"backup $1.*\" file=x\.rrd$"
	same_file "live is as it was" base.rrd live/x.rrd
}

head -c 20000 old.xml >bad
refused 'is truncated: the dump breaks off in line [0-9]+' bad
gzip -c old.xml | head -c 2000 >bad
refused 'is truncated: its gzip data have no end' bad
sed 's/<step>/<stop>/' old.xml >bad
refused 'is a damaged dump, line [0-9]+: <stop> in rrd, where it is not known' bad
sed '0,/<v>[^<]*</s//<v>many</' old.xml >bad
refused 'is a damaged dump, line [0-9]+: <v> cannot be .many' bad
printf '<html></html>' >bad
refused 'is no dump of rrdtool: it begins with <html>' bad
printf 'BZh91AY&SY' >bad
refused 'is packed by bzip2' bad
sed 's/^<!DOCTYPE.*/<!DOCTYPE rrd [<!ENTITY a "b">]>/' old.xml >bad
refused 'is a damaged dump, line 2: declarations' bad

# ---- COMPUTE: the same formula, another one, one that a dump cannot tell ----

compute() {     # compute FORMULA: both files have it
	rm -rf back/* live/*
	make_rrd back/x.rrd 0 180 DS:in:GAUGE:8640:U:U "DS:out:COMPUTE:$1" RRA:AVERAGE:0.5:1:300 &&
	make_rrd live/x.rrd 190 250 DS:in:GAUGE:8640:U:U "DS:out:COMPUTE:$1" \
		RRA:AVERAGE:0.5:1:300 && cp back/x.rrd from.rrd &&
	rrdtool dump back/x.rrd back/x.xml && rm back/x.rrd && cp live/x.rrd before.rrd || exit 99
	run "$rrdmerge" back live
}
compute in,8,*
want_rc 0
want_silent_err
want_merged from.rrd before.rrd live/x.rrd
sed -i 's/<cdef>[^<]*/<cdef> in,9,* /' back/x.xml
cp before.rrd live/x.rrd
run "$rrdmerge" back live
want_rc 1
want_err 'partial reason=".*data source out: '
sed -i 's/<cdef>[^<]*/<cdef> in,FROBNICATE /' back/x.xml
cp before.rrd live/x.rrd
run "$rrdmerge" back live
want_rc 1
want_err 'partial reason=".*data source out: '
want_out '^1 merged, .*; 180 cells'

# ---- the daemon ----

rm -rf live/* back/*
mkdir live/web01 live/web02
for file in web01/PING web02/PING web02/LOAD web02/_HOST_; do cp base.rrd "live/$file.rrd"; done
# The same database, of which this machine has lost every row.
gunzip -c "$testdata/foreign/i386-plain.xml.gz" >i386.xml
sed '/<row>/s|<v>[^<]*</v>|<v>NaN</v>|g' i386.xml >lost.xml
rrdtool restore lost.xml live/web02/i386.rrd || exit 99
while [ "$SECONDS" -lt "$rested" ]; do sleep 0.2; done
configure live resting
run timeout 60 "$rrdmergd" -f conf -e --once
want_rc 1
want_err '^rrdmergd: merged .* kind=dump .*file=web01/PING\.rrd$'
want_err '^rrdmergd: merged .* kind=dump .*file=web02/PING\.rrd$'
want_err '^rrdmergd: refused reason="backup is truncated: the dump breaks off .* file=web02/LOAD\.rrd$'
want_err '^rrdmergd: merged .* kind=foreign .*file=web02/i386\.rrd$'
want_err 'idle merged=3 unchanged=0 skipped=1 failed=1 '
rows='s|^.* / \([0-9]*\) --> <row>|\1 |p'
rrdtool dump live/web02/i386.rrd | sed -n "$rows" >found.rows
sed -n "$rows" i386.xml >wanted.rows
# That machine's rrdtool prints a digit less.
different=$(paste -d ' ' found.rows wanted.rows | sed 's|<[^>]*>| |g' | awk '{
	for (n = 1; n <= NF / 2; n++) {
		a = $n; b = $(n + NF / 2); d = a - b; if (d < 0) d = -d; if (b < 0) b = -b
		if ((a == "NaN") != ($(n + NF / 2) == "NaN") || d > 1e-9 * b) bad++
	}
} END { print NR, bad + 0 }')
want_same "from an i386: rows, and cells that differ" "$different" "$(wc -l <wanted.rows) 0"
want_expected live/web01/PING.rrd
want_expected live/web02/PING.rrd
same_file "beside a sidecar alone" base.rrd live/web02/_HOST_.rrd

# ---- made into an RRD: as rrdtool restore makes it ----

gzip -c old.xml >packed
rrdtool restore old.xml again.rrd && rrdtool dump again.rrd >again.xml || exit 99
for from in old.xml packed; do
	rm -f made.rrd
	run "$rrdmerge" --convert -v "$from" made.rrd
	want_rc 0
	want_out "^converted from=\"dump\" .* file=made\.rrd$"
	rrdtool dump made.rrd >made.xml
	cmp -s made.xml again.xml && pass "$from: as restored" || fail "$from: not as restored"
done
head -c 5000 old.xml >cut.xml
run "$rrdmerge" --convert cut.xml none.rrd
want_rc 1
want_err 'is truncated: the dump breaks off'
[ ! -e none.rrd ] && pass "nothing is left behind" || fail "none.rrd is there"

finish
