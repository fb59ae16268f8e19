#!/usr/bin/env bash
# What is under scripts/ for those who run linger: made, and tried as far as a machine allows that has no registry of images and no
# cluster. `scripts/packages.sh --help` says how to use it.
#
# What is written goes to target/packages/. What is not installed is skipped, with the reason. All that is started is stopped, and
# the host is left as it is: what is installed is installed over a copy of it that is thrown away.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root dir=$root/target/packages
readonly linger=${LINGER:-$root/target/release/linger}
PATH=$PATH:/usr/sbin

usage() {
    cat <<'HELP'
usage: scripts/packages.sh [PART]...

Parts, all by default:
  debian      the package is built twice, alike; lintian; installed, used, upgraded, removed and purged by dpkg, over the host;
              run by a systemd that is booted for it
  container   the static program, as process 1 of a root directory that has nothing else, with one process and with workers
  image       the last stage of the Containerfile, built and run by podman
  kubernetes  the objects, against the schemas of Kubernetes; their configuration; the probes

Reports `N passed, N failed, N skipped` on the last line. LINGER=PATH names the binary (default: target/release/linger, built if it
is missing), LINGER_STATIC=PATH the static one.

Exit status: 0 nothing failed, 1 something did, 2 usage or a failed build.
HELP
}

# shellcheck source=scripts/checks.sh
source "$root/scripts/checks.sh"

lacks() {
    local tool
    for tool in "${@:2}"; do
        command -v "$tool" >/dev/null || { skip "$1" "$tool is not installed"; return 0; }
    done
    return 1
}

# ---- Debian -------------------------------------------------------------------------------------------

built_twice_alike() {
    local other=$dir/other
    mkdir -p "$other"
    "$root/scripts/debian/build.sh" "$linger" "$other" && cmp "$1" "$other/$(basename "$1")"
}

# Each remark is an error: what is meant to be as it is stands in lintian-overrides, with the reason.
lintian_is_content() { lintian --allow-root --fail-on error,warning "$1"; }

pages_are_sound() {
    local pages=$dir/man found
    rm -rf "$pages" && mkdir -p "$pages" && "$linger" man --all "$pages" || return 1
    # A page has no date, and options without a line between; what else it warns of is wrong.
    found=$(mandoc -Tlint -W warning "$pages"/*.1 | grep -v 'missing date\|skipping paragraph macro: br \(before\|after\) sp')
    [ -z "$found" ] || { echo "$found"; return 1; }
}

# over_the_host PROGRAM FILE: runs it with the file, both copied, as root of a file system that has the host's files and keeps nothing.
over_the_host() {
    mkdir -p "$dir/over"
    # shellcheck disable=SC2016  # what stands there is the inner shell's
    unshare --mount --net --pid --fork --kill-child bash -ec '
        ip link set lo up
        mount -t tmpfs none "$0"
        mkdir "$0"/{upper,work,root}
        mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
        mount -t proc proc "$0/root/proc"
        mount --rbind /dev "$0/root/dev"
        mount -t tmpfs none "$0/root/run"
        mount -t tmpfs none "$0/root/tmp"
        chmod 1777 "$0/root/tmp"
        cp "$1" "$2" "$0/root/tmp"
        exec chroot "$0/root" "/tmp/$(basename "$1")" "/tmp/$(basename "$2")"
    ' "$dir/over" "$@"
}

with_debian() {
    local package
    ! lacks debian dpkg-deb dpkg-shlibdeps strip python3 || return
    package=$("$root/scripts/debian/build.sh" "$linger" "$dir") || { check "the package is built" false; return; }
    check "$(basename "$package"), built twice, is the same" built_twice_alike "$package"
    lacks lintian lintian || check "lintian has nothing to say" lintian_is_content "$package"
    lacks "man pages" mandoc || check "the man pages are sound" pages_are_sound
    if ! over_the_host /bin/true "$package" >/dev/null 2>&1; then
        skip "installing" "no file system can be laid over the host's here"
    elif ! lacks installing ip man systemd-analyze setpriv deb-systemd-helper; then
        check "dpkg installs, upgrades, removes and purges it" over_the_host "$root/scripts/debian/installed.sh" "$package"
    fi
    with_systemd "$package"
}

# with_systemd PACKAGE
with_systemd() {
    local status log=$dir/boot
    ! lacks systemd ip nsenter || return
    rm -rf "$log" && mkdir -p "$log"
    timeout --foreground -k 15 200 unshare -m "$root/scripts/debian/boot.sh" "$root/scripts/debian/service.sh" "$1" "$log" >"$log/log" 2>&1 </dev/null
    status=$?
    if [ "$status" -eq 77 ]; then
        skip systemd "$(tail -1 "$log/log")"
    else
        check "systemd starts, reloads, watches, restarts and stops it" shows "$log/log" "$status"
    fi
}

shows() { cat "$1"; return "$2"; }

# ---- Containers ---------------------------------------------------------------------------------------

built_root() {
    rm -rf "$dir/root"
    LINGER=${LINGER_STATIC:-} "$root/scripts/container/build.sh" "$dir/root" || return 1
    # Both have one name. The other one is what everything else here tries, and is not built again.
    [ -n "${LINGER_STATIC:-}" ] || (cd "$root" && cargo build --locked --release)
}

has_root() { [ -x "$dir/root/usr/bin/linger" ] || { check "the static program is built" built_root && [ -x "$dir/root/usr/bin/linger" ]; }; }

# alone WORKERS: in a copy, to which it adds what a runtime does.
alone() {
    rm -rf "$dir/alone" && cp -r "$dir/root" "$dir/alone" || return 1
    timeout --foreground -k 15 120 unshare -mn "$root/scripts/container/alone.sh" "$dir/alone" "$1"
}

with_container() {
    ! lacks container strip python3 nsenter ip || return
    has_root || return
    unshare -mnpf true 2>/dev/null || { skip "container" "no namespaces can be made here"; return; }
    check "process 1 of a root directory with nothing else" alone 1
    check "process 1 with three workers" alone 3
}

with_image() {
    ! lacks image podman || return
    has_root || return
    unshare -m true 2>/dev/null || { skip "image" "no mounts can be made here"; return; }
    check "the image is built, says how it is run, and runs" \
        timeout --foreground -k 15 200 unshare -m "$root/scripts/container/image.sh" "$dir/root" "$dir/image"
}

# ---- Kubernetes ---------------------------------------------------------------------------------------

kubernetes_is_sound() {
    echo '127.0.0.1 app' >"$dir/hosts"
    # shellcheck disable=SC2016  # $1 and the rest are the inner shell's
    unshare -mn bash -ec 'ip link set lo up; mount --bind "$1" /etc/hosts; shift; exec "$@"' bash "$dir/hosts" \
        "$dir/venv/bin/python" "$root/scripts/kubernetes/check.py" "$linger" "$dir/kubernetes"
}

with_kubernetes() {
    ! lacks kubernetes python3 ip || return
    unshare -mn true 2>/dev/null || { skip "kubernetes" "no namespaces can be made here"; return; }
    if ! "$dir/venv/bin/python" -c 'import kubernetes_validate' 2>/dev/null; then
        python3 -m venv --clear "$dir/venv" >"$dir/venv.log" 2>&1 ||
            { skip "kubernetes" "no venv: $(tail -1 "$dir/venv.log")"; return; }
        timeout --foreground 120 "$dir/venv/bin/pip" install --quiet kubernetes-validate==1.37.0 >"$dir/pip.log" 2>&1 </dev/null ||
            { skip "kubernetes" "pip: $(grep -v '^$' "$dir/pip.log" | tail -1)"; return; }
    fi
    check "linger.yaml: schemas, agreement, probes" kubernetes_is_sound
}

# -------------------------------------------------------------------------------------------------------

main() {
    local parts=() name
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            debian | container | image | kubernetes) parts+=("$1") ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ ${#parts[@]} -gt 0 ] || parts=(debian container image kubernetes)
    mkdir -p "$dir"
    [ -x "$linger" ] || (cd "$root" && cargo build --locked --release) || exit 2
    # One of an earlier run is of other sources.
    rm -rf "$dir/root"
    for name in "${parts[@]}"; do
        echo "== $name"
        "with_$name"
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# Read to its end before it runs, so that it may be changed meanwhile.
{ main "$@"; exit; }
