# rrdmerge OLD NEW over two trees: which files it takes, names of every kind, threads, and what of
# a file stays as it was.

. "$(dirname "$0")/lib.sh"
need rrdtool perl
need_programs "$rrdmerge"
cd "$work" || exit 99

make_pair base-old.rrd base-new.rrd || exit 99
cells=$(known base-old.rrd)

# What every merged file must be: all of them are copies of one pair.
cp base-new.rrd base-merged.rrd
"$rrdmerge" base-old.rrd base-merged.rrd >/dev/null
want_merged base-old.rrd base-new.rrd base-merged.rrd
merged_sum=$(file_sum base-merged.rrd)
new_sum=$(file_sum base-new.rrd)

names=(
	web01/PING.rrd
	"web01/C___Drive_%usage_(main)_#1+"$'\xc3\xbc'.rrd
	"a b/c  d.rrd"
	"it's \"quoted\" \$HOME \`x\`.rrd"
	$'new\nline/new\nline.rrd'
	'back\slash\x41.rrd'
	$'invalid\xff\xfe\xc3.rrd'
	$'tab\tescape\e[31m.rrd'
	'[brackets]{a,b}.rrd'
	'-n.rrd'
	'*?.rrd'
	'%s%n%d.rrd'
	' .rrd'
	'#.rrd'
	.hidden.rrd
	.pnp-internal/runtime_pnp.rrd
	a/b/c/d/e/f/g/h/i/j.rrd
	x.rrd/y.rrd
	x.rrd.rrd
	"$(printf 'n%.0s' {1..250}).rrd"
)
# Neither of these is an RRD by its name, even where it is one by what it holds.
others=(x.rrdAb12Cd y.rrd.backup z.RRD xrrd q.rrd~ w.xml web01/PING.rrd.in .rrdtmp.rrdX)

put() {         # put SOURCE TREE NAME
	mkdir -p -- "$2/$(dirname -- "$3")" && cp -- "$1" "$2/$3"
}

make_site() {
	local name

	mkdir old new
	for name in "${names[@]}" "${others[@]}"; do
		put base-old.rrd old "$name"
		put base-new.rrd new "$name"
	done
	put base-new.rrd new live-only.rrd
	put base-new.rrd new only-live-dir/x.rrd
	put base-old.rrd old backup-only.rrd
	put base-old.rrd old only-backup-dir/x.rrd
	mkdir new/empty old/empty
	# What is no RRD by its name is nobody's business, whatever it is.
	ln -s nothing new/link.xml
	ln -s web01/PING.rrd new/link.rrdold
	mkfifo new/fifo.xml
	mkdir pristine
	mv old new pristine
}

make_site
site() {
	rm -rf old new
	cp -a pristine/old pristine/new .
}

count=${#names[@]}

# ---- what is taken and what is not ----

site
old_state=$(tree_state old)
new_names=$(cd new && find . | sort)
run "$rrdmerge" old new
want_rc 0
want_silent_err
want_summary "$count" 0 2 0 $((count * cells))
want_same "nothing on stdout but the summary" "$(wc -l <out)" 1
for name in "${names[@]}"; do
	want_same "merged: $name" "$(file_sum "new/$name")" "$merged_sum"
done
for name in "${others[@]}" live-only.rrd only-live-dir/x.rrd; do
	want_same "left alone: $name" "$(file_sum "new/$name")" "$new_sum"
done
want_same "the backup is only read" "$old_state" "$(tree_state old)"
want_same "no file came or went" "$new_names" "$(cd new && find . | sort)"

state=$(tree_state new)
run "$rrdmerge" old new
want_rc 0
want_silent_err
want_summary 0 "$count" 2 0 0
want_same "a second merge changes nothing" "$state" "$(tree_state new)"

# ---- names on one line each, whatever is in them ----

names_shown() {
	want_same "a line for each file" "$(grep -c "^$1" out)" "$count"
	want_same "no other line" "$(wc -l <out)" $((count + 1))
	for shown in 'web01/PING.rrd' 'a b/c  d.rrd' 'new\\x0Aline/new\\x0Aline.rrd' \
		'back\\\\slash\\\\x41.rrd' 'invalid\\xFF\\xFE\\xC3.rrd' \
		'tab\\x09escape\\x1B\[31m.rrd' '-n.rrd' '%s%n%d.rrd' '\.pnp-internal/runtime_pnp.rrd' \
		'x.rrd/y.rrd' "it's \"quoted\" [\$]HOME \`x\`.rrd" ' .rrd' '#.rrd' '[*][?].rrd' \
		'a/b/c/d/e/f/g/h/i/j.rrd' $'web01/C___Drive_%usage_[(]main[)]_#1[+]\xc3\xbc.rrd'; do
		want_out "^$1.* file=$shown\$"
	done
	if LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]' out; then
		fail "control characters on stdout"; show_last
	else
		pass "no control characters on stdout"
	fi
}

site
run "$rrdmerge" -n old new
want_rc 0
names_shown 'would merge cells='
want_summary "$count" 0 2 0 $((count * cells))
want_same "-n changes nothing" "$new_sum" "$(file_sum new/web01/PING.rrd)"
run "$rrdmerge" -v old new
want_rc 0
want_same "-v names what is skipped" "$(grep -c '^skipped reason=' out)" 2
sed -i '/^skipped reason=/d' out
names_shown 'merged cells='

# ---- threads: the same result byte for byte ----

for jobs in 1 4 16; do
	site
	for i in {1..60}; do
		put base-old.rrd old "many/$((i % 7))/$i.rrd"
		put base-new.rrd new "many/$((i % 7))/$i.rrd"
	done
	run "$rrdmerge" -j "$jobs" old new
	want_rc 0
	want_summary $((count + 60)) 0 2 0 $(((count + 60) * cells))
	sum=$(tree_sum new)
	want_same "-j$jobs as -j1" "${first:=$sum}" "$sum"
done

# ---- half and then all is as all at once ----

site
all=$(tree_sum new)
mv old whole
mkdir -p old/web01
cp whole/web01/PING.rrd old/web01
run "$rrdmerge" old new
want_rc 0
want_summary 1 0 $((count + 1)) 0 "$cells"
want_differ "one was merged" "$all" "$(tree_sum new)"
run "$rrdmerge" whole new
want_rc 0
want_summary $((count - 1)) 1 2 0 $(((count - 1) * cells))
rm -rf once
mv new once
rm -rf whole
site
"$rrdmerge" old new >/dev/null
want_same "half and then all" "$(tree_sum once)" "$(tree_sum new)"

# ---- roots: relative, absolute, with slashes, by a link, from within ----

for roots in "old new" "old/ new/" "./old/. ././new//" "$work/old $work/new" "old-link new-link" \
	"old/../old new/empty/.."; do
	site
	ln -sfn old old-link
	ln -sfn "$work/new" new-link
	run "$rrdmerge" $roots
	want_rc 0
	want_summary "$count" 0 2 0
	want_same "$roots" "$(file_sum new/web01/PING.rrd)" "$merged_sum"
done
site
run env -C new "$rrdmerge" ../old .
want_rc 0
want_summary "$count" 0 2 0

# A backup file that is hard-linked to others, as snapshots make them, is a sound source.
site
mkdir generation
cp -al old generation/0
run "$rrdmerge" old new
want_rc 0
want_summary "$count" 0 2 0
rm -rf generation

# ---- nothing to do ----

rm -rf old new
mkdir old new
run "$rrdmerge" old new
want_rc 0
want_summary 0 0 0 0 0
put base-old.rrd old x.rrd
run "$rrdmerge" old new
want_rc 0
want_summary 0 0 0 0 0

# ---- inode, owner, mode stay; so do the times of what is not written to ----

site
chmod 600 new/web01/PING.rrd
chmod 664 "new/a b/c  d.rrd"
chmod 444 new/.hidden.rrd
chmod 700 "new/a b"
[ "$(id -u)" != 0 ] || chown nobody "new/it's \"quoted\" \$HOME \`x\`.rrd" new/web01/PING.rrd
touch -d '2001-02-03 04:05:06' new/live-only.rrd new/x.rrdAb12Cd
[ "$(id -u)" = 0 ] || chmod 644 new/.hidden.rrd         # who may not write it cannot merge it
before=$(find new -printf '%p %i %u:%g %m %n %s\n' | sort)
times=$(stat -c '%Y %Z' new/live-only.rrd new/x.rrdAb12Cd)
directories=$(find new -type d -printf '%p %T@\n' | sort)
run "$rrdmerge" old new
want_rc 0
want_summary "$count" 0 2 0
want_same "inode, owner, mode, links, size" "$before" \
	"$(find new -printf '%p %i %u:%g %m %n %s\n' | sort)"
want_same "times of what is left alone" "$times" \
	"$(stat -c '%Y %Z' new/live-only.rrd new/x.rrdAb12Cd)"
want_same "no file was made beside them" "$directories" \
	"$(find new -type d -printf '%p %T@\n' | sort)"

# ---- as another user than root: a backup that cannot be written to ----

if [ -n "$(other_user)" ]; then
	chmod 755 "$work"
	cp "$rrdmerge" merge-copy       # the build directory may be closed to others
	site
	chown -R nobody new
	chmod -R a-w,a+rX old
	old_state=$(tree_state old)
	run as_nobody ./merge-copy old new
	want_rc 0
	want_silent_err
	want_summary "$count" 0 2 0
	want_same "read-only backup" "$old_state" "$(tree_state old)"
	chmod -R u+w old

	# Somebody else's files that one may write: no lease is to be had. It works, and is said once.
	site
	chmod -R a+rwX new
	run as_nobody ./merge-copy old new
	want_rc 0
	want_summary "$count" 0 2 0
	want_err 'lease'
	want_same "one warning" "$(wc -l <err)" 1
elif [ "$(id -u)" != 0 ]; then
	site
	chmod -R a-w old
	run "$rrdmerge" old new
	want_rc 0
	want_summary "$count" 0 2 0
	chmod -R u+w old
fi

# ---- a file that another process has open is waited for, and said to be busy ----

site
exec 9<new/web01/PING.rrd
: >err
timeout 100 "$rrdmerge" old new >out 2>err 9<&- &
merger=$!
wait_for "grep -q busy err" 60 || fail "a file that is open elsewhere is not said to be busy"
kill -0 $merger 2>/dev/null || fail "a file that is open elsewhere was not waited for"
want_err '^rrdmerge: busy reason=".*" file=web01/PING\.rrd$'
want_same "untouched while it is open" "$(file_sum new/web01/PING.rrd)" "$new_sum"
want_same "the others are merged meanwhile" "$(file_sum new/.hidden.rrd)" "$merged_sum"
exec 9<&-
wait $merger
rc=$? last="rrdmerge with a file that was busy"
want_rc 0
want_summary "$count" 0 2 0 $((count * cells))
want_same "merged when it is free" "$(file_sum new/web01/PING.rrd)" "$merged_sum"
want_same "said once" "$(wc -l <err)" 1

# Meanwhile it can be ended: what is merged stays, and the next run does the rest.
for signal in INT TERM; do
	site
	exec 9<new/web01/PING.rrd
	: >err
	# A shell without job control starts what is in the background with INT ignored.
	perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' "$rrdmerge" old new >out 2>err 9<&- &
	merger=$!
	wait_for "grep -q busy err" 60 || fail "not busy"
	kill -s $signal $merger
	wait $merger
	rc=$? last="rrdmerge, ended by SIG$signal"
	exec 9<&-
	want_rc 1
	want_err '^rrdmerge: interrupted; 1 file was not brought to its end; '
	want_same "untouched" "$(file_sum new/web01/PING.rrd)" "$new_sum"
	run "$rrdmerge" old new
	want_rc 0
	want_summary 1 $((count - 1)) 2 0 "$cells"
done

# ---- deeper than any perfdata: merged, or said not to be, but never left out in silence ----

rm -rf old new
deep=$(printf 'd/%.0s' {1..100})
mkdir -p "old/$deep" "new/$deep"
cp base-old.rrd "old/${deep}x.rrd"
cp base-new.rrd "new/${deep}x.rrd"
cp base-old.rrd old/y.rrd
cp base-new.rrd new/y.rrd
run "$rrdmerge" old new
want_same "beside what is too deep" "$(file_sum new/y.rrd)" "$merged_sum"
if [ "$rc" = 1 ]; then
	want_err '^rrdmerge: refused reason="[^"]*deep.*" file=d/d/'
else
	want_same "deep down" "$(file_sum "new/${deep}x.rrd")" "$merged_sum"
fi

# ---- more files than threads, queues and descriptors like ----

rm -rf old new
mkdir old new
for d in {1..12}; do
	mkdir old/$d new/$d
	for i in {1..50}; do
		ln base-old.rrd old/$d/$i.rrd
	done
	cp base-new.rrd new/$d/1.rrd
	for i in {2..50}; do
		cp new/$d/1.rrd new/$d/$i.rrd
	done
done
run bash -c 'ulimit -n 64; exec "$@"' - "$rrdmerge" -j 8 old new
want_rc 0
want_silent_err
want_summary 600 0 0 0 $((600 * cells))
want_same "all the same" \
	"$(find new -type f -print0 | xargs -0 sha256sum | cut -d' ' -f1 | sort -u)" \
	"${merged_sum%% *}"

finish
