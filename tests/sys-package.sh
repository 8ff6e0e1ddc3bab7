#!/bin/bash
# sys-package: the Debian package, built from what a release holds: installed on a system that is
# booted for it, used, upgraded, removed and purged; what is whose stays as it is.
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

# ---- built ----

cd "$work" || exit 99
mkdir release
run env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s -C "$builddir" distdir \
	distdir="$work/release/rrdmergd"
want_rc 0
run env -i -C "$work/release/rrdmergd" PATH="$PATH" HOME="$work" LC_ALL=C \
	DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" \
	dpkg-buildpackage -us -uc -b -d -Pnocheck
want_rc 0
deb=$(find release -name 'rrdmergd_*.deb')
[ "$failures" = 0 ] && [ -f "$deb" ] || { tail -n 30 out err; finish; }
if command -v lintian >/dev/null; then
	run lintian --allow-root --fail-on error release/*.changes
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
	usr/share/doc/rrdmergd/copyright usr/share/doc/rrdmergd/examples/nagios-rrdmergd.cfg; do
	want_out "^-rw-r--r-- root/root \./$file\$"
done
want_no_out ' \./(usr/local|usr/libexec|var|run|srv)/'

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

# ---- upgraded ----

trees() {
	tree_state "$(boot_path ${live%/*})"
	tree_state "$(boot_path $backup)"
}
trees=$(trees)

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
inside systemctl stop rrdmergd
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
inside mkdir $state/restored
cp old.rrd "$(boot_path $state/restored)"
package --remove rrdmergd
package --purge rrdmergd
want_same "live and backup" "$(trees)" "$trees"
want_same "left in $state" "$(inside find $state -type f)" $state/restored/old.rrd
inside rm -r $state/restored
package --install /srv/this.deb
package --purge rrdmergd
want_same "live and backup" "$(trees)" "$trees"
left >left.after
same_file "nothing is left: $(diff left.before left.after)" left.before left.after

finish
