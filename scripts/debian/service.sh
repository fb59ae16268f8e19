#!/usr/bin/env bash
# The package under a systemd that runs: installed, reloaded, stalled, restarted by its sockets, and removed. For a system that is
# thrown away: scripts/debian/boot.sh has one.
#
# usage: service.sh PACKAGE
set -euo pipefail
package=$1

fail() {
    echo "FAILED: $*" >&2
    systemctl status --no-pager linger.service linger.socket >&2 || true
    exit 1
}
until_true() {
    local _
    for _ in $(seq 600); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.05; done
    fail "waited in vain for: $*"
}
shown() { systemctl show -P "$1" linger.service; }
# shellcheck disable=SC2053  # it is a pattern
is_shown() { [[ $(shown "$1") == $2 ]]; }
# ask LINE ANSWER: of a new client, which stays as descriptor 3.
ask() {
    local line
    exec 3<>/dev/tcp/127.0.0.1/7000
    printf '%s\r\n' "$1" >&3
    read -r -t 60 line <&3
    [ "$line" == "$2"$'\r' ] || fail "$1 was answered \"$line\""
}
# What a unit says on its own is one file; what is changed about it, another.
change() {
    mkdir -p /run/systemd/system/linger.service.d
    printf '[Service]\n%s\n' "$@" >/run/systemd/system/linger.service.d/trial.conf
    systemctl daemon-reload
}

export DEBIAN_FRONTEND=noninteractive
dpkg -i "$package"
echo "-- it is enabled and runs, as its user, and with no capability"
[ "$(systemctl is-enabled linger.service)" == enabled ] || fail "it is not enabled"
[ "$(systemctl is-active linger.service)" == active ] || fail "it is not active: it was told to be ready"
until_true is_shown StatusText 'serving 0 clients of at most *'
# One that stays, and not one that systemd would make for the time being.
getent -s files passwd linger || fail "there is no user"
status=/proc/$(shown MainPID)/status
grep -q "^Uid:[[:space:]]$(id -u linger)[[:space:]]" "$status" || fail "it is not the user linger"
grep -q '^CapEff:[[:space:]]0*$' "$status" && grep -q '^CapBnd:[[:space:]]0*$' "$status" || fail "it has capabilities"
linger health --ready

echo "-- a reload touches nobody"
ask PING +PONG
before=$(shown MainPID)
systemctl reload linger.service
printf 'PING\r\n' >&3
read -r -t 60 line <&3
[ "$line" == $'+PONG\r' ] && [ "$(shown MainPID)" == "$before" ] || fail "the reload has touched it"

echo "-- a restart says goodbye"
change 'WatchdogSec=2s'
sed -i 's/^spread = .*/spread = "0s"/; s/^address = "127.0.0.1:7000"/address = "0.0.0.0:7000"/' /etc/linger/linger.toml
systemctl reload linger.service
systemctl restart linger.service &
restarts=$!
read -r -t 60 line <&3
[ "$line" == $'-GOODBYE local.drain\r' ] || fail "the drain has said \"$line\""
exec 3>&-
wait "$restarts"
# It has told that it is ready: nobody has to wait for it.
linger health --ready

echo "-- a loop that stalls is started anew"
before=$(shown MainPID)
[ "$(shown NRestarts)" == 0 ] || fail "it was started anew before"
kill -STOP "$before"
until_true is_shown NRestarts 1
until_true linger health --ready
[ "$(shown MainPID)" != "$before" ] || fail "it is still the same"

echo "-- sockets that outlive it: who connects while no server runs is served by the next"
change ''
systemctl stop linger.service
systemctl start linger.socket
[ "$(systemctl is-active linger.service || true)" == inactive ] || fail "it runs, though nobody has connected"
ask PING +PONG
[ "$(systemctl is-active linger.service)" == active ] || fail "it was not started by its socket"
before=$(shown MainPID)
systemctl restart linger.service &
restarts=$!
exec 3>&-
ask PING +PONG
wait "$restarts"
[ "$(shown MainPID)" != "$before" ] || fail "it is still the same"
exec 3>&-

echo "-- removed"
dpkg -P linger
[ ! -e /usr/bin/linger ] || fail "it is there"
if systemctl is-active linger.service linger.socket; then fail "it runs"; fi
[ "$(systemctl is-system-running)" == running ] || { systemctl --failed --no-pager; fail "something has failed"; }
echo "-- done"
