#!/usr/bin/env bash
# Installs a package, uses what is in it, upgrades, removes and purges it, as Debian does it: with dpkg, in the root directory that
# this is started in. Only for one that is thrown away, with a network of its own: scripts/packages.sh
# lays one over the host's.
#
# usage: installed.sh PACKAGE
set -euo pipefail
package=$1

fail() { echo "FAILED: $*" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
wanted=/etc/systemd/system/multi-user.target.wants

# A service must not start here, should a service manager be reachable.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d

dpkg -i "$package"
dpkg --verify linger
getent -s files passwd linger || fail "there is no user"
[ -L $wanted/linger.service ] || fail "the service is not enabled"
[ ! -e /etc/systemd/system/sockets.target.wants/linger.socket ] || fail "the socket unit was enabled, though nobody has asked for it"
systemd-analyze verify linger.service linger.socket

echo "-- as its user"
as_user=(setpriv --reuid linger --regid linger --clear-groups)
"${as_user[@]}" linger check --config /etc/linger/linger.toml >/dev/null
"${as_user[@]}" linger serve --config /etc/linger/linger.toml --set drain.spread=0s &
server=$!
for _ in $(seq 200); do linger health --ready 2>/dev/null && break; sleep 0.05; done
linger health --ready
kill -TERM "$server"
wait "$server" || fail "the server has ended with $?"

echo "-- man pages and completions"
man -w linger linger-serve linger-user-add
man linger-user-add | grep -q 'Add a user' || fail "man does not show linger-user-add"
bash --norc -c '
    source /usr/share/bash-completion/completions/linger
    COMP_WORDS=(linger heal) COMP_CWORD=1
    _linger linger heal linger
    [ "${COMPREPLY[*]}" == health ] || { echo "completed to: ${COMPREPLY[*]}"; exit 1; }
'
for file in crates.gz changelog.gz changelog.Debian.gz; do gzip -t "/usr/share/doc/linger/$file"; done
zgrep -q '^rustls [0-9.]*: ' /usr/share/doc/linger/crates.gz || fail "crates.gz does not name rustls"

echo "-- again, after the administrator has changed things"
echo '# mine' >>/etc/linger/linger.toml
install -g linger -m 640 /dev/null /etc/linger/key.pem
systemctl disable linger.service
dpkg -i "$package"
tail -1 /etc/linger/linger.toml | grep -q '^# mine$' || fail "the configuration was replaced"
[ ! -e $wanted/linger.service ] || fail "the service was enabled against the administrator"

echo "-- removed"
dpkg -r linger
[ ! -e /usr/bin/linger ] && [ -e /etc/linger/linger.toml ] || fail "removing is not what it should be"
dpkg -P linger
[ ! -e /etc/linger/linger.toml ] || fail "purged, and the configuration is there"
[ -e /etc/linger/key.pem ] || fail "purged, and what the administrator has put there is gone"
left=$(find /etc /lib/systemd /usr /var -xdev \( -name 'linger.service*' -o -name 'linger.socket*' -o -path '/usr/*/linger*' \) -print)
[ -z "$left" ] || fail "purged, and there is still: $left"
echo "-- done"
