#!/usr/bin/env bash
# Mutation testing: changes the code in one place at a time, and asks whether a test fails.
#
#   scripts/mutants.sh                         every mutant of the parts that decide (a day)
#   scripts/mutants.sh --sample N [--seed S]   N of them, the same ones for the same seed (default 1) and sources
#   scripts/mutants.sh --list                  which they are; nothing is built
#
#   --file GLOB         of these files only, for example 'src/core/**'; may be repeated
#   --jobs N            so many mutants at once, each in a source tree of its own (default 1)
#   --timeout SECONDS   a run of tests that takes longer hangs (default 300)
#
# A mutant meets the unit tests first. Those that they let live meet tests/model: the properties, and the reactor on
# the simulated kernel. What survives both is named at the end, and the exit status is 1. It wants a test or, if no
# test can tell it from the code as it is, a line with the reason in .cargo/mutants.toml. A mutant whose tests hang
# is caught. Everything that the script makes is in target/mutants; job-N/unit and job-N/model there have the logs.
#
# Installs cargo-mutants into target/mutants, if that version is not there. Needs python3 for a sample.
set -euo pipefail
cd "$(dirname "$0")/.."

version=27.1.0
work=$PWD/target/mutants
mutants=$work/tool/bin/cargo-mutants
# The parts that decide. What only prints or measures is not worth the time.
files=('src/core/**' 'src/hub/**' 'src/protocol/**' src/reactor/{accept,close,io,life}.rs)

sample=
seed=1
jobs=1
timeout=300
chosen=()
list=
while (($#)); do
    case $1 in
        --file) chosen+=("${2:?--file wants a glob}"); shift ;;
        --sample) sample=${2:?--sample wants a number}; shift ;;
        --seed) seed=${2:?--seed wants a number}; shift ;;
        --jobs) jobs=${2:?--jobs wants a number}; shift ;;
        --timeout) timeout=${2:?--timeout wants seconds}; shift ;;
        --list) list=yes ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) echo "mutants: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
((${#chosen[@]} == 0)) || files=("${chosen[@]}")
mkdir -p "$work"

if [[ $("$mutants" mutants --version 2> /dev/null) != "cargo-mutants $version" ]]; then
    # Its time goes into waiting for the compiler: it need not be fast itself.
    cargo install --quiet --locked --version "$version" --root "$work/tool" --target-dir "$work/tool-build" \
        --config profile.release.lto=false --config profile.release.codegen-units=16 cargo-mutants
    rm -rf "$work/tool-build"
fi

of_files=()
for glob in "${files[@]}"; do of_files+=(--file "$glob"); done
"$mutants" mutants --list "${of_files[@]}" > "$work/all"
if [[ -n $sample ]]; then
    python3 -c '
import random, sys
mutants = sys.stdin.read().splitlines()
picked = random.Random(int(sys.argv[2])).sample(range(len(mutants)), min(int(sys.argv[1]), len(mutants)))
for index in sorted(picked): print(mutants[index])
    ' "$sample" "$seed" < "$work/all" > "$work/tried"
else
    cp "$work/all" "$work/tried"
fi
if [[ -n $list ]]; then
    cat "$work/tried"
    exit 0
fi
if [[ ! -s $work/tried ]]; then
    echo "mutants: there is no mutant in ${files[*]}" >&2
    exit 2
fi

# Most of the time goes into building. The dependencies keep the level that the simulation wants.
export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_TERM_COLOR=never
# Fresh seeds would tell another story each time.
export LINGER_SIM_SEED=1000
# A loop without an end may take memory without an end, too.
ulimit -v 16000000
ulimit -n "$(ulimit -Hn)"

# A copy of the sources that stays where it is, and so does what was built of it: only what differs is built again.
# tar keeps the times by which Cargo sees what that is.
copy_sources() {
    rm -rf "$1/src" "$1/tests"
    mkdir -p "$1"
    git ls-files --cached --others --exclude-standard -z | tar --null --ignore-failed-read -T - -c | tar -x -C "$1"
}

# try NAME LIST [ARGUMENT OF CARGO MUTANTS]...: tries the mutants in LIST with one set of tests. Leaves caught.txt,
# timeout.txt, missed.txt and unviable.txt in the directory NAME.
try() {
    local name=$1 tried=$2 only=() status=0 mutant
    shift 2
    while IFS= read -r mutant; do
        only+=(--re "^$(sed 's/[][\\.*^$+?(){}|]/\\&/g' <<< "$mutant")\$")
    done < "$tried"
    mkdir -p "$name"
    echo "mutants: $(wc -l < "$tried") for the $name tests"
    "$mutants" mutants --dir tree --in-place --output "$name" --timeout "$timeout" --no-shuffle --caught --unviable \
        "${of_files[@]}" "${only[@]}" "$@" || status=$?
    # 2 and 3: some were missed, some hung.
    case $status in 0 | 2 | 3) ;; *) return "$status" ;; esac
    mv "$name"/mutants.out/* "$name"
}

# job NUMBER: every so many-th mutant.
job() {
    mkdir -p "$work/job-$1"
    copy_sources "$work/job-$1/tree"
    cd "$work/job-$1"
    awk -v job="$1" -v jobs="$jobs" 'NR % jobs == job % jobs' "$work/tried" > tried
    : > survivors
    [[ -s tried ]] || return 0
    unset CARGO_TARGET_DIR
    try unit tried --cargo-arg=--lib || return
    cp unit/missed.txt survivors
    [[ -s survivors ]] || return 0
    # The layers are a test over the sources: that a changed file reads differently is no merit.
    try model unit/missed.txt --cargo-arg=--test=model -- -- --skip layers:: || return
    cp model/missed.txt survivors
}

rm -rf "$work"/job-*/{unit,model,survivors}
pids=()
for ((number = 1; number <= jobs; number++)); do
    job "$number" &
    pids+=("$!")
done
failed=
for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
[[ -z $failed ]] || { echo "mutants: the tests fail without a mutant, or could not be built" >&2; exit 2; }

# count SET NAME: so many have that outcome with that set of tests.
count() { cat "$work"/job-*/"$1/$2.txt" 2> /dev/null | wc -l; }
sort -V "$work"/job-*/survivors > "$work/survivors"
echo
echo "mutants: $(wc -l < "$work/tried") tried:" \
    "$(($(count unit caught) + $(count unit timeout))) caught by the unit tests," \
    "$(($(count model caught) + $(count model timeout))) by the model tests;" \
    "$(($(count unit unviable) + $(count model unviable))) did not build;" \
    "$(wc -l < "$work/survivors") survived"
if [[ -s $work/survivors ]]; then
    cat "$work/survivors"
    exit 1
fi
