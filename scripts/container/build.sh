#!/usr/bin/env bash
# Makes the root directory of a container: the program, linked statically, and what little it needs beside itself.
#
# usage: scripts/container/build.sh DIRECTORY
#
# Containerfile takes it for the whole image. With the C library of the toolchain, and no other one: its allocator is the one that
# the figures were measured with. Needs what `cargo build` needs, and python3. LINGER=PATH takes a static program that was built.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: scripts/container/build.sh DIRECTORY" >&2; exit 2; }
mkdir -p "$1"
to=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program=${LINGER:-}
if [ -z "$program" ]; then
    # Of the last crate alone: the others are what they are for `cargo build --release`, and are not built twice.
    cargo rustc --locked --release --bin linger -- -C target-feature=+crt-static
    program=${CARGO_TARGET_DIR:-target}/release/linger
fi
if ldd "$program" 2>/dev/null | grep -q '=>'; then echo "$program is not linked statically" >&2; exit 1; fi

install -D -m 755 "$program" "$to/usr/bin/linger"
strip --strip-unneeded "$to/usr/bin/linger"
mkdir -p "$to/etc/linger" "$to/usr/share/licenses"
# Names of hosts: as files, then as the servers in /etc/resolv.conf say.
echo 'hosts: files dns' >"$to/etc/nsswitch.conf"
echo 'linger:x:65532:65532:linger:/:/usr/bin/linger' >"$to/etc/passwd"
echo 'linger:x:65532:' >"$to/etc/group"
python3 scripts/notices.py >"$to/usr/share/licenses/crates"
cat LICENSE-MIT >"$to/usr/share/licenses/linger"
cat >"$to/usr/share/licenses/glibc" <<'GLIBC'
The program is linked with the GNU C Library (LGPL-2.1-or-later, https://www.gnu.org/software/libc) of the system that it was built
on. scripts/container/build.sh in the sources of linger links it with another one.
GLIBC
