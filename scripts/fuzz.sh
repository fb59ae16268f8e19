#!/usr/bin/env bash
# Fuzzes linger: bytes bred by libFuzzer for new coverage, against the properties in tests/properties.
#
#   scripts/fuzz.sh [TARGET]... [--seconds N]   run the targets, or all of them, N seconds each (default 30)
#   scripts/fuzz.sh [TARGET]... --seed N        the same mutations each time: as many as a slow machine does in
#                                               these seconds, on any machine
#   scripts/fuzz.sh TARGET FILE                 run the target once, on FILE: a crash, or any other input
#
# Runs start from the inputs in tests/fuzz/corpus/TARGET; what they breed stays in target/fuzz/corpus, for the
# next run. With --seed neither earlier runs nor chance have a part in it: so runs CI, which judges a change by
# what the change did. An input that breaks a property is left in target/fuzz/artifacts/TARGET: mend the bug, then put the
# input into tests/fuzz/corpus/TARGET under a name that tells what it showed, where `cargo test` tries it too.
#
# Needs cargo-fuzz; without it the script says that it skipped, and succeeds. With CI=true it installs it.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzz_dir=tests/fuzz
work=target/fuzz
# Executions a second that a slow machine reaches: what CI tries is not for the speed of its machine to say.
rate() { case $1 in url) echo 1000 ;; config) echo 2000 ;; http | hub) echo 4000 ;; proxy) echo 100000 ;; *) echo 15000 ;; esac; }
# Longest input. Sequences of operations say all in a few hundred; a stream wants room for whole frames.
bytes_max() { case $1 in resp | http | config) echo 4096 ;; url) echo 32 ;; *) echo 512 ;; esac; }

seconds=30
seed=
targets=()
input=
while (($#)); do
    case $1 in
        --seconds) seconds=${2:?--seconds wants a number}; shift ;;
        --seed) seed=${2:?--seed wants a number}; shift ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        -*) echo "fuzz: unknown option $1" >&2; exit 2 ;;
        *)
            if [[ -f $fuzz_dir/targets/$1.rs ]]; then targets+=("$1")
            elif [[ -f $1 && ${#targets[@]} == 1 ]]; then input=$1
            else echo "fuzz: $1 is neither a target nor, after one target, a file" >&2; exit 2; fi ;;
    esac
    shift
done
if ((${#targets[@]} == 0)); then
    for path in "$fuzz_dir"/targets/*.rs; do targets+=("$(basename "$path" .rs)"); done
fi

if ! cargo fuzz --version > /dev/null 2>&1; then
    if [[ ${CI:-} != true ]] || ! cargo install --quiet --locked cargo-fuzz; then
        echo "fuzz: skipped: cargo-fuzz is not installed (cargo install cargo-fuzz)"
        exit 0
    fi
fi

# Coverage instrumentation is unstable, and the stable toolchain takes it only when told that it is its own
# bootstrap. Nowhere but here. No address sanitizer: what is fuzzed has no unsafe code of its own, and runs
# several times as often without.
export RUSTC_BOOTSTRAP=1
options=(--fuzz-dir "$fuzz_dir" --sanitizer none --target-dir "$work/build")

if [[ -n $input ]]; then
    exec cargo fuzz run "${options[@]}" "${targets[0]}" "$input"
fi
for target in "${targets[@]}"; do
    cargo fuzz build "${options[@]}" "$target"
done
failed=()
for target in "${targets[@]}"; do
    bred=$work/corpus/$target
    artifacts=$work/artifacts/$target/
    if [[ -n $seed ]]; then
        bred=$work/seeded/$target
        rm -rf "$bred"
    fi
    mkdir -p "$bred" "$artifacts"
    flags=("-max_len=$(bytes_max "$target")" "-artifact_prefix=$artifacts"
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1)
    # What it learns from comparisons depends on where the kernel has put the program, and what it rereads on the
    # time. (Of config, url and hub the coverage still varies a little: maps there are keyed by chance.)
    if [[ -n $seed ]]; then flags+=("-seed=$seed" -reload=0 -use_cmp=0 "-runs=$((seconds * $(rate "$target")))")
    else flags+=("-max_total_time=$seconds"); fi
    dictionary=$fuzz_dir/dictionary/$target.dict
    [[ -f $dictionary ]] && flags+=("-dict=$dictionary")
    log=$work/$target.log
    if cargo fuzz run "${options[@]}" "$target" "$bred" "$fuzz_dir/corpus/$target" -- "${flags[@]}" > "$log" 2>&1; then
        # The last line about coverage: cov is edges, ft is edges by how often they were taken.
        reached=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -1 | grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+')
        rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
        echo "fuzz: $target: holds; $rate executions a second, $reached"
    else
        failed+=("$target")
        echo "fuzz: $target: BROKEN; the end of $log:"
        grep -vE '^#[0-9]+|^(NEW_FUNC|stat::)' "$log" | tail -40
    fi
done
((${#failed[@]} == 0)) || { echo "fuzz: broken: ${failed[*]}" >&2; exit 1; }
