# recipe DIRECTORY COMMAND...: the two databases that are fixtures here, made by COMMAND, some
# machine's rrdtool; each ends in the middle of everything: a PDP, and all coarse rows.
# recipe_season is recipe_predict for rrdtool before 1.5, which knew neither DCOUNTER nor DDERIVE:
# of version 0004.
recipe() {
	recipe_plain "$@" && recipe_predict "$@"
}

recipe_plain() {
	local dir=$1 start=1600000000 t i
	shift
	local updates=()

	export TZ=UTC
	"$@" create "$dir/plain.rrd" --start $start --step 60 \
		DS:load:GAUGE:180:U:U DS:octets:COUNTER:120:0:1e9 DS:errors:DERIVE:600:-5:U \
		DS:jobs:ABSOLUTE:300:0:U DS:sum:COMPUTE:load,octets,+,-1000,MAX \
		RRA:AVERAGE:0.5:1:20 RRA:AVERAGE:0.25:7:12 RRA:MIN:0.9:5:8 RRA:MAX:0:5:8 \
		RRA:LAST:0.99:30:4 || return
	for ((i = 1; i <= 120; i++)); do
		t=$((start + i * 53 + (i > 70) * 700))
		updates+=("$t.$((i % 10))5:$((i * 37 % 101)).$i:$((i * i * 12345)):$((300 - i)):$((i % 7))")
		((i % 11)) || updates[-1]="$t:U:$((i * i * 12345)):U:$((i % 7))"
	done
	"$@" update "$dir/plain.rrd" "${updates[@]}"
}

recipe_predict() {
	local dir=$1 start=1600000000 t i
	shift
	local updates=()

	export TZ=UTC
	"$@" create "$dir/predict.rrd" --start $start --step 300 \
		DS:seen:DCOUNTER:700:U:U DS:other:DDERIVE:700:U:U RRA:AVERAGE:0.5:1:24 \
		RRA:HWPREDICT:30:0.1:0.0035:6:3 RRA:SEASONAL:6:0.2:2 RRA:DEVSEASONAL:6:0.2:2 \
		RRA:DEVPREDICT:30:4 RRA:FAILURES:18:2:9:4 || return
	for ((i = 1; i <= 70; i++)); do
		t=$((start + i * 300 - 100))
		updates+=("$t:$((i * 1000 + i % 6 * 100 + (i % 13 == 0) * 90000)).5:$((i % 6 * i)).25")
		((i % 17)) || updates[-1]="$t:U:U"
	done
	"$@" update "$dir/predict.rrd" "${updates[@]}"
}

recipe_season() {
	local dir=$1 start=1600000000 t i
	shift
	local updates=()

	export TZ=UTC
	"$@" create "$dir/season.rrd" --start $start --step 300 \
		DS:seen:COUNTER:700:U:U DS:other:DERIVE:700:U:U RRA:AVERAGE:0.5:1:24 \
		RRA:MHWPREDICT:30:0.1:0.0035:6:3 RRA:SEASONAL:6:0.2:2:smoothing-window=0.17 \
		RRA:DEVSEASONAL:6:0.2:2:smoothing-window=0.23 RRA:DEVPREDICT:30:4 \
		RRA:FAILURES:18:2:9:4 || return
	for ((i = 1; i <= 70; i++)); do
		t=$((start + i * 300 - 100))
		updates+=("$t:$((i * 1000 + i % 6 * 100 + (i % 13 == 0) * 90000)):$((i % 6 * i))")
		((i % 17)) || updates[-1]="$t:U:U"
	done
	"$@" update "$dir/season.rrd" "${updates[@]}"
}
