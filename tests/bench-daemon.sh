#!/bin/bash
# make bench-daemon: what the daemon costs on a large site: memory, processor time while the site is
# updated, how long a new file waits, and a restart.  Prints the table of docs/benchmarks.md.
#
#   BENCH_FILES  files in the live tree (100000)   BENCH_SECONDS  of updates (30)
#   BENCH_RATE   updates a second (1700)           BENCH_NEW      new files (300)
#   BENCH_DIR    where the trees go (TMPDIR)
#   BENCH_STRIDE how far the next file to be updated is: 1, in the order of directories (61803)
#
# The files are small: what is measured does not depend on their size, but for the first merge.
set -u
export LC_ALL=C TZ=UTC
files=${BENCH_FILES:-100000}
seconds=${BENCH_SECONDS:-30}
rate=${BENCH_RATE:-1700}
new=${BENCH_NEW:-300}
stride=${BENCH_STRIDE:-61803}
rrdmergd=${top_builddir:-.}/rrdmergd

die() {
	echo "bench-daemon: $*" >&2
	exit 1
}

[ -x "$rrdmergd" ] || die "$rrdmergd is not built"
command -v rrdtool >/dev/null || die "rrdtool is not installed"
dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/bench.XXXXXX") || exit 1
daemon=
finish() {
	[ -z "$daemon" ] || { kill -9 "$daemon" && wait "$daemon"; } 2>/dev/null
	rm -rf "$dir"
}
trap 'exit 130' INT TERM
trap finish EXIT

# ---- two trees of 100 files a directory ----

now=$(date +%s)
rras="RRA:AVERAGE:0.5:1:100 RRA:AVERAGE:0.5:10:50 RRA:MAX:0.5:10:50"
make_one() {	# FILE FROM TO
	local t updates=()

	rrdtool create "$1" --start "$2" --step 60 DS:1:GAUGE:8460:U:U $rras || exit 1
	for ((t = $2 + 60; t <= $3; t += 60)); do updates+=("$t:$((t % 97))"); done
	rrdtool update "$1" "${updates[@]}" || exit 1
}
make_one "$dir/old.rrd" $((now - 9000)) $((now - 4000))
make_one "$dir/new.rrd" $((now - 3600)) $((now - 3000))
for tree in backup live; do
	one=$dir/old.rrd
	[ $tree = backup ] || one=$dir/new.rrd
	mkdir -p "$dir/$tree/0"
	for ((i = 0; i < 100; i++)); do cp "$one" "$dir/$tree/0/$i.rrd"; done
	for ((i = 1; i < files / 100; i++)); do cp -r "$dir/$tree/0" "$dir/$tree/$i"; done
done
mkdir "$dir/backup/fresh" "$dir/live/fresh"
for ((i = 0; i < new; i++)); do cp "$dir/old.rrd" "$dir/backup/fresh/$i.rrd"; done
sync
sleep 11

# ---- the first merge ----

printf 'live = "%s";\nbackup = "%s";\nuser = "%s";\nstate_dir = "%s";\nsocket = "%s";\n' \
	"$dir/live" "$dir/backup" "$(id -un)" "$dir/state" "$dir/state/control.sock" \
	>"$dir/conf"
began=$(date +%s%N)
"$rrdmergd" -e -f "$dir/conf" 2>"$dir/log" &
daemon=$!
until grep -q "^rrdmergd: idle merged=$((files / 100 * 100)) " "$dir/log"; do
	sleep 0.1
	kill -0 "$daemon" || die "the daemon has ended: $(tail -n 3 "$dir/log")"
done
first=$(($(date +%s%N) - began))

status() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$daemon/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }
# What our own writes have raised is dealt with, and all is on record.
sleep 13
rss=$(status VmRSS)
peak=$(status VmHWM)

# ---- updates, and new files meanwhile ----

before=$(ticks)
began=$(date +%s%N)
perl -MTime::HiRes=time,sleep -e '
	my ($dir, $files, $rate, $seconds, $at, $stride) = @ARGV;
	my ($begin, $n) = (time, 0);
	$| = 1;
	while ((my $gone = time - $begin) < $seconds) {
		while ($n < $gone * $rate) {
			my $i = $n * $stride % $files;
			printf "update %s/live/%d/%d.rrd %d:%d\n", $dir, $i / 100, $i % 100,
				$at + 60 * int($n / $files), $n % 89;
			$n++;
		}
		sleep 0.01;
	}
	print STDERR "$n\n";
' "$dir" "$((files / 100 * 100))" "$rate" "$seconds" $((now - 2900)) "$stride" \
	2>"$dir/updates" |
	rrdtool - >"$dir/update.out"
took=$(($(date +%s%N) - began))
used=$(($(ticks) - before))
errors=$(grep -c ERROR "$dir/update.out")
share=$(awk -v used=$used -v hz="$(getconf CLK_TCK)" -v ns=$took \
	'BEGIN { printf "%.2f", 100 * used / hz / (ns / 1e9) }')
lost=$(grep -c 'events were lost' "$dir/log")

# A new file, as rrdtool makes it (a temporary name, then a rename), until its first cell is filled.
latency=$(perl -MTime::HiRes=time,sleep -e '
	my ($dir, $new) = @ARGV;
	local $/;
	open(my $in, "<", "$dir/new.rrd") or die; binmode $in; my $live = <$in>;
	my @ms;
	for my $i (0 .. $new - 1) {
		my $path = "$dir/live/fresh/$i.rrd";
		open(my $out, ">", "${path}AbCdEf") or die; binmode $out;
		print $out $live; close $out;
		my $begin = time;
		rename "${path}AbCdEf", $path;
		while (1) {
			open(my $file, "<", $path) or die; binmode $file;
			my $now = <$file>;
			close $file;
			last if $now ne $live;
			die "never merged\n" if time - $begin > 20;
			sleep 0.0003;
		}
		push @ms, 1000 * (time - $begin);
		sleep 0.02;
	}
	@ms = sort { $a <=> $b } @ms;
	printf "%.1f %.1f %.1f\n", $ms[$#ms / 2], $ms[$#ms * 0.99], $ms[-1];
' "$dir" "$new") || die "new files are not merged"
read -r median p99 longest <<<"$latency"

# ---- what one sync of the ledger's disk takes here ----

sync_ms=$(perl -MTime::HiRes=time -MIO::Handle -e '
	open(my $out, ">", "$ARGV[0]/sync") or die;
	my @ms;
	for (1 .. 300) {
		my $begin = time;
		syswrite($out, "x" x 4096) or die;
		$out->sync or die;
		push @ms, 1000 * (time - $begin);
	}
	@ms = sort { $a <=> $b } @ms;
	printf "%.1f, %.1f", $ms[$#ms / 2], $ms[$#ms * 0.99];
' "$dir")
ledger=$(($(stat -c %s "$dir/state/ledger.db") >> 20))

# ---- a restart: most files were updated since they were merged ----

end_daemon() {
	kill -TERM "$1"
	wait "$daemon" 2>/dev/null
	daemon=
}

# What is opened goes to `trace.all`, and the line that says that it is idle.  (-s cuts no paths.)
opened=
if command -v strace >/dev/null && strace -f -qq -o /dev/null true 2>/dev/null; then
	end_daemon "$daemon"
	strace -f -qq -e trace=open,openat,openat2,write -s 16 -o "$dir/trace.all" \
		"$rrdmergd" -e -f "$dir/conf" 2>"$dir/log" &
	daemon=$!
	until grep -q '^rrdmergd: idle ' "$dir/log"; do sleep 0.1; done
	opened=$(sed '/"rrdmergd: idle /,$d' "$dir/trace.all" | grep -cE 'open.*\.rrd')
	end_daemon "$(pgrep -P "$daemon" | head -n 1)"
else
	end_daemon "$daemon"
fi
began=$(date +%s%N)
"$rrdmergd" -e -f "$dir/conf" 2>"$dir/log" &
daemon=$!
until grep -q '^rrdmergd: idle ' "$dir/log"; do
	sleep 0.02
	kill -0 "$daemon" || die "the daemon has ended: $(tail -n 3 "$dir/log")"
done
again=$(($(date +%s%N) - began))
idle=$(grep -m 1 '^rrdmergd: idle ' "$dir/log")
rss_again=$(status VmRSS)
peak_again=$(status VmHWM)
before=$(ticks)
sleep 10
proving=$(awk -v used=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" \
	'BEGIN { printf "%.2f", 100 * used / hz / 10 }')

echo "| what | figure |"
echo "|---|---|"
echo "| files in the live tree, merged at the start | $((files / 100 * 100)) |"
awk -v ns=$first -v f=$((files / 100 * 100)) 'BEGIN { printf "| from start to idle | %.1f s (%d files/s) |\n", ns / 1e9, f / (ns / 1e9) }'
echo "| resident memory when idle (peak while merging) | $((rss / 1024)) MB ($((peak / 1024)) MB) |"
echo "| updates, of which failed | $(cat "$dir/updates"), $errors |"
echo "| processor time meanwhile, of one core | $share % |"
echo "| lost events | $lost |"
echo "| a new file is merged after: median, 99 %, longest of $new | $median, $p99, $longest ms |"
echo "| one write of 4 kB and its fsync on that disk: median, 99 % of 300 | $sync_ms ms |"
echo "| the ledger | $ledger MB |"
awk -v ns=$again 'BEGIN { printf "| from a restart to idle | %.2f s |\n", ns / 1e9 }'
echo "| what it says then | ${idle#rrdmergd: } |"
[ -z "$opened" ] || echo "| RRDs opened until then, by strace | $opened |"
echo "| resident memory then (peak) | $((rss_again / 1024)) MB ($((peak_again / 1024)) MB) |"
echo "| processor time while it proves those that were updated, of one core | $proving % |"
echo "| load of the machine at the end | $(cut -d' ' -f1-3 /proc/loadavg) |"
