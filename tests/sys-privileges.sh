#!/bin/bash
# As whom the daemon serves a tree: root becomes the owner of the live tree and keeps the right to
# read alone; a tree of root's only where the configuration says so; a plain user stays what it is.
set -u
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need_programs "$rrdmergd"
need rrdtool setpriv
[ "$(id -u)" = 0 ] || skip_all "root is needed, to become somebody else"
[ -n "$(other_user)" ] || skip_all "root cannot become the user nobody here"
cd "$work" || exit 99
chmod 755 .                             # mktemp made it root's alone

uid=$(id -u nobody)
gid=$(id -g nobody)
stranger=54321                          # a uid that passwd does not know
while getent passwd "$stranger" >/dev/null; do stranger=$((stranger + 1)); done

backup=backup
user=
socket=$work/run/control.sock

# serve LIVE [LINE]: writes conf, which anybody may read.
serve() {
	rm -rf state            # the user before this one's
	configure "$1" "$backup" 'workers = 1;' "${@:2}"
}

# status KEY: what the kernel says of the daemon, of each of its threads.
status() {
	sed -n "s/^$1:[[:space:]]*//p" /proc/"$daemon"/task/*/status | tr -s '[:space:]' ' ' |
		sed 's/ $//'
}

each() {        # each VALUE: as many times as there are threads, as status prints it
	local threads

	threads=$(ls /proc/"$daemon"/task | wc -l)
	yes "$1" | head -n "$threads" | tr -s '[:space:]' ' ' | sed 's/ $//'
}

# want_identity WHO UID GID CAPABILITIES
want_identity() {
	want_same "$1: Uid" "$(status Uid)" "$(each "$2 $2 $2 $2")"
	want_same "$1: Gid" "$(status Gid)" "$(each "$3 $3 $3 $3")"
	want_same "$1: Groups" "$(status Groups)" ""
	want_same "$1: CapEff" "$(status CapEff)" "$(each "$4")"
	want_same "$1: CapPrm" "$(status CapPrm)" "$(each "$4")"
	want_same "$1: CapInh" "$(status CapInh)" "$(each 0000000000000000)"
	want_same "$1: CapAmb" "$(status CapAmb)" "$(each 0000000000000000)"
}

# once: --once as root.
once() {
	run timeout 60 "$rrdmergd" -f conf -e --once
}

ownership() {
	(cd "$1" && find . -printf '%p %u:%g %m %n\n' | sort)
}

# live_tree DIR UID:GID: one file that has a backup.
live_tree() {
	mkdir -p "$1/web01"
	make_rrd "$1/web01/PING.rrd" 190 250
	chown -R "$2" "$1"
}

# The backup is root's alone to read, as an unpacked archive often is.
mkdir -p backup/web01 backup/many state run
# As systemd would make them for us and say so.
export STATE_DIRECTORY=$work/state RUNTIME_DIRECTORY=$work/run
make_rrd backup/web01/PING.rrd 0 180
for i in $(seq 50); do cp backup/web01/PING.rrd "backup/many/f$i.rrd"; done
cp -r backup readable
chmod -R go= backup
live_tree before "$uid:$gid"
reads=0000000000000004                  # CAP_DAC_READ_SEARCH
sleep 10.2                              # a backup is left alone until it has rested

# ---- root becomes the owner ----

live_tree live "$uid:$gid"
chmod 640 live/web01/PING.rrd
owned=$(ownership live)
sum=$(tree_sum backup)
serve live
launch setpriv --groups 0,4             # groups that it has to drop
want_log '^rrdmergd: merged .* file=web01/PING\.rrd$'
want_log '^rrdmergd: idle merged=1 '
want_identity "the owner" "$uid" "$gid" "$reads"
want_same "no new privileges" "$(status NoNewPrivs)" "$(each 1)"
want_same "owners and modes stay" "$(ownership live)" "$owned"
want_same "the backup stays" "$(tree_sum backup)" "$sum"
want_merged backup/web01/PING.rrd before/web01/PING.rrd live/web01/PING.rrd
# It goes on watching, in new directories too.
mkdir live/many && chown "$uid:$gid" live/many
make_rrd live.rrd 190 250 && chown "$uid:$gid" live.rrd && mv live.rrd live/many/f1.rrd
want_log '^rrdmergd: merged .* file=many/f1\.rrd$'
end_daemon 5
for directory in state run; do
	want_same "$directory is the owner's" "$(stat -c %u:%a "$directory")" "$uid:750"
done
chown 0:0 state run

# A user whom passwd does not know.
live_tree strange "$stranger:$stranger"
serve strange
launch
want_log '^rrdmergd: idle merged=1 '
want_identity "a stranger" "$stranger" "$stranger" "$reads"
end_daemon 5
chown 0:0 state run

# ---- root's own tree ----

live_tree roots 0:0
serve roots
before=$(tree_state roots)
for mode in --once ''; do
	run timeout 30 "$rrdmergd" -f conf -e $mode
	want_rc 2
	want_err '^rrdmergd: .*root.*user = "root"'
	want_same "one sentence $mode" "$(wc -l <err)" 1
done
want_same "and nothing is done" "$(tree_state roots)" "$before"

serve roots 'user = "root";'
launch setpriv --groups 0,4
want_log '^rrdmergd: idle merged=1 '
want_identity "root" 0 0 0000000010000006       # with CAP_DAC_OVERRIDE and CAP_LEASE
end_daemon 5
want_same "root's files stay root's" "$(ownership roots | grep -vc ' root:root ')" 0

# The name goes before the owner.
live_tree roots2 0:0
before=$(tree_state roots2)
serve roots2 'user = "nobody";'
once
want_rc 1
want_err 'refused .*nobody.*web01/PING\.rrd$'
want_same "nobody writes no file of root's" "$(tree_state roots2)" "$before"

serve live 'user = "nosuchuser";'
for mode in -t --once ''; do
	run timeout 30 "$rrdmergd" -f conf -e $mode
	want_rc 2
	want_err '^rrdmergd: conf:6: .*nosuchuser'
	want_same "one line $mode" "$(wc -l <err)" 1
done

# ---- files of somebody else ----

live_tree mixed "$uid:$gid"
mkdir mixed/many
for i in $(seq 50); do cp before/web01/PING.rrd "mixed/many/f$i.rrd"; done
chown "$uid:$gid" mixed/many
chown "$stranger:$stranger" mixed/many/*
chmod 644 mixed/many/*
sum=$(tree_sum mixed/many)
serve mixed
once
want_rc 1
want_err '^rrdmergd: merged .* file=web01/PING\.rrd$'
want_err '50.*nobody.*many/f[0-9]+\.rrd'
lines=$(grep -c 'many/f' err)
if [ "$lines" -le 3 ]; then pass "not a line per file"; else
	fail "$lines lines about 50 files"; show_last; fi
launch
want_log '50.*nobody.*many/f[0-9]+\.rrd'
want_log '^rrdmergd: idle '
end_daemon 5
lines=$(grep -c 'many/f' log)
if [ "$lines" -le 3 ]; then pass "nor when it stays"; else
	fail "$lines lines about 50 files"; sed 's/^/    /' log; fi
want_same "which stay as they were" "$(tree_sum mixed/many)" "$sum"

# ---- a live tree that comes later ----

serve later
launch
want_log "^rrdmergd: .*waiting for it.* live=$work/later\$"
kill -0 "$daemon" && pass "waits"
live_tree coming "$uid:$gid"
mv coming later
want_log '^rrdmergd: idle merged=1 '
want_identity "the owner of what came" "$uid" "$gid" "$reads"
end_daemon 5
want_merged backup/web01/PING.rrd before/web01/PING.rrd later/web01/PING.rrd

# ---- a plain user stays that user ----

backup=readable
live_tree plain "$uid:$gid"
cp "$rrdmergd" rrdmergd-copy            # the build directory may be root's
rrdmergd=$work/rrdmergd-copy
serve plain
install -d -o nobody state
launch setpriv --reuid=nobody --regid="$gid" --clear-groups
want_log '^rrdmergd: idle merged=1 '
want_identity "a plain user" "$uid" "$gid" 0000000000000000
end_daemon 5
serve plain 'user = "root";'
install -d -o nobody state
launch setpriv --reuid=nobody --regid="$gid" --clear-groups
want_log '^rrdmergd: idle '
want_identity "a plain user" "$uid" "$gid" 0000000000000000
want_no_log 'cannot'
end_daemon 5

# ---- what cannot be read, and --once ----

# once_as_nobody BACKUP[,BACKUP…]: it starts as a plain user.
once_as_nobody() {
	backup=$1
	serve plain
	install -d -o nobody state
	run setpriv --reuid=nobody --regid="$gid" --clear-groups timeout 60 "$rrdmergd" -f conf -e \
		--once
}

once_as_nobody readable
want_rc 0
want_no_err 'could not be read'
# A directory of a backup that no live file asks for.
mkdir -m 700 readable/secret && cp -p backup/web01/PING.rrd readable/secret
once_as_nobody readable
want_rc 1
want_err '^rrdmergd: refused count=1 user=nobody reason="directory of the backup .*Permission denied" dir=secret$'
want_err '^rrdmergd: 1 backup could not be read as a whole: run again when it can$'
run as_nobody "$rrdmerge" readable plain
want_rc 0                               # nor does any of NEW
mkdir plain/secret && cp -p before/web01/PING.rrd plain/secret && chown -R "$uid:$gid" plain/secret
run as_nobody "$rrdmerge" readable plain
want_rc 1
want_err '^rrdmerge: refused reason="backup .*Permission denied" file=secret/PING\.rrd$'
rm -r plain/secret
run as_nobody "$rrdmerge" --rename '^none/' 'none/' readable plain
want_rc 1
want_err '^rrdmerge: refused reason="directory of OLD cannot be read: Permission denied" file=secret$'
rm -r readable/secret
# All of a backup, beside one that is there; one that is not there is no failure.
once_as_nobody backup,readable
want_rc 1
want_err "^rrdmergd: backup cannot be read by user nobody: Permission denied; .* backup=$work/backup\$"
want_err '^rrdmergd: 1 backup could not be read as a whole: '
run as_nobody "$rrdmerge" backup plain
want_rc 2
once_as_nobody nowhere,readable
want_rc 0
want_no_err 'could not be read'
# A directory of the live tree.
mkdir -m 700 plain/secret
once_as_nobody readable
want_rc 1
want_err '^rrdmergd: refused count=1 user=nobody reason="live directory .*Permission denied" dir=secret$'
want_err '^rrdmergd: 1 directory of live could not be read: run again when it can$'
run as_nobody "$rrdmerge" readable plain
want_rc 1
want_err '^rrdmerge: refused reason=".*Permission denied" file=secret$'

finish
