#!/usr/bin/env bash
# Builds the image of a root directory as Containerfile has it, and runs it with podman, which needs no daemon and, for an image that
# begins from nothing, no registry. The first stage, which compiles, is what scripts/container/build.sh does.
#
# usage: image.sh ROOT DIRECTORY (for what is written). Takes root, and mounts of its own: scripts/packages.sh calls it by `unshare -m`.
set -euo pipefail
image=$1 dir=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "FAILED: $*" >&2; exit 1; }
# A storage that goes with the directory; and nobody is asked for control groups.
pod() { podman --root "$dir/storage" --runroot "$dir/run" --storage-driver vfs --cgroup-manager cgroupfs "$@"; }
cleanup() {
    pod rm --force --all >/dev/null 2>&1 || true
    umount /dev/null 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

# What runs containers wants the second kind of control groups alone, and finds both on some hosts.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi

rm -rf "$dir"
mkdir -p "$dir/context"
# crun gives the standard streams of a process to its user: even this one, of the host.
mknod -m 666 "$dir/null" c 1 3
mount --bind "$dir/null" /dev/null
exec </dev/null
cp -r "$image" "$dir/context/root-of-linger"
sed -n '/^FROM scratch/,$p' "$here/Containerfile" | sed 's/^COPY --from=build /COPY /' >"$dir/context/Containerfile"
pod build --isolation chroot --format docker --tag linger "$dir/context"

echo "-- what it says"
said=$(pod image inspect --format '{{.Config.User}} {{.Config.StopSignal}} {{.Config.Healthcheck.Test}} {{.Config.ExposedPorts}}' linger)
echo "$said"
[ "$said" == '65532:65532 SIGTERM [CMD /usr/bin/linger health] map[7000/tcp:{} 7007/tcp:{}]' ] || fail "that is not what it is to say"

echo "-- its own command, and its own health check"
# podman wants a systemd for the timer of the check: it is made by hand. Its own limits would take more rights than root may have.
pod run --detach --name trial --cgroups disabled --network none --ulimit nofile=2000:2000 --ulimit nproc=1000:1000 --read-only \
    --cap-drop ALL --no-healthcheck linger
for _ in $(seq 100); do
    if pod exec trial /usr/bin/linger health --ready; then break; fi
    sleep 0.1
done
pod exec trial /usr/bin/linger health
pod stop --time 30 trial
pod logs trial
[ "$(pod inspect --format '{{.State.ExitCode}}' trial)" == 0 ] || fail "it has not ended in order"
echo "-- done"
