#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds rac-proxy and the runtime layer that it puts into images, and runs it here, in the foreground.
#
#   ./run.sh [rac-proxy options]    as root, or with sudo for packages that are missing
#   ./run.sh --build-only           stops before the start
#
# RAC_DATA is where data is kept (default: the folder data beside this file). RAC_ARCHITECTURES are those of the images that get
# the layer (default: amd64 and arm64; the other than this machine's is left out, with a message, where it cannot be built).
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
build=$here/build

# Why each is needed: docs/decisions/0001-dependencies.md
packages=(build-essential cmake ninja-build pkg-config ca-certificates uthash-dev
    libh2o-evloop-dev libcurl4-openssl-dev libssl-dev libjansson-dev libyaml-dev
    libarchive-dev zlib1g-dev libzstd-dev libsqlite3-dev libhiredis-dev libfuse3-dev)
declare -A compilers=([amd64]=gcc-x86-64-linux-gnu [arm64]=gcc-aarch64-linux-gnu)

say() { printf 'run.sh: %s\n' "$*" >&2; }

# A package may be there for another architecture too, or only.
installed() {
    dpkg-query -W -f='${db:Status-Status} ${Architecture}\n' "$1" 2>/dev/null | grep -qxE "installed ($(dpkg --print-architecture)|all)"
}

# apt-get with these words, as root. An installation waits for the lock: a fresh machine installs its security updates by itself
# in its first minutes.
apt() {
    local as_root=()
    [[ $EUID -eq 0 ]] || as_root=(sudo)
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

install_packages() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null; then
        say "this is no Debian: what is needed, under Debian's names: ${packages[*]}"
        return
    fi
    for package in "${packages[@]}"; do
        installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
        say "packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
    say "installing ${missing[*]}"
    apt update
    updated=yes
    apt install --no-install-recommends "${missing[@]}"
}

# The compiler for the other architecture. It may fail, which is told by who needs it.
install_compiler() {
    ! installed "$1" || return 0
    command -v dpkg-query >/dev/null && [[ $EUID -eq 0 || -n $(command -v sudo) ]] || return 1
    say "installing $1"
    [[ -n ${updated:-} ]] || (apt update) || return 1
    (apt install --no-install-recommends "$1")
}

# Shows what a command says on a terminal; elsewhere only if it fails.
quietly() {
    local log
    if [[ -t 2 ]]; then
        "$@" >&2
        return
    fi
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1 </dev/null; then
        cat -- "$log" >&2
        rm -f -- "$log"
        say "failed: $*"
        exit 1
    fi
    rm -f -- "$log"
}

build_all() {
    # A build folder that was copied or moved here along with the sources knows other paths.
    if [[ -f $build/CMakeCache.txt ]] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$here" "$build/CMakeCache.txt"; then
        rm -rf -- "$build/CMakeCache.txt" "$build/CMakeFiles" "$build/build.ninja"
    fi
    if [[ ! -f $build/build.ninja ]]; then
        say "configuring"
        (cd -- "$here" && quietly cmake --preset release --log-level=WARNING)
    fi
    say "building"
    quietly cmake --build "$build" --target rac-proxy rac-layer
}

# An edge has nodes of both architectures, so images of both get the layer. But for want of the other's nobody stands without a
# proxy: docs/decisions/0008-layer-of-both-architectures.md
build_layer() {
    local machine own other architectures
    machine=$(uname -m)
    case $machine in
    x86_64) own=amd64 other=arm64 ;;
    aarch64) own=arm64 other=amd64 ;;
    *) own='' other='' ;;
    esac
    if [[ -n ${RAC_ARCHITECTURES:-} ]]; then
        read -ra architectures <<<"${RAC_ARCHITECTURES//,/ }"
        quietly "$here/fuse-layer/build" "$build/layer" "${architectures[@]}"
    elif [[ -z $own ]]; then
        say "there is no runtime layer for $machine: RAC_ARCHITECTURES says for which to build it"
        exit 1
    elif ! { install_compiler "${compilers[$other]}" && (quietly "$here/fuse-layer/build" "$build/layer" "$own" "$other"); }; then
        say "images for linux/$other get no layer: it takes ${compilers[$other]} and a Debian mirror; RAC_ARCHITECTURES=$own does not try"
        quietly "$here/fuse-layer/build" "$build/layer" "$own"
    fi
}

# What to try, with the address that the options come to; nothing for options that serve nothing, or no fixed port.
ready_message() {
    local listen
    listen=$("$build/bin/rac-proxy" --check-config "$@" 2>/dev/null | awk '$1 == "listen" { print $2; exit }') || return 0
    case $listen in
    '' | *:0) return 0 ;;
    :* | 0.0.0.0:* | 127.0.0.1:* | '[::]:'* | '[::1]:'*) listen=localhost:${listen##*:} ;;
    esac
    printf '\nReady. In another terminal, try:\n\n    docker pull %s/library/busybox\n' "$listen"
    printf '    docker run --rm %s/library/busybox cat /.rac/hello.txt\n' "$listen"
    printf '\nS3 as files, in any image (with AWS_ENDPOINT_URL where it is not AWS):\n\n'
    printf '    docker run --rm -e NXF_FUSION_BUCKETS=BUCKET -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY \\\n'
    printf '        --cap-add SYS_ADMIN --device /dev/fuse %s/library/busybox ls -la /fusion/s3/BUCKET\n' "$listen"
}

build_only=
args=()
for arg in "$@"; do
    if [[ $arg == --build-only ]]; then
        build_only=yes
    else
        args+=("$arg")
    fi
done
install_packages
build_all
build_layer
[[ -z $build_only ]] || exit 0
args=(--data "${RAC_DATA:-$here/data}" --inject "$build/layer/layer.json" "${args[@]}")
message=$(ready_message "${args[@]}")
export RAC_READY_MESSAGE="${message:+$message$'\n\n'}"
exec "$build/bin/rac-proxy" "${args[@]}"
