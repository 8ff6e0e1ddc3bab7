# pnp4nagios' trees: what its sidecars prove, contradict and leave open.  The trees are written by a
# stand-in that writes what process_perfdata.pl does; what must come of a merge is read by rrdtool from
# the backup's own files, written from the same streams.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool perl
pnptree=$builddir/tests/pnptree
need_programs "$rrdmerge" "$rrdmergd" "$pnptree"
cd "$work" || exit 99

# The backup's checks are those of three hours, live's those of an hour, ten minutes later.
OLD='0 180'
NEW='190 250'

# checks FROM TO HOST SERVICE PERFDATA: one a minute, seven seconds past it.  @N@ in the performance data
# becomes a number of N thousand and some: whose it is can be seen.
checks() {
	perl -e '
		my ($t0, $from, $to, $host, $service, $perfdata) = @ARGV;
		for my $m ($from .. $to) {
			my $text = $perfdata;
			$text =~ s/\@(\d+)\@/$1 * 1000 + $m * 7 % 101/ge;
			printf "%d\t%s\t%s\t%s\n", $t0 + 60 * $m + 7, $host, $service, $text;
		}
	' "$T0" "$@"
}

# backup, live: SERVICE PERFDATA [OPTION…], of host `h`.
backup() {
	checks $OLD h "$1" "$2" | "$pnptree" "${@:3}" backup
}

live() {
	checks $NEW h "$1" "$2" | "$pnptree" "${@:3}" live
}

# again: a site without anything.
again() {
	rm -rf backup live before second
}

# merge [OPTION…]: backup into live, which was `before`.
merge() {
	rm -rf before
	cp -a live before
	local state
	state=$(tree_state backup)
	run "$rrdmerge" "$@" backup live
	want_same "the backup is only read" "$(tree_state backup)" "$state"
	want_same "no file came or went" "$(cd before && find . | sort)" "$(cd live && find . | sort)"
}

# once BACKUPS [LINE…]: the daemon, with these lines in its configuration.
once() {
	rm -rf before
	cp -a live before
	configure live "$1" 'ledger = false;' "${@:2}"
	run "$rrdmergd" -f conf --once -e
}

# rows FILE CF RESOLUTION COLUMN: "TIME VALUE", those that rrdtool knows, up to the backups end.
rows() {
	rrdtool fetch "$1" "$2" -r "$3" -s $((T0 - 600)) -e $((T0 + 60 * 250)) |
		awk -v last=$((T0 + 60 * 180 + 7)) -v c="$(($4 + 1))" '
			/^[0-9]+:/ && $c !~ /nan/ && $1 + 0 <= last { print $1, $c }'
}

# is_from LIVE COLUMN BACKUP COLUMN: all that the backup knows of one is now in the other.  There it is
# of host $was.
was=h
is_from() {
	local cf resolution ours theirs

	for resolution in 60 300; do
		for cf in AVERAGE MAX; do
			ours=$(rows "live/h/$1" $cf $resolution "$2")
			theirs=$(rows "backup/$was/$3" $cf $resolution "$4")
			[ -n "$theirs" ] || fail "the backup has nothing to compare with"
			want_same "$1 $2 is $3 $4, $cf of $resolution s" "$ours" "$theirs"
		done
	done
}

# is_empty LIVE COLUMN: there is nothing before its own time.
is_empty() {
	want_same "$1 $2 is unknown before its time" "$(rows "live/h/$1" AVERAGE 60 "$2")" ""
}

is_untouched() {
	same_file "$1 is as it was" "before/h/$1" "live/h/$1"
}

# ---- what the daemon is to be shown further down ----

# These backups are to have rested by then.

backup PING 'rta=@1@ pl=@2@'
checks 60 150 h PING 'pl=@2@ rta=@1@' | "$pnptree" second
live PING 'pl=@2@ rta=@1@'
# What no sidecar proves: on one side there is none, or none that can be read.
backup one 'a=@1@'
live one 'b=@2@' -n
backup ours 'a=@1@ b=@2@'
live ours 'a=@1@ b=@2@' -n
backup theirs 'a=@1@ b=@2@' -n
live theirs 'a=@1@ b=@2@'
backup torn 'a=@1@ b=@2@'
live torn 'a=@1@ b=@2@'
head -c 700 live/h/torn.xml >torn.xml && mv torn.xml live/h/torn.xml
cp -a live by-label
backup sole 'a=@1@ b=@2@' -n
checks $NEW h sole 'a=@1@ b=@2@' | "$pnptree" -n by-label
cp -a live by-name
cp -a live by-hand
mkdir several
mv backup second live by-label by-name by-hand several/

# Where one backup's sidecar shows that a number has been another value, another's without one proves
# nothing.  (A value that was added behind the others changes no number.)
second() {
	checks 0 150 h "$1" "$2" | "$pnptree" "${@:3}" second
}

second swap 'a=@1@ b=@2@'
backup swap 'a=@1@ b=@2@' -n
live swap 'b=@2@ a=@1@'
second one 'a=@1@'
backup one 'a=@1@' -n
live one 'b=@2@'
second scale 'a=@1@MB'
backup scale 'a=@1@MB' -n
live scale 'a=@1@GB'
second part 'a=@1@MB' -m
backup part 'a=@1@MB' -m -n
live part 'a=@1@GB' -m
second own 'b=@2@ a=@1@'
backup own 'a=@1@ b=@2@'
live own 'a=@1@ b=@2@' -n
second more 'a=@1@ b=@2@'
backup more 'a=@1@ b=@2@' -n
live more 'a=@1@ b=@2@ c=@3@'
second each 'b=@2@ a=@1@'
backup each 'a=@1@' -m -n
live each 'a=@1@' -m
mkdir changed
mv backup second live changed/

# What comes later than it should: a sidecar into the backup, or one of live's.
backup mended 'a=@1@ b=@2@'
head -c 700 backup/h/mended.xml >mended.cut
mv backup/h/mended.xml mended.whole && mv mended.cut backup/h/mended.xml
live mended 'b=@2@ a=@1@'
backup anew 'a=@1@ b=@2@'
live anew 'a=@1@ b=@2@' && rm live/h/anew.rrd   # the sidecar of a file before it
mkdir belated
mv backup live belated/

backup PING 'rta=@1@ pl=@2@'
backup disk 'a=@1@ b=@2@'
backup never 'a=@1@ b=@2@'
backup anew 'a=@1@ b=@2@'
live anew 'a=@1@ b=@2@' && rm live/h/anew.rrd   # the sidecar of a file before it
mkdir young
mv backup live young/

# ---- another name and the other storage type ----

# These too.
renamed_site() {
	again
	backup disk '/=@1@MB /home=@2@MB C:\ x=@3@MB'
	live disk '/home=@2@MB C:\ x=@3@MB /=@1@MB' -m
	backup rueck '/=@1@MB /home=@2@MB C:\ x=@3@MB' -m
	live back 'C:\ x=@3@MB /=@1@MB'
	backup other 'a=@8@'            # led away, and so it is nobody's
	live other 'a=@1@' -m
	backup both 'a=@1@ b=@2@'
	backup mix 'a=@5@ b=@6@' -m     # the last that is asked
	backup xim 'a=@5@ b=@6@'
	mv backup/h backup/old
	backup both 'a=@1@ b=@2@' -m    # newer, and of the same name
	live both 'b=@2@ a=@1@' -m
	backup mix 'a=@1@ b=@2@'        # its own, of the other storage type
	live mix 'b=@2@ a=@1@' -m
	backup xim 'a=@1@ b=@2@' -m
	live xim 'b=@2@ a=@1@'
}

# dump_all: each RRD of the backup becomes a dump; its own values are kept in `kept`.
dump_all() {
	local rrd n=0

	cp -a backup kept
	for rrd in backup/*/*.rrd; do
		rrdtool dump "$rrd" >"$rrd.xml"
		[ $((n++ % 2)) = 0 ] || gzip "$rrd.xml"
		rm "$rrd"
	done
}

# joined_site: as a daemon is to have it: nothing is left over.
joined_site() {
	renamed_site
	rm -f live/h/back.* backup/old/rueck__home.*
	live back 'C:\ x=@3@MB /=@1@MB'
}

joined_site
mkdir joined joined-dumps
mv backup live joined/
joined_site
dump_all
mv backup kept live joined-dumps/

# ---- the same labels ----

again
backup PING 'rta=@1@ms;100;500;0 pl=@2@%;5;10;0;100'
live PING 'rta=@1@ms;100;500;0 pl=@2@%;5;10;0;100'
merge
want_rc 0
want_silent_err
is_from PING.rrd 1 PING.rrd 1
is_from PING.rrd 2 PING.rrd 2

# In another order; and a value more or less, wherever it stands, changes nothing for the others.
again
backup PING 'rta=@1@ms pl=@2@%'
live PING 'pl=@2@% rta=@1@ms'
backup more 'a=@1@ b=@2@'
live more 'new=@9@ b=@2@ a=@1@'
backup less 'gone=@9@ a=@1@ b=@2@'
live less 'a=@1@ b=@2@'
merge
want_rc 0
want_silent_err
is_from PING.rrd 1 PING.rrd 2
is_from PING.rrd 2 PING.rrd 1
is_empty more.rrd 1
is_from more.rrd 2 more.rrd 2
is_from more.rrd 3 more.rrd 1
is_from less.rrd 1 less.rrd 2
is_from less.rrd 2 less.rrd 3
run "$rrdmerge" backup live
want_summary 0 3 0 0 0

# ---- other labels, another scale, another type ----

again
backup PING 'pl=@2@% loss=@3@%'
live PING 'rta=@1@ms pl=@2@%'
backup renamed 'time=@1@s'
live renamed 'duration=@1@s'
backup disk 'used=@1@MB free=@2@ part=@3@%'
live disk 'free=@2@GB part=@3@ used=@1@GB'
backup counter 'in=@1@c out=@2@'
live counter 'in=@1@ out=@2@'
merge
want_rc 1
want_err 'partial reason="labels differ: live has rta,pl and backup has pl,loss" file=h/PING.rrd'
want_err 'refused reason="labels differ: live has duration and backup has time" file=h/renamed.rrd'
want_err 'partial reason="data source 3 \(used\): live is in GB and backup in MB" file=h/disk.rrd'
want_err 'partial reason="data source 1 \(in\): live is GAUGE and backup is DERIVE" file=h/counter'
want_summary 3 0 0 1
is_empty PING.rrd 1
is_from PING.rrd 2 PING.rrd 1
is_untouched renamed.rrd
is_from disk.rrd 1 disk.rrd 2   # no unit contradicts none
is_from disk.rrd 2 disk.rrd 3
is_empty disk.rrd 3
is_empty counter.rrd 1
is_from counter.rrd 2 counter.rrd 2

# ---- updates that failed ----

# The plugin has another value now, and the database has not: its sidecar tells of the plugin.
again
backup grown 'a=@1@ b=@2@'
checks 181 182 h grown 'new=@9@ a=@1@ b=@2@' | "$pnptree" backup
live grown 'new=@9@ a=@1@ b=@2@'
backup shrunk 'a=@1@ b=@2@'
live shrunk 'a=@1@ b=@2@'
checks 251 252 h shrunk 'b=@2@' | "$pnptree" live
# One that came too late says nothing: the values are those that the database has.
backup late 'a=@1@ b=@2@'
checks 170 170 h late 'a=@1@ b=@2@' | "$pnptree" backup
live late 'b=@2@ a=@1@'
for file in backup/h/grown.xml live/h/shrunk.xml backup/h/late.xml; do
	want_same "the last update failed: $file" "$(grep -c '<RC>1</RC>' $file)" 1
done
merge
want_rc 1
want_err 'refused reason="backup has 2 data sources and its sidecar lists 3 .its last update failed.'
want_err 'refused reason="live has 2 data sources and its sidecar lists 1 .its last update failed.'
want_summary 1 0 0 2
is_untouched grown.rrd
is_untouched shrunk.rrd
is_from late.rrd 1 late.rrd 2
is_from late.rrd 2 late.rrd 1

# ---- one file for all values, or one for each ----

again
backup disk '/=@1@MB /home=@2@MB C:\ x=@3@MB'
live disk '/home=@2@MB C:\ x=@3@MB /=@1@MB' -m
backup back '/=@1@MB /home=@2@MB C:\ x=@3@MB' -m
live back 'C:\ x=@3@MB /=@1@MB new=@4@'
merge
want_rc 1
want_err 'partial reason="labels differ: live has C:\\\\ x,/,new and backup has /,/home,C:\\\\ x" file='
is_from disk__.rrd 1 disk.rrd 1
is_from disk__home.rrd 1 disk.rrd 2
is_from disk_C___x.rrd 1 disk.rrd 3
is_from back.rrd 1 back_C___x.rrd 1
is_from back.rrd 2 back__.rrd 1
is_empty back.rrd 3
run "$rrdmerge" backup live
want_summary 0 4 0 0 0

# So too of a host or a service that has another name now, and where the backup has dumps.
want_joined() {
	is_from disk__.rrd 1 disk.rrd 1
	is_from disk__home.rrd 1 disk.rrd 2
	is_from disk_C___x.rrd 1 disk.rrd 3
	is_from back.rrd 1 rueck_C___x.rrd 1
	is_from back.rrd 2 rueck__.rrd 1
	is_untouched other_a.rrd
	was=h is_from mix_a.rrd 1 mix.rrd 1
	was=h is_from mix_b.rrd 1 mix.rrd 2
	was=h is_from xim.rrd 1 xim_b.rrd 1
	was=h is_from xim.rrd 2 xim_a.rrd 1
}

# kept: is_from goes by the RRDs that there were before.
kept() {
	mv backup dumps && mv kept backup
	"$@"
	mv backup kept && mv dumps backup
}

was=old
rules=(--rename '^old/rueck(_.*)?\.rrd' 'h/back$1.rrd' --rename '^old/other' 'x/other'
	--rename '^old/' 'h/')
renamed_site
merge -v "${rules[@]}"
want_rc 0
want_silent_err
want_joined
want_summary 9 0 1 0
want_out 'merged .* rule=3 backup_file="old/disk\.rrd" .*file=h/disk__\.rrd$'
want_out 'merged .* rule=1 backup_file="old/rueck_.*\.rrd" .*file=h/back\.rrd$'
run "$rrdmerge" "${rules[@]}" backup live
want_summary 0 9 1 0
# Without the rules they are strangers; without a sidecar on one side, nothing is proved.
renamed_site
merge
want_summary 5 0 5 0
rm backup/old/disk.xml live/h/back.xml
merge "${rules[@]}"
want_summary 0 5 5 0

renamed_site
dump_all
merge "${rules[@]}"
want_rc 0
kept want_joined
want_summary 9 0 1 0
rm -rf kept

# What serves them waits for nobody: no dump either, nor what a rule leads there.
rename='rename = ( { from = "^old/rueck(_.*)?\\.rrd"; to = "h/back$1.rrd"; },
	{ from = "^old/other"; to = "x/other"; }, { from = "^old/"; to = "h/"; } );'
for site in joined joined-dumps; do
	again
	mv $site/* .
	cp -a live before
	configure live backup "$rename"
	rm -rf state
	start_daemon
	want_idle 'merged=9 unchanged=0 skipped=1 failed=0 waiting=1 backup_needed=yes'
	want_log '^rrdmergd: waiting files=1 dir=x$'
	if [ $site = joined ]; then want_joined; else kept want_joined; fi
	ctl show h/both_a.rrd
	if [ $site = joined ]; then
		want_out "^  1: $work/backup/h/both_a\.rrd$"
		want_out "^  1: $work/backup/old/both\.rrd \(by rename rule 3\)$"
	else
		want_out "^  1: $work/backup/old/both\.rrd\.xml.* \(a dump\) \(by rename rule 3\)$"
	fi
	want_log 'merged .* rule=3 backup_file="old/disk\.rrd.*file=h/disk__\.rrd$'
	end_daemon
	# Nor is anything read again after a restart, also what has a counterpart of each kind.
	can_trace || continue
	start_traced -e trace=open,openat,openat2
	want_idle 'merged=0 unchanged=9 skipped=1 failed=0 waiting=1 backup_needed=yes'
	pid=$daemon
	daemon=$tracer
	end_daemon 10 "$pid"
	want_same "no RRD is opened" "$(grep -c '\.rrd"' trace)" 0
done
was=h

# One value is called otherwise now, as a rule says; or two have changed their names.
again
backup svc 'was=@1@ b=@2@' -m
live svc 'is=@1@ b=@2@' -m
backup swap 'a=@1@ b=@2@' -m
live swap 'a=@2@ b=@1@' -m
merge --rename svc_was svc_is --rename swap_a swap_b --rename swap_b swap_a
want_rc 0
want_silent_err
is_from svc_is.rrd 1 svc_was.rrd 1
is_from svc_b.rrd 1 svc_b.rrd 1
is_from swap_a.rrd 1 swap_b.rrd 1
is_from swap_b.rrd 1 swap_a.rrd 1

# Both in one directory, and services whose names look like files of others.
again
backup disk 'a=@1@ b=@2@' -m
checks 60 120 h old 'a=@9@ b=@8@' | "$pnptree" backup
mv backup/h/old.rrd backup/h/disk.rrd           # as it was left by who changed over
backup disk_c 'x=@3@'
live disk 'b=@2@ a=@1@' -m
live disk_c 'x=@3@'
merge
want_rc 0
want_silent_err
is_from disk_a.rrd 1 disk_a.rrd 1
is_from disk_b.rrd 1 disk_b.rrd 1
is_from disk_c.rrd 1 disk_c.rrd 1

# A service that is called as a file of another's would be: not the same thing.
again
backup disk_a 'x=@9@'
live disk 'a=@1@ b=@2@' -m
merge
want_rc 1
want_err 'refused reason="labels differ: live has a,b and backup has x" file=h/disk_a.rrd'
is_untouched disk_a.rrd

# ---- labels of all kinds ----

again
backup odd "'a<b>'=@1@ 'x&y'=@2@ \"it's\"=@3@ 'é ü'=@4@ '</LABEL>'=@5@ 'a b'=@6@ a_b=@7@"
live odd "a_b=@7@ 'a b'=@6@ '</LABEL>'=@5@ 'é ü'=@4@ \"it's\"=@3@ 'x&y'=@2@ 'a<b>'=@1@"
merge
want_rc 0
want_silent_err
for column in 1 2 3 4 5 6 7; do
	is_from odd.rrd $column odd.rrd $((8 - column))
done

# ---- the same name twice, as rrd_modify.pl leaves it ----

twice() {
	rrdtool dump "$1" | perl -pe 's{<name> (\d) </name>}{"<name> " . ($1 > 1 ? $1 - 1 : 1) . " </name>"}e' \
		>twice.xml && rrdtool restore -f twice.xml "$1"
}

again
backup sum 'a=@1@ b=@2@ c=@3@'
live sum 'c=@3@ a=@1@ b=@2@'
twice backup/h/sum.rrd
want_same "names" "$(rrdtool info backup/h/sum.rrd | grep -c 'ds\[.\].index')" 3
backup label 'a=@1@ a=@2@ b=@3@'
live label 'b=@3@ a=@1@'
merge
want_rc 1
want_err 'partial reason="data source 2 \(a\): the label stands twice in backup" file=h/label.rrd'
is_from sum.rrd 1 sum.rrd 3
is_from sum.rrd 2 sum.rrd 1
is_from sum.rrd 3 sum.rrd 2
is_from label.rrd 1 label.rrd 3
is_empty label.rrd 2

# Without sidecars, no number of such a file tells anything.
again
backup sum 'a=@1@ b=@2@ c=@3@' -n
live sum 'a=@1@ b=@2@ c=@3@' -n
backup ours 'a=@1@ b=@2@ c=@3@' -n
live ours 'a=@1@ b=@2@ c=@3@' -n
twice backup/h/sum.rrd
twice live/h/ours.rrd
merge
want_rc 1
why='refused reason="data source 1: the name stands twice in SIDE, where no number tells which is '
why+='which then" file=h/'
want_err "${why/SIDE/backup}sum.rrd\$"
want_err "${why/SIDE/live}ours.rrd\$"
want_summary 0 0 0 2
is_untouched sum.rrd
is_untouched ours.rrd

# ---- several backups, each with an order of its own ----

# is_of LIVE COLUMN N: all that is known before its own time is of the series N, two hours at least.
is_of() {
	local known

	known=$(rows "live/h/$1" AVERAGE 60 "$2")
	want_same "$1 $2 is of $3 alone" \
		"$(awk -v n="$3" '$2 < n * 1000 || $2 >= n * 1000 + 101' <<<"$known")" ""
	if [ "$(wc -l <<<"$known")" -gt 120 ]; then pass "rows of $3"; else
		fail "too few rows of $3"; fi
}

again
mv several/* .

by_number() {
	for file in one ours theirs; do
		is_from $file.rrd 1 $file.rrd 1
		[ $file = one ] || is_from $file.rrd 2 $file.rrd 2
	done
}

# One that cannot be read is no missing one.
no_use='refused reason="live sidecar is of no use, and numbers alone prove nothing: '
no_use+='h/torn.xml is damaged: it ends in the middle" file=h/torn.rrd$'
once second,backup
want_rc 1
want_err '^rrdmergd: unproven count=2 reason="no pnp4nagios sidecars .* file=h/(ours|theirs).rrd$'
want_err "^rrdmergd: $no_use"
is_of PING.rrd 1 2
is_of PING.rrd 2 1
by_number
is_untouched torn.rrd

rm -rf live && mv by-hand live
merge
want_rc 1
unproven='^rrdmerge: unproven count=2 reason="no pnp4nagios sidecars .* file=h/(ours|theirs).rrd$'
want_same "said once" "$(grep -c unproven err)" 1
want_err "$unproven"
want_err "^rrdmerge: $no_use"
by_number
is_untouched torn.rrd
run "$rrdmerge" --json backup/h/ours.rrd live/h/ours.rrd
want_rc 0
want_err '^rrdmerge: unproven count=1 .* file=live/h/ours.rrd$'
want_out '^\{"merged":0,"unchanged":1,"skipped":0,"failed":0,"cells":0,"seconds":[0-9.]+\}$'

# match = "label" refuses it; match = "name" asks no sidecar.
rm -rf live && mv by-label live
once backup 'match = "label";'
want_rc 1
for file in one ours; do
	want_err "refused reason=\"no sidecar of live tells .* match is 'label'\" file=h/$file.rrd"
	is_untouched $file.rrd
done
want_err "refused reason=\"live sidecar is of no use, and match is 'label': h/torn.xml is damaged: "
is_untouched torn.rrd
want_err "refused reason=\"no sidecar of live or backup tells .* match is 'label'\" file=h/sole.rrd"
is_untouched sole.rrd
want_err "refused reason=\"no sidecar of backup tells .* match is 'label'\" file=h/theirs.rrd"
want_no_err unproven
is_untouched theirs.rrd
is_from PING.rrd 1 PING.rrd 2
is_from PING.rrd 2 PING.rrd 1
rm -rf live && mv by-name live
once backup 'match = "name";'
want_rc 0
want_no_err unproven
is_from PING.rrd 1 PING.rrd 1
is_from PING.rrd 2 PING.rrd 2
by_number
is_from torn.rrd 1 torn.rrd 1
is_from torn.rrd 2 torn.rrd 2

again
mv changed/* .
for order in second,backup backup,second; do
	rm -rf pristine && cp -a live pristine
	once $order
	want_rc 1
	without=2 with=1
	[ $order = second,backup ] || without=1 with=2
	changed="numbers alone prove nothing: data source 1 is another by the sidecar of backup"
	want_err "^rrdmergd: partial reason=\"backup $without: $changed $with than by that of live\" file=h/swap"
	is_of swap.rrd 1 2
	is_of swap.rrd 2 1
	for file in one scale part_a; do
		want_err "^rrdmergd: refused reason=.*backup $without: $changed $with .* file=h/$file.rrd\$"
		is_untouched $file.rrd
	done
	want_err "^rrdmergd: refused reason=\"backup 1: $changed 2 than by that of backup 1\" file=h/own.rrd"
	want_err "backup $with: labels differ: live has b and backup has a[;\"].*file=h/one.rrd\$"
	is_untouched own.rrd
	is_of more.rrd 1 1
	is_of more.rrd 2 2
	is_of each_a.rrd 1 1
	want_no_err 'file=h/(more|each_a).rrd.*numbers alone'
	want_err '^rrdmergd: unproven count=1 .* file=h/more.rrd$'
	rm -rf live && mv pristine live
done

# ---- sidecars that stand there and are of no use ----

# spoil FILE HOW
spoil() {
	case $2 in
	cut)    head -c 700 "$1" >spoilt ;;
	begun)  head -c 30 "$1" >spoilt ;;
	empty)  : >spoilt ;;
	zeros)  head -c 2000 /dev/zero >spoilt ;;
	prolog) sed '1s/^</=/' "$1" >spoilt ;;
	junk)   { echo junk; cat "$1"; } >spoilt ;;
	remark) sed '1a <!-- a\n b -->' "$1" >spoilt ;;
	root)   sed 's/^<NAGIOS>$/<NAGIOT>/' "$1" >spoilt ;;
	oneline) tr -d '\n' <"$1" >spoilt ;;
	returns) tr '\n' '\r' <"$1" >spoilt ;;
	html)   echo '<html><body>404</body></html>' >spoilt ;;
	block)  { head -c 512 "$0"; tail -c +513 "$1"; } >spoilt ;;
	none)   sed '/<DATASOURCE>/,/<\/DATASOURCE>/d' "$1" >spoilt ;;
	moved)  sed 's:/[^/]*</RRDFILE>:/moved.rrd</RRDFILE>:' "$1" >spoilt ;;
	huge)   { cat "$1"; head -c 5000000 /dev/zero; } >spoilt ;;
	link)   ln -s ours.xml spoilt ;;
	fifo)   mkfifo spoilt ;;
	dir)    mkdir spoilt ;;
	esac
	rm "$1"
	mv -T spoilt "$1"
}

declare -A says=([cut]='is damaged: it ends in the middle' [empty]='is damaged: it is empty'
	[begun]='is damaged: it holds no whole element' [zeros]='is damaged: it holds no whole element'
	[huge]='is larger than 4194304 bytes' [link]='is a symbolic link' [fifo]='is a FIFO'
	[dir]='is a directory' [none]='is damaged: it lists no value'
	[moved]="tells of a file that is not its own, 'moved.rrd'")
for how in prolog junk remark root html block; do
	says[$how]='is damaged: it does not begin with <NAGIOS>'
done
says[oneline]='is damaged: it does not have one element a line'
says[returns]=${says[oneline]}

# Which of the two it is does not matter, nor how many values there are; where the names of the data
# sources mean something, none is needed.
again
backup two 'a=@1@ b=@2@'
live two 'b=@2@ a=@1@'
backup one 'a=@1@'
live one 'b=@2@'
backup named 'a=@1@ b=@2@'
live named 'a=@1@ b=@2@'
for side in backup live; do
	rrdtool tune $side/h/named.rrd -r 1:in -r 2:out
done
rm -rf clean
mkdir clean
mv backup live clean/
for how in "${!says[@]}"; do
	for side in backup live; do
		again
		cp -a clean/backup clean/live .
		for file in two one named; do spoil $side/h/$file.xml $how; done
		merge
		want_rc 1
		want_summary 1 0 0 2
		why="$side sidecar is of no use, and numbers alone prove nothing"
		want_err "refused reason=\"$why: h/two.xml ${says[$how]}.*\" file=h/two.rrd"
		want_err "refused reason=\"$why: h/one.xml ${says[$how]}.*\" file=h/one.rrd"
		why="$side sidecar is of no use, data sources went by their names"
		want_err "partial reason=\"$why: h/named.xml ${says[$how]}.*\" file=h/named.rrd"
		is_untouched two.rrd
		is_untouched one.rrd
		is_from named.rrd 1 named.rrd 1
	done
done

# Packed, it tells what it told; what stands there unpacked is the newer.
again
backup svc 'a=@1@ b=@2@'
backup two 'a=@1@ b=@2@'
backup many 'a=@1@ b=@2@' -m
live svc 'b=@2@ a=@1@'
live two 'b=@2@ a=@1@'
live many 'b=@2@ a=@1@' -m
gzip backup/h/svc.xml backup/h/many.xml
sed 's/<NAME>a</<NAME>x</' backup/h/two.xml | gzip >backup/h/two.xml.gz
merge
want_rc 0
want_silent_err
for file in svc two; do
	is_from $file.rrd 1 $file.rrd 2
	is_from $file.rrd 2 $file.rrd 1
done
is_from many_a.rrd 1 many_a.rrd 1
again
backup svc 'a=@1@ b=@2@'
live svc 'b=@2@ a=@1@'
gzip backup/h/svc.xml
truncate -s -9 backup/h/svc.xml.gz
merge
want_rc 1
want_err 'refused reason="backup sidecar is of no use, .*: h/svc.xml.gz is truncated: .*" file=h/svc'
is_untouched svc.rrd

# Without it, nobody knows that files of the other storage type hold the values.
again
backup single 'a=@1@ b=@2@'
live single 'b=@2@ new=@3@' -m
backup multi 'a=@1@ b=@2@' -m
live multi 'b=@2@ a=@1@'
backup left 'a=@1@' -m                          # one value alone; its single file is not there
live left 'b=@1@' -m
spoil backup/h/single.xml cut
spoil backup/h/multi.xml cut
spoil backup/h/left.xml cut
want_hidden() {
	want_rc 1
	why="refused reason=\"backup sidecar is of no use, and would tell what other files hold: $was/"
	want_err "${why}single.xml is damaged: it ends in the middle\" file=h/single_b.rrd\$"
	want_err "${why}single.xml is damaged: it ends in the middle\" file=h/single_new.rrd\$"
	want_err "${why}multi.xml is damaged: it ends in the middle\" file=h/multi.rrd\$"
	want_summary 0 0 1 3
}
merge
want_hidden
# Nor where rules lead to them, or where they are dumps.
was=old
mv backup/h backup/old
merge --rename '^old/' h/
want_hidden
dump_all
merge --rename '^old/' h/
want_hidden
was=h
mv backup/old backup/h
merge
want_hidden
rm -rf kept

# ---- what is left of the other storage type ----

# The backup changed over to MULTIPLE: its svc.rrd is of before, in an order that nobody knows.
again
backup svc 'a=@1@ b=@2@' -m
checks 60 120 h old 'b=@8@ a=@9@' | "$pnptree" backup
mv backup/h/old.rrd backup/h/svc.rrd && rm backup/h/old.xml
live svc 'b=@2@ a=@1@'
backup more 'a=@1@' -m
cp backup/h/svc.rrd backup/h/more.rrd
live more 'new=@4@' -m
# And back again: its bak_a.rrd is of before, and may be another's.
backup bak 'a=@1@ b=@2@'
checks 60 120 h old 'x=@9@' | "$pnptree" backup
mv backup/h/old.rrd backup/h/bak_a.rrd && rm backup/h/old.xml
live bak 'b=@2@ a=@1@' -m
merge
want_rc 1
why='partial reason="backup sidecar is of no use, and numbers alone prove nothing: '
left=' tells of other files: its values are not kept in this one now"'
want_err "${why}h/svc.xml$left file=h/svc.rrd"
want_err "${why}h/bak.xml$left file=h/bak_a.rrd"
want_summary 3 0 1 0
want_no_err unproven
is_from svc.rrd 1 svc_b.rrd 1
is_from svc.rrd 2 svc_a.rrd 1
is_from bak_a.rrd 1 bak.rrd 1
is_from bak_b.rrd 1 bak.rrd 2
is_of svc.rrd 1 2
is_of svc.rrd 2 1
is_of bak_a.rrd 1 1

# ---- two services that write one file ----

# The values of a.xml, MULTIPLE, and of a_b.xml are in the same a_b.rrd.
again
backup a 'b=@1@ c=@3@' -m
backup a_b 'b=@2@'
live a 'b=@1@ c=@3@' -m
merge
want_rc 1
want_err 'refused reason="backup file has two sidecars that tell of it: a_b.xml and a.xml" file=h/a_b.rrd$'
want_summary 1 0 0 1
is_untouched a_b.rrd
is_from a_c.rrd 1 a_c.rrd 1
again
backup a 'b=@1@ c=@3@' -m
live a 'b=@1@ c=@3@' -m
live a_b 'b=@2@'
merge
want_rc 1
want_err 'refused reason="live file has two sidecars that tell of it: a_b.xml and a.xml" file=h/a_b.rrd$'
want_summary 1 0 0 1
is_untouched a_b.rrd
is_from a_c.rrd 1 a_c.rrd 1

# ---- a database that was made anew, beside the sidecar of the one before ----

# XML_UPDATE_DELAY: the order is another now, which the sidecar does not know.
again
backup svc 'a=@1@ b=@2@'
live svc 'a=@1@ b=@2@' && rm live/h/svc.rrd
sleep 0.1               # longer than a tick of the clock that files are stamped by
checks 260 290 h svc 'b=@2@ a=@1@' | "$pnptree" -d 86400 live
merge
want_rc 1
why='refused reason="live sidecar is of no use, and numbers alone prove nothing: h/svc.xml is older '
why+='than the RRD, and tells of one that was there before it" file=h/svc.rrd$'
want_err "$why"
is_untouched svc.rrd
checks 291 292 h svc 'b=@2@ a=@1@' | "$pnptree" live
merge
want_rc 0
is_from svc.rrd 1 svc.rrd 2
is_from svc.rrd 2 svc.rrd 1
# Copied, a file knows its past, whatever was copied first.
again
backup svc 'a=@1@ b=@2@'
live svc 'b=@2@ a=@1@'
checks 251 260 h svc 'b=@2@ a=@1@' | "$pnptree" -d 86400 live
cp live/h/svc.rrd copy && sleep 0.1 && mv -f copy live/h/svc.rrd
merge
want_rc 0
want_silent_err
is_from svc.rrd 1 svc.rrd 2

# ---- a file that has just appeared: its sidecar comes after it ----

merged='^rrdmergd: merged .*file=h/'
again
mv young/* .
configure live backup 'ledger = false;'
start_daemon
want_idle 'merged=0 unchanged=0 skipped=0 failed=0 waiting=4 backup_needed=yes'
checks 190 190 h PING 'pl=@2@ rta=@1@' | "$pnptree" -p 1500 live &
checks 190 190 h disk 'b=@2@ a=@1@' | "$pnptree" -m -p 1500 live &
checks 260 260 h anew 'b=@2@ a=@1@' | "$pnptree" -p 1500 live &
checks 190 190 h never 'a=@1@ b=@2@' | "$pnptree" -n live &
others+=($(jobs -p | grep -vx "$daemon"))
wait "${others[@]}"
for file in PING disk_a disk_b anew never; do
	want_log "${merged}$file.rrd"
done
if [ "$(grep -a "$merged" log | tail -n 1 | grep -o '[a-z]*.rrd$')" = never.rrd ]; then
	pass "what has no sidecar is waited for, and then done"; else
	fail "a file without a sidecar was not the last"; show_log; fi
want_log '^rrdmergd: unproven count=1 reason=.* file=h/never.rrd'
want_no_log '(refused|partial) reason'
is_from PING.rrd 1 PING.rrd 2
is_from PING.rrd 2 PING.rrd 1
is_from disk_a.rrd 1 disk.rrd 1
is_from disk_b.rrd 1 disk.rrd 2
is_from anew.rrd 1 anew.rrd 2
is_from anew.rrd 2 anew.rrd 1
is_from never.rrd 1 never.rrd 1
end_daemon

# What serves the files of the other storage type waits for nobody; and what is done is known after a
# restart, without a look into it.
configure live backup
start_daemon
want_idle 'merged=0 unchanged=5 skipped=0 failed=0 waiting=0 backup_needed=no'
end_daemon
if can_trace; then
	start_traced -e trace=open,openat,openat2
	want_idle 'merged=0 unchanged=5 skipped=0 failed=0 waiting=0 backup_needed=no'
	pid=$daemon
	daemon=$tracer                          # which ends as what it traces
	end_daemon 10 "$pid"
	want_same "no RRD is opened" "$(grep -c '\.rrd"' trace)" 0
fi

# ---- a sidecar that comes late ----

# One is restored whole at last; another comes after its RRD, while other files come beside it; live's
# own is written only when it is old.
again
mv belated/* .
mv mended.whole mended.xml
checks 260 261 h anew 'b=@2@ a=@1@' | "$pnptree" -n live
backup slow 'a=@1@ b=@2@' && mv backup/h/slow.xml .
live slow 'b=@2@ a=@1@'
backup sole 'a=@1@ b=@2@' -m            # which only the sidecar of live's can tell
live sole 'b=@2@ a=@1@' && mv live/h/sole.xml .
configure live backup 'ledger = false;'
start_daemon
sleep 8
: >backup/h/slow.next
no_use='refused reason="SIDE sidecar is of no use, and numbers alone prove nothing: h/'
want_log "${no_use/SIDE/backup}mended.xml is damaged: it ends in the middle\" file=h/mended.rrd\$"
want_log "${no_use/SIDE/live}anew.xml is older than the RRD, .*\" file=h/anew.rrd\$"
mv mended.xml backup/h/
sleep 3                                 # the RRD has rested, and its directory has not
mv slow.xml backup/h/
checks 262 263 h anew 'b=@2@ a=@1@' | "$pnptree" live
for file in mended anew slow; do
	want_log "${merged}$file.rrd" 40
	is_from $file.rrd 1 $file.rrd 2
	is_from $file.rrd 2 $file.rrd 1
done
want_no_log "file=h/sole.rrd"
mv sole.xml live/h/
want_log "${merged}sole.rrd"
is_from sole.rrd 1 sole_b.rrd 1
is_from sole.rrd 2 sole_a.rrd 1
want_no_log unproven
end_daemon

# ---- sidecars that nobody should believe ----

# mangle FILE SEED: some bytes, pieces and lines of it become others.
mangle() {
	perl -e '
		my ($file, $seed) = @ARGV;
		srand($seed);
		open(my $in, "<:raw", $file) or die; local $/; my $text = <$in>; close $in;
		my @piece = ("<NAME>", "</NAME>", "<DATASOURCE>\n", "</DATASOURCE>\n", "\0", "\n", "<",
			     ">", "/", "../" x 50, "x" x 100000, "%s%n", "\xff\xfe", "MULTIPLE",
			     "</NAGIOS>\n", "<RRD>\n", "a" . "_b" x 100);
		for (1 .. 1 + rand 8) {
			my $at = int rand(rand() < 0.2 ? 80 : length $text);
			my $way = int rand 5;
			substr($text, $at, 1) = chr int rand 256 if $way == 0;
			substr($text, $at, rand 10) = $piece[rand @piece] if $way == 1;
			substr($text, $at, rand 300) = "" if $way == 2;
			substr($text, $at, 0) = substr($text, rand length $text, rand 2000) if $way == 3;
			substr($text, $at & ~511, 512) = "another file\n" x 40 if $way == 4;
			last if length $text < 1000;
		}
		$text = substr($text, 0, rand length $text) if rand() < 0.1;
		open(my $out, ">:raw", $file) or die; print $out $text;
	' "$1" "$2"
}

# none_but FILE COLUMN N: all that is known before its own time is of the series N.
none_but() {
	local mixed

	mixed=$(rows "live/h/$1.rrd" AVERAGE 60 "$2" |
		awk -v n="$3" '$2 < n * 1000 || $2 >= n * 1000 + 101' | head -n 3)
	[ -z "$mixed" ] && return
	fail "round $round: $1 $2 is not of $3 alone: $mixed"
	show_last
}

again
backup svc 'a=@1@ b=@2@ c=@3@'
backup many 'a=@1@ b=@2@ c=@3@' -m
live svc 'b=@2@ c=@3@ a=@1@'
live many 'c=@3@ a=@1@ b=@2@'
rm -rf clean
mkdir clean
cp -a backup live clean/
seed=${SEED:-$RANDOM}
RANDOM=$seed
echo "SEED=$seed"
own_rows() {
	rrdtool fetch live/h/svc.rrd AVERAGE -r 60 -s $((T0 + 60 * 191)) -e $((T0 + 60 * 249))
}
known=$(own_rows)
for ((round = 0; round < ${ROUNDS:-25}; round++)); do
	again
	cp -a clean/backup clean/live .
	for file in backup/h/svc.xml backup/h/many.xml live/h/svc.xml live/h/many.xml; do
		[ $((RANDOM % 2)) = 0 ] || mangle $file $((seed + round))
	done
	run "$rrdmerge" backup live
	[ "$rc" -le 1 ] || { fail "round $round"; show_last; }
	svc=(2 3 1)
	many=(3 1 2)
	for column in 1 2 3; do
		none_but svc $column "${svc[column - 1]}"
		none_but many $column "${many[column - 1]}"
	done
	[ "$(own_rows)" = "$known" ] || fail "round $round: what live knew is not what it was"
done
pass "sidecars made to do harm"

finish
