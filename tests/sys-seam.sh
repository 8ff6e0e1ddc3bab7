# sys-seam: seams that one can check by hand, and what once went wrong with them.  (Thousands of
# random ones are in sys-paused.sh and sys-reshape.sh.)

. "$(dirname "$0")/lib.sh"
need rrdtool
need_programs "$rrdmerge"
cd "$work" || exit 99

T=1700006400                            # a multiple of 7200

# value FILE CF RESOLUTION SECOND: the row that ends so many seconds after T
value() {
	rrdtool fetch "$1" "$2" -r "$3" -s $((T + $4 - $3)) -e $((T + $4 - 1)) |
		awk -v t=$((T + $4)) '$1 == t ":" { print $2 + 0 }'
}
feed() {	# FILE [SECOND:VALUE]…
	local file=$1 update
	shift
	for update; do rrdtool update "$file" $((T + ${update%%:*})):"${update#*:}" || exit 99; done
}
minutes() {	# FILE FROM TO: one update a minute, the value is the minute
	local m
	for ((m = $2; m <= $3; m++)); do feed "$1" $((m * 60)):$m; done
}

# ---- the example of docs/seams.md ----

example() {
	rrdtool create "$1" --start $((T + $2)) --step 60 DS:load:GAUGE:120:U:U \
		RRA:AVERAGE:0.5:1:20 RRA:AVERAGE:0.5:5:10 RRA:MAX:0.5:5:10 || exit 99
}
example old.rrd 0
feed old.rrd 60:4 120:6 180:8 200:20
example live.rrd 240
feed live.rrd 300:10 360:12
cp live.rrd before.rrd
run "$rrdmerge" -n -v old.rrd live.rrd
want_out '^would merge cells=6 seam=3 .* source=1 exact=3 consolidated=0 spread=0 open=0 unhealed=0 file='
run "$rrdmerge" -v old.rrd live.rrd
want_rc 0
want_out '^merged cells=6 seam=3 .* source=1 exact=3 consolidated=0 spread=0 open=0 unhealed=0 file='
want_same "the average" "$(value live.rrd AVERAGE 300 300)" 9.6
want_same "the maximum" "$(value live.rrd MAX 300 300)" 20
cp live.rrd once.rrd
run "$rrdmerge" -v old.rrd live.rrd
want_summary 0 1 0 0 0
want_same "twice" "$(file_sum live.rrd)" "$(file_sum once.rrd)"
cp before.rrd live.rrd
run "$rrdmerge" -v --exact old.rrd live.rrd
want_same "with --exact" "$(value live.rrd MAX 300 300)" "$(value before.rrd MAX 300 300)"
want_out '^merged cells=3 seam=0 '

# ---- seam = "rebuild", and a server that dies once more ----

# The row of the crash is live's newest when its server dies too: its copy is no torn one, though
# what rrdtool wrote last is another value.
half_hours() {
	rrdtool create "$1" --start $((T + $2)) --step 60 DS:a:GAUGE:120:U:U RRA:AVERAGE:0.5:1:100 \
		RRA:AVERAGE:0.99:30:10 || exit 99
}
half_hours old.rrd 0
minutes old.rrd 1 10
half_hours live.rrd 660
minutes live.rrd 12 40
half_hours paused.rrd 0         # what rrdtool itself would hold
minutes paused.rrd 1 10
feed paused.rrd 660:U
minutes paused.rrd 12 40
paused=$(value paused.rrd AVERAGE 1800 1800)
alone=$(value live.rrd AVERAGE 1800 1800)
run "$rrdmerge" old.rrd live.rrd
[ "$alone" != "$paused" ] || fail "the row shows nothing"
want_same "rule 1: a known row stays" "$(value live.rrd AVERAGE 1800 1800)" "$alone"
run "$rrdmerge" --seam rebuild old.rrd live.rrd
want_rc 0
want_same "rebuilt" "$(value live.rrd AVERAGE 1800 1800)" "$paused"
half_hours third.rrd 4000
minutes third.rrd 67 70
run "$rrdmerge" --seam rebuild live.rrd third.rrd
want_rc 0
want_silent_err
want_same "merged on" "$(value third.rrd AVERAGE 1800 1800)" "$paused"

# ---- spread cells feed nothing ----

# First a backup that has coarse rows alone, then a better one: what is made is as if that one had
# come first.
rrdtool create coarse.rrd --start $T --step 60 DS:x:GAUGE:120:U:U RRA:AVERAGE:0.9:20:100 || exit 99
rrdtool create fine.rrd --start $T --step 60 DS:x:GAUGE:120:U:U RRA:AVERAGE:0.5:1:200 || exit 99
minutes coarse.rrd 1 60
for ((m = 1; m <= 60; m++)); do
	feed fine.rrd $((m * 60)):$((m % 20 == 7 ? 1000 : m))
done
for tree in both once none; do
	rrdtool create $tree.rrd --start $((T + 7200)) --step 60 DS:x:GAUGE:120:U:U \
		RRA:AVERAGE:0.5:1:300 RRA:MAX:0.5:30:20 || exit 99
	minutes $tree.rrd 121 125
done
run "$rrdmerge" -v coarse.rrd both.rrd
want_out ' spread=60 '
run "$rrdmerge" fine.rrd both.rrd
run "$rrdmerge" fine.rrd once.rrd
for row in 1800 3600; do
	want_same "the row of $row" "$(value both.rrd MAX 1800 $row)" "$(value once.rrd MAX 1800 $row)"
done
run "$rrdmerge" --no-spread -v coarse.rrd none.rrd
want_rc 1                               # then they have nothing in common
want_err 'no RRA in common'

finish
