#!/bin/bash
# Traps that once cost data or would have: descriptors that are closed, expressions over other
# expressions, backups that come and go, files that stay open.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmerge" "$rrdmergd"
cd "$work" || exit 99

# ---- descriptors 0 to 2 closed: no message ever goes into a database ----

mkdir live backup
make_pair one.rrd two.rrd
cp two.rrd want.rrd && "$rrdmerge" one.rrd want.rrd >/dev/null
for i in $(seq 400); do
	cp two.rrd live/$i.rrd
	if [ $((i % 2)) = 0 ]; then cp one.rrd backup/$i.rrd; else head -c 100 one.rrd >backup/$i.rrd; fi
done
spoilt() {
	local i n=0

	for i in $(seq 400); do
		if [ $((i % 2)) = 0 ]; then cmp -s live/$i.rrd want.rrd; else cmp -s live/$i.rrd two.rrd; fi ||
			n=$((n + 1))
	done
	echo $n
}
"$rrdmerge" -j 4 backup live >/dev/null 2>&-
want_same "exit code with stderr closed" $? 1
want_same "files spoilt with stderr closed" "$(spoilt)" 0
for i in $(seq 400); do cp two.rrd live/$i.rrd; done
"$rrdmerge" -j 4 -v backup live <&- >&- 2>&-
want_same "files spoilt with all closed" "$(spoilt)" 0

# ---- an expression over an expression that was refused is another one ----

rras="RRA:AVERAGE:0.5:1:300"
make_rrd c-old.rrd 0 180 DS:a:GAUGE:8640:U:U DS:c1:COMPUTE:a,8,'*' DS:c2:COMPUTE:c1,1,+ $rras
make_rrd c-new.rrd 190 250 DS:a:GAUGE:8640:U:U DS:c1:COMPUTE:a,1000,'*' DS:c2:COMPUTE:c1,1,+ $rras
column() { rrdtool dump "$1" | grep -o '<row>.*' | awk -F'</?v>' -v n="$2" '{print $(2 * n)}' | grep -vc NaN; }
a=$(column c-new.rrd 1) c1=$(column c-new.rrd 2) c2=$(column c-new.rrd 3)
run "$rrdmerge" c-old.rrd c-new.rrd
want_rc 1
want_err 'data source c1'
want_err 'data source c2'
want_differ "a was filled" "$(column c-new.rrd 1)" "$a"
want_same "c1 was not" "$(column c-new.rrd 2)" "$c1"
want_same "c2 was not" "$(column c-new.rrd 3)" "$c2"
# The same over a data source whose type differs.
make_rrd t-old.rrd 0 180 DS:a:COUNTER:8640:U:U DS:c:COMPUTE:a,8,'*' DS:z:GAUGE:8640:U:U $rras
make_rrd t-new.rrd 190 250 DS:a:GAUGE:8640:U:U DS:c:COMPUTE:a,8,'*' DS:z:GAUGE:8640:U:U $rras
c=$(column t-new.rrd 2)
run "$rrdmerge" t-old.rrd t-new.rrd
want_rc 1
want_same "an expression over a refused one" "$(column t-new.rrd 2)" "$c"
# And where all belongs together, in another order, it is filled.
make_rrd o-old.rrd 0 180 DS:z:GAUGE:8640:U:U DS:a:GAUGE:8640:U:U DS:c1:COMPUTE:a,8,'*' DS:c2:COMPUTE:c1,z,+ $rras
make_rrd o-new.rrd 190 250 DS:a:GAUGE:8640:U:U DS:z:GAUGE:8640:U:U DS:c1:COMPUTE:a,8,'*' DS:c2:COMPUTE:c1,z,+ $rras
c2=$(column o-new.rrd 4)
run "$rrdmerge" o-old.rrd o-new.rrd
want_rc 0
want_differ "c2 was filled" "$(column o-new.rrd 4)" "$c2"

# ---- a backup that goes away is an error, not a tree without counterparts ----

rm -rf live backup && mkdir live backup
for i in $(seq 20); do cp two.rrd live/$i.rrd; cp one.rrd backup/$i.rrd; done
cp two.rrd live/host.rrd && ln -s nowhere live/a.rrd
run "$rrdmerge" backup/none-of-them live
want_rc 2
mkdir -p off/deep && mv backup off/deep/perfdata
run "$rrdmerge" off/deep live           # one level off, and a link beside: still told
want_rc 2
want_err 'off/deep/perfdata$'

# ---- two backups, the first of which comes later ----

rm -rf live A B off && mkdir -p live A0 B
make_rrd a.rrd 0 60 DS:1:GAUGE:8640:U:U $rras
make_rrd b.rrd 100 160 DS:1:GAUGE:8640:U:U $rras
make_rrd now.rrd 190 250 DS:1:GAUGE:8640:U:U $rras
cp now.rrd live/x.rrd; cp a.rrd A0/x.rrd; cp b.rrd B/x.rrd
sleep 10.2
configure live A,B
start_daemon
want_log "^rrdmergd: merged .* source=2 file=x\.rrd\$"
want_log 'idle .* backup_needed=yes$'
mv A0 A
want_log "^rrdmergd: backup is there backup=$work/A\$" 15
want_log "^rrdmergd: merged .* source=1 file=x\.rrd\$" 20
want_log 'idle merged=1 .* waiting=0 backup_needed=no$'

# ---- a file that somebody keeps open is tried now and then, and merged when it is closed ----

cp a.rrd A/y.rrd; cp b.rrd B/y.rrd
sleep 10.2
exec 9<now.rrd
cp now.rrd new.tmp && exec 9<new.tmp && mv new.tmp live/y.rrd
want_log 'busy reason="[^"]*open in another process[^"]*" file=y\.rrd$' 15
exec 9<&-
want_log 'merged .* file=y\.rrd$' 15
end_daemon

# ---- a backup that holds nothing yet is still needed ----

rm -rf live A B && mkdir live A && cp now.rrd live/x.rrd
configure live A
start_daemon
want_log 'idle .* skipped=1 .* backup_needed=yes$'
end_daemon
want_same "never said that it is not needed" "$(grep -c 'backup_needed=no' log)" 0

finish
