#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything with and without sanitizers, and runs all tests.
#
#   ./test.sh [--long] [--only lint|unit|fuzz|behaviour|clients|s3|fuse|package] [-k EXPR]
#
#   --long   also what takes minutes: fuzzers for 60 s each, a Debian image made by debootstrap, files of GiB in S3
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
long=() selected=() expression=() as_root=()

usage() {
    sed -n '3,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

while [[ $# -gt 0 ]]; do
    case $1 in
    --long) long=(--long) ;;
    --only)
        [[ " ${stages[*]} " == *" ${2:-} "* ]] || usage
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
    [[ ${#expression[@]} -eq 0 ]] || selected=(behaviour clients s3 fuse package)
fi
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
    if wanted clients || wanted fuse || wanted package; then
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
    ctest --test-dir build-asan --output-on-failure --timeout 300 -j 2 --output-junit "$results/unit.xml" >"$results/unit.log" 2>&1
    echo $? >"$results/unit.status"
    cat "$results/unit.log"
    took unit $begin
}

# pytest on one folder, with the binaries of one build, beside the others.
start_pytest() {
    local name=$1 bin=$2
    shift 2
    RAC_BIN_DIR=$PWD/$bin "${as_root[@]}" env PYTHONDONTWRITEBYTECODE=1 RAC_BIN_DIR="$PWD/$bin" /usr/bin/python3 -m pytest -q \
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

# They wait most of the time: two or three at once fill a machine of two cores.
pytests() {
    local begin=$SECONDS names=() ignored=(--ignore=tests/fuse/test_{layer,containers,init_engines}.py)
    if wanted behaviour; then
        start_pytest behaviour-1 build-asan/bin --shard 1/2 tests/behaviour tests/faults
        start_pytest behaviour-2 build-asan/bin --shard 2/2 tests/behaviour tests/faults
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

begin=$SECONDS
install_packages || exit 1
build || exit 1
fuzz_seconds=5
[[ ${#long[@]} -eq 0 ]] || fuzz_seconds=60
! wanted lint || counted lint tests/lint
! wanted unit || unit
! wanted fuzz || counted fuzz tests/fuzz/run $fuzz_seconds
pytests
say "all: $((SECONDS - begin)) s"
tests/rig/count.py "$results" "${expression[@]}"
