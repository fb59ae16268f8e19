#!/usr/bin/env bash
# Everything that must hold, in one run: `scripts/ci.sh --help` says how to use it.
#
# Works on a fresh clone and a fresh machine. Each step is a function step_NAME in the list below, runs in a
# process group of its own that is ended with it, and passes (0), fails, or is skipped (77) for a reason that it
# says. What a step prints is in target/ci/NAME.log; a failed one is shown.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

export CI=true CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 DEBIAN_FRONTEND=noninteractive
export LINGER_TEST_ENDINGS=${LINGER_TEST_ENDINGS:-5000}
unset CARGO_TARGET_DIR RUSTFLAGS RUSTDOCFLAGS

readonly logs=target/ci
readonly SKIP=77

# Name, its time limit in seconds, what it holds.
readonly steps="
fmt           60    the sources are formatted
clippy        600   clippy's strict table, and no use of what our oldest Rust lacks
docs          300   the documentation builds without a warning
build         600   the release binary
alone         600   the server without its tools (--no-default-features): it builds, is clean, and serves
test          1200  all tests
namespace     900   the tests that need a network namespace of their own
lab           300   linger lab --quick: every cell of the detection matrix is as expected, also through a gateway and over TLS
others        300   the same rows of the matrix can be played on nginx, HAProxy, mosquitto and Redis
sources       300   shell and Python sources; the layers (tests/model/layers.rs) are among the tests
units         120   the units for systemd are sound, and permit little
dependencies  120   licences of all dependencies, and the Rust they need
msrv          600   it builds with the oldest Rust that Cargo.toml names
clients       600   client libraries and tools that none of us wrote
gateway       400   servers and clients that none of us wrote, with a gateway between them
proxies       200   the PROXY protocol as HAProxy and nginx send it
metrics       200   promtool takes our metrics, alerts and dashboard, and a Prometheus that reads two servers has values for all of it
page          400   the page of the admin interface in Chromium: what it shows, by keys alone, dark, narrow, and who may use it
packages      600   the Debian package, the image and the objects for Kubernetes: made, and tried as far as a machine alone allows
top           300   linger top in a real terminal: what it shows, and that it gives the terminal back
readme        500   commands of README.md and the guide that are marked <!-- ci -->
sim           300   seeds on the simulated kernel: one process, a gateway, a crowd, TLS, several workers
fuzz          900   the decoders and state machines, some seconds each under libFuzzer
wheel         300   the timer wheel against other people's, quick
million       300   scripts/million.sh with 20,000 connections and two workers, and with 10,000 pairs through two gateways
attack        400   no attack holds up other clients, ends them, or takes memory without bound, quick
bench         600   system calls, instructions and memory against the C server, quick
compare       300   the comparison with other servers can be made: some of it, one short round
"

usage() {
    cat <<HELP
usage: scripts/ci.sh [--list | --step NAME...]

Runs all steps, or those named. Reads no standard input. As root, it installs missing tools with apt-get; what it
cannot install is a skipped step with the reason. Ends with a line "N passed, N failed, N skipped"; the exit
status is 1 if a step failed.

A block of README.md or of src/guide/*.md is run if the line before its \`\`\`sh is the comment <!-- ci -->, in bash, with -eu, from the
root of the repository. For <!-- ci: serve -->, \`linger serve\` with its defaults is running meanwhile. <!-- ci: lab --> is run where
network namespaces can be made. The pages of src/guide/zh have the same commands, which a test holds.

Steps:$(sed -E 's/^([a-z]+) +[0-9]+ +/  \1\t/' <<<"$steps" | expand -t 16)
HELP
}

# shellcheck source=scripts/tools.sh
source scripts/tools.sh

# ---- Steps --------------------------------------------------------------------------------------------

step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --locked --all-targets -- -D warnings -D clippy::incompatible_msrv; }
step_docs() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps; }
step_build() { cargo build --locked --release; }
# shellcheck source=scripts/page.sh
step_page() { . scripts/page.sh; }

step_alone() {
    want curl curl || skip "curl is not installed"
    # Beside what the other steps build: of the dependencies most are the same.
    local alone=(--locked --no-default-features)
    cargo clippy "${alone[@]}" --lib --bins -- -D warnings || return 1
    cargo build "${alone[@]}" || return 1
    serves target/debug/linger || return 1
    local tool
    for tool in audit doctor lab load sim top; do
        cargo clippy "${alone[@]}" --features "$tool" --lib --bins -- -D warnings || return 1
    done
}

step_test() {
    ulimit -n "$(ulimit -Hn)"
    cargo test --locked
}

step_namespace() {
    can_unshare || skip "network namespaces are not permitted here"
    want ip iproute2 || skip "ip (iproute2) is not installed"
    cargo test --locked --tests --no-run 2>&1 | tee "$logs/namespace.built" || return 1
    ulimit -n "$(ulimit -Hn)"
    rm -f "$logs"/namespace-*.out
    local binary name out failed='' running=()
    # Most of them wait for timers of the kernel, one after the other: each program has a namespace of its own, and all run at
    # the same time, the longest in two halves.
    while IFS= read -r binary; do
        name=$(basename "$binary")
        if [[ $name == kernel-* ]]; then
            in_namespace "$binary" liveness >"$logs/namespace-$name-liveness.out" 2>&1 &
            running+=("$!:$name-liveness")
            in_namespace "$binary" --skip liveness >"$logs/namespace-kernel.out" 2>&1 &
        else
            in_namespace "$binary" >"$logs/namespace-$name.out" 2>&1 &
        fi
        running+=("$!:$name")
    done < <(sed -nE 's/^ *Executable .* \((.*)\)$/\1/p' "$logs/namespace.built")
    for name in "${running[@]}"; do
        wait "${name%%:*}" || failed+=" ${name#*:}"
    done
    for out in "$logs"/namespace-*.out; do
        echo "-- $out"
        cat "$out"
    done
    [ -z "$failed" ] || { echo "failed:$failed"; return 1; }
    grep -q '^test result: ok. [1-9]' "$logs"/namespace-*.out || skip "no test asks for a namespace of its own"
}

# in_namespace PROGRAM ARGUMENT...: its tests that need a network namespace, in one that ends with the last process in it, and
# its addresses and rules with it. One after the other: what the kernel counts there is counted by one test at a time.
in_namespace() {
    unshare -n bash -c 'ip link set lo up && LINGER_TEST_NAMESPACE=1 exec "$@" --ignored --test-threads=1' bash "$@"
}

step_lab() {
    can_unshare || unshare -Urn true 2>/dev/null || skip "network namespaces are not permitted here"
    want ip iproute2 || skip "ip (iproute2) is not installed"
    want nft nftables || skip "nft (nftables) is not installed"
    cargo build --locked --release || return 1
    local way
    for way in '' --gateway --tls '--tls --gateway'; do
        # shellcheck disable=SC2086  # no way, one word, or two
        target/release/linger lab --quick $way --details || return 1
    done
}

step_others() {
    can_unshare || skip "network namespaces are not permitted here"
    want python3 python3 || skip "python3 is not installed"
    want ip iproute2 || skip "ip (iproute2) is not installed"
    want nft nftables || skip "nft (nftables) is not installed"
    local package missing=''
    for package in nginx haproxy mosquitto redis-server; do
        # Debian has daemons where a plain user does not look.
        PATH=$PATH:/usr/sbin want "$package" "$package" || missing+=" $package"
    done
    # Of nginx the part that relays TCP is a package of its own.
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || want ngx_stream_module libnginx-mod-stream || true
    cargo build --locked --release || return 1
    PATH=$PATH:/usr/sbin scripts/side-by-side/compare.py || return 1
    PATH=$PATH:/usr/sbin scripts/side-by-side/stop.py || return 1
    [ -z "$missing" ] || skip "not installed:$missing; the others are in order"
}

step_sources() {
    want python3 python3 || skip "python3 is not installed"
    local file
    while IFS= read -r file; do
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$file" || return 1
    done < <(git ls-files '*.py')
    local shell=('*.sh' .ci/run scripts/debian/{postinst,postrm,prerm})
    git ls-files "${shell[@]}" | xargs -n 1 bash -n || return 1
    want shellcheck shellcheck || skip "shellcheck is not installed; the rest is in order"
    # Its remarks below a warning do not know functions that are called by a name in a variable.
    git ls-files "${shell[@]}" | xargs shellcheck -x -S warning
}

step_units() {
    want systemd-analyze systemd || skip "systemd-analyze (systemd) is not installed"
    scripts/systemd/check.sh
}

# serves LINGER: it answers on each kind of listener, and ends in order.
serves() {
    local server answer status
    "$1" serve --admin 127.0.0.1:7907 --listen echo://127.0.0.1:7905 --listen resp://127.0.0.1:7906 &
    server=$!
    for _ in {1..100}; do
        if curl -sf http://127.0.0.1:7907/readyz >/dev/null; then break; fi
        sleep 0.1
    done
    exec 3<>/dev/tcp/127.0.0.1/7905 4<>/dev/tcp/127.0.0.1/7906
    printf 'hello\n' >&3
    read -r -t 10 answer <&3 && [ "$answer" == hello ] || { echo "echo has answered \"$answer\""; return 1; }
    printf 'PING\r\n' >&4
    read -r -t 10 answer <&4 && [ "$answer" == $'+PONG\r' ] || { echo "resp has answered \"$answer\""; return 1; }
    exec 3>&- 4>&-
    kill -TERM "$server"
    wait "$server"
    status=$?
    [ "$status" -eq 0 ] || { echo "it has ended with $status"; return 1; }
}

step_dependencies() {
    want python3 python3 || skip "python3 is not installed"
    metadata >"$logs/metadata.json" || return 1
    python3 scripts/dependencies.py deny.toml "$logs/metadata.json" || return 1
    # It takes longer to build than all of this; where it is there, it sees more.
    if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; fi
}

step_msrv() {
    local oldest toolchain
    oldest=$(sed -nE 's/^rust-version = "(.*)"/\1/p' Cargo.toml)
    command -v rustup >/dev/null || skip "no rustup to find Rust $oldest with"
    toolchain=$(rustup toolchain list | grep -oE "^$oldest(\.[0-9]+)?-[^ ]+" | head -1)
    [ -n "$toolchain" ] ||
        skip "no toolchain $oldest here; clippy (incompatible_msrv) and dependencies (rust-version) have checked"
    cargo "+$toolchain" check --locked --target-dir target/msrv
}

step_clients() {
    want python3 python3
    want redis-cli redis-tools
    want redis-server redis-server
    want openssl openssl
    want curl curl
    want sslscan sslscan
    want node nodejs
    want npm npm
    [ -x target/release/linger ] || cargo build --locked --release || return 1
    scripts/clients.sh
}

step_gateway() {
    local tool
    # Daemons are where a plain user does not look.
    PATH=$PATH:/usr/sbin
    for tool in redis-server:redis-server redis-benchmark:redis-tools mosquitto:mosquitto mosquitto_sub:mosquitto-clients \
        psql:postgresql nginx:nginx ab:apache2-utils wrk:wrk curl:curl sshd:openssh-server ssh:openssh-client; do
        # What cannot be had is skipped there, with the reason.
        want "${tool%:*}" "${tool#*:}"
    done
    [ -x target/release/linger ] || cargo build --locked --release || return 1
    scripts/gateway.sh
}

step_proxies() {
    local tool
    PATH=$PATH:/usr/sbin
    for tool in haproxy:haproxy nginx:nginx curl:curl ss:iproute2; do
        want "${tool%:*}" "${tool#*:}"
    done
    # Of nginx the part that relays TCP is a package of its own.
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || want ngx_stream_module libnginx-mod-stream || true
    [ -x target/release/linger ] || cargo build --locked --release || return 1
    scripts/proxies.sh
}

step_metrics() {
    want prometheus prometheus || skip "prometheus is not installed"
    want openssl openssl || skip "openssl, which makes a certificate, is not installed"
    want promtool prometheus || skip "promtool (prometheus) is not installed"
    want python3 python3 || skip "python3 is not installed"
    cargo build --locked --release || return 1
    python3 scripts/prometheus/check.py target/release/linger "$logs/prometheus"
}

step_packages() {
    local tool
    for tool in python3:python3 dpkg-shlibdeps:dpkg-dev strip:binutils lintian:lintian mandoc:mandoc man:man-db ip:iproute2 \
        systemd-analyze:systemd crun:crun podman:podman; do
        # What cannot be had is skipped there, with the reason.
        want "${tool%:*}" "${tool#*:}"
    done
    # For a virtual environment of Python, Debian has a package of its own.
    python3 -c 'import ensurepip' 2>/dev/null || want ensurepip python3-venv
    cargo build --locked --release || return 1
    scripts/packages.sh
}

step_top() {
    want tmux tmux || skip "tmux is not installed"
    cargo build --locked --release || return 1
    scripts/top.sh
}

step_readme() {
    [ -f README.md ] || skip "there is no README.md"
    want python3 python3 || skip "python3 is not installed"
    rm -rf "$logs/readme" && mkdir -p "$logs/readme"
    python3 - "$logs/readme" <<'PYTHON' || return 1
import pathlib, re, sys
for page in [pathlib.Path("README.md"), *sorted(pathlib.Path("src/guide").glob("*.md"))]:
    text = page.read_text()
    marked = re.findall(r"^<!-- ci(?:: (serve|lab))? -->\n+```sh\n(.*?)^```", text, re.M | re.S)
    assert len(marked) == len(re.findall(r"^<!-- ci.*-->", text, re.M)), f"{page}: <!-- ci --> with no ```sh block after it"
    for number, (kind, block) in enumerate(marked, 1):
        name = f"{page.stem}-{number}-{kind}.sh" if kind else f"{page.stem}-{number}.sh"
        pathlib.Path(sys.argv[1], name).write_text(block)
PYTHON
    compgen -G "$logs/readme/*.sh" >/dev/null || skip "no command is marked with <!-- ci -->"
    cargo build --locked --release || return 1
    local block isolated=()
    # The default ports are surely free in a namespace of its own.
    if can_unshare && want ip iproute2; then isolated=(unshare -n); fi
    want nc netcat-openbsd
    want curl curl
    want openssl openssl
    want redis-cli redis-tools
    want nft nftables
    for block in "$logs"/readme/*.sh; do
        if [[ $block == *-lab.sh && ${#isolated[@]} -eq 0 ]]; then
            echo "-- $block: not run, network namespaces are not permitted here"
            continue
        fi
        echo "-- $block"
        cat "$block"
        echo "--"
        timeout --foreground 120 "${isolated[@]}" bash -c '
            [ $# -lt 2 ] || ip link set lo up
            export CARGO_NET_OFFLINE=true
            case $1 in *-serve.sh)
                target/release/linger serve --log warn >target/ci/readme/serve.log 2>&1 &
                server=$!
                trap "kill $server; wait $server" EXIT
                for _ in $(seq 100); do (: </dev/tcp/127.0.0.1/7070) 2>/dev/null && break; sleep 0.05; done
                kill -0 $server || { cat target/ci/readme/serve.log; exit 1; } ;;
            esac
            PATH=$PWD/target/release:$PATH bash -eu -o pipefail "$1"
        ' bash "$block" "${isolated[@]:0:1}" || return 1
    done
}

step_sim() {
    cargo build --locked --release || return 1
    target/release/linger sim --seeds 5000 || return 1
    target/release/linger sim --gateway --seeds 2000 || return 1
    target/release/linger sim --crowd --seeds 500 || return 1
    target/release/linger sim --tls --seeds 500 || return 1
    target/release/linger sim --workers --seeds 2000
}

step_fuzz() {
    scripts/fuzz.sh --seed 1 --seconds 5 | tee "$logs/fuzz.out" || return 1
    ! grep -qi skipped "$logs/fuzz.out" || skip "cargo-fuzz cannot be had here"
}

step_wheel() {
    [ -f benches/wheel.rs ] || skip "there is no benches/wheel.rs"
    # With what the tests were built with: a build that is optimised as a whole takes longer than all of the rest.
    cargo test --locked --bench wheel -- --quick
}

step_million() {
    want curl curl || skip "curl is not installed"
    want pgrep procps || skip "pgrep (procps) is not installed"
    local limit
    limit=$(ulimit -Hn)
    [ "$limit" == unlimited ] || [ "$limit" -ge 12000 ] || skip "RLIMIT_NOFILE is $limit here; 12,000 are needed"
    cargo build --locked --release || return 1
    scripts/million.sh --quick && scripts/million.sh --quick --pairs
}

step_attack() {
    want python3 python3 || skip "python3 is not installed"
    want cc gcc || skip "no C compiler"
    local limit
    limit=$(ulimit -Hn)
    [ "$limit" == unlimited ] || [ "$limit" -ge 20000 ] || skip "RLIMIT_NOFILE is $limit here; 20,000 are needed"
    cargo build --locked --release || return 1
    scripts/bench.sh --quick --only attack
}

step_bench() {
    want cc gcc || skip "no C compiler"
    want strace strace || skip "strace is not installed"
    want valgrind valgrind || skip "valgrind is not installed"
    scripts/bench.sh --quick --only syscalls,instructions,memory,idle,heartbeat
}

step_compare() {
    want python3 python3 || skip "python3 is not installed"
    can_unshare || skip "network namespaces are not permitted here"
    want ip iproute2 || skip "ip (iproute2) is not installed"
    want openssl openssl || skip "openssl, which makes a certificate, is not installed"
    cargo build --locked --release || return 1
    # The C server is there if the step before has built it; who is missing is left out.
    PATH=$PATH:/usr/sbin unshare -n bash -c 'ip link set lo up &&
        exec python3 benches/compare --quick --rounds 1 --seconds 0.1 --only rates,churn,memory,fanout,tls'
    local status=$?
    # A bar was missed: one round so short says nothing of bars.
    [ "$status" -eq 3 ] || return "$status"
}

# ---- Running them -------------------------------------------------------------------------------------

group=0

end_group() {
    if [ "$group" -gt 0 ]; then
        # First the polite way: steps stop what they started.
        kill -TERM -- "-$group" 2>/dev/null && sleep 0.5
        kill -KILL -- "-$group" 2>/dev/null
        group=0
    fi
    return 0
}
trap end_group EXIT
trap 'exit 130' INT TERM HUP

passed=0 failed=0 skipped=0 summary=''

# run_step NAME SECONDS WHAT
run_step() {
    local name=$1 limit=$2 what=$3 log=$logs/$1.log begun=$SECONDS status note=''
    printf '== %-13s %s\n' "$name" "$what"
    set -m
    ("step_$name") >"$log" 2>&1 </dev/null &
    group=$!
    set +m
    local leader=$group
    while kill -0 "$leader" 2>/dev/null; do
        if [ $((SECONDS - begun)) -ge "$limit" ]; then
            note="more than $limit s"
            end_group
        fi
        sleep 0.2
    done
    wait "$leader" 2>/dev/null
    status=$?
    end_group
    [ -z "$note" ] || status=1
    case $status in
        0)
            passed=$((passed + 1)) status=passed
            # What a step left out inside counts, too.
            local inner
            inner=$(grep -oE '^[0-9]+ passed, [0-9]+ failed, [1-9][0-9]* skipped$' "$log" | tail -1 | grep -oE '[0-9]+ skipped')
            if [ -n "$inner" ]; then
                skipped=$((skipped + ${inner% *}))
                note="$inner within: $(grep -E 'skipped: ' "$log" | tr '\n' ';')"
            fi
            ;;
        "$SKIP") skipped=$((skipped + 1)) status=skipped note=$(grep '^skipped: ' "$log" | tail -1) note=${note#skipped: } ;;
        *)
            failed=$((failed + 1)) status="FAILED"
            echo "-- the end of $log:"
            tail -n 60 "$log"
            ;;
    esac
    local line
    line=$(printf '%-13s %-8s %4d s  %s' "$name" "$status" $((SECONDS - begun)) "$note")
    echo "   $line"
    summary+="$line"$'\n'
}

main() {
    local only=' '
    while [ $# -gt 0 ]; do
        case $1 in
            --list) awk 'NF { print $1 }' <<<"$steps"; exit 0 ;;
            --step)
                [ $# -ge 2 ] && grep -q "^$2 " <<<"$steps" || { usage >&2; exit 2; }
                only+="$2 "
                shift
                ;;
            --help | -h) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift
    done
    command -v cargo >/dev/null || { echo "ci: cargo is not installed: https://rustup.rs" >&2; exit 2; }
    mkdir -p "$logs"
    rm -f "$logs/apt-updated"
    local name limit what begun=$SECONDS
    # Not by standard input, which belongs to nobody.
    while read -r name limit what <&3; do
        [ -n "$name" ] || continue
        if [ "$only" == ' ' ] || [[ $only == *" $name "* ]]; then run_step "$name" "$limit" "$what"; fi
    done 3<<<"$steps"
    printf '\n%s%s s in all\n' "$summary" $((SECONDS - begun))
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

# Read to its end before it runs, so that it may be changed meanwhile.
{ main "$@"; exit; }
