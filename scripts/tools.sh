# What the steps of scripts/ci.sh share: for `source`. Wants $logs, a directory, and $SKIP, the exit status of a step that is skipped.
# shellcheck shell=bash

: "${logs:?is where logs go}" "${SKIP:?is an exit status}"

skip() {
    echo "skipped: $*"
    exit "$SKIP"
}

# want COMMAND PACKAGE: is it there, or can it be made to be there?
want() {
    command -v "$1" >/dev/null && return 0
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    local policy=/usr/sbin/policy-rc.d ours=no
    if [ ! -e "$policy" ]; then
        # A package's own service must not start.
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && ours=yes
    fi
    if [ ! -e "$logs/apt-updated" ]; then
        timeout --foreground 120 apt-get -qq update && touch "$logs/apt-updated"
    fi
    timeout --foreground 240 apt-get -qq install -y --no-install-recommends "$2" >"$logs/apt-$2.log" 2>&1 ||
        tail -3 "$logs/apt-$2.log"
    [ "$ours" == yes ] && rm -f "$policy"
    command -v "$1" >/dev/null
}

metadata() { cargo metadata --format-version 1 --locked --filter-platform x86_64-unknown-linux-gnu; }

can_unshare() { command -v unshare >/dev/null && unshare -n true 2>/dev/null; }
