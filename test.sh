#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything with and without sanitizers, and runs all tests.
#
#   ./test.sh [--long] [--only lint|unit|fuzz|behaviour|clients|s3|fuse|package|races|memcheck|soak] [-k EXPR]
#
#   --long   also what takes minutes: fuzzers for 60 s each, a Debian image made by debootstrap, files of GiB in S3, and the
#            stages races (ThreadSanitizer), memcheck (valgrind) and soak
#   --only   one stage (may be given several times)
#   -k EXPR  only the tests of pytest that match: behaviour, clients, s3 and fuse
#
# As root, or with sudo for packages that are missing and for the engines. The last line counts.
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")" || exit 1
exec </dev/null
export PYTHONDONTWRITEBYTECODE=1

# Why each is needed: docs/decisions/0001-dependencies.md
packages=(libcmocka-dev clang clang-format groff-base shellcheck openssl zstd python3 python3-pytest python3-yaml python3-jsonschema docker.io
    containerd runc podman skopeo umoci docker-registry redis-server redis-sentinel busybox-static debootstrap
    radosgw ceph-mon ceph-osd ceph-common qemu-user lintian bubblewrap python3-seccomp systemd git rsync sqlite3 curl procps)
stages=(lint unit fuzz behaviour clients s3 fuse package)
long_stages=(races memcheck soak)
long=() selected=() expression=() as_root=()

usage() {
    sed -n '3,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

while [[ $# -gt 0 ]]; do
    case $1 in
    --long) long=(--long) ;;
    --only)
        [[ " ${stages[*]} ${long_stages[*]} " == *" ${2:-} "* ]] || usage
        selected+=("$2")
        shift
        ;;
    -k)
        [[ -n ${2:-} ]] || usage
        expression=(-k "$2")
        shift
        ;;
    *) usage ;;
    esac
    shift
done
if [[ ${#selected[@]} -eq 0 ]]; then
    selected=("${stages[@]}")
    [[ ${#long[@]} -eq 0 ]] || selected+=("${long_stages[@]}")
    [[ ${#expression[@]} -eq 0 ]] || selected=(behaviour clients s3 fuse package)
fi
[[ ${#long[@]} -eq 0 && " ${selected[*]} " != *" memcheck "* ]] || packages+=(valgrind)
wanted() { [[ " ${selected[*]} " == *" $1 "* ]]; }

[[ $EUID -eq 0 ]] || as_root=(sudo)
results=$(mktemp -d)
children=()
# A background pytest gets SIGTERM, ends what it started, and only then is anything deleted.
# shellcheck disable=SC2317  # called by the trap
finish() {
    trap '' INT TERM
    [[ ${#children[@]} -eq 0 ]] || kill "${children[@]}" 2>/dev/null
    wait
    "${as_root[@]}" rm -rf -- "$results"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

colour=no
[[ ! -t 1 || -n ${NO_COLOR:-} || -n ${CI:-} ]] || colour=yes
say() { printf '== %s\n' "$*"; }
took() { say "$1: $((SECONDS - $2)) s"; }

# Debian starts the daemons that it installs: not for the sake of a test.
install_packages() {
    local missing=() package policy=/usr/sbin/policy-rc.d ours=
    command -v dpkg-query >/dev/null || return 0
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${db:Status-Status} ${Architecture}\n' "$package" 2>/dev/null |
            grep -qxE "installed ($(dpkg --print-architecture)|all)" || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]}"
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null && "${as_root[@]}" chmod 755 "$policy" && ours=yes
    fi
    {
        "${as_root[@]}" apt-get -q update &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install \
                --no-install-recommends "${missing[@]}"
    } >"$results/apt.log" 2>&1
    local status=$?
    [[ -z $ours ]] || "${as_root[@]}" rm -f "$policy"
    [[ $status -eq 0 ]] || cat "$results/apt.log"
    return $status
}

build() {
    local begin=$SECONDS
    if wanted clients || wanted fuse || wanted package || wanted soak; then
        # What runs in images is tested for both architectures, whatever else this machine would settle for.
        RAC_ARCHITECTURES="amd64 arm64" ./run.sh --build-only || return 1
        if ! cmake --build build --target rac-init rac-fuse >"$results/build.log" 2>&1; then
            tail -n 60 "$results/build.log"
            return 1
        fi
        took "release build" $begin
    fi
    begin=$SECONDS
    if wanted unit || wanted behaviour || wanted s3 || wanted fuse; then
        if ! { cmake --preset asan --log-level=WARNING -DRAC_FUSE_LAYER=ON && cmake --build build-asan; } >"$results/build.log" 2>&1; then
            tail -n 60 "$results/build.log"
            return 1
        fi
        took "sanitizer build" $begin
    fi
    begin=$SECONDS
    if wanted fuse; then
        if ! { cmake --preset tsan --log-level=WARNING -DRAC_FUSE_LAYER=ON && cmake --build build-tsan --target rac-fuse; } \
            >"$results/build.log" 2>&1; then
            tail -n 60 "$results/build.log"
            return 1
        fi
        took "build for races" $begin
    fi
}

# PRESET STAGE: a build of its own for a long stage, which fails with it.
build_preset() {
    local begin=$SECONDS
    if ! { cmake --preset "$1" --log-level=WARNING && cmake --build "build-$1"; } >"$results/$2.log" 2>&1; then
        echo 1 >"$results/$2.status"
        tail -n 60 "$results/$2.log"
        return 1
    fi
    took "$1 build" $begin
}

# Stages whose last line is "N passed, N failed[, N skipped]".
counted() {
    local name=$1 begin=$SECONDS
    shift
    say "$name"
    "$@" >"$results/$name.log" 2>&1
    echo $? >"$results/$name.status"
    cat "$results/$name.log"
    took "$name" $begin
}

unit() {
    local begin=$SECONDS
    say unit
    unit_tests unit build-asan 300
    took unit $begin
}

# NAME BUILD SECONDS
unit_tests() {
    ctest --test-dir "$2" --output-on-failure --timeout "$3" -j 2 --output-junit "$results/$1.xml" >"$results/$1.log" 2>&1
    echo $? >"$results/$1.status"
    cat "$results/$1.log"
}

# pytest on one folder, with the binaries of one build, beside the others.
start_pytest() {
    local name=$1 bin=$2
    shift 2
    RAC_BIN_DIR=$PWD/$bin "${as_root[@]}" env PYTHONDONTWRITEBYTECODE=1 RAC_BIN_DIR="$PWD/$bin" \
        RAC_RUN_UNDER="${RAC_RUN_UNDER:-}" RAC_TEST_PATIENCE="${RAC_TEST_PATIENCE:-1}" /usr/bin/python3 -m pytest -q \
        -p no:cacheprovider --color="$colour" --tb=short --junit-xml="$results/$name.xml" "${long[@]}" "${expression[@]}" "$@" \
        >"$results/$name.log" 2>&1 &
    children+=($!)
    names+=("$name")
}

# Those that were started, as they end.
wait_pytests() {
    local begin=$1 i
    for i in "${!children[@]}"; do
        wait "${children[$i]}"
        echo $? >"$results/${names[$i]}.status"
        say "${names[$i]}"
        cat "$results/${names[$i]}.log"
        took "${names[$i]}" "$begin"
    done
    children=() names=()
}

# They wait most of the time: four at once fill a machine of two cores.
pytests() {
    local begin=$SECONDS names=() ignored=(--ignore=tests/fuse/test_{layer,containers,init_engines}.py)
    if wanted behaviour; then
        start_pytest behaviour-1 build-asan/bin --shard 1/3 tests/behaviour tests/faults
        start_pytest behaviour-2 build-asan/bin --shard 2/3 tests/behaviour tests/faults
        start_pytest behaviour-3 build-asan/bin --shard 3/3 tests/behaviour tests/faults
    fi
    if wanted clients; then
        start_pytest clients build/bin tests/clients
    fi
    wait_pytests $begin
    begin=$SECONDS
    if wanted fuse; then
        # The driver with sanitizers; what is shipped in containers. rac-init both ways: it is cheap. Then what its threads
        # do to each other under load.
        start_pytest fuse-1 build-asan/bin --shard 1/2 "${ignored[@]}" tests/fuse
        start_pytest fuse-2 build-asan/bin --shard 2/2 "${ignored[@]}" tests/fuse
        start_pytest fuse-layer build/bin tests/fuse/test_{layer,containers,init_engines,init,mount}.py
        wait_pytests $begin
        begin=$SECONDS
        start_pytest fuse-races build-tsan/bin tests/fuse/test_{load,model}.py
    fi
    if wanted s3; then
        start_pytest s3 build-asan/bin tests/s3
    fi
    # Not beside those that build: it builds too.
    if wanted package; then
        start_pytest package build/bin tests/package
    fi
    wait_pytests $begin
}

# ---- only with --long ----

# All unit tests and the whole of behaviour, each race an error.
races() {
    local begin=$SECONDS names=() RAC_TEST_PATIENCE=3
    export RAC_TEST_PATIENCE
    say races
    build_preset tsan races || return
    unit_tests races-unit build-tsan 900
    start_pytest races-1 build-tsan/bin --shard 1/2 tests/behaviour
    start_pytest races-2 build-tsan/bin --shard 2/2 tests/behaviour
    wait_pytests $begin
}

# What no sanitizer sees: memory that was never written. Valgrind runs one thread at a time, twenty times as slow, so of
# behaviour it gets what does not hang on time. Leaks are found in the unit stage.
memcheck() {
    local begin=$SECONDS names=() RAC_TEST_PATIENCE=10
    local slice=(tests/behaviour/test_{answers,ranges,lists,injection,permission,export,requests}.py)
    export RAC_TEST_PATIENCE
    say memcheck
    build_preset memcheck memcheck || return
    unit_tests memcheck-unit build-memcheck 900
    RAC_RUN_UNDER="valgrind -q --error-exitcode=99 --fair-sched=yes" \
        start_pytest memcheck build-memcheck/bin "${slice[@]}"
    wait_pytests $begin
}

soak() {
    if tests/faults/soak --minutes 10 --bin build/bin; then
        echo "1 passed, 0 failed"
    else
        echo "0 passed, 1 failed"
        return 1
    fi
}

begin=$SECONDS
install_packages || exit 1
build || exit 1
fuzz_seconds=5
[[ ${#long[@]} -eq 0 ]] || fuzz_seconds=60
! wanted lint || counted lint tests/lint
! wanted unit || unit
! wanted fuzz || counted fuzz tests/fuzz/run $fuzz_seconds
pytests
! wanted races || races
! wanted memcheck || memcheck
! wanted soak || counted soak soak
say "all: $((SECONDS - begin)) s"
tests/rig/count.py "$results" "${expression[@]}"
