# rrdmerge refuses what it must: with one reason that names the file, the exit code that says so,
# the refused file byte for byte as it was, and everything else merged.

. "$(dirname "$0")/lib.sh"
need rrdtool perl timeout
need_programs "$rrdmerge"
cd "$work" || exit 99

make_pair base-old.rrd base-new.rrd || exit 99
cp base-new.rrd base-merged.rrd
"$rrdmerge" base-old.rrd base-merged.rrd >/dev/null
want_merged base-old.rrd base-new.rrd base-merged.rrd
merged_sum=$(file_sum base-merged.rrd)
new_sum=$(file_sum base-new.rrd)

# Two trees with a sound pair before and one behind the file in question, `m.rrd`.
site() {
	rm -rf old new
	mkdir old new
	cp base-old.rrd old/a.rrd
	cp base-new.rrd new/a.rrd
	cp base-old.rrd old/m.rrd
	cp base-new.rrd new/m.rrd
	cp base-old.rrd old/z.rrd
	cp base-new.rrd new/z.rrd
}

# What a hostile file must not do is hang or kill us; the limit is no measure of speed.
merge() {
	run timeout 60 "$rrdmerge" "$@"
}

# refused WHAT [REASON]: m.rrd was refused with a reason that matches, the others were merged.
refused() {
	local what=$1 reason=${2:-[^\"]+}

	if [ "$rc" != 1 ]; then fail "$what: exit code $rc and not 1"; show_last; fi
	want_err "^rrdmerge: (refused|failed) reason=\"[^\"]*($reason).*\" file=m\\.rrd\$"
	want_same "$what: one line on stderr" "$(wc -l <err)" 1
	want_same "$what: a.rrd was merged" "$(file_sum new/a.rrd)" "$merged_sum"
	want_same "$what: z.rrd was merged" "$(file_sum new/z.rrd)" "$merged_sum"
	want_summary 2 0 0 1
}

# Of a link, it is the link that must not change.
sum_of_file() {
	if [ -L "$1" ]; then readlink "$1"; elif [ -f "$1" ]; then file_sum "$1"; fi
}

# in_backup WHAT [REASON], in_live WHAT [REASON]: merges the site as it is now.
in_backup() {
	local old_state

	old_state=$(tree_state old)
	merge old new
	refused "$1" "${2:-}"
	want_same "$1: live m.rrd is as it was" "$(file_sum new/m.rrd)" "$new_sum"
	want_same "$1: the backup is as it was" "$old_state" "$(tree_state old)"
}

in_live() {
	local old_state before

	old_state=$(tree_state old)
	before=$(stat -c '%i %s %y %z %a' new/m.rrd; sum_of_file new/m.rrd)
	merge old new
	refused "$1" "${2:-}"
	want_same "$1: live m.rrd is as it was" "$before" \
		"$(stat -c '%i %s %y %z %a' new/m.rrd; sum_of_file new/m.rrd)"
	want_same "$1: the backup is as it was" "$old_state" "$(tree_state old)"
}

# bad_file WHAT FILE [REASON]: as backup and as live.
bad_file() {
	site; cp "$2" old/m.rrd; in_backup "$1, backup" "${3:-}"
	site; cp "$2" new/m.rrd; in_live "$1, live" "${3:-}"
}

# usage WHAT REGEX ARGS…: exit code 2, said on stderr, nothing touched.
usage() {
	local what=$1 regex=$2 state
	shift 2

	state=$(tree_state old; tree_state new)
	merge "$@"
	if [ "$rc" = 2 ]; then pass "$what"; else
		fail "$what: exit code $rc and not 2"; show_last; fi
	want_err "^rrdmerge: .*($regex)"
	want_no_out .
	want_same "$what: nothing was touched" "$state" "$(tree_state old; tree_state new)"
}

# pair_refused WHAT OLD NEW [REASON]: two files, exit code 1, named.
pair_refused() {
	local state

	state=$(file_sum base-old.rrd; file_sum base-new.rrd; stat -c '%i %y %z' base-new.rrd)
	merge "$2" "$3"
	if [ "$rc" = 1 ]; then pass "$1"; else fail "$1: exit code $rc and not 1"; show_last; fi
	want_err "^rrdmerge: (refused|failed) reason=\".*(${4:-.}).*\" file=.*[^ ]\$"
	want_summary 0 0 0 1 0
	want_same "$1: nothing was touched" "$state" \
		"$(file_sum base-old.rrd; file_sum base-new.rrd; stat -c '%i %y %z' base-new.rrd)"
}

# ---- the same file, the same tree, one in the other ----

pair_refused "the same file" base-new.rrd base-new.rrd 'same'
here_again=../$(basename "$work")
pair_refused "the same file by another path" base-new.rrd "$here_again/base-new.rrd" 'same'
ln base-new.rrd linked.rrd
pair_refused "a hard link" linked.rrd base-new.rrd 'same|link'
rm linked.rrd

site
usage "the same tree" 'same' old old
usage "the same tree by another path" 'same' old ./new/../old/
ln -s old same
usage "the same tree by a link" 'same' old same
usage "the same tree by a link" 'same' same old
rm same
mkdir -p new/deep/er
cp -a old new/deep/er/old
usage "the backup inside live" 'inside|within' new/deep/er/old new
usage "live inside the backup" 'inside|within' new new/deep/er/old
ln -s new/deep link
usage "the backup inside live, by a link" 'inside|within' link/er new
usage "live inside the backup, by a link" 'inside|within' new link/er
rm link

# ---- hard links between the trees ----

site; ln -f old/m.rrd new/m.rrd
before=$(tree_state old)
merge old new
refused "a live file that is its own backup" 'same|link'
want_same "a live file that is its own backup" "$before" "$(tree_state old)"

site; rm old/m.rrd; cp base-old.rrd old/m.rrd; ln -f old/z.rrd new/m.rrd
before=$(tree_state old)
merge old new
refused "a live file that is another file's backup" 'link'
want_same "a live file that is another file's backup" "$before" "$(tree_state old)"

site; mkdir old/deep; cp base-new.rrd old/deep/other-name.rrd
ln -f old/deep/other-name.rrd new/m.rrd
before=$(tree_state old)
merge old new
refused "a live file linked to a backup file that has no live one" 'link'
want_same "a live file linked to a backup file that has no live one" "$before" "$(tree_state old)"

# ---- what is no regular file ----

pair_kinds() {  # pair_kinds WHAT PATH: as either argument
	local state

	for pair in "$2 base-new.rrd" "base-old.rrd $2"; do
		state=$(file_sum base-old.rrd; file_sum base-new.rrd)
		merge $pair
		case $rc in
		1) want_err "^rrdmerge: (refused|failed) reason=\".+\" file=.*[^ ]\$" ;;
		2) want_err "^rrdmerge: .*$(basename "$2")" ;;
		*) fail "$1 as an argument: exit code $rc"; show_last ;;
		esac
		want_same "$1: nothing was touched" "$state" \
			"$(file_sum base-old.rrd; file_sum base-new.rrd)"
	done
}

ln -s base-old.rrd link.rrd
pair_refused "a link as the backup" link.rrd base-new.rrd link
rm link.rrd; ln -s base-new.rrd link.rrd
pair_refused "a link as the live file" base-old.rrd link.rrd link
rm link.rrd; ln -s nothing link.rrd
pair_kinds "a dangling link" link.rrd
mkfifo fifo.rrd
pair_kinds "a FIFO" fifo.rrd

site; ln -sf "$work/base-old.rrd" old/m.rrd; in_backup "a link in the backup" link
site; ln -sf a.rrd old/m.rrd; in_backup "a link within the backup" link
site; ln -sf nothing old/m.rrd; in_backup "a dangling link in the backup" link
site; cp base-new.rrd target.rrd; ln -sf "$work/target.rrd" new/m.rrd; in_live "a link in live" link
want_same "what the link names" "$(file_sum target.rrd)" "$new_sum"
site; ln -sf a.rrd new/m.rrd; in_live "a link within live" link
site; ln -sf nothing new/m.rrd; in_live "a dangling link in live" link
site; rm old/m.rrd; mkfifo old/m.rrd; in_backup "a FIFO in the backup" 'FIFO|pipe|regular'
site; rm new/m.rrd; mkfifo new/m.rrd; in_live "a FIFO in live" 'FIFO|pipe|regular'
site; rm old/m.rrd; mkdir old/m.rrd; in_backup "a directory in the backup" 'directory|regular'

if perl -MSocket -e 1 2>/dev/null; then
	make_socket() {
		perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) and
			bind(S, sockaddr_un($ARGV[0])) or die $!' "$1"
	}
	make_socket s.rrd && pair_kinds "a socket" s.rrd
	site; rm old/m.rrd; make_socket old/m.rrd; in_backup "a socket in the backup" 'socket|regular'
	site; rm new/m.rrd; make_socket new/m.rrd; in_live "a socket in live" 'socket|regular'
fi
if mknod device.rrd c 1 5 2>/dev/null && : 2>/dev/null <device.rrd; then      # /dev/zero
	pair_kinds "a device" device.rrd
	site; rm old/m.rrd; mknod old/m.rrd c 1 5; in_backup "a device in the backup" 'device|regular'
	site; rm new/m.rrd; mknod new/m.rrd c 1 5; in_live "a device in live" 'device|regular'
fi

# A link to a directory is not followed, on either side, whichever way it leads.
site; mkdir outside; cp base-new.rrd outside/x.rrd; ln -s ../outside new/host; mkdir old/host
cp base-old.rrd old/host/x.rrd
merge old new
want_same "beneath a linked directory of live" "$(file_sum outside/x.rrd)" "$new_sum"
want_same "the rest was merged" "$(file_sum new/z.rrd)" "$merged_sum"
rm -rf outside
site; mkdir outside new/host; cp base-old.rrd outside/x.rrd; cp base-new.rrd new/host/x.rrd
ln -s ../outside old/host
merge old new
want_rc 1
want_err '^rrdmerge: (refused|failed) reason=".*link.*" file=host/x.rrd$'
want_same "beneath a linked directory of the backup" "$(file_sum new/host/x.rrd)" "$new_sum"
want_same "the rest was merged" "$(file_sum new/z.rrd)" "$merged_sum"
rm -rf outside

# ---- files and directories mixed, arguments missing or wrong ----

site
usage "a file and a directory" 'director' base-old.rrd new
usage "a directory and a file" 'director' old base-new.rrd
usage "no argument" 'OLD.* NEW'
usage "one argument" 'OLD.* NEW' old
usage "three arguments" 'OLD.* NEW' old new new
usage "an empty argument" . '' new
usage "an empty argument" . old ''
usage "a backup that does not exist" 'nowhere.*No such file' nowhere new
usage "a live tree that does not exist" 'nowhere.*No such file' old nowhere
usage "a backup file that does not exist" 'nowhere.*No such file' nowhere.rrd base-new.rrd
usage "a live file that does not exist" 'nowhere.*No such file' base-old.rrd nowhere.rrd
usage "a path through a file" 'base-old.*Not a directory' base-old.rrd/x new

# ---- what is no RRD ----

: >empty.rrd
bad_file "empty" empty.rrd
head -c 30000 /dev/zero >zero.rrd
bad_file "zeros" zero.rrd
head -c 30000 /dev/urandom >random.rrd
bad_file "random bytes" random.rrd
rrdtool dump base-old.rrd >dump.rrd
bad_file "an XML dump" dump.rrd
printf 'RRD\0' >short.rrd
bad_file "the first four bytes" short.rrd

size=$(stat -c %s base-old.rrd)
for length in 1 3 4 8 9 15 16 23 24 32 40 64 127 128 129 200 247 248 367 368 400 600 966 970 1000 \
	1100 1200 1500 1700 2000 $((size / 2)) $((size - 4096)) $((size - 8)) $((size - 1)); do
	head -c "$length" base-old.rrd >cut.rrd
	bad_file "cut at $length" cut.rrd
done

# A file that is longer than it need be is accepted, as rrdtool does.
site
printf 'tail' >>old/m.rrd
printf 'tail' >>new/m.rrd
merge old new
want_rc 0
want_summary 3 0 0 0
want_same "what follows the rows stays" "$(tail -c 4 new/m.rrd)" tail
want_same "before it" "$(head -c -4 new/m.rrd | sha256sum)" "$merged_sum"

for foreign in "$testdata"/foreign/*.rrd; do
	rrdtool info "$foreign" >/dev/null 2>&1 && continue     # of this kind of machine
	site; cp "$foreign" new/m.rrd; in_live "foreign: $(basename "$foreign")" "another kind of machine.*--convert"
	head -c 1600 "$foreign" >cut.rrd
	bad_file "foreign and cut: $(basename "$foreign")" cut.rrd truncated
done

# patch FILE OFFSET PERL-EXPRESSION: the bytes that the expression gives are put there.
patch() {
	perl -e 'open(my $f, "+<", $ARGV[0]) or die $!; binmode $f;
		seek($f, $ARGV[1], 0); print $f eval($ARGV[2]); close $f or die $!' "$@"
}

patched() {     # patched WHAT OFFSET EXPRESSION [REASON]: in both roles
	cp base-old.rrd patched.rrd
	patch patched.rrd "$2" "$3"
	bad_file "$1" patched.rrd "${4:-}"
}

patched "version 0006" 4 '"0006\0"' 'version|0006'
patched "version 0000" 4 '"0000\0"'
patched "version 9" 4 '"9\0\0\0\0"'
patched "version without its end" 4 '"00033"'
patched "no cookie" 0 '"RRE\0"'
patched "another float cookie" 16 '"\1" x 8'

# The offsets of what follows are those of a 64-bit machine (src/layout.h).
if [ "$(perl -e 'print length pack "L!", 0')" = 8 ] &&
   [ "$(rrdtool info base-old.rrd | sed -n 's/^header_size = //p')" = \
     $((128 + 2 * 120 + 5 * 120 + 16 + 2 * 112 + 10 * 80 + 5 * 8)) ]; then
	ds=128 rra=$((128 + 2 * 120)) live_head=$((128 + 2 * 120 + 5 * 120))
	ptr=$((live_head + 16 + 2 * 112 + 10 * 80))
	for number in '1 << 61' '(1 << 61) + 10' '~0' '1 << 63' '1 << 32' '1000000' '0'; do
		patched "ds_cnt = $number" 24 "pack 'Q', $number"
		patched "rra_cnt = $number" 32 "pack 'Q', $number"
	done
	for number in '1 << 61' '(1 << 61) + 10' '~0' '1 << 63' '1 << 60' '0'; do
		patched "step = $number" 40 "pack 'Q', $number"
		patched "pdp_cnt = $number" $((rra + 32)) "pack 'Q', $number"
		patched "row_cnt = $number" $((rra + 24)) "pack 'Q', $number"
		patched "row_cnt of the last = $number" $((rra + 4 * 120 + 24)) "pack 'Q', $number"
	done
	patched "ds_cnt = 3" 24 "pack 'Q', 3"
	# An RRA less is a header that may pass; its rows do not agree with it.
	cp base-old.rrd patched.rrd
	patch patched.rrd 32 "pack 'Q', 3"
	site; cp patched.rrd old/m.rrd; in_backup "rra_cnt = 3"
	# As large as nothing is that monitors: refused before memory is taken for it.
	cp base-old.rrd patched.rrd
	patch patched.rrd $((rra + 4 * 120 + 24)) "pack 'Q', 200_000_000"
	truncate -s $((3300 * 1000 * 1000)) patched.rrd
	pair_refused "200 million rows" patched.rrd base-new.rrd 'large|size|big|bytes'
	pair_refused "200 million rows" base-old.rrd patched.rrd 'large|size|big|bytes'
	for number in 300 '1 << 61' '~0'; do
		patched "cur_row = $number" "$ptr" "pack 'Q', $number"
		patched "cur_row of the last = $number" $((ptr + 4 * 8)) "pack 'Q', $number"
	done
	patched "a negative last_update" $live_head "pack 'q', -1"
	patched "a last_update near the end of time" $live_head "pack 'q', (1 << 63) - 2"
	patched "a DS name without its end" $ds "'x' x 20"
	patched "an unknown DS type" $((ds + 20)) "'GAUSS' . \"\\0\" x 15"
	patched "a DS type without its end" $((ds + 20)) "'G' x 20"
	patched "an unknown CF" $rra "'MEDIAN' . \"\\0\" x 14"
	patched "a CF without its end" $rra "'A' x 20"
	# Two data sources of one name: which is which cannot be told.
	patched "two data sources of one name" $((ds + 120)) '"in\0"'

	# Control characters in a name do not get to the terminal.
	site
	patch old/m.rrd $ds '"a\e[31m\nb\0"'
	patch old/m.rrd $((ds + 120)) '"c\r\0"'
	merge old new
	want_no_err $'\e'
	want_no_err $'\r'
	want_same "names with control characters: lines" "$(grep -vc '^rrdmerge: ' err)" 0
	want_same "names with control characters" "$(file_sum new/m.rrd)" "$new_sum"
fi

# ---- what does not belong together ----

pair() {        # pair "OLD ARGS" "NEW ARGS": m.rrd is made of these
	site
	rm old/m.rrd new/m.rrd
	make_rrd old/m.rrd 0 180 $1 && make_rrd new/m.rrd 190 250 $2 || fail "pair $*"
	cp new/m.rrd m-before.rrd
	new_sum_m=$(file_sum new/m.rrd)
}

pair_in_tree_refused() {
	merge old new
	refused "$1" "$2"
	want_same "$1: live m.rrd is as it was" "$(file_sum new/m.rrd)" "$new_sum_m"
}

g1=DS:1:GAUGE:8640:U:U g2=DS:2:GAUGE:8640:U:U c2=DS:2:COUNTER:8640:U:U r1=RRA:AVERAGE:0.5:1:300

pair "$g2 $r1" "$c2 $r1"
pair_in_tree_refused "another type" 'type|GAUGE.*COUNTER|COUNTER.*GAUGE'
pair "$g2 $r1" "$g1 $r1"
pair_in_tree_refused "no data source in common" 'data source|DS'
pair "$g1 RRA:MAX:0.5:5:300" "$g1 RRA:AVERAGE:0.5:5:300 RRA:MIN:0.5:1:300"
pair_in_tree_refused "no archive in common" 'RRA|archive|resolution'
pair "$g1 RRA:LAST:0.5:5:300" "$g1 RRA:LAST:0.5:1:300"
pair_in_tree_refused "only a coarser LAST, which is not spread" 'RRA|archive|resolution'

# One of two differs: the other is filled, the file counts as merged, is named, the exit code is 1.
pair "$g1 $g2 $r1" "$c2 $g1 $r1"
old_sum=$(tree_sum old)
merge old new
want_rc 1
want_err '^rrdmerge: [a-z]+ reason="[^"]*(type|GAUGE|COUNTER).*" file=m\.rrd$'
want_err '2'
want_summary 3 0 0 0
want_same "the backup" "$old_sum" "$(tree_sum old)"
want_differ "something was filled" "$(file_sum new/m.rrd)" "$new_sum_m"
# What was filled is what the backup without that data source would have given.
make_rrd judge-old.rrd 0 180 $g1 $r1 && want_merged judge-old.rrd m-before.rrd new/m.rrd
once=$(file_sum new/m.rrd)
merge old new
want_rc 1
want_err 'file=m\.rrd$'
want_same "once more" "$once" "$(file_sum new/m.rrd)"

# COMPUTE: another formula is another series.
pair "$g1 $g2 DS:s:COMPUTE:1,2,+ $r1" "$g1 $g2 DS:s:COMPUTE:1,2,- $r1"
merge old new
want_rc 1
want_err 'file=m\.rrd$'
make_rrd judge-old.rrd 0 180 $g1 $g2 $r1 && want_merged judge-old.rrd m-before.rrd new/m.rrd

# ---- copied while it was being written ----

header=$(rrdtool info base-old.rrd | sed -n 's/^header_size = //p')
make_rrd first.rrd 0 120
cp first.rrd second.rrd
rrdtool update second.rrd $(for m in {121..180}; do echo $((T0 + 60 * m)):$m:$m; done)
{ head -c "$header" second.rrd; tail -c +$((header + 1)) first.rrd; } >torn.rrd
cmp -s torn.rrd first.rrd && fail "the torn file is none"
site; cp torn.rrd old/m.rrd
in_backup "torn: the header is newer than the rows" 'torn|copied|written'
site; cp second.rrd old/m.rrd
merge old new
want_rc 0
want_summary 3 0 0 0

# ---- what may not be read or written ----

if [ -n "$(other_user)" ]; then
	chmod 755 "$work"
	cp "$rrdmerge" merge-copy
	as_other=as_nobody
	own() { chown -R nobody new; chmod -R a+rX old; }
	program=./merge-copy
elif [ "$(id -u)" != 0 ]; then
	as_other=
	own() { :; }
	program=$rrdmerge
fi
if [ -n "${program:-}" ]; then
	denied() {
		run $as_other "$program" old new
		refused "$1" 'ermission denied|not permitted'
		chmod 644 new/m.rrd
		want_same "$1: live m.rrd is as it was" "$(file_sum new/m.rrd)" "$new_sum"
	}
	site; own; chmod 000 old/m.rrd; denied "an unreadable backup file"
	site; own; chmod 400 new/m.rrd; [ -z "$as_other" ] || chown 0 new/m.rrd
	chmod 444 new/m.rrd; denied "a live file that may not be written"
	site; own; [ -z "$as_other" ] || chown 0 new/m.rrd
	chmod 000 new/m.rrd; denied "a live file that may not be read"

	site; mkdir old/closed new/closed
	cp base-old.rrd old/closed/x.rrd; cp base-new.rrd new/closed/x.rrd
	own; chmod 000 old/closed
	run $as_other "$program" old new
	want_rc 1
	want_err '^rrdmerge: .*ermission denied.*file=closed/x.rrd$'
	want_summary 3 0 0 1
	chmod 755 old/closed

	site; mkdir new/closed; cp base-new.rrd new/closed/x.rrd; own
	[ -z "$as_other" ] || chown 0 new/closed
	chmod 000 new/closed
	run $as_other "$program" old new
	want_rc 1
	want_err '^rrdmerge: .*ermission denied.*closed'
	want_same "the rest was merged" "$(file_sum new/z.rrd)" "$merged_sum"
	chmod 755 new/closed

	# A tree that cannot be opened at all: no file of it was merged, and each is told or all.
	site; own; chmod 000 old
	run $as_other "$program" old new
	[ "$rc" != 0 ] || { fail "a backup that cannot be opened: exit code 0"; show_last; }
	want_err '^rrdmerge: .*ermission denied'
	chmod 755 old
fi

# ---- no counterpart at all: the path that would match is suggested ----

# suggests ARG PATH: rrdmerge ARG new ends with 2 and names PATH.
suggests() {
	local state

	state=$(tree_state restore; tree_state new)
	merge "$1" new
	want_rc 2
	want_err "^rrdmerge: .*$2([^/a-z]|\$)"
	want_same "$1: nothing was touched" "$state" "$(tree_state restore; tree_state new)"
}

rm -rf old new
mkdir -p new/web01 new/web02 restore/lib/perfdata/web01 restore/lib/perfdata/web02 restore/etc/x
for file in web01/PING.rrd web01/LOAD.rrd web02/PING.rrd; do
	cp base-new.rrd new/$file
	cp base-old.rrd restore/lib/perfdata/$file
done
suggests restore/lib restore/lib/perfdata
suggests restore restore/lib/perfdata
suggests "$work/restore/" "$work/restore/lib/perfdata"
suggests restore/lib/perfdata/web01 restore/lib/perfdata
mkdir -p restore/lib/perfdata/web01/deep
suggests restore/lib/perfdata/web01/deep restore/lib/perfdata
merge restore/lib/perfdata new
want_rc 0
want_summary 3 0 0 0

mkdir stranger
cp base-old.rrd stranger/other.rrd
merge stranger new
want_rc 2
want_err '^rrdmerge: .*(stranger|counterpart)'
mkdir nothing
merge nothing new
want_rc 2
want_err '^rrdmerge: .*(nothing|counterpart)'

finish
