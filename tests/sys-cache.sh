#!/bin/bash
# What a merge leaves in the page cache: of a backup nothing that was not there before, once its live
# file is done; of the live tree all that was there.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/daemon.sh"
need rrdtool fincore dd
need_programs "$rrdmerge" "$rrdmergd"
cd "$work" || exit 99

FILES=20

# cached TREE: how many of its pages are in the page cache.
cached() {
	find "$1" -name '*.rrd' -exec fincore --raw --noheadings --output PAGES {} + |
		awk '{ n += $1 } END { print n + 0 }'
}

# Takes a tree out of the page cache.
cool() {
	sync
	find "$1" -name '*.rrd' -exec dd if={} iflag=nocache count=0 status=none \;
}

warm() {
	find "$1" -name '*.rrd' -exec cat {} + >/dev/null
}

# tree DIR OF: copies of a file.
tree() {
	local i

	rm -rf "$1" && mkdir "$1" || exit 99
	for ((i = 0; i < FILES; i++)); do cp "$2" "$1/$i.rrd"; done
}

# Of what was cold, one file in a hundred is read while we look whether it is there; and who else uses
# this machine may need room.
want_few() {
	if [ "$2" -le $((all / 4)) ]; then pass "$1: $2 of $all"; else
		fail "$1: $2 of $all pages are in the cache"; fi
}

want_all() {
	if [ "$2" -ge $((all * 3 / 4)) ]; then pass "$1: $2 of $all"; else
		fail "$1: $2 of $all pages are in the cache"; fi
}

make_pair old.rrd new.rrd || exit 99
make_rrd ahead.rrd 0 260 || exit 99
tree backup old.rrd
tree ahead ahead.rrd
all=$(cached backup)
cool backup
[ "$all" -gt "$FILES" ] && [ "$(cached backup)" = 0 ] ||
	skip_all "the filesystem of $work does not take files out of the page cache when it is asked to"

# ---- a cold backup ----

tree live new.rrd
warm live
before=$(cached live)
run "$rrdmerge" backup live
want_summary $FILES 0 0 0
want_few "a cold backup is gone again" "$(cached backup)"
want_same "live stays" "$before" "$(cached live)"

run "$rrdmerge" backup live
want_summary 0 $FILES 0 0
want_few "the same where there is nothing to fill" "$(cached backup)"

# ---- a warm one: somebody else may want it ----

tree live new.rrd
warm backup
run "$rrdmerge" backup live
want_summary $FILES 0 0 0
want_all "a warm backup stays" "$(cached backup)"

# ---- with a ledger it is read twice, and gone after that ----

tree live new.rrd
cool backup
run "$rrdmerge" --ledger "$work/ledger.db" backup live
want_summary $FILES 0 0 0
want_same "a backup that was read twice is gone again" 0 "$(cached backup)"

# ---- what will be needed again ----

tree live new.rrd
cool ahead
run "$rrdmerge" ahead live
want_summary $FILES 0 0 0
want_all "a backup that is newer than live stays" "$(cached ahead)"

tree one new.rrd
rm -rf live && mkdir live && cp -r one live/one && mv one live/two
cool backup
configure live backup 'rename = ( { from = "^"; to = [ "one/", "two/" ]; } );'
sleep 11                        # a daemon lets a backup rest
run timeout 60 "$rrdmergd" --once -e -f conf
want_rc 0
want_err "^rrdmergd: idle merged=$((2 * FILES)) "
want_all "a backup that serves two live files stays" "$(cached backup)"

tree live new.rrd
cool backup
configure live backup
rm -rf state
run timeout 60 "$rrdmergd" --once -e -f conf
want_err "^rrdmergd: idle merged=$FILES "
want_same "the daemon's backup is gone again" 0 "$(cached backup)"

finish
