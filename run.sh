#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds rac-proxy and runs it here, in the foreground.
#
#   ./run.sh [rac-proxy options]    as root, or with sudo for packages that are missing
#   ./run.sh --build-only           stops before the start
#
# RAC_DATA is where data is kept (default: the folder data beside this file).
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
build=$here/build

# Why each is needed: docs/decisions/0001-dependencies.md
packages=(build-essential cmake ninja-build pkg-config ca-certificates uthash-dev
    libh2o-evloop-dev libcurl4-openssl-dev libssl-dev libjansson-dev libyaml-dev
    libarchive-dev zlib1g-dev libzstd-dev libsqlite3-dev)

say() { printf 'run.sh: %s\n' "$*" >&2; }

install_packages() {
    local missing=() as_root=() package
    if ! command -v dpkg-query >/dev/null; then
        say "this is no Debian: what is needed, under Debian's names: ${packages[*]}"
        return
    fi
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if [[ $EUID -ne 0 ]]; then
        if ! command -v sudo >/dev/null; then
            say "packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
            exit 1
        fi
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    quietly "${as_root[@]}" apt-get -q update
    # A fresh machine installs its security updates by itself in its first minutes: wait for the lock.
    quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install \
        --no-install-recommends "${missing[@]}"
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
    quietly cmake --build "$build" --target rac-proxy rac-layer
    "$here/fuse-layer/pack" "$build/layer" >&2
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
[[ -z $build_only ]] || exit 0
args=(--data "${RAC_DATA:-$here/data}" --inject "$build/layer/layer.json" "${args[@]}")
message=$(ready_message "${args[@]}")
export RAC_READY_MESSAGE="${message:+$message$'\n\n'}"
exec "$build/bin/rac-proxy" "${args[@]}"
