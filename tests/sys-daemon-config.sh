# rrdmergd -t and the configuration: what is sound, what is told, and that nothing is touched.

. "$(dirname "$0")/lib.sh"
need_programs "$rrdmergd"
cd "$work" || exit 99

# libconfig 1.5 itself loses some bytes where a string is broken off; of use to a sanitizer alone.
echo leak:libconfig >lsan.supp
export LSAN_OPTIONS="suppressions=$work/lsan.supp:print_suppressions=0"

mkdir live back two
me=$(id -un)                            # root would become the owner of live, unless told
cat >good.conf <<END
live = "$work/live";
backup = "$work/back";
state_dir = "$work/state";
socket = "$work/control.sock";
user = "$me";
END

check() {       # check ARGS…: a hang is no answer either
	run timeout 30 "$rrdmergd" "$@"
}

# bad WHAT REGEX TEXT: exit code 2, with and without -t and --once, and told on stderr.
bad() {
	printf '%s\n' "$3" >bad.conf
	for mode in -t --once ''; do
		check $mode -e -f bad.conf
		if [ "$rc" = 2 ]; then pass "$1 $mode"; else
			fail "$1 $mode: exit code $rc and not 2"; show_last; fi
		want_err "^rrdmergd: ($2)"
	done
	check -t -f bad.conf            # -e is for the daemon; -t tells in any case
	want_rc 2
	want_err "^rrdmergd: ($2)"
}

# ---- sound ----

before=$(find . -path ./out -o -path ./err -o -print | sort)
check -t -f good.conf
want_rc 0
want_silent_err
want_out '^(rrdmergd: )?good\.conf: .*sound'
want_same "and nothing else" "$(wc -l <out)" 1
check -f "$work/good.conf" -t
want_rc 0
check -tf good.conf
want_rc 0
want_same "-t makes nothing: no state, no socket" "$before" \
	"$(find . -path ./out -o -path ./err -o -print | sort)"

printf 'live="%s/live"\nbackup=["%s/back","%s/two"] workers=64 facility="local7" user="%s"' \
	"$work" "$work" "$work" "$me" >list.conf
check -t -f list.conf
want_rc 0

# Paths that are not there yet are warnings.
printf 'live = "%s/none";\nbackup = "%s/none2";\n' "$work" "$work" >later.conf
check -t -f later.conf
want_rc 0
want_err "^rrdmergd: later\\.conf:1: .*$work/none"
want_err "^rrdmergd: later\\.conf:2: .*$work/none2"
want_out 'later\.conf: .*sound'

# So is a place where no control socket can be made: the daemon would run without.
socket() {      # socket PATH [USER]: checks good.conf with these
	sed "s|^socket = .*|socket = \"$1\";|; s|^user = .*|user = \"${2:-$me}\";|" \
		good.conf >socket.conf
	check -t -f socket.conf
	want_rc 0
	want_out 'socket\.conf: .*sound'
}
: >occupied
socket "$work/occupied"
want_err '^rrdmergd: socket\.conf: socket /[^ ]*/occupied cannot be made: something else .*\(a warning\)$'
socket "$work/occupied/sock"
want_err '^rrdmergd: socket\.conf: socket /[^ ]*/occupied/sock cannot be made.*\(a warning\)$'
mkdir -m 755 mine
socket "$work/mine/sock"
want_silent_err
theirs=$(other_user)
if [ -n "$theirs" ]; then
	socket "$work/mine/sock" "$theirs"
	want_err "^rrdmergd: socket\\.conf: socket /[^ ]* cannot be made: user $theirs may not write"
	chown "$theirs" mine
	socket "$work/mine/sock" "$theirs"
	want_silent_err
fi

# ---- as installed ----

cp "$srcdir/etc/rrdmergd.conf" installed.conf
line=$(grep -n '^backup = ""' installed.conf | cut -d: -f1)
check -t -f installed.conf
want_rc 2
want_err "^rrdmergd: installed\\.conf:$line: \"backup\" is empty; put the path "
want_no_err 'syntax|unknown|missing'
sed -i "s|^live = .*|live = \"$work/live\";|
s|^backup = \"\"|backup = \"$work/back\"|
\$auser = \"$me\";" installed.conf
check -t -f installed.conf
want_rc 0
want_silent_err
want_out 'installed\.conf: .*sound'
want_same "and nothing else" "$(wc -l <out)" 1

# ---- every problem, each in a line that names file and line ----

live="live = \"$work/live\";" backup="backup = \"$work/back\";"
bad "a syntax error" 'bad\.conf:2: .*syntax' "$live
backup = = 3;"
bad "no quotes" 'bad\.conf:1: .*syntax' 'live = /srv/x;'
bad "an unknown key" 'bad\.conf:3: unknown key "worker"; .*"workers"' "$live
$backup
worker = 3;"
bad "a wrong type" 'bad\.conf:1: "live" ' "live = 5; $backup"
bad "no live" 'bad\.conf: "live" is missing; ' "$backup"
bad "no backup" 'bad\.conf: "backup" is missing; ' "$live"
bad "nothing" 'bad\.conf: "live" is missing; ' ''
bad "a relative path" 'bad\.conf:2: .*relative' "$live
backup = \"back\";"
bad "the same twice" 'bad\.conf:2: .*same directory' "$live
backup = \"$work/live/\";"
bad "one in the other" 'bad\.conf:2: .*inside' "$live
backup = \"$work\";"
bad "workers" 'bad\.conf:2: "workers" is 65 .*1 to 64' "$live $backup
workers = 65;"
bad "facility" 'bad\.conf:2: "facility" ' "$live $backup
facility = \"nothing\";"
bad "twice" 'bad\.conf:2: duplicate' "$live $backup
live = \"$work/two\";"
printf 'workers = 0;\n' >part.conf
bad "in an included file" '[^ ]*part\.conf:1: "workers" is 0' "$live $backup
@include \"part.conf\""

printf 'workers = 0;\nlvie = "x";\nbackup = "";\n' >bad.conf
check -t -f bad.conf
want_rc 2
for regex in ':1: "workers"' ':2: unknown key "lvie"; did you mean "live"' ':3: "backup" is empty' \
	': "live" is missing'; do
	want_err "^rrdmergd: bad\\.conf$regex"
done
want_same "all of them, each in a line" "$(wc -l <err)" 4
want_no_out .

# ---- files that cannot be read, or are none ----

check -t -f nowhere.conf
want_rc 2
want_err '^rrdmergd: nowhere\.conf: .*No such file'
check -t -f live
want_rc 2
want_err '^rrdmergd: live: .*directory'
mkfifo fifo.conf
check -t -f fifo.conf
want_rc 2
want_err '^rrdmergd: fifo\.conf: '
head -c 3000000 /dev/zero >huge.conf
check -t -f huge.conf
want_rc 2
want_err '^rrdmergd: huge\.conf: '
head -c 5000 /dev/urandom >random.conf
check -t -f random.conf
want_rc 2
want_err '^rrdmergd: random\.conf'
check -t -f $'odd\n\e[31mname.conf'
want_rc 2
want_err '^rrdmergd: odd\\x0A\\x1B\[31mname\.conf: '
if [ -n "$(other_user)" ]; then
	chmod 755 "$work"
	cp "$rrdmergd" copy
	cp good.conf closed.conf
	chmod 600 closed.conf
	run timeout 30 setpriv --reuid=nobody --clear-groups ./copy -t -f closed.conf
	want_rc 2
	want_err '^rrdmergd: closed\.conf: .*ermission denied'
fi

# ---- usage ----

for args in -x --frobnicate "-t -f" "-t -f good.conf more" "good.conf" "--once=1 -f good.conf"; do
	check $args
	want_rc 2
	want_err '^(rrdmergd: |[Uu]sage)'
	want_no_out .
done
for option in -h --help; do
	check $option
	want_rc 0
	want_silent_err
	for name in -f -t -e --once; do
		want_out "(^|[ ,[])$name([] ,=]|\$)"
	done
done
for option in -V --version; do
	check $option
	want_rc 0
	want_out '^rrdmergd .*[0-9]+\.[0-9]+'
done

finish
