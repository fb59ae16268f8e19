#!/usr/bin/env bash
# Headers of the PROXY protocol as real proxies send them: HAProxy and nginx in front of linger.
# `scripts/proxies.sh --help` says how to use it.
#
# What is written goes to target/proxies/. What is not installed is skipped, with the reason. All that is started is
# stopped.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root dir=$root/target/proxies
readonly linger=${LINGER:-$root/target/release/linger}
# Debian has daemons where a plain user does not look.
PATH=$PATH:/usr/sbin

usage() {
    cat <<'HELP'
usage: scripts/proxies.sh [PROXY]...

Proxies: haproxy, nginx (default: both). Reports `N passed, N failed, N skipped` on the last line. LINGER=PATH names the binary
(default: target/release/linger, built if it is missing).

Exit status: 0 nothing failed, 1 something did, 2 usage or a failed build.
HELP
}

# shellcheck source=scripts/checks.sh
source "$root/scripts/checks.sh"
server=0 proxy=0 backend=0

cleanup() {
    stop "$proxy"
    stop "$server"
    stop "$backend"
    server=0 proxy=0 backend=0
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# One listener of each kind. Behind the gateway there is an echo listener that wants a header of the gateway's own.
start_servers() {
    local wanted='accept_proxy=require&accept_proxy_trusted=127.0.0.1' last
    "$linger" serve --admin off --log debug --log-format json --listen "echo://127.0.0.1:0?name=last&$wanted" \
        >/dev/null 2>"$dir/last.log" </dev/null &
    backend=$!
    last=$(port_of "$dir/last.log" last) || return 1
    "$linger" serve --admin 127.0.0.1:0 --log debug --log-format json \
        --listen "echo://127.0.0.1:0?name=echo&$wanted" --listen "resp://127.0.0.1:0?name=resp&$wanted" \
        --listen "tcp://127.0.0.1:0?name=gateway&upstream=127.0.0.1:$last&upstream_header=proxy_v2&$wanted" \
        >/dev/null 2>"$dir/linger.log" </dev/null &
    server=$!
    echo=$(port_of "$dir/linger.log" echo) && resp=$(port_of "$dir/linger.log" resp) &&
        gateway=$(port_of "$dir/linger.log" gateway) && admin=$(port_of "$dir/linger.log" admin)
}

# free_ports COUNT: so many that nobody listens on.
free_ports() {
    local port
    for port in $(shuf -i 20000-30000 -n 50); do is_open "$port" || echo "$port"; done | head -"$1"
}

# start_proxy COMMAND...: until it listens on all of ${fronts[@]}.
start_proxy() {
    "$@" >"$dir/proxy.log" 2>&1 </dev/null &
    proxy=$!
    for _ in $(seq 200); do
        kill -0 "$proxy" 2>/dev/null || break
        local open=1 port
        for port in "${fronts[@]}"; do is_open "$port" || open=0; done
        [ "$open" = 1 ] && return 0
        sleep 0.05
    done
    tail -5 "$dir/proxy.log"
    return 1
}

# through PORT TEXT ANSWER LISTENER: a client of the proxy there is answered, and listed with its own address.
through() {
    local port=$1 say=$2 answer=$3 listener=$4 got own fd
    exec {fd}<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf '%b' "$say" >&"$fd"
    IFS= read -r -t 10 -u "$fd" got || return 1
    [ "${got%$'\r'}" = "$answer" ] || { echo "got: $got"; return 1; }
    own=$(ss -Htn state established "dport = :$port" | awk '{ print $3 }')
    curl -s "http://127.0.0.1:$admin/connections?listener=$listener" >"$dir/listed"
    exec {fd}>&-
    local address
    for address in $own; do
        grep -q "\"peer\":\"$address\"" "$dir/listed" && grep -q '"origin":"client"' "$dir/listed" && return 0
    done
    echo "clients: $own"
    cat "$dir/listed"
    return 1
}

# The server behind the gateway knows the client, too.
behind_gateway() {
    through "$1" 'hello\n' hello gateway || return 1
    for _ in $(seq 100); do
        grep '"event":"end"' "$dir/last.log" | grep -q '"proxy_origin":"client"' && return 0
        sleep 0.05
    done
    tail -3 "$dir/last.log"
    return 1
}

health_checks() {
    for _ in $(seq 100); do
        grep -q '"event":"end".*"proxy_origin":"\(local\|unknown\|client\)"' "$dir/linger.log" && return 0
        sleep 0.1
    done
    tail -3 "$dir/linger.log"
    return 1
}

no_refusals() { ! grep '"reason":"protocol\.' "$dir/linger.log" "$dir/last.log" | grep .; }

all_checks() {
    check "$1: a client of echo is known" through "${fronts[0]}" 'hello\n' hello echo
    check "$1: a client of resp is known" through "${fronts[1]}" 'PING\r\n' +PONG resp
    check "$1: a client of the gateway is known, also behind it" behind_gateway "${fronts[2]}"
}

with_haproxy() {
    command -v haproxy >/dev/null || { skip haproxy "it is not installed"; return; }
    local send
    for send in send-proxy send-proxy-v2 'send-proxy-v2 proxy-v2-options unique-id'; do
        start_servers || { echo "linger did not start"; exit 2; }
        mapfile -t fronts < <(free_ports 3)
        {
            printf 'global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n'
            local at=0 to
            for to in "$echo" "$resp" "$gateway"; do
                printf 'listen l%s\n  bind 127.0.0.1:%s\n' "$at" "${fronts[at]}"
                [ "$send" = "${send#* }" ] || printf '  unique-id-format %%[uuid()]\n'
                printf '  server s 127.0.0.1:%s %s check check-send-proxy inter 500\n' "$to" "$send"
                at=$((at + 1))
            done
        } >"$dir/haproxy.cfg"
        start_proxy "$(command -v haproxy)" -db -f "$dir/haproxy.cfg" || { failed=$((failed + 1)); cleanup; continue; }
        all_checks "haproxy $send"
        check "haproxy $send: its checks are taken" health_checks
        check "haproxy $send: nothing is refused" no_refusals
        cleanup
    done
}

with_nginx() {
    command -v nginx >/dev/null || { skip nginx "it is not installed"; return; }
    start_servers || { echo "linger did not start"; exit 2; }
    mapfile -t fronts < <(free_ports 3)
    local module=''
    module=$(compgen -G '/usr/lib/nginx/modules/ngx_stream_module.so')
    {
        [ -z "$module" ] || echo "load_module $module;"
        printf 'daemon off;\npid %s/nginx.pid;\nerror_log %s/nginx.log;\nworker_processes 1;\n' "$dir" "$dir"
        printf 'events { worker_connections 100; }\nstream {\n  proxy_protocol on;\n'
        printf '  server { listen 127.0.0.1:%s; proxy_pass 127.0.0.1:%s; }\n' "${fronts[0]}" "$echo" "${fronts[1]}" "$resp" \
            "${fronts[2]}" "$gateway"
        printf '}\n'
    } >"$dir/nginx.conf"
    if ! start_proxy "$(command -v nginx)" -e "$dir/nginx.log" -c "$dir/nginx.conf"; then
        if grep -q 'unknown directive "stream"' "$dir/nginx.log" "$dir/proxy.log" 2>/dev/null; then
            skip nginx "it has no stream module (libnginx-mod-stream)"
        else
            cat "$dir/nginx.log"
            failed=$((failed + 1))
        fi
        cleanup
        return
    fi
    all_checks nginx
    check "nginx: nothing is refused" no_refusals
    cleanup
}

main() {
    local proxies=() name tool
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            haproxy | nginx) proxies+=("$1") ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ ${#proxies[@]} -gt 0 ] || proxies=(haproxy nginx)
    for tool in curl ss; do command -v "$tool" >/dev/null || { echo "$tool is not installed"; exit 2; }; done
    mkdir -p "$dir"
    if [ ! -x "$linger" ]; then
        (cd "$root" && cargo build --release) || exit 2
    fi
    for name in "${proxies[@]}"; do
        echo "== $name"
        "with_$name"
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# Read to its end before it runs, so that it may be changed meanwhile.
{ main "$@"; exit; }
