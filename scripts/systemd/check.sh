#!/usr/bin/env bash
# Whether the units are sound, and how much they permit: systemd-analyze says so, and needs no systemd that runs.
set -euo pipefail
cd "$(dirname "$0")"

# It looks for the program and its man page where a package puts them.
said=$(systemd-analyze verify ./linger.service ./linger.socket 2>&1 |
    grep -v "/usr/bin/linger is not executable\|'man linger(1)' failed") || true
[ -z "$said" ] || { echo "$said"; exit 1; }
exposure=$(systemd-analyze security --offline=yes ./linger.service | grep -o 'linger.service: [0-9.]*')
echo "exposure of $exposure (of 10)"
awk -v exposure="${exposure##* }" 'BEGIN { exit !(exposure <= 2) }'
