#!/bin/bash
# sys-package: what a release holds, built and installed as packagers do; the Debian package made of
# it, installed on a system that is booted for it, used, upgraded, removed and purged; what is whose
# stays as it is.  Nothing is taken from the network.
set -u
. "$(dirname "$0")/lib.sh"
. "$here/boot.sh"
need_programs "$rrdmergd" "$rrdmerge"
need dpkg dpkg-deb dpkg-query dpkg-buildpackage dpkg-checkbuilddeps dh make rrdtool
! grep -qE '__(asan|tsan|ubsan)_' "$rrdmergd" ||
	skip_all "the package is built without sanitizers, and so tried where they are not"
! dpkg-query -W rrdmergd >"$work/out" 2>&1 || skip_all "this machine has the package already"
# Of build-essential, what built the programs is enough.
lacking=$(dpkg-checkbuilddeps -I -Pnocheck "$srcdir/debian/control" 2>&1) || skip_all "$lacking"

owner=rrdtest
owner_id=64123
live=/var/lib/pnp4nagios/perfdata
backup=/srv/restore/perfdata
state=/var/lib/rrdmergd
conf=/etc/rrdmergd.conf
plugin=/usr/lib/nagios/plugins/check_rrdmergd

# ---- a release, built beside its sources, installed and uninstalled ----

cd "$work" || exit 99
mkdir release plain
unset MAKEFLAGS MAKELEVEL MFLAGS
run make -s -C "$builddir" distdir distdir="$work/release/rrdmergd"
want_rc 0

# configure ARGUMENT…: in plain/, where what one run finds out is known to the next.
configure() {
	run env -C plain ../release/rrdmergd/configure -q -C CFLAGS=-O0 "$@"
}

installed() {
	find dest "$@" | sed 's/^dest//' | sort
}

configure --with-nagios-plugins=plugins
want_rc 1
want_err 'absolute directory name: plugins$'
configure --with-systemdsystemunitdir=units
want_rc 1
want_err 'absolute directory name: units$'
configure --without-nagios-plugins
want_rc 0
run make -s -C plain -j "$(nproc)"
want_rc 0
run make -s -C plain install DESTDIR="$work/dest"
want_rc 0
want_same "the plugin is left out" "$(installed -type f -name check_rrdmergd)" ""
rm -r dest
configure --with-nagios-plugins=/opt/plugins
run make -s -C plain install DESTDIR="$work/dest"
want_rc 0
want_same "the plugin" "$(installed -type f -name check_rrdmergd)" /opt/plugins/check_rrdmergd
installed -type f >out
for file in bin/rrdmerge sbin/rrdmergd sbin/rrdmergctl etc/rrdmergd.conf \
	lib/systemd/system/rrdmergd.service; do
	want_out "^/usr/local/$file\$"
done
run make -s -C plain uninstall DESTDIR="$work/dest"
want_rc 0
want_same "after make uninstall" "$(installed '(' -not -type d -o -name '*rrdmerg*' ')')" ""
make -s -C plain install DESTDIR="$work/dest" >out 2>err
echo '# edited' >>dest/usr/local/etc/rrdmergd.conf
run make -s -C plain uninstall DESTDIR="$work/dest"
want_rc 0
want_same "what was edited stays" "$(installed -not -type d)" /usr/local/etc/rrdmergd.conf

# ---- the Debian package is built, where something else was before ----

run env -C release/rrdmergd ./configure -q --cache-file="$work/plain/config.cache" CFLAGS=-O0
want_rc 0
run env -i -C "$work/release/rrdmergd" PATH="$PATH" HOME="$work" LC_ALL=C \
	DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" \
	dpkg-buildpackage -us -uc -b -d -Pnocheck
want_rc 0
deb=$(find release -name 'rrdmergd_*.deb')
[ "$rc" = 0 ] && [ -f "$deb" ] || { tail -n 30 out err; finish; }
if command -v lintian >/dev/null; then
	run lintian --allow-root --display-info --fail-on error,warning release/*.changes
	want_rc 0
	sed 's/^/# lintian: /' out
else
	echo "# lintian is not installed: not tried"
fi

run dpkg-deb --info "$deb" conffiles
want_same "the conffiles" "$(cat out)" "$conf"
dpkg-deb --field "$deb" >out
for library in libc6 libconfig libexpat libsqlite3 zlib1g; do
	want_out "^Depends: .*\\b$library"
done
dpkg-deb --contents "$deb" | awk '{ print $1, $2, $6 }' >out
for file in usr/bin/rrdmerge usr/sbin/rrdmergd usr/sbin/rrdmergctl "${plugin#/}"; do
	want_out "^-rwxr-xr-x root/root \./$file\$"
done
for file in "${conf#/}" '(usr/)?lib/systemd/system/rrdmergd.service' \
	usr/share/man/man{1/rrdmerge.1,5/rrdmergd.conf.5,8/rrdmergd.8,8/rrdmergctl.8}.gz \
	usr/share/man/man8/check_rrdmergd.8.gz usr/share/doc/rrdmergd/README.Debian \
	usr/share/doc/rrdmergd/README.md usr/share/doc/rrdmergd/docs/recovery.md \
	usr/share/doc/rrdmergd/copyright usr/share/doc/rrdmergd/examples/nagios-rrdmergd.cfg; do
	want_out "^-rw-r--r-- root/root \./$file\$"
done
want_no_out ' \./(usr/local|usr/libexec|var|run|srv)/'
dpkg-deb --fsys-tarfile "$deb" | tar -xf - -C "$work" ./usr/share/man || fail "no man pages"
zcat usr/share/man/man*/*.gz | grep -oE '/usr/(local/)?share/doc/[^ ]+' | sort -u >pages
while read -r file; do
	want_same "$file is where a page says" "$(dpkg-deb --contents "$deb" | grep -c " \.$file\$")" 1
done <pages
[ -s pages ] || fail "no page names a file beside it"
want_same "one version" "$(dpkg-deb --field "$deb" Version)" \
	"$("$rrdmergd" --version | sed -n '1s/.* //p')"

[ "$failures" = 0 ] || finish

# ---- a system without the package ----

# Whatever this machine's dpkg leaves out, and whatever it may not start, is as in a plain Debian.
mkdir -p "$layer/etc/dpkg/dpkg.cfg.d" "$layer/usr/sbin"
echo 'path-include=/usr/share/*' >"$layer/etc/dpkg/dpkg.cfg.d/zz-test"
printf '%s\n' '#!/bin/sh' 'exit 0' >"$layer/usr/sbin/policy-rc.d"
chmod 755 "$layer/usr/sbin/policy-rc.d"
for file in passwd group; do
	cp "/etc/$file" "$layer/etc/$file"
done
echo "$owner:x:$owner_id:$owner_id::/nonexistent:/usr/sbin/nologin" >>"$layer/etc/passwd"
echo "$owner:x:$owner_id:" >>"$layer/etc/group"
boot_or_skip
inside rm -f "$conf"
cp -a /var/lib/dpkg "$(boot_path /var/lib)/"

# The next version, with another configuration.
cp "$deb" "$(boot_path /srv/this.deb)"
dpkg-deb --raw-extract "$deb" next
sed -i 's/^Version: .*/&+next/' next/DEBIAN/control
echo '# A line that the next version has.' >>"next$conf"
run dpkg-deb --root-owner-group -b next "$(boot_path /srv/next.deb)"
want_rc 0

# ---- installed ----

# package ARGUMENT…: dpkg, inside; nobody answers its questions.
package() {
	run inside env DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io "$@"
	want_rc 0
}

# show PROPERTY
show() {
	inside systemctl show -P "$1" rrdmergd
}

# want_unit STATE ENABLED
want_unit() {
	want_same "the unit is $1" "$(show ActiveState)" "$1"
	want_same "the unit is $2" "$(show UnitFileState)" "$2"
}

# left: all that bears our name, but what dpkg keeps.
left() {
	inside find /etc /usr /var /var/lib /run -xdev -name '*rrdmerg*' \
		-not -path '/var/lib/dpkg/*' -not -path "$srcdir/*" -not -path "$builddir/*" |
		sort -u
}

left >left.before
package --install /srv/this.deb
# What the unit runs is ours, or on every Debian.
for file in $(inside systemctl cat rrdmergd | sed -nE 's/^Exec[A-Za-z]+=[^/]*([^ ]+).*/\1/p'); do
	owners=$(inside dpkg-query -S "$file" "/usr$file" "${file#/usr}" 2>/dev/null |
		sed -n '/^diversion/!s/:.*//p' | sort -u | head -n 1)
	[ "$owners" = rrdmergd ] ||
		want_same "$file is of an essential package (${owners:-none})" \
			"$(inside dpkg-query -W -f '${Essential}' "${owners:-none}" 2>/dev/null)" yes
done
want_same status "$(inside dpkg-query -W -f '${Status}' rrdmergd)" "install ok installed"
want_unit inactive disabled
same_file "the configuration, as shipped" "$srcdir/etc/rrdmergd.conf" "$(boot_path $conf)"
run inside rrdmergd -t
want_rc 2
want_err 'backup'

# ---- used ----

make_pair old.rrd new.rrd && cp new.rrd wanted.rrd
run "$rrdmerge" old.rrd wanted.rrd
want_rc 0
inside mkdir -p $live/web01 $backup/web01 $backup/web02
cp old.rrd new.rrd "$(boot_path /srv)"
run inside rrdmerge /srv/old.rrd /srv/new.rrd
want_rc 0
want_summary 1 0 0 0
same_file "rrdmerge" "$(boot_path /srv/new.rrd)" wanted.rrd

cp new.rrd "$(boot_path $live/web01/PING.rrd)"
cp old.rrd "$(boot_path $backup/web01/PING.rrd)"
cp old.rrd "$(boot_path $backup/web02/PING.rrd)"
inside chown -R $owner:$owner ${live%/*}
inside sed -i -e "s|^live = .*|live = \"$live\";|" -e "s|^backup = .*|backup = \"$backup\";|" $conf
cp "$(boot_path $conf)" edited.conf
run inside rrdmergd -t
want_rc 0
run inside rrdmergd -e --once
want_rc 0
want_err 'merged cells=[0-9]+ .*file=web01/PING\.rrd$'
same_file "rrdmergd --once" "$(boot_path $live/web01/PING.rrd)" wanted.rrd
want_same "owner" "$(inside stat -c %U $live/web01/PING.rrd)" $owner
run inside systemctl enable --now rrdmergd
want_rc 0
want_unit active enabled
run inside rrdmergctl status
want_rc 0
want_out "^live: +$live\$"
run inside $plugin
want_rc 0
want_out '^RRDMERGD OK '
inside test -e $state/ledger.db || fail "there is no ledger in $state"
inside mkdir $live/web02
cp -p new.rrd "$(boot_path $live/web02/PING.rrd)"
inside chown -R $owner:$owner $live/web02
if wait_for 'cmp -s "$(boot_path $live/web02/PING.rrd)" wanted.rrd' 60; then
	pass "the service merges"
else
	fail "the service has merged nothing"
	inside journalctl -q -t rrdmergd | tail -n 25
fi
want_same "owner" "$(inside stat -c %U $live/web02/PING.rrd)" $owner
run inside systemctl reload rrdmergd
want_rc 0
wait_for 'inside journalctl -q -o cat -t rrdmergd | grep -q "reloaded file=$conf"' 10 ||
	fail "a reload does not reach the daemon"
run inside rrdmergctl status --wait

# ---- upgraded ----

trees() {
	tree_state "$(boot_path ${live%/*})"
	tree_state "$(boot_path $backup)"
}
trees=$(trees)

# want_history: what was merged before is on record, whoever reads it now.
want_history() {
	run inside rrdmergctl history
	want_rc 0
	want_out 'web01/PING\.rrd'
	want_out 'web02/PING\.rrd'
}

# want_kept: the administrator's files and the trees are as they were.
want_kept() {
	same_file "the edited configuration" edited.conf "$(boot_path $conf)"
	want_same "live and backup" "$(trees)" "$trees"
}

pid=$(show MainPID)
package --install /srv/this.deb
want_unit active enabled
want_differ "the process, after the same version" "$(show MainPID)" "$pid"
want_kept
pid=$(show MainPID)
package --force-confdef --force-confold --install /srv/next.deb
want_unit active enabled
want_differ "the process, after the next version" "$(show MainPID)" "$pid"
want_kept
same_file "the new configuration beside it" "next$conf" "$(boot_path $conf.dpkg-dist)"
want_history
inside systemctl disable rrdmergd 2>err
pid=$(show MainPID)
package --install /srv/next.deb
want_unit active disabled               # what runs goes on, and is enabled by nobody else
want_differ "the process, not enabled" "$(show MainPID)" "$pid"
inside systemctl stop rrdmergd
package --install /srv/next.deb
want_unit inactive disabled
inside systemctl enable rrdmergd 2>err
package --install /srv/next.deb
want_unit inactive enabled              # what was stopped is not started

# ---- removed, installed again, purged ----

inside systemctl start rrdmergd
want_unit active enabled
pid=$(show MainPID)
package --remove rrdmergd
inside test ! -e "/proc/$pid" || fail "process $pid is still there"
inside test ! -e /usr/sbin/rrdmergd || fail "the program is still there"
inside test -s $state/ledger.db || fail "the ledger went before the purge"
want_kept
package --install /srv/next.deb
want_unit inactive enabled
want_kept
inside systemctl start rrdmergd
want_history
inside systemctl stop rrdmergd
# The scripts for the package of another root leave this one alone.
inside mkdir -p /srv/other$state
inside touch /srv/other$state/ledger.db
run inside env DPKG_ROOT=/srv/other DPKG_MAINTSCRIPT_PACKAGE=rrdmergd \
	DPKG_MAINTSCRIPT_NAME=postrm /var/lib/dpkg/info/rrdmergd.postrm purge
want_rc 0
inside test ! -e /srv/other$state || fail "the other root's ledger is still there"
inside test -s $state/ledger.db || fail "the ledger went with that of another root"
inside mkdir $state/restored
cp old.rrd "$(boot_path $state/restored)"
package --remove rrdmergd
package --purge rrdmergd
want_same "live and backup" "$(trees)" "$trees"
want_same "left in $state" "$(inside find $state -type f)" $state/restored/old.rrd
inside rm -r $state/restored
# Unedited, the configuration is the package's own.  Of a state_dir that is a link to where there is
# room, what was made there goes.
inside rmdir $state
inside mkdir /srv/room
inside ln -s /srv/room $state
inside touch $state/ledger.db $state/old.rrd
package --install /srv/this.deb
package --install /srv/next.deb
same_file "the next configuration" "next$conf" "$(boot_path $conf)"
want_unit inactive disabled
package --purge rrdmergd
want_same "left in /srv/room" "$(inside find /srv/room -type f)" /srv/room/old.rrd
inside rm $state
inside mkdir $state
inside mount -t tmpfs none $state
inside touch $state/ledger.db
package --install /srv/this.deb
package --purge rrdmergd
want_same "left in a mounted $state" "$(inside find $state -type f)" ""
inside umount $state
inside rmdir $state
package --install /srv/this.deb
package --purge rrdmergd
want_same "live and backup" "$(trees)" "$trees"
left >left.after
same_file "nothing is left: $(diff left.before left.after)" left.before left.after

finish
