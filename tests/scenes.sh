# Sourced by the tests of scenes (bash), after daemon.sh.
#
# A scene is a function scene_NAME, with a directory and a daemon of its own: scenes run side by
# side, for they wait more than they work.  $top is the test's own directory, where there are a
# backup of one file (one.rrd), the live one (two.rrd), and what a merge makes of it (want.rrd).

top=$work
make_pair "$top/one.rrd" "$top/two.rrd"
cp "$top/two.rrd" "$top/want.rrd" && "$rrdmerge" "$top/one.rrd" "$top/want.rrd" >/dev/null
want_merged "$top/one.rrd" "$top/two.rrd" "$top/want.rrd"
chmod 644 "$top"/*.rrd

# can_mount: in a mount namespace of a scene's own.
can_mount() {
	[ "$(id -u)" = 0 ] && command -v nsenter >/dev/null &&
		unshare -m mount -t tmpfs none /mnt 2>/dev/null && return
	echo "# bind mounts are left out: no mount namespace can be made here"
	return 1
}

children=()
tidy() {
	[ ${#children[@]} = 0 ] || kill "${children[@]}" 2>/dev/null
	wait
}

# play NAME: within a process of its own.
play() {
	# The line of the scene, not of what called it.
	fail() {
		checks=$((checks + 1))
		failures=$((failures + 1))
		echo "FAIL (line ${BASH_LINENO[-5]}): $*"
	}
	checks=0 failures=0
	trap 'kill -9 $daemon "${others[@]}" 2>/dev/null' EXIT
	mkdir "$top/$1" && cd "$top/$1" || exit 99
	work=$top/$1
	: >log
	: >out
	: >err
	"scene_$1"
	echo "$checks $failures" >"$top/$1.sum"
}

# play_all NAME…
play_all() {
	local scene more bad

	cd "$top" || exit 99
	for scene; do
		(play "$scene") >"$scene.txt" 2>&1 &
		children+=($!)
	done
	wait "${children[@]}"
	children=()
	for scene; do
		[ ! -s "$scene.txt" ] || { echo "-- $scene"; cat "$scene.txt"; }
		if read -r more bad 2>/dev/null <"$scene.sum"; then
			checks=$((checks + more)) failures=$((failures + bad))
		else
			fail "the scene $scene did not come to its end"
		fi
	done
}
