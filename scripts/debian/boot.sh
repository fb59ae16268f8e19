#!/usr/bin/env bash
# Boots the host's systemd in namespaces, with the host's files below a layer that is thrown away, and runs a program with a file in
# it, both copied. Of the host's services none is started; its kernel settings can only be read.
#
# usage: boot.sh PROGRAM FILE DIRECTORY (for mounts). Takes root, and mounts of its own: scripts/packages.sh calls it by `unshare -m`.
# Exit status: that of the program; 77 if systemd cannot be booted here, with the reason as the last line.
set -euo pipefail

cannot() { echo "$*"; exit 77; }

# inside PROGRAM FILE DIRECTORY: becomes systemd.
inside() {
    local over=$3/over root=$3/over/root of
    mkdir -p "$over"
    mount -t tmpfs none "$over"
    mkdir "$over"/{upper,work,root}
    mount -t overlay overlay -o "lowerdir=/,upperdir=$over/upper,workdir=$over/work" "$root"
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,ro,bind "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    [ -d "$root/sys/fs/cgroup" ] && mount -t cgroup2 none "$root/sys/fs/cgroup"
    # As it is in a container.
    mount -t tmpfs -o mode=755 none "$root/dev"
    mkdir "$root"/dev/{shm,pts,mqueue,hugepages}
    for of in null zero full random urandom tty; do
        touch "$root/dev/$of"
        mount --bind "/dev/$of" "$root/dev/$of"
    done
    mount -t devpts -o newinstance,ptmxmode=666 none "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs -o mode=755 none "$root/run"
    mount -t tmpfs -o mode=1777 none "$root/tmp"
    cp "$1" "$2" "$root/tmp"
    ip link set lo up
    # Of what the host starts, nothing.
    rm -rf "$root"/{usr/lib,etc}/systemd/system/*.wants "$root"/usr/lib/systemd/system-generators/* "$root/etc/fstab" "$root/usr/sbin/policy-rc.d"
    mkdir "$root/old"
    cd "$root"
    pivot_root . old
    mount --make-rprivate /
    umount -l /old
    exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --system --unit=basic.target
}

if [ "$1" == inside ]; then
    inside "${@:2}"
fi

program=$1 file=$2 dir=$3
groups=$dir/cgroup
# A group of ours, which is the root of all groups in there.
mine=$groups/linger-packages-$$
booted=0
cleanup() {
    local _
    [ "$booted" -eq 0 ] || kill -9 "$booted" 2>/dev/null || true
    for _ in $(seq 100); do
        find "$mine" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$mine" ] || break
        sleep 0.1
    done
}
mkdir -p "$groups"
[ -x /usr/lib/systemd/systemd ] || cannot "systemd is not installed"
mount -t cgroup2 none "$groups" 2>/dev/null && mkdir "$mine" 2>/dev/null || cannot "no control groups can be made here"
trap cleanup EXIT
trap 'exit 130' INT TERM

(
    echo "$BASHPID" >"$mine/cgroup.procs"
    exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child "$0" inside "$program" "$file" "$dir"
) >"$dir/boot.log" 2>&1 &
booted=$!
first=''
for _ in $(seq 300); do
    first=$(head -1 "$mine/init.scope/cgroup.procs" 2>/dev/null || true)
    [ -z "$first" ] && kill -0 "$booted" 2>/dev/null || break
    sleep 0.1
done
[ -n "$first" ] || { cat "$dir/boot.log"; cannot "systemd has not come up: $(tail -1 "$dir/boot.log")"; }
there() { nsenter -t "$first" --all --root env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }
for _ in $(seq 300); do
    case $(there systemctl is-system-running 2>/dev/null) in running | degraded) break ;; esac
    sleep 0.1
done
# Beside this one, so that a signal is not left waiting for its end.
there "/tmp/$(basename "$program")" "/tmp/$(basename "$file")" &
wait "$!"
