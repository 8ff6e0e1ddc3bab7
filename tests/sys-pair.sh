# rrdmerge OLD NEW over two files: what is merged, what is said, and that a second time nothing is.

. "$(dirname "$0")/lib.sh"
need rrdtool perl
need_programs "$rrdmerge"
cd "$work" || exit 99

seconds='[0-9]+(\.[0-9]+)?'

make_pair base-old.rrd base-new.rrd || exit 99
expected=$(known base-old.rrd)  # nothing of it is in base-new.rrd, and all of it fits

fresh() {
	cp base-old.rrd old.rrd && cp base-new.rrd new.rrd && chmod 640 new.rrd
}

# ---- the merge itself ----

fresh
old_state=$(file_sum old.rrd; stat -c '%i %a %u:%g %Y %Z' old.rrd)
new_owner=$(stat -c '%i %a %u:%g %s' new.rrd)
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_silent_err
want_summary 1 0 0 0 "$expected"
want_same "nothing on stdout but the summary" "$(wc -l <out)" 1
want_merged old.rrd base-new.rrd new.rrd
want_same "as many cells filled as the judge counts" "$filled" "$expected"
want_same "the backup is only read" "$old_state" \
	"$(file_sum old.rrd; stat -c '%i %a %u:%g %Y %Z' old.rrd)"
want_same "inode, mode, owner and size of live" "$new_owner" "$(stat -c '%i %a %u:%g %s' new.rrd)"
want_same "nothing else was made" "$(find . -name '*rrd*' | sort | tr '\n' ' ')" \
	"./base-new.rrd ./base-old.rrd ./new.rrd ./old.rrd "

# ---- once more: not one byte, not one time stamp ----

state=$(file_sum new.rrd; stat -c '%i %Y %y %Z %z' new.rrd)
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_silent_err
want_summary 0 1 0 0 0
want_same "a second merge changes nothing" "$state" \
	"$(file_sum new.rrd; stat -c '%i %Y %y %Z %z' new.rrd)"

# rrdtool goes on with the file as if nothing had been, and a merge after that finds nothing.
if rrdtool update new.rrd $((T0 + 60 * 251)):1:2 && cp new.rrd updated.rrd &&
   [ "$(last_update new.rrd)" = $((T0 + 60 * 251)) ]; then pass updated; else
	fail "rrdtool update"; fi
run "$rrdmerge" old.rrd new.rrd
want_summary 0 1 0 0 0
want_same "after an update" "$(file_sum updated.rrd)" "$(file_sum new.rrd)"

# ---- -n ----

would='^would merge cells=[0-9]+ seam=[0-9]+ from=2023-11-14T00:01Z to=2023-11-14T03:00Z '
would+='source=1 file=.*new\.rrd$'
for option in -n --dry-run; do
	fresh
	state=$(file_sum new.rrd; stat -c '%i %y %z' new.rrd)
	run "$rrdmerge" $option old.rrd new.rrd
	want_rc 0
	want_silent_err
	want_out "$would"
	want_out "^would merge cells=$expected "
	want_summary 1 0 0 0 "$expected"
	want_same "two lines" "$(wc -l <out)" 2
	want_same "$option changes nothing" "$state" "$(file_sum new.rrd; stat -c '%i %y %z' new.rrd)"
done
run "$rrdmerge" -n -v old.rrd new.rrd
want_out "$would"
want_no_out ' (ms|hold_us)='
want_same "with -n, -v says it once" "$(grep -c merge out)" 2

# ---- -v ----

merged="^merged cells=$expected seam=0 from=2023-11-14T00:01Z to=2023-11-14T03:00Z "
merged+='ms=[0-9]+\.[0-9]+ hold_us=[0-9]+\.[0-9]+ source=1 file=.*new\.rrd$'
for option in -v --verbose; do
	fresh
	run "$rrdmerge" $option old.rrd new.rrd
	want_rc 0
	want_silent_err
	want_out "$merged"
	want_summary 1 0 0 0 "$expected"
	want_merged old.rrd base-new.rrd new.rrd
done

# ---- --json ----

json() {        # merged unchanged skipped failed cells
	echo "^\\{ *\"merged\": *$1, *\"unchanged\": *$2, *\"skipped\": *$3, *\"failed\": *$4," \
	     "*\"cells\": *$5, *\"seconds\": *$seconds *\\}\$"
}
for options in --json "--json -v" "-v --json"; do
	fresh
	run "$rrdmerge" $options old.rrd new.rrd
	want_rc 0
	want_out "$(json 1 0 0 0 "$expected")"
	want_same "$options: nothing else on stdout" "$(wc -l <out)" 1
	want_merged old.rrd base-new.rrd new.rrd
	run "$rrdmerge" $options old.rrd new.rrd
	want_out "$(json 0 1 0 0 0)"
done
fresh
run "$rrdmerge" --json -n old.rrd new.rrd
want_rc 0
want_out "$(json 1 0 0 0 "$expected")"
want_same "--json -n: nothing else on stdout" "$(wc -l <out)" 1
want_same "--json -n changes nothing" "$(file_sum base-new.rrd)" "$(file_sum new.rrd)"
printf x >bad.rrd
run "$rrdmerge" --json bad.rrd new.rrd
want_rc 1
want_out "$(json 0 0 0 1 0)"
want_same "a failure: nothing else on stdout" "$(wc -l <out)" 1

# ---- names ----

mkdir -p sub/dir
fresh
cp old.rrd -- -old.rrd
cp new.rrd -- -new.rrd
run "$rrdmerge" -- -old.rrd -new.rrd
want_rc 0
want_merged base-old.rrd base-new.rrd ./-new.rrd
fresh
run "$rrdmerge" "$work/old.rrd" sub/dir/../../new.rrd
want_rc 0
want_merged base-old.rrd base-new.rrd new.rrd
# A name that does not end in .rrd is fine where it is given.
fresh
cp old.rrd 'old copy'
mv new.rrd $'odd\nname'
run "$rrdmerge" -v 'old copy' $'odd\nname'
want_rc 0
want_out 'file=.*odd\\x0Aname$'
want_merged base-old.rrd base-new.rrd $'odd\nname'

# ---- pairs of every shape: old and new as make_rrd's arguments ----
# Copies alone, to which the judge of pairs holds them; what is made has judges of its own.

# shape WHAT "FROM TO ARGS" "FROM TO ARGS"
shape() {
	rm -f old.rrd new.rrd before.rrd
	make_rrd old.rrd $2 && make_rrd new.rrd $3 && cp new.rrd before.rrd ||
		{ fail "$1: rrdtool could not make it"; return; }
	cp old.rrd old-before.rrd
	run "$rrdmerge" --exact old.rrd new.rrd
	want_rc 0
	want_silent_err
	if filled=$(merge_judge old.rrd before.rrd new.rrd) && [ "$filled" -gt 0 ]; then pass "$1"; else
		fail "$1: not what it should be"; show_last; fi
	want_summary 1 0 0 0 "$filled"
	want_same "$1: backup" "$(file_sum old-before.rrd)" "$(file_sum old.rrd)"
	cp new.rrd once.rrd
	run "$rrdmerge" --exact old.rrd new.rrd
	want_summary 0 1 0 0 0
	want_same "$1: twice" "$(file_sum once.rrd)" "$(file_sum new.rrd)"
}

a=DS:a:GAUGE:8640:U:U b=DS:b:GAUGE:8640:0:U c=DS:c:GAUGE:8640:U:U
r1=RRA:AVERAGE:0.5:1:300 r5=RRA:AVERAGE:0.5:5:300 m5=RRA:MAX:0.5:5:300 l5=RRA:LAST:0.2:5:40

shape "data sources in another order" "0 180 $a $b $c $r1 $r5" "190 250 $c $a $b $r1 $r5"
shape "a data source more in the backup" "0 180 $a $b $c $r1" "190 250 $c $a $r1"
shape "a data source more in live" "0 180 $c $a $r1" "190 250 $a $b $c $r1"
shape "archives in another order" "0 180 $a $r1 $r5 $m5 $l5" "190 250 $a $l5 $m5 $r1 $r5"
shape "an archive more on either side" "0 180 $a $r1 $r5 $l5" "190 250 $a $m5 $r1 $l5"
shape "fewer rows in live" "0 180 $a $r1" "190 250 $a RRA:AVERAGE:0.5:1:130"
shape "more rows in live" "0 180 $a RRA:AVERAGE:0.5:1:50" "190 250 $a $r1"
shape "one row" "0 180 $a RRA:AVERAGE:0.5:180:1" "180 250 $a RRA:AVERAGE:0.5:180:2"
shape "another xff" "0 180 $a RRA:AVERAGE:0.1:5:300" "190 250 $a $r5"
shape "two archives of one kind" "0 180 $a $r1 $r1" "190 250 $a RRA:AVERAGE:0.5:1:100 $r1"
shape "rings that have gone round" "0 1000 $a $r1 $r5" "1010 1100 $a $r1 $r5"
shape "live reaches back less than the gap is long" "0 100 $a $r1" "250 390 $a $r1"
shape "overlapping" "0 180 $a $r1 $r5" "120 250 $a $r1 $r5"
shape "a backup around live" "0 250 $a $r1" "100 180 $a $r1"
shape "a live file that has no update yet" "0 180 $a $b $r1 $r5" "190 190 $a $b $r1 $r5"
shape "counters" "0 180 DS:x:COUNTER:600:U:U DS:y:DERIVE:600:U:U DS:z:ABSOLUTE:600:U:U $r1" \
	"190 250 DS:x:COUNTER:600:U:U DS:y:DERIVE:600:U:U DS:z:ABSOLUTE:600:U:U $r1"
shape "version 0005" "0 180 DS:x:DCOUNTER:600:U:U DS:y:DDERIVE:600:U:U $r1" \
	"190 250 DS:x:DCOUNTER:600:U:U DS:y:DDERIVE:600:U:U $r1"
shape "version 0005 into 0003" "0 180 DS:x:DCOUNTER:600:U:U $a $r1" "190 250 $a $r1 $b"
shape "computed" "0 180 $a $b DS:s:COMPUTE:a,b,+ $r1" "190 250 $b $a DS:s:COMPUTE:a,b,+ $r1"
hw="RRA:HWPREDICT:300:0.1:0.0035:30"
shape "Holt-Winters" "0 180 $a $r1 $hw" "190 250 $a $r1 $hw"
mhw="RRA:MHWPREDICT:300:0.1:0.0035:30"
shape "version 0004" "0 180 $a $r1 $mhw" "190 250 $a $r1 $mhw"

# A gap in the middle of live, of which the backup knows a part.
rm -f old.rrd new.rrd
a120=DS:a:GAUGE:120:U:U
make_rrd old.rrd 0 180 $a120 $r1 $r5 && make_rrd new.rrd 0 60 $a120 $r1 $r5 &&
rrdtool update new.rrd $((T0 + 60 * 200)):7 $((T0 + 60 * 201)):8 || exit 99
cp new.rrd before.rrd
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_merged old.rrd before.rrd new.rrd

# Where both know a cell and differ, live's stays.
rm -f old.rrd new.rrd
make_rrd old.rrd 0 180 $a $b $r1 && make_rrd new.rrd 120 250 $b $a $r1 || exit 99
cp new.rrd before.rrd   # the values of a and b depend on their number: they differ where both know
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_merged old.rrd before.rrd new.rrd
want_same "120 minutes of two data sources" "$filled" 240

# Another step, the same resolution: matched by seconds, not by steps.
rrdtool create slow.rrd --start $((T0 + 190 * 60)) --step 300 $a RRA:AVERAGE:0.5:1:300 \
	RRA:MAX:0.5:6:100 RRA:AVERAGE:0.5:12:100 &&
rrdtool update slow.rrd $(for m in 195 200 205 210 215 220; do echo $((T0 + m * 60)):$m; done) &&
make_rrd fast.rrd 0 180 $a $r1 $r5 RRA:MAX:0.5:30:100 || exit 99
cp slow.rrd before.rrd
run "$rrdmerge" --exact fast.rrd slow.rrd
want_rc 0
want_merged fast.rrd before.rrd slow.rrd
want_same "36 rows of 300 s and 6 of 1800 s" "$filled" 42

# Nothing in common in time: nothing to fill, and no error.
make_rrd old.rrd -5000 -4800 $a $r1 && make_rrd new.rrd 190 250 $a $r1 || exit 99
state=$(file_sum new.rrd)
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_summary 0 1 0 0 0
want_same "too old a backup" "$state" "$(file_sum new.rrd)"
make_rrd old.rrd 260 300 $a $r1 || exit 99      # and one that begins only after live's last update
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_summary 0 1 0 0 0
want_same "too new a backup" "$state" "$(file_sum new.rrd)"
rrdtool create old.rrd --start $T0 --step 60 $a $r1 || exit 99
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_summary 0 1 0 0 0

# A last_update in the future is said: some clock is wrong. The merge is made all the same.
rm -f old.rrd new.rrd
ahead=$((($(date +%s) + 3 * 86400 - T0) / 60))
make_rrd old.rrd $((ahead - 60)) $((ahead - 40)) $a $r1 &&
make_rrd new.rrd $((ahead - 30)) $ahead $a $r1 || exit 99
cp new.rrd before.rrd
run "$rrdmerge" old.rrd new.rrd
want_rc 0
want_err 'future.*new\.rrd'
want_merged old.rrd before.rrd new.rrd

# ---- files of older versions, of this kind of machine ----

if rrdtool info "$testdata/foreign/0003l648.rrd" >/dev/null 2>&1; then
	for name in 0001l648 0003l648 rrdtool; do
		rm -f live.rrd
		rrdtool create live.rrd --start 920809200 --step 300 DS:weight:GAUGE:600:U:U \
			DS:speed:COUNTER:600:U:U RRA:AVERAGE:0.5:6:10 RRA:AVERAGE:0.5:1:24 &&
		rrdtool update live.rrd 920809500:1:12450 920809800:2:12500 || exit 99
		cp live.rrd before.rrd
		cat "$testdata/foreign/$name.rrd" >old.rrd      # the sources may be read-only
		run "$rrdmerge" --exact old.rrd live.rrd
		want_rc 0
		want_merged old.rrd before.rrd live.rrd
		# The other way round: the old version is the live file.
		rm -f new.rrd
		rrdtool create new.rrd --start 920804100 --step 300 DS:weight:GAUGE:600:U:U \
			DS:speed:COUNTER:600:U:U RRA:AVERAGE:0.5:1:24 &&
		rrdtool update new.rrd $(for ((t = 920802300; t <= 920808900; t += 300)); do
			[ $t -gt 920804100 ] && echo $t:5:$((t / 10)); done) || exit 99
		cp old.rrd live.rrd
		cp old.rrd before.rrd
		run "$rrdmerge" new.rrd live.rrd
		want_rc 0
		merge_judge new.rrd before.rrd live.rrd >/dev/null || fail "$name as live"
	done
fi

finish
