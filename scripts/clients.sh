#!/usr/bin/env bash
# Client libraries and tools that none of us wrote, unmodified, against linger; and the same bytes to linger
# and to a real redis-server. `scripts/clients.sh --help` says how to use it.
#
# What is installed goes to target/clients/. What cannot be installed is skipped, with the reason. All that
# is started is stopped.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root dir=$root/target/clients tests=$root/tests/clients
readonly linger=${LINGER:-$root/target/release/linger}

# Two versions each of the most used libraries: what is widespread, and what is new.
readonly redis_py_versions="5.2.1 8.1.0"

usage() {
    cat <<'HELP'
usage: scripts/clients.sh [CLIENT]...

Clients: differential, redis-cli, redis-py, node-redis, tls (default: all). Reports `N passed, N failed, N skipped`
for each and, on the last line, for all. LINGER=PATH names the binary (default: target/release/linger, built
if it is missing).

Exit status: 0 nothing failed, 1 something did, 2 usage or a failed build.
HELP
}

# shellcheck source=scripts/checks.sh
source "$root/scripts/checks.sh"
server=0 redis=0

cleanup() {
    for pid in "$server" "$redis"; do
        [ "$pid" -gt 0 ] && kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    server=0 redis=0
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# run CLIENT COMMAND...: the last line of its output counts.
run() {
    local name=$1 counts log="$dir/$1.log"
    shift
    echo "== $name"
    timeout --foreground 300 "$@" >"$log" 2>&1 </dev/null
    local status=$?
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -1)
    if [ -z "$counts" ]; then
        echo "did not come to its end (exit status $status):"
        tail -30 "$log"
        failed=$((failed + 1))
        return
    fi
    local p f s
    read -r p _ f _ s _ <<<"${counts//,/}"
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    [ "$f" -gt 0 ] && grep -v '^ok ' "$log"
    echo "$p passed, $f failed, $s skipped"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

start_linger() {
    # Passwords that a shell and a URL take as they are.
    export LINGER_USERS_PASSWORD=a-secret-of-the-clients
    rm -f "$dir/users.acl"
    "$linger" user add "$dir/users.acl" ops +@all allchannels allidentities <<<"$LINGER_USERS_PASSWORD" || exit 2
    "$linger" user add "$dir/users.acl" dev +@connection +@pubsub '&news.*' <<<"$LINGER_USERS_PASSWORD" || exit 2
    "$linger" serve --admin off --log info --log-format json \
        --listen 'resp://127.0.0.1:0?name=main' \
        --listen 'resp://127.0.0.1:0?name=quick&linger=100ms&linger_max=1s' \
        --listen "resp://127.0.0.1:0?name=users&users=$dir/users.acl" \
        --listen 'resp://127.0.0.1:0?name=idle&linger=100ms&linger_max=1s&idle_timeout=1s' \
        >/dev/null 2>"$dir/linger.log" </dev/null &
    server=$!
    for _ in $(seq 200); do
        grep -q '"listener":"idle"' "$dir/linger.log" && break
        sleep 0.05
    done
    LINGER_PORT=$(port_of main) LINGER_QUICK_PORT=$(port_of quick) LINGER_IDLE_PORT=$(port_of idle)
    LINGER_USERS_PORT=$(port_of users)
    export LINGER_PORT LINGER_QUICK_PORT LINGER_IDLE_PORT LINGER_USERS_PORT
    if [ -z "$LINGER_IDLE_PORT" ]; then
        echo "the server did not start:"
        cat "$dir/linger.log"
        exit 2
    fi
}

port_of() {
    sed -nE "s/.*\"address\":\"127\.0\.0\.1:([0-9]+)\".*\"event\":\"listening\".*\"listener\":\"$1\".*/\1/p" \
        "$dir/linger.log" | head -1
}

start_redis() {
    # Redis does not choose a port by itself.
    local port
    for port in $(shuf -i 20000-30000 -n 5); do
        redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --dir "$dir" --daemonize no \
            >"$dir/redis.log" 2>&1 </dev/null &
        redis=$!
        for _ in $(seq 100); do
            if redis-cli -p "$port" INFO server 2>/dev/null | grep -q "^process_id:$redis"; then
                export REDIS_PORT=$port
                return 0
            fi
            kill -0 "$redis" 2>/dev/null || break
            sleep 0.05
        done
        kill -9 "$redis" 2>/dev/null && wait "$redis" 2>/dev/null
        redis=0
    done
    return 1
}

# ---- The clients --------------------------------------------------------------------------------------

differential() {
    command -v redis-server >/dev/null || { skip differential "redis-server is not installed"; return; }
    start_redis || { skip differential "redis-server does not start, see target/clients/redis.log"; return; }
    run "differential, $(redis-server --version | grep -o 'v=[0-9.]*')" python3 "$tests/differential.py"
}

redis_cli() {
    command -v redis-cli >/dev/null || { skip redis-cli "redis-cli is not installed"; return; }
    command -v redis-benchmark >/dev/null || { skip redis-cli "redis-benchmark is not installed"; return; }
    run redis-cli bash "$tests/redis_cli.sh"
}

redis_py() {
    local version
    for version in $redis_py_versions; do
        local venv=$dir/redis-py-$version
        if ! "$venv/bin/python" -c "import redis; assert redis.__version__ == '$version'" 2>/dev/null; then
            python3 -m venv --clear "$venv" >"$dir/venv.log" 2>&1 ||
                { skip "redis-py $version" "no venv: $(tail -1 "$dir/venv.log")"; continue; }
            timeout --foreground 120 "$venv/bin/pip" install --quiet "redis==$version" >"$dir/pip.log" 2>&1 </dev/null ||
                { skip "redis-py $version" "pip: $(grep -v '^$' "$dir/pip.log" | tail -1)"; continue; }
        fi
        run "redis-py-$version" "$venv/bin/python" "$tests/redis_py.py"
    done
}

node_redis() {
    command -v node >/dev/null || { skip node-redis "node is not installed"; return; }
    command -v npm >/dev/null || { skip node-redis "npm is not installed"; return; }
    local node=$dir/node
    mkdir -p "$node"
    if ! cmp -s "$tests/node_redis/package.json" "$node/package.json" || [ ! -d "$node/node_modules/redis4" ]; then
        cp "$tests/node_redis/package.json" "$node/"
        (cd "$node" && timeout --foreground 120 npm install --no-audit --no-fund >"$dir/npm.log" 2>&1 </dev/null) ||
            { rm -rf "$node"; skip node-redis "npm: $(grep -v '^$' "$dir/npm.log" | tail -1)"; return; }
    fi
    # Modules are looked up from where the script lies.
    cp "$tests/node_redis/run.mjs" "$node/"
    run node-redis node "$node/run.mjs"
}

# Over TLS; with the newest redis-py, if it was had.
tls() {
    local python=python3 version
    for version in $redis_py_versions; do
        [ -x "$dir/redis-py-$version/bin/python" ] && python=$dir/redis-py-$version/bin/python
    done
    LINGER=$linger run tls "$python" "$tests/tls.py"
}

main() {
    local clients=()
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            differential | redis-cli | redis-py | node-redis | tls) clients+=("${1//-/_}") ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    [ ${#clients[@]} -gt 0 ] || clients=(differential redis_cli redis_py node_redis tls)
    mkdir -p "$dir"
    if [ ! -x "$linger" ]; then
        (cd "$root" && cargo build --release) || exit 2
    fi
    start_linger
    local client
    for client in "${clients[@]}"; do
        "$client"
        if ! kill -0 "$server" 2>/dev/null; then
            echo "the server is gone:"
            tail -20 "$dir/linger.log"
            failed=$((failed + 1))
            start_linger
        fi
    done
    echo "== all clients"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# Read to its end before it runs, so that it may be changed meanwhile.
{ main "$@"; exit; }
