#!/bin/bash
# make.sh ARCHITECTURE [SUITE]: makes the fixtures of one of Debian's architectures again, with the
# rrdtool of its own package: unpacked beneath a temporary directory, not installed, and run by
# qemu where this machine cannot.  Needs apt, a mirror, and network; the tests need none of it.
set -e
arch=$1 suite=${2:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}
here=$(cd "$(dirname "$0")" && pwd)
. "$here/recipe.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

get() {         # get ARCHITECTURE SUITE PACKAGE...: download them and what they need, and unpack
	local root=$work/$1 arch=$1 suite=$2
	shift 2
	mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial"
	: >"$root/state/status"
	echo "deb $mirror $suite main" >"$root/sources"
	local options=(-qq -o APT::Architecture="$arch" -o APT::Architectures::="$arch"
		-o Dir::State="$root/state" -o Dir::State::status="$root/state/status"
		-o Dir::Cache="$root/cache" -o Dir::Etc::sourcelist="$root/sources"
		-o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null
		-o Dir::Etc::preferencesparts=/dev/null -o APT::Install-Recommends=false
		-o APT::Sandbox::User=root)
	apt-get "${options[@]}" update
	apt-get "${options[@]}" -y --download-only install "$@"
	for package in "$root"/cache/archives/*.deb; do dpkg -x "$package" "$root/root"; done
}

get "$arch" "$suite" rrdtool
root=$work/$arch/root
[ -e "$root/lib" ] || ln -s usr/lib "$root/lib"  # newer packages leave that to the system
case $arch in
i386) cpu=i386 ;;
armhf | armel) cpu=arm ;;
powerpc) cpu=ppc ;;
ppc64el) cpu=ppc64le ;;
mips64el | mipsel | mips | s390x | arm64) cpu=${arch/arm64/aarch64} ;;
*) echo "$arch: which processor is that?" >&2; exit 2 ;;
esac
get "$(dpkg --print-architecture)" bookworm qemu-user-static
libraries=$(printf ':%s' "$root"/lib/*-linux-* "$root"/usr/lib/*-linux-*)
qemu=("$work/$(dpkg --print-architecture)/root/usr/bin/qemu-$cpu-static" -L "$root"
	-E LD_LIBRARY_PATH="${libraries#:}")
name=$arch
[ "$suite" = bookworm ] || name=$arch-$suite
rrdtool=("${qemu[@]}" "$root/usr/bin/rrdtool")
mkdir "$work/made"
recipe "$work/made" "${rrdtool[@]}"
for kind in plain predict; do
	cp "$work/made/$kind.rrd" "$here/$name-$kind.rrd"
	"${rrdtool[@]}" dump "$work/made/$kind.rrd" | gzip -9n >"$here/$name-$kind.xml.gz"
done
