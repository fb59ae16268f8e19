#!/usr/bin/env bash
# Runs the root directory of a container as a container runtime would, without one: linger is process 1, has another user, no
# capability, a network of its own, and a root directory that has nothing else in it and cannot be written to. Then it is asked for
# its health, given orphans, sent through names to another server, and told to stop.
#
# usage: alone.sh ROOT WORKERS. Takes root, and a network and mounts of its own: scripts/packages.sh calls it by `unshare -mn`.
set -euo pipefail
root=$1 workers=$2
server=0 names=0

fail() { echo "FAILED: $*" >&2; exit 1; }
# Process 1 of a namespace ends all others in it.
cleanup() {
    local of
    for of in "$server" "$names"; do [ "$of" -eq 0 ] || kill -9 "$of" 2>/dev/null || true; done
}
trap cleanup EXIT
until_true() {
    local _
    for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.05; done
    fail "waited in vain for: $*"
}

ip link set lo up
# What a runtime adds. The rest is the image as it is.
mkdir -p "$root/proc"
echo 'nameserver 127.0.0.53' >"$root/etc/resolv.conf"
echo '127.0.0.8 by-file.test' >"$root/etc/hosts"
if [ "$workers" -gt 1 ]; then
    # One that starts others gives them this as their standard input. Every runtime has it (OCI runtime specification, config-linux.md).
    mkdir -p "$root/dev"
    touch "$root/dev/null"
    mount --bind /dev/null "$root/dev/null"
fi
mount --rbind "$root" "$root"
mount -o remount,ro,bind "$root"

# A name server that knows one name.
python3 - <<'PYTHON' &
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
while True:
    question, client = server.recvfrom(512)
    end = question.index(b"\0", 12) + 5
    known = question[12:end - 4].lower() == b"\7by-name\4test\0" and question[end - 4:end - 2] == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\x09" if known else b""
    head = question[:2] + b"\x81\x80\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0"
    server.sendto(head + question[12:end] + answer, client)
PYTHON
names=$!
# 127.0.0.53:53, as the kernel writes it.
until_true grep -q ' 3500007F:0035 ' /proc/net/udp

unshare -pf --kill-child --root="$root" --mount-proc=/proc -S 65532 -G 65532 \
    /usr/bin/linger serve --workers "$workers" --set drain.spread=0s \
    --listen resp://0.0.0.0:7000 --listen echo://0.0.0.0:7007 \
    --listen 'tcp://0.0.0.0:9000?name=by_name&upstream=by-name.test:7007' \
    --listen 'tcp://0.0.0.0:9001?name=by_file&upstream=by-file.test:7007' &
server=$!
children() { cat "/proc/$1/task/$1/children"; }
has_children() { [ -n "$(children "$1")" ]; }
until_true has_children "$server"
first=$(children "$server")
first=${first%% *}
inside() { nsenter -t "$first" --mount --net --pid --root --wd=/ -S 65532 -G 65532 /usr/bin/linger "$@"; }
until_true inside health --ready

echo "-- what it is"
grep -E '^(NSpid|Uid|CapEff|CapPrm)' "/proc/$first/status"
grep -q '^NSpid:.*[[:space:]]1$' "/proc/$first/status" || fail "it is not process 1"
grep -q '^CapEff:[[:space:]]0*$' "/proc/$first/status" || fail "it has capabilities"
ls "/proc/$first/root" "/proc/$first/root/usr/bin"
inside health

echo "-- names"
answers() {
    local line
    exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'hello\n' >&3 && read -r -t 2 line <&3 && [ "$line" == hello ]
}
until_true answers 9000
until_true answers 9001
inside upstreams

echo "-- orphans"
own=0
[ "$workers" -eq 1 ] || own=$workers
has_children_besides() { [ "$(children "$first" | wc -w)" -eq $((own + $1)) ]; }
until_true has_children_besides 0
for _ in 1 2 3; do nsenter -t "$first" --pid sh -c 'sleep 1000 & exit 0'; done
until_true has_children_besides 3
for child in $(children "$first"); do
    [ "$(cat "/proc/$child/comm")" != sleep ] || kill "$child"
done
until_true has_children_besides 0

echo "-- SIGTERM"
exec 4<>/dev/tcp/127.0.0.1/7000
printf 'PING\r\n' >&4
read -r -t 10 line <&4
[ "$line" == $'+PONG\r' ] || fail "PING was answered \"$line\""
kill -TERM "$first"
read -r -t 10 line <&4
[ "$line" == $'-GOODBYE local.drain\r' ] || fail "the drain has said \"$line\""
exec 4>&-
status=0
wait "$server" || status=$?
server=0
[ "$status" -eq 0 ] || fail "it has ended with $status"
echo "-- done"
