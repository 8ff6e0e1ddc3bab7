# Sourced after lib.sh by tests that need a real systemd: boots one as PID 1 of namespaces of its
# own, over what is installed here, and changes nothing outside.
#
# Its root is an overlay: "$layer" (what the test puts there before `boot`) over this machine's /,
# what is written goes to a tmpfs and is gone with it.  The directories that a user's data are in
# are empty file systems of their own.  It lives in a cgroup of its own, and dies with the test:
# killing $boot_pid ends every process in it and unmounts all.

layer=$work/layer
boot_root=$work/boot/root
boot_pid=
boot_init=
boot_cgroup=rrdmergd-test-$$
boot_empty="tmp var/tmp home root srv mnt var/lib run dev"
mkdir -p "$layer/usr" "$work/boot"
# Where /lib is a link to usr/lib, what is installed there goes through the same link.
for boot_dir in bin sbin lib lib32 lib64; do
	[ ! -L "/$boot_dir" ] || { mkdir "$layer/usr/$boot_dir" &&
		ln -s "usr/$boot_dir" "$layer/$boot_dir"; }
done

# boot_or_skip: a systemd that runs, or the end of the test with a reason.
boot_or_skip() {
	[ "$(id -u)" = 0 ] || skip_all "booting a systemd needs root"
	need unshare nsenter setpriv mount chroot
	boot_systemd=$(ls -d /usr/lib/systemd/systemd /lib/systemd/systemd 2>/dev/null | head -n 1)
	[ -n "$boot_systemd" ] || skip_all "systemd is not installed"
	command -v journalctl >/dev/null || skip_all "journalctl is not installed"
	unshare --mount --uts --ipc --net --cgroup --pid --fork true 2>/dev/null ||
		skip_all "no namespaces can be made here"
	mkdir -p "$layer/etc/systemd/system" "$layer/etc/systemd/journald.conf.d"
	boot_write_layer
	boot_write_script
	# The parent's death is the death of all of it, whatever the test dies of.
	setpriv --pdeathsig KILL unshare --mount --propagation private \
		bash "$work/boot/script" >"$work/boot/console" 2>&1 </dev/null &
	boot_pid=$!
	trap 'shut_down; leave' EXIT
	if ! wait_for '[ -e "$work/boot/mounted" ] || ! kill -0 $boot_pid 2>/dev/null' 20 ||
	   [ ! -e "$work/boot/mounted" ]; then
		sed 's/^/# /' "$work/boot/console"
		skip_all "an overlay, a cgroup, /proc or a device cannot be made here"
	fi
	if ! wait_for boot_is_up 30; then
		sed 's/^/# /' "$work/boot/console" | tail -n 30
		skip_all "systemd does not boot in a namespace here"
	fi
}

# boot_hides PATH: what is installed there would not be seen.
boot_hides() {
	local dir

	for dir in $boot_empty; do
		[[ $1 != "/$dir/"* ]] || return 0
	done
	return 1
}

boot_write_layer() {
	# Nothing of this machine's is started, mounted or set: only what a test asks for.
	: >"$layer/etc/fstab"
	echo rrdmergd-test >"$layer/etc/hostname"
	printf '%s\n' '[Unit]' 'Requires=systemd-journald.service' \
		'Requires=systemd-journald-dev-log.socket' 'After=systemd-journald.service' \
		'DefaultDependencies=no' >"$layer/etc/systemd/system/boot-test.target"
	printf '%s\n' '[Journal]' 'Storage=volatile' 'RateLimitBurst=0' 'Audit=' \
		>"$layer/etc/systemd/journald.conf.d/test.conf"
}

# What runs in the new mount namespace, before systemd does.
boot_write_script() {
	cat >"$work/boot/script" <<END
set -e
cd '$work'
mkdir -p boot/root boot/rw boot/cgroup
mount -t tmpfs -o mode=755 none boot/rw
mkdir boot/rw/upper boot/rw/work
cp -a layer/. boot/rw/upper
mount -t overlay -o lowerdir=/,upperdir=boot/rw/upper,workdir=boot/rw/work none boot/root

# A cgroup of our own, below the one that we are in, becomes the root of the namespace.
mount -t cgroup2 none boot/cgroup
mine=boot/cgroup\$(sed -n 's/^0:://p' /proc/self/cgroup)/$boot_cgroup
mkdir "\$mine"
echo \$\$ >"\$mine/cgroup.procs"

root=boot/root
rm -rf "\$root"/{etc,usr/lib}/systemd/system/*.wants \\
	"\$root"/{etc,usr/lib}/systemd/system-generators \\
	"\$root"/usr/lib/systemd/system/systemd-journald-audit.socket
for dir in $boot_empty; do
	mkdir -p "\$root/\$dir"
	mount -t tmpfs -o mode=755 none "\$root/\$dir"
done
chmod 1777 "\$root/tmp" "\$root/var/tmp"
chmod 700 "\$root/root"
mkdir "\$root/dev/pts" "\$root/dev/shm"
# Nodes of its own: nothing of this machine's /dev, /proc or /sys is mounted in there.
while read -r node numbers; do
	mknod -m 666 "\$root/dev/\$node" c \$numbers
done <<NODES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
NODES
mount -t devpts -o newinstance,ptmxmode=666 none "\$root/dev/pts"
ln -s pts/ptmx "\$root/dev/ptmx"
exec unshare --pid --fork --kill-child --cgroup --uts --ipc --net bash '$work/boot/inner'
END
	# With a proc, sys and cgroup of the new namespaces.  The machine's clock and its kernel's
	# settings are out of reach.
	cat >"$work/boot/inner" <<END
set -e
cd '$work'
mount -t proc none boot/root/proc
mount --bind boot/root/proc/sys boot/root/proc/sys
mount -o remount,bind,ro boot/root/proc/sys
mount -t sysfs -o ro none boot/root/sys
mount -t cgroup2 none boot/root/sys/fs/cgroup
mount --make-rshared boot/root          # as systemd does outside of containers
hostname rrdmergd-test
touch boot/mounted
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-audit_control \
	chroot boot/root '$boot_systemd' --unit=boot-test.target --log-target=journal \
	--show-status=no
END
}

# The systemd, as a process of this namespace: the child of what $boot_pid became.
boot_find_init() {
	boot_init=$(cat "/proc/$boot_pid/task/$boot_pid/children" 2>/dev/null)
	boot_init=${boot_init%% *}
	[ -n "$boot_init" ] && [ "$(cat "/proc/$boot_init/comm" 2>/dev/null)" = systemd ]
}

boot_is_up() {
	boot_find_init && inside systemctl is-active -q boot-test.target 2>/dev/null
}

# Whether the number is still that of a process in there: should it have died, and its number have
# gone to another, this machine itself would be what is written to.
boot_lives() {
	[ -n "$boot_init" ] && [ -e "/proc/$boot_init/ns/mnt" ] &&
		[ ! "/proc/$boot_init/ns/mnt" -ef /proc/self/ns/mnt ]
}

# inside COMMAND…: runs it in there, as root.
inside() {
	boot_lives || { echo "the systemd of the test is gone" >&2; return 125; }
	nsenter -t "$boot_init" -m -u -i -n -p -C --root="/proc/$boot_init/root" -- \
		env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TZ=UTC \
		SYSTEMD_PAGER= SYSTEMD_COLORS=0 "$@" </dev/null
}

# boot_path PATH: where a file of the inside is, as seen from here.
boot_path() {
	boot_lives || { echo /nonexistent; return 1; }
	echo "/proc/$boot_init/root$1"
}

# They are empty once the last process is gone: this test's, and that of a test which was killed
# before it came to this (the process in its name is no more).
boot_remove_cgroups='
	mount -t cgroup2 none "$1" || exit
	for dir in $(find "$1" -type d -name "rrdmergd-test-*"); do
		[ "${dir##*/}" = "$2" ] || [ ! -d "/proc/${dir##*-}" ] || continue
		for try in $(seq 100); do
			find "$dir" -depth -type d -exec rmdir {} + && break
			sleep 0.1
		done
	done'

# Leaves $? as it was, for what a test ends with.
shut_down() {
	local rc=$?

	[ -n "$boot_pid" ] || return "$rc"
	kill -KILL "$boot_pid" 2>/dev/null
	wait "$boot_pid" 2>/dev/null
	boot_pid=
	unshare --mount --propagation private bash -c "$boot_remove_cgroups" - \
		"$work/boot/cgroup" "$boot_cgroup" 2>/dev/null
	return "$rc"
}
