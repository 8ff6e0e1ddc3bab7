#!/bin/bash
# Seven nightly copies of one database, each with a hole of its own, of which the older ones alone still
# reach what was long ago in fine rows: merged as a list, by a pattern, and as they turn up one after
# the other.  The judge goes by rrdtool's own dumps: a cell takes what the first copy knows that knows it.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl
need_programs "$rrdmergd" "$rrdmergctl"
cd "$work" || exit 99

COPIES=7
NIGHT=240               # minutes from one copy to the next
END=1683                # the minute in which the old server died, and the first copy was made
BORN=1690               # the minute in which live began

ends() {
	echo $((END - NIGHT * $1))
}

# stream FROM TO [HOLE…]: the updates of these minutes, without those in a hole FIRST-LAST; +FIRST-LAST:
# with other values.  Nobody has anything of the minutes 800 to 820.
stream() {
	awk -v t0=$T0 -v from="$1" -v to="$2" -v holes="800-820 ${*:3}" 'BEGIN {
		n = split(holes, hole, " ")
		for (m = from; m <= to; m++) {
			add = skip = 0
			for (i = 1; i <= n; i++) {
				other = hole[i] ~ /^\+/
				split(substr(hole[i], 1 + other), edge, "-")
				if (m < edge[1] || m > edge[2])
					continue
				if (other) add = 500
				else skip = 1
			}
			if (!skip)
				printf "%d:%d:%.3f\n", t0 + 60 * m, 1000 + m * 7 % 101 + add, m / 8 + add
		}
	}'
}

# database FILE BEGIN ROWS: rings of so many rows of one minute, and the same coarse ones for all.
database() {
	rrdtool create "$1" --start $((T0 + 60 * $2)) --step 60 \
		DS:1:GAUGE:120:U:U DS:2:GAUGE:120:U:U RRA:AVERAGE:0.5:1:"$3" RRA:AVERAGE:0.5:5:400 \
		RRA:MAX:0.5:5:400 RRA:MIN:0.5:30:100 RRA:LAST:0.5:30:100
}

# The holes of copy N: in what it alone has in fine rows, and in what the next one has as well.
holes() {
	local end

	end=$(ends "$1")
	echo "$((end - 150 - 3 * $1))-$((end - 120))" "$((end - 290 + $1))-$((end - 270))"
	# The third is wrong here and there: where others know better, and in its fine rows alone.
	[ "$1" != 2 ] || echo "+$((end - 50))-$((end - 31)) +$((end - 220))-$((end - 201))"
}

mkdir copies
for ((n = 0; n < COPIES; n++)); do
	mkdir -p copies/$n
	database copies/$n/load.rrd 0 300
	stream 1 "$(ends $n)" $(holes $n) | xargs rrdtool update copies/$n/load.rrd
done
database now.rrd $BORN 2400
stream $((BORN + 1)) $((BORN + 60)) | xargs rrdtool update now.rrd
# One server that lived through all of it, and only paused.
database whole.rrd 0 2400
{ stream 1 $END; echo $((T0 + 60 * BORN)):U:U; stream $((BORN + 1)) $((BORN + 60)); } |
	xargs rrdtool update whole.rrd

# judge AFTER COPY…: AFTER was now.rrd.  Each cell is as it was where that was known; else what the first
# copy knows; where none knows it, unknown, or in a coarse row what whole.rrd has.  Prints how many cells
# each copy gave, and how many were made: a b c ….  $spread: rows of one minute that nobody knows may
# be as in this file, where they were spread.
spread=now.rrd
judge() {
	local after=$1 file i=0

	shift
	for file in now.rrd whole.rrd "$spread" "$after" "$@"; do
		rrdtool dump "$file" >judged.$i || return
		i=$((i + 1))
	done
	perl -e '
		sub load {
			my (%cell, $rra, $time, $step, $cf);
			open(my $in, "<", $_[0]) or die;
			while (<$in>) {
				$cf = $1 if m{<cf>\s*(\S+)\s*</cf>};
				$step = $1 if m{<pdp_per_row>(\d+)};
				next unless m{/ (\d+) --> <row>(.*)</row>};
				($time, my $row) = ($1, $2);
				my @v = $row =~ m{<v>([^<]*)</v>}g;
				$cell{"$cf $step $time $_"} = $v[$_] for 0 .. $#v;
			}
			return \%cell;
		}
		my ($before, $whole, $spread, $after, @copy) = map { load($_) } @ARGV;
		my (@given, $made, $wrong);
		for my $key (sort keys %$before) {
			my ($is, $want, $from) = ($after->{$key}, $before->{$key}, "live");
			for (my $i = 0; $i < @copy && $want =~ /nan/i; $i++) {
				next if !defined $copy[$i]{$key} || $copy[$i]{$key} =~ /nan/i;
				$want = $copy[$i]{$key};
				$from = $i + 1;
				$given[$i]++;
			}
			next if $is eq $want ||
				($want =~ /nan/i && $key =~ /^\S+ 1 / && $is eq $spread->{$key});
			my $w = $whole->{$key};
			if ($want =~ /nan/i && $key !~ /^\S+ 1 / && $w !~ /nan/i &&
			    abs($is - $w) <= 1e-9 * abs($w)) {
				$made++;
				next;
			}
			print STDERR "    $key: $is and not $want ($from)\n" if $wrong++ < 5;
		}
		print join(" ", map { $_ // 0 } @given[0 .. $#copy], $made), "\n";
		exit($wrong || !%$after ? 1 : 0);
	' $(seq -f judged.%g 0 $((i - 1)))
}

# want_judged AFTER COPY…
want_judged() {
	if given=$(judge "$@"); then pass "cells from each copy, and made: $given"; else
		fail "$1 is not what the first that knows says"; fi
}

# give_live DIR
give_live() {
	rm -rf "$1"
	mkdir "$1"
	cp now.rrd "$1/load.rrd"
}

# once LIVE BACKUP[,BACKUP…] [LINE…]
once() {
	give_live "$1"
	rm -rf state
	configure "$@"
	run "$rrdmergd" -f conf -e --once
}

all=$(seq -s, -f copies/%g 0 $((COPIES - 1)))
mapfile -t files < <(seq -f copies/%g/load.rrd 0 $((COPIES - 1)))
cp -r copies/6 spare
sleep 10.2                      # the backups must have rested

# ---- as a list ----

once list "$all" 'spread = false;'
want_rc 0
want_judged list/load.rrd "${files[@]}"
read -ra given <<<"$given"
for ((n = 0; n < COPIES; n++)); do
	[ "${given[n]}" -gt 100 ] || fail "copy $((n + 1)) gave ${given[n]} cells"
done
[ "${given[COPIES]}" -gt 0 ] || fail "no row was made of what several copies know"
want_err '^rrdmergd: merged cells=[0-9]+ .* source=[1-7] file=load\.rrd$'
run "$rrdmergd" -f conf -e --once
want_no_err 'merged cells'
same_file "the same once more" list/load.rrd list/load.rrd

# Who gave what: the daemon counts as the judge does.
# exact_of N: so many cells source N has given as they are.
exact_of() {
	sed -n "/^  $1: /{n;s/^ *gave .*[(,]\([0-9]*\) exact.*/\1/p}" out
}

start_daemon
want_idle 'merged=0 unchanged=1 .*backup_needed=no'
ctl show load.rrd
want_rc 0
for ((n = 0; n < COPIES; n++)); do
	want_out "^  $((n + 1)): $work/copies/$n/load\.rrd$"
	want_same "copy $((n + 1)) gave" "$(exact_of $((n + 1)))" "${given[n]}"
done
want_same "what was made" "$(grep -oE '[0-9]+ (seam|consolidated)' <(grep '^ *gave ' out) |
	awk '{ sum += $1 } END { print sum }')" "${given[COPIES]}"
ctl show --json load.rrd
want_out "\"source\":1,.*\"path\":\"$work/copies/0/load\.rrd\",\"gave\":[0-9]+,\"exact\":${given[0]},"
end_daemon

# The most trusted first: where they disagree, another order is another result.
turned=$(seq -s, -f copies/%g $((COPIES - 1)) -1 0)
once turned "$turned" 'spread = false;'
want_rc 0
mapfile -t back < <(printf '%s\n' "${files[@]}" | tac)
want_judged turned/load.rrd "${back[@]}"
want_differ "the newest first, and the oldest first" "$(file_sum list/load.rrd)" \
	"$(file_sum turned/load.rrd)"
if judge turned/load.rrd "${files[@]}" >/dev/null 2>&1; then
	fail "the judge does not tell the order"; else pass "the judge tells the order"; fi

# ---- by a pattern, the newest first ----

for ((n = 0; n < COPIES; n++)); do
	mkdir -p snap/daily.$n
	mv copies/$n snap/daily.$n/perfdata
	# Not in the order of the names alone: the times say which is newer.
	touch -d "@$((T0 + 60 * $(ends $n)))" snap/daily.$n/perfdata
done
mv snap/daily.1 snap/daily.10
mapfile -t files < <(printf '%s\n' snap/daily.{0,10,2,3,4,5,6}/perfdata/load.rrd)
ln -s daily.0 snap/latest
give_live live
configure live 'snap/*/perfdata' 'spread = false;'
run "$rrdmergd" -t -f conf
want_rc 0
want_same "what -t shows" "$(grep -v sound out)" "$(i=0
	for dir in snap/daily.{0,10,2,3,4,5,6}/perfdata; do
		echo "rrdmergd: source=$((++i)) backup=$work/$dir"
	done)"
once live 'snap/*/perfdata' 'spread = false;'
want_rc 0
same_file "by a pattern as by a list" live/load.rrd list/load.rrd

# ---- one after the other ----

# Rows that only coarse ones tell of, where the older copies are not there, are spread; they give way.
once list 'snap/daily.*/perfdata'
want_rc 0
mkdir later
mv snap/daily.[3-6] later
give_live live
rm -rf state
# The second is a pattern too, and the third no directory: so walks come every few seconds.
configure live 'snap/daily.*/perfdata,snap/weekly.*/perfdata,later/daily.3/gone'
start_daemon
want_log "^rrdmergd: .* \"backup\" matches no directory yet: $work/snap/weekly\.\*/perfdata"
want_log '^rrdmergd: merged .* source=1 spread=[1-9].*file=load\.rrd$'
for gone in 'snap/weekly\.\*/perfdata' 'later/daily\.3/gone'; do
	want_log "^rrdmergd: backup cannot be read: No such file or directory; waiting for it backup=$work/$gone\$"
done
cp live/load.rrd early.rrd
mv later/daily.4 later/daily.5 snap     # tonight's, so to speak
want_log '^rrdmergd: reloaded '
want_log "^rrdmergd: watching .*backup=$work/snap/daily\.5/perfdata backup=$work/snap/weekly\.\*/perfdata "
wait_lines '^rrdmergd: merged ' 2 30 || fail "nothing came of the copies that turned up"
mv later/daily.6 snap/weekly.6
mv later/daily.3 snap
want_log "^rrdmergd: watching .*backup=$work/snap/daily\.3/perfdata .*backup=$work/snap/weekly\.6/perfdata "
mkdir later/daily.3
mv spare later/daily.3/gone
want_idle 'merged=1 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no' 40
# Where the older copies have fine rows and know nothing either, the stand-ins remain.
spread=early.rrd
files[6]=snap/weekly.6/perfdata/load.rrd
want_judged live/load.rrd "${files[@]}"
spread=list/load.rrd
if judge early.rrd "${files[@]}" >/dev/null 2>&1; then
	fail "the judge does not see what is spread"; else pass "the judge sees what is spread"; fi
want_lines '^rrdmergd: reloaded ' 3 2

# Who gave what.
ctl history load.rrd
want_rc 0
want_out "^ *sources: .*$work/snap/daily\.0/perfdata/load\.rrd"
want_out "^ *sources: .*$work/snap/weekly\.6/perfdata/load\.rrd"

# Of those that were there from the beginning; and what is gone has given all the same.
ctl show load.rrd
read -ra given <<<"$given"
for n in 1 2 3; do
	want_same "copy $n gave in the end" "$(exact_of "$n")" "${given[n - 1]}"
done
# Undone and merged again, it is as if all had been there at once.
ctl undo load.rrd
want_rc 0
merges=$(lines '^rrdmergd: merged ')
ctl merge load.rrd
want_rc 0
wait_lines '^rrdmergd: merged ' $((merges + 1)) || fail "it is not merged again"
want_judged live/load.rrd "${files[@]}"
read -ra given <<<"$given"
mv snap/weekly.6 gone
ctl show load.rrd
want_out "^  7: $work/snap/weekly\.6/perfdata is away: No such file or directory$"
want_out "^  not there any more: $work/snap/weekly\.6/perfdata/load\.rrd$"
want_same "what it gave" "$(grep -A1 'not there any more' out |
	sed -n 's/^ *gave .*[(,]\([0-9]*\) exact.*/\1/p')" "${given[6]}"

end_daemon

finish
