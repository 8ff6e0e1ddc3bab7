#!/bin/bash
# Hosts and services that have other names in the backup: rename rules, given to rrdmerge and to the
# daemon, lead its files to the live ones; what leads nowhere is refused.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool
need_programs "$rrdmerge" "$rrdmergd" "$rrdmergctl"
cd "$work" || exit 99

# Three hours of history, the same with other values, and the live file of after.
make_pair one.rrd now.rrd
make_rrd two.rrd 0 180 DS:in:GAUGE:8640:U:U DS:out:GAUGE:8640:U:U $(default_rras 300)
for ((m = 1; m <= 180; m++)); do echo $((T0 + 60 * m)):$((5000 + m)):$((6000 + m)); done >updates
rrdtool create other.rrd --start $T0 --step 60 DS:in:GAUGE:8640:U:U DS:out:GAUGE:8640:U:U \
	$(default_rras 300)
xargs rrdtool update other.rrd <updates

# tree DIR FILE=ORIGIN…: a tree of copies.
tree() {
	local dir=$1 pair

	rm -rf "$dir"
	shift
	for pair; do
		mkdir -p "$(dirname "$dir/${pair%%=*}")"
		cp "${pair#*=}.rrd" "$dir/${pair%%=*}"
	done
}

# ---- a host, a service; what no rule matches ----

tree old web01.old/PING.rrd=one web02/Load.rrd=one web03/PING.rrd=one
tree live web01/PING.rrd=now web02/check_load.rrd=now web03/PING.rrd=now
rules=(--rename '^web01\.old/(.*)' 'web01/$1' --rename '/Load\.rrd$' '/check_load.rrd')
before=$(tree_state live)
run "$rrdmerge" -nv "${rules[@]}" old live
want_rc 0
want_out '^renamed rule=1 old=web01\.old/PING\.rrd file=web01/PING\.rrd$'
want_out '^renamed rule=2 old=web02/Load\.rrd file=web02/check_load\.rrd$'
want_no_out 'renamed.*web03'
want_summary 3 0 0 0
want_same "the live tree after -n" "$(tree_state live)" "$before"
run "$rrdmerge" old live "${rules[@]}"          # at the end as well
want_rc 0
want_no_out renamed
want_silent_err
want_summary 3 0 0 0
for file in web01/PING web02/check_load web03/PING; do
	want_merged one.rrd now.rrd live/$file.rrd
done
run "$rrdmerge" "${rules[@]}" old live
want_summary 0 3 0 0
run "$rrdmerge" -v --json "${rules[@]}" old live
want_err '^renamed rule=1 '
want_no_out renamed

# Without the rules, they are strangers.
tree live web01/PING.rrd=now web03/PING.rrd=now
run "$rrdmerge" old live
want_summary 1 0 1 0
want_same "a live file that no rule leads to" "$(file_sum live/web01/PING.rrd)" "$(file_sum now.rrd)"

# ---- a file that is led elsewhere does not serve its own name; names that are changed about ----

tree old a/x.rrd=one b/x.rrd=other
tree live a/x.rrd=now b/x.rrd=now
run "$rrdmerge" --rename '^a/' b/ --rename '^b/' a/ old live
want_rc 0
want_merged other.rrd now.rrd live/a/x.rrd
want_merged one.rrd now.rrd live/b/x.rrd
tree old a/x.rrd=one
tree live a/x.rrd=now c/x.rrd=now
run "$rrdmerge" -v --rename '^a/' c/ old live
want_summary 1 0 1 0
want_out 'skipped .*file=a/x\.rrd$'
want_merged one.rrd now.rrd live/c/x.rrd

# ---- the first rule that matches ----

tree live a/x.rrd=now c/x.rrd=now d/x.rrd=now
run "$rrdmerge" -v --rename '^a/x' d/x --rename '^a/' c/ --rename '^d/' a/ old live
want_summary 1 0 2 0
want_out '^renamed rule=1 old=a/x\.rrd file=d/x\.rrd$'
want_merged one.rrd now.rrd live/d/x.rrd

# ---- two files of the backup that come to one: in order ----

# The same as two backups in that order.
tree first x/y.rrd=one
tree second x/y.rrd=other
tree expected x/y.rrd=now
run "$rrdmerge" first expected
run "$rrdmerge" second expected
want_rc 0
tree old m/y.rrd=one n/y.rrd=other
tree live x/y.rrd=now
run "$rrdmerge" -v --rename '^m/' x/ --rename '^n/' x/ old live
want_rc 0
want_summary 1 0 0 0
same_file "two files for one, by the order of the rules" expected/x/y.rrd live/x/y.rrd
want_merged one.rrd now.rrd live/x/y.rrd
tree live x/y.rrd=now
run "$rrdmerge" --rename '^n/' x/ --rename '^m/' x/ old live
want_merged other.rrd now.rrd live/x/y.rrd
# Of one rule, by name; and the file of the same name is before all.
tree live x/y.rrd=now
run "$rrdmerge" --rename '^[mn]/' x/ old live
want_merged one.rrd now.rrd live/x/y.rrd
tree old m/y.rrd=one x/y.rrd=other
tree live x/y.rrd=now
run "$rrdmerge" --rename '^m/' x/ old live
want_merged other.rrd now.rrd live/x/y.rrd

# ---- what leads nowhere ----

tree old a/x.rrd=one b/x.rrd=one
tree live a/x.rrd=now b/x.rrd=now
cp now.rrd outside.rrd
for to in ../outside.rrd "$work/outside.rrd" 'a/..$2..$2outside.rrd' x.xml ''; do
	tree live a/x.rrd=now b/x.rrd=now
	run "$rrdmerge" --rename '(.*)a(/)x\.rrd' "\$1$to" old live
	want_rc 1
	want_err '^rrdmerge: refused reason="rename rule 1 leads to .*" file=a/x\.rrd$'
	want_summary 1 0 1 0
	want_merged one.rrd now.rrd live/b/x.rrd
	want_same "outside" "$(file_sum outside.rrd)" "$(file_sum now.rrd)"
done
want_same "what stands there" "$(ls)" "$(printf '%s\n' err expected first judge.after judge.before \
	judge.old live now.rrd old one.rrd other.rrd out outside.rrd second two.rrd updates)"

# ---- what is no rule ----

tree live a/x.rrd=now
before=$(tree_state live)
while IFS=@ read -r from to why; do
	run "$rrdmerge" --rename "$from" "$to" old live
	want_rc 2
	want_err "^rrdmerge: --rename: $why"
done <<'RULES'
^a/@../b/@"to" leads to a path with \. or \.\. in it: \.\./b/; no file is led out of the live tree$
rrd$@xml@"to" leads to what is no \.rrd: xml; "from" ends in \$
a(@b@"from" is no regular expression: .*: a\(; see regex\(7\)$
@b@"from" is empty
a@$1@"to" asks for \$1: \$1; "from" has 0 groups, in \( \)$
(a)@\1@"to" has \\\\1 in it: \\\\1; write \$1$
a@$@"to" has a \$ without a number
^a@/b@"to" leads to an absolute path
((a{255}){255}){255}@b@"from" is too large: .*1000 characters
((a{1,255}){1,255}){1,255}@b@"from" repeats with \{ \} what varies in itself
(a*)\1@b@"from" refers back to a group
RULES
run "$rrdmerge" old live --rename a
want_rc 2
want_err 'takes two words'
run "$rrdmerge" --rename a b old/a/x.rrd live/a/x.rrd
want_rc 2
want_err 'is for two directories'
want_same "the live tree" "$(tree_state live)" "$before"

# ---- dumps go by the name of the RRD that they stand for ----

mkdir dumps dumps/web01.old dumps/web02.old
rrdtool dump one.rrd >dumps/web01.old/PING.xml
rrdtool dump one.rrd | gzip >dumps/web02.old/PING.rrd.xml.gz
cp one.rrd dumps/web02.old/Disk.rrd
{
	printf '<?xml version="1.0"?>\n<NAGIOS>\n'
	printf '<DATASOURCE>\n</DATASOURCE>\n%.0s' 1 2
	echo '</NAGIOS>'
} >dumps/web02.old/Disk.xml
tree live web01/PING.rrd=now web02/PING.rrd=now web02/Disk.rrd=now
run "$rrdmerge" -v --rename '^(.*)\.old/([A-Za-z]+)\.rrd$' '$1/$2.rrd' dumps live
want_rc 0
want_summary 3 0 0 0
want_out '^renamed rule=1 old=web01\.old/PING\.xml file=web01/PING\.rrd$'
want_out '^renamed rule=1 old=web02\.old/PING\.rrd\.xml\.gz file=web02/PING\.rrd$'
want_no_out 'renamed .*Disk\.xml'
want_merged one.rrd now.rrd live/web02/Disk.rrd

# ---- the daemon ----

tree old web01.old/PING.rrd=one web01/PING.rrd=other a/x.rrd=one out/x.rrd=one \
	gone.old/PING.rrd=one
tree live web01/PING.rrd=now web02/PING.rrd=now b/x.rrd=now
cp now.rrd outside.rrd
rules='rename = (
	{ from = "^web01\\.old/(.*)"; to = [ "web01/$1", "web02/$1" ]; },
	{ from = "^web01/"; to = "web03/"; },
	{ from = "^a/"; to = "b/"; },
	{ from = "^out(/)"; to = "..$1out"; },
	{ from = "\\.old/"; to = "/"; }
);'
configure live old 'rename = ( { from = "^a/"; to = "b/"; },' '{ from = "^(a/"; to = "$2"; } );'
run "$rrdmergd" -t -f conf
want_rc 2
want_err '^rrdmergd: conf:[67]: in "rename", "from" is no regular expression: .*\^\(a/'
configure live old 'rename = ( { from = "((a{1,255}){1,255}){1,255}"; to = "b/"; } );'
run timeout 20 "$rrdmergd" -t -f conf
want_rc 2
want_err '^rrdmergd: conf:[0-9]+: in "rename", "from" repeats with \{ \} what varies in itself: '
configure live old "$rules"
run "$rrdmergd" -t -f conf
want_rc 0
sleep 10.2                      # the backup must have rested
start_daemon
want_log '^rrdmergd: refused count=1 reason="rename rule 4 leads to a path with \. or \.\. in it: .*" source=1 file=out/x\.rrd$'
want_idle 'merged=3 unchanged=0 skipped=0 failed=0 waiting=2 backup_needed=yes'
want_merged one.rrd now.rrd live/web01/PING.rrd
want_merged one.rrd now.rrd live/web02/PING.rrd
want_merged one.rrd now.rrd live/b/x.rrd
want_log '^rrdmergd: waiting files=1 dir=gone$'
want_log '^rrdmergd: waiting files=1 dir=web03$'
# One that appears later.
mkdir live/web03 live/gone
cp now.rrd live/web03/PING.rrd
cp now.rrd live/gone/PING.rrd
want_idle 'merged=5 unchanged=0 skipped=0 failed=0 waiting=0 backup_needed=no' 20
want_merged other.rrd now.rrd live/web03/PING.rrd
want_merged one.rrd now.rrd live/gone/PING.rrd
want_same "outside" "$(ls | grep -c '^outside')" 1
want_lines 'refused count=' 1

ctl show web02/PING.rrd
want_out "^  1: $work/old/web01\.old/PING\.rrd \(by rename rule 1\)$"
want_out '^ *gave [0-9]+ cells \([0-9]+ exact'
ctl show web03/PING.rrd
want_out "^  1: $work/old/web01/PING\.rrd \(by rename rule 2\)$"

# Other rules: everything is looked at again.
mkdir live/web01.old
cp now.rrd live/web01.old/PING.rrd
want_idle 'merged=5 unchanged=0 skipped=1 failed=0 waiting=0 backup_needed=no'
configure live old 'rename = ( );'
kill -HUP "$daemon"
want_log '^rrdmergd: reloaded '
want_log '^rrdmergd: merged .* file=web01\.old/PING\.rrd$'
want_merged one.rrd now.rrd live/web01.old/PING.rrd
end_daemon

# Names beyond ASCII, in UTF-8 or not, without a locale.
tree old "h/Müll ü.rrd=one" h/$'M\xfcll'.rrd=other
tree live h/Muell.rrd=now i/$'M\xfcll'.rrd=now
env -u LANG -u LC_ALL -u LC_CTYPE "$rrdmerge" --rename '^h/M.ll .' h/Muell --rename '^h/(.*)' 'i/$1' \
	old live >out 2>err
want_same "rrdmerge without a locale" "$?" 0
want_merged one.rrd now.rrd live/h/Muell.rrd
want_merged other.rrd now.rrd live/i/$'M\xfcll'.rrd
tree live h/Muell.rrd=now
configure live old 'rename = ( { from = "M[äöü]ll ."; to = "Muell"; } );'
sed -i "s|$work/state|$work/state3|" conf
run env -u LANG -u LC_ALL -u LC_CTYPE "$rrdmergd" -f conf -e --once
want_rc 0
want_merged one.rrd now.rrd live/h/Muell.rrd

# A backup's own name may have a newline in it, and what stands for one.
odd=$'od\nd\\x0A'
tree "$odd" h/x.rrd=one
tree live h/x.rrd=now
configure live 'od\nd\\x0A,old'
sed -i "s|$work/state|$work/state4|" conf
start_daemon
want_log '^rrdmergd: merged .* file=h/x\.rrd$'
ctl show h/x.rrd
want_rc 0
want_same "show: from where" "$(sed -n 's/^ *from //p' out)" "$work/od\\x0Ad\\\\x0A/h/x.rrd"
want_same "show: the backup" "$(sed -n 's/^ *1: //p' out)" "$work/od\\x0Ad\\\\x0A/h/x.rrd"
want_out '^ *gave [0-9]+ cells \([0-9]+ exact'
ctl --json history h/x.rrd
want_rc 0
grep -qF "\"sources\":\"$work/od\\\\x0Ad\\\\\\\\x0A/h/x.rrd\"" out && pass "JSON: the source" ||
	fail "JSON has not the source: $(grep -o '"sources":.*' out)"
end_daemon

# At once, too.
tree old web01.old/PING.rrd=one a/x.rrd=one out/x.rrd=one gone.old/PING.rrd=one
tree live web01/PING.rrd=now gone/PING.rrd=now
configure live old "$rules"
sed -i "s|$work/state|$work/state2|" conf
run "$rrdmergd" -f conf -e --once
want_rc 1                       # as rrdmerge has it: one is led outside
want_err '^rrdmergd: refused count=1 reason="rename rule 4 leads to .*file=out/x\.rrd$'
want_err '^rrdmergd: idle .* skipped=0 failed=0 '
want_merged one.rrd now.rrd live/web01/PING.rrd
want_merged one.rrd now.rrd live/gone/PING.rrd
tree live web01/PING.rrd=now gone/PING.rrd=now
rm old/out/x.rrd
run "$rrdmergd" -f conf -e --once
want_rc 0

finish
