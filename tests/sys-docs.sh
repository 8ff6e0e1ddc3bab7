# sys-docs: the man pages are clean mdoc, and every option and every setting is in its page.

# shellcheck disable=SC2154  # the environment is make check's
man=$top_srcdir/docs

command -v mandoc > /dev/null || { echo "SKIP: mandoc is not installed"; exit 77; }

failed=0
fail()
{
	echo "FAIL: $*"
	failed=1
}

for page in rrdmerge.1 rrdmergd.8 rrdmergctl.8 check_rrdmergd.8 rrdmergd.conf.5; do
	mandoc -T lint -W warning "$man/$page" || fail "$page: not clean"
done

# The options that --help shows, as words: -n, --dry-run ...  (not [-nv] of the usage line)
options_of()
{
	"$1" --help | grep -oE '(^|[][ ,|(])-(-[A-Za-z-]+|[A-Za-z])([][ ,|)=]|$)' |
		grep -oE -- '--?[A-Za-z-]+' | sort -u
}

# The lines that define something: a page rendered as plain text, and of it the tags.
tags_of()
{
	mandoc -T ascii "$1" | sed 's/.\x08//g' | grep -E '^ {5,8}[^ ]' | tr -s ' ,' '\n'
}

for program in rrdmerge:rrdmerge.1 rrdmergd:rrdmergd.8 rrdmergctl:rrdmergctl.8 \
	check_rrdmergd:check_rrdmergd.8; do
	page=${program#*:}
	program=${program%:*}
	options=$(options_of "$top_builddir/$program")
	[ "$(wc -l <<< "$options")" -ge 4 ] || fail "$program --help: shows hardly an option"
	for option in $options; do
		tags_of "$man/$page" | grep -qxF -e "$option" ||
			fail "$program $option: not described in $page"
	done
done

# Settings: the names that confkeys.c knows, held against the page and against the shipped file.
keys=$(sed -nE 's/^[[:space:]]*\{ "([a-z_]+)", take_.*/\1/p' "$top_srcdir/src/confkeys.c" | sort -u)
[ "$(wc -w <<< "$keys")" -ge 6 ] || fail "src/confkeys.c: where are its settings?"
for key in $keys; do
	grep -qxE "\.It Ic $key" "$man/rrdmergd.conf.5" ||
		fail "setting $key: not described in rrdmergd.conf.5"
	grep -qE "^#?$key = " "$top_srcdir/etc/rrdmergd.conf" ||
		fail "setting $key: not in etc/rrdmergd.conf"
done
for key in $(sed -nE 's/^\.It Ic ([a-z_]+)$/\1/p' "$man/rrdmergd.conf.5"); do
	grep -qxF "$key" <<< "$keys" || fail "setting $key: described, but src/confkeys.c has none"
done

# What a newcomer does not know is told where the messages are.
words=$(sed -n '/^\.Ss Words/,/^\.Ss One file/p' "$man/rrdmergd.8")
for word in cell exact consolidated seam 'open row' sidecar unproven torn counterpart; do
	grep -qE "^\.It Em $word( ,|$)" <<< "$words" || fail "rrdmergd.8: Words do not tell what \"$word\" is"
done

# Each file of src/ has its place in the house.
rooms=$(sed -n '/^## Rooms/,/^## /p' "$man/architecture.md")
for file in "$top_srcdir"/src/*.c; do
	name=$(basename "$file" .c)
	grep -qE "\`$name(\.c)?\`" <<< "$rooms" || fail "src/$name.c: no room in architecture.md"
done

# Headers are read more often than anything else.
long=$(perl -CSD -ne 'chomp; 1 while s/\t/" " x (8 - $-[0] % 8)/e; print "$ARGV:$.: " if length > 100;
	print "has more than 100 columns\n" if length > 100; close ARGV if eof' "$top_srcdir"/src/*.h)
[ -z "$long" ] || fail "$long"

# As they are installed, and so here: what the texts link to is there.
installed=$(mktemp -d) || exit 99
trap 'rm -rf "$installed"' EXIT
(unset MAKEFLAGS MAKELEVEL MFLAGS
	make -s -C "$top_builddir" install-nobase_dist_docDATA DESTDIR="$installed" docdir=/doc >/dev/null) ||
	fail "the texts cannot be installed"
links=0
while IFS=: read -r text link; do
	links=$((links + 1))
	[ -e "$(dirname "$text")/$link" ] || fail "${text#"$installed"/doc/}: links to $link, which is not installed"
done < <(grep -roP '\]\(\K[^)#:]+(?=[^):]*\))' "$installed/doc")
[ "$links" -ge 10 ] || fail "where are the texts' links?"

# What recovery.md says that the daemon says, it says: each piece of it, but for what differs each time,
# stands in the sources.  (Permission denied is the C library's.)
spoken=$(sed -z 's/"[[:space:]]*"//g' "$top_srcdir"/src/*.c "$top_srcdir"/src/*.h | tr -d '\0' |
	sed -E 's/%[-0-9.*]*(ll|z|l)?[a-zA-Z]//g; s/\\"//g')
pieces=$(sed -n '/^## What the messages mean/,/^## Taking/p' "$man/recovery.md" | sed -nE 's/^\| (`[^|]*`) \|.*/\1/p' |
	grep -oE '`[^`]+`' | tr -d '`' | sed -E 's/ ?\.\.\. ?/\n/g; s/" ?/\n/g' |
	sed -E 's/=[A-Za-z0-9]+/=/g; s/\b(GAUGE|DERIVE)\b//g; s/^ +//; s/ +$//' | sort -u)
[ "$(wc -l <<< "$pieces")" -ge 20 ] || fail "recovery.md: where are its messages?"
while IFS= read -r piece; do
	[ -z "$piece" ] || [ "$piece" = "Permission denied" ] || grep -qF -e "$piece" <<< "$spoken" || fail "recovery.md: nothing says \"$piece\""
done <<< "$pieces"

[ "$failed" = 0 ] && echo "ok: man pages describe what is there"
exit "$failed"
