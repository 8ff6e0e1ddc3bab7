#!/bin/bash
# Files of a real site (data/README.md): merged as they are there is nothing to fill; with the
# live files' past forgotten, all of it comes back to the bit.
set -u

top_srcdir=${top_srcdir:-.}
top_builddir=${top_builddir:-.}
rrdmerge=$top_builddir/rrdmerge
judge=$top_builddir/tests/judge

if [ ! -x "$top_builddir/tests/judge" ]; then
	echo "tests/judge is not built: configured without librrd"
	exit 77
fi

dir=$(mktemp -d) || exit 2
trap 'exit 130' INT TERM
trap 'rm -rf "$dir"' EXIT
failed=0

fail() {
	echo "not ok: $*"
	failed=1
}

# check WHAT EXPECTED: the last run's last line
check() {
	local line
	line=$(tail -n 1 "$dir/out")
	case $line in
	"$2"*) ;;
	*) fail "$1: $line"; cat "$dir/err" ;;
	esac
}

mkdir "$dir/backup" "$dir/original" || exit 2
for tree in backup live; do
	for file in "$top_srcdir/tests/data/librenms/$tree"/*.rrd.gz; do
		to=$dir/$tree
		[ "$tree" = live ] && to=$dir/original
		name=${file##*/}
		gzip -dc "$file" >"$to/${name%.gz}" || exit 2
	done
done
cp -r "$dir/original" "$dir/live"
pairs=$(ls "$dir/live" | wc -l)
[ "$pairs" -ge 6 ] || fail "only $pairs pairs"

echo "# $pairs pairs as they are"
"$rrdmerge" "$dir/backup" "$dir/live" >"$dir/out" 2>"$dir/err" || fail "exit $?"
check "as they are" "0 merged, $pairs unchanged, 0 skipped, 0 failed; 0 cells filled in "
diff -r "$dir/original" "$dir/live" || fail "a file was changed"

echo "# begun anew"
for file in "$dir/live"/*; do
	"$judge" --forget "$dir/backup/${file##*/}" "$file" || exit 2
done
cp -r "$dir/live" "$dir/before"
"$rrdmerge" "$dir/backup" "$dir/live" >"$dir/out" 2>"$dir/err" || fail "exit $?"
check "begun anew" "$pairs merged, 0 unchanged, 0 skipped, 0 failed; "
for file in "$dir/live"/*; do
	name=${file##*/}
	"$judge" --pair "$dir/before/$name" "$dir/backup/$name" "$file" || fail "$name"
	"$judge" --recovered "$dir/original/$name" "$file" || fail "$name"
done

cp -r "$dir/live" "$dir/once"
"$rrdmerge" "$dir/backup" "$dir/live" >"$dir/out" 2>"$dir/err" || fail "exit $?"
check "again" "0 merged, $pairs unchanged, 0 skipped, 0 failed; 0 cells filled in "
diff -r "$dir/once" "$dir/live" || fail "merging again changed a file"

exit "$failed"
