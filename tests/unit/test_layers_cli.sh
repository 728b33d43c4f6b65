#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The rac-layer command, as people use it. Usage: test_layers_cli.sh PATH/rac-layer [CASE]
# Each case is a function case_*, run by a shell of its own in a folder of its own; any failing command fails it (so no
# `!`, which -e does not see: `not`). A case that cannot run here says why by skip.
set -euo pipefail
umask 022
self=$(realpath "$0")
RAC_LAYER=$(realpath "$1")
FIXTURES=${self%/unit/*}/fixtures

rl() { "$RAC_LAYER" "$@"; }
skip() { echo "skip: $1"; exit 77; }
not() { if "$@"; then echo "did not fail: $*"; return 1; fi; }
need() { for t in "$@"; do command -v "$t" > /dev/null || skip "no $t"; done; }
digest() { sed -n 's/.*"gzipDigest": "\(.*\)".*/\1/p' "$1/layer.json"; }
# Runs the command, expects this exit status, keeps what it said in $said.
expect() {
    local want=$1 rc=0
    shift
    said=$(rl "$@" 2>&1) || rc=$?
    [ $rc = "$want" ] || { echo "rac-layer $*: exit status $rc, $want expected: $said"; return 1; }
}
says() { case $said in *"$1"*) ;; *) echo "'$1' expected, said: $said"; return 1 ;; esac; }

# A folder with a bit of everything that needs no privilege. The order of creation is $2 ("" or -r).
make_tree() {
    mkdir -p "$1"
    for d in $(printf '%s\n' a a-b a/c .rac | sort ${2:+"$2"}); do mkdir -p "$1/$d"; done
    for f in $(printf '%s\n' a/1 a-b/2 a/c/3 .rac/hello.txt zz | sort ${2:+"$2"}); do echo "this is $f" > "$1/$f"; done
    chmod 4755 "$1/zz"; chmod 600 "$1/a/1"; chmod 1777 "$1/a"
    if [ -z "$2" ]; then ln "$1/a/1" "$1/b-link"; else mv "$1/a/1" "$1/b-link"; ln "$1/b-link" "$1/a/1"; fi
    ln -s ../../outside "$1/a/sym"
    mkfifo "$1/a/fifo"
    if [ -z "$2" ]; then truncate -s 3M "$1/sparse"; else head -c 3M /dev/zero > "$1/sparse"; fi
    printf end >> "$1/sparse"
    local long
    long=$(printf 'n%.0s' {1..120})
    mkdir "$1/$long"; echo long > "$1/$long/$long"
    ln -s "/$long/$long" "$1/longlink"
    touch "$1/.wh.gone"
}

case_two_folders_same_bytes() {
    make_tree one ""
    make_tree sub/two -r
    find sub -exec touch -h -d '2001-02-03' {} +
    rl pack one -o out1 --name n --zstd > log1
    (cd sub && umask 077 && rl pack two -o ../out2 --name n --zstd > ../log2)
    cmp out1/layer.tar.gz out2/layer.tar.gz
    cmp out1/layer.tar.zst out2/layer.tar.zst
    cmp out1/layer.json out2/layer.json
}

case_golden_bytes() {
    # Pinned: the tar is ours to the byte. (The gzip depends on zlib too, which Debian 12 keeps.)
    make_tree one ""
    rl pack one -o out > log
    [ "$(gunzip -c out/layer.tar.gz | sha256sum)" = "48d9c080837de305c9c16f599b1d76e8faf73caffd55bb1155b80404e8dd2369  -" ]
    grep -q "tarDigest   sha256:48d9c080837de305c9c16f599b1d76e8faf73caffd55bb1155b80404e8dd2369" log
}

case_owner_of_files_does_not_matter() {
    [ "$(id -u)" = 0 ] || skip "not root"
    make_tree one ""; make_tree two ""
    chown -hR 1234:5678 two
    chmod 4755 two/zz # chown took the setuid bit away
    rl pack one -o out1 > log; rl pack two -o out2 > log
    cmp out1/layer.tar.gz out2/layer.tar.gz
    rl pack two -o out3 --keep-owner > log
    tar -tvzf out3/layer.tar.gz --numeric-owner | awk '$2 != "1234/5678" { exit 1 }'
    rl pack one -o out4 --owner 1234:5678 > log
    cmp out3/layer.tar.gz out4/layer.tar.gz
}

case_tar_unpacks_the_same_tree() {
    make_tree one ""
    rl pack one -o out > log
    mkdir unpacked
    tar -C unpacked -xpzf out/layer.tar.gz --no-same-owner
    (cd one && find . -printf '%p %y %m %l\n' | sort) | grep -v '^\. ' > want
    (cd unpacked && find . -printf '%p %y %m %l\n' | sort) | grep -v '^\. ' > got
    diff want got
    (cd one && find . -type f -exec sha256sum {} + | sort) > want
    (cd unpacked && find . -type f -exec sha256sum {} + | sort) > got
    diff want got
    [ unpacked/a/1 -ef unpacked/b-link ]
    [ "$(stat -c %Y unpacked/zz)" = 0 ]
}

case_entries_are_sorted_by_bytes() {
    make_tree one ""
    rl pack one -o out > log
    tar -tzf out/layer.tar.gz | sed 's,/$,,' > got
    LC_ALL=C sort got | diff - got
    not grep -E '^/|(^|/)\.\.(/|$)' got
}

case_first_hard_link_is_the_file() {
    mkdir one; echo x > one/z; ln one/z one/b; ln one/z one/m
    rl pack one -o out > log
    tar -tvzf out/layer.tar.gz > got
    grep -q '^-.* b$' got
    grep -q '^h.* m link to b$' got
    grep -q '^h.* z link to b$' got
}

case_extended_attributes_and_capabilities() {
    need setfattr getfattr setcap getcap
    mkdir one; cp /bin/true one/ping; echo x > one/f
    setfattr -n user.zeta -v 1 one/f 2> log || skip "no user attributes on this file system"
    setfattr -n user.alpha -v 2 one/f
    setcap cap_net_raw+ep one/ping 2> log || skip "may not set capabilities"
    rl pack one -o out > log
    mkdir unpacked
    tar --xattrs --xattrs-include='*' -C unpacked -xpzf out/layer.tar.gz
    getcap unpacked/ping | grep -q cap_net_raw=ep
    [ "$(getfattr --only-values -n user.zeta unpacked/f)" = 1 ]
    # Whatever order the file system lists them in.
    mkdir two; cp -p one/ping two/ping; cp one/f two/f
    setfattr -n user.alpha -v 2 two/f; setfattr -n user.zeta -v 1 two/f; setcap cap_net_raw+ep two/ping
    chmod 755 one/ping two/ping
    rl pack one -o out1 > log; rl pack two -o out2 > log
    cmp out1/layer.tar.gz out2/layer.tar.gz
}

case_overlayfs_marks_become_whiteouts() {
    [ "$(id -u)" = 0 ] || skip "not root"
    mkdir -p one/opaque; echo x > one/opaque/f
    mknod one/gone c 0 0 2> log || skip "may not make device nodes"
    setfattr -n trusted.overlay.opaque -v y one/opaque 2> log || skip "may not set trusted attributes"
    echo > one/.wh.kept
    rl pack one -o out > log
    tar -tzf out/layer.tar.gz > got
    printf '%s\n' .wh.gone .wh.kept opaque/ opaque/.wh..wh..opq opaque/f | diff - got
    # Both ways of writing one: once.
    touch one/.wh.gone
    rl pack one -o out2 > log
    tar -tzf out2/layer.tar.gz | diff - got
}

case_device_nodes_only_when_asked() {
    [ "$(id -u)" = 0 ] || skip "not root"
    mkdir -p one/dev; mknod one/dev/null c 1 3 2> log || skip "may not make device nodes"
    expect 1 pack one -o out
    says "dev/null"; says "--devices"
    [ ! -e out/layer.tar.gz ]
    expect 0 pack one -o out --devices
    tar -tvzf out/layer.tar.gz | grep -q '^c.* 1,3 .* dev/null$'
}

case_sockets_are_left_out_and_named() {
    need python3
    mkdir one; echo x > one/f
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("one/s")'
    expect 0 pack one -o out
    says "1 sockets were left out"
    [ "$(tar -tzf out/layer.tar.gz)" = f ]
}

case_empty_folder() {
    mkdir one
    rl pack one -o out > log
    [ "$(gunzip -c out/layer.tar.gz | wc -c)" = 1024 ]
    rl verify out/layer.json > log
}

case_odd_names() {
    mkdir one; touch one/$'new\nline' one/$'\xff\xfe' one/$'\e[31m' one/'sp ace' one/'-rf' one/'\back' one/é
    rl pack one -o out > log
    rl verify out/layer.json > log
    mkdir unpacked; tar -C unpacked -xzf out/layer.tar.gz
    diff <(cd one && find . -print0 | sort -z | od -c) <(cd unpacked && find . -print0 | sort -z | od -c)
    rl show out/layer.tar.gz > listing
    not grep -q $'\e' listing
}

case_deep_folders() {
    local p=one
    for _ in $(seq 60); do p=$p/dddddddddddddddddddddddddddddd; done
    mkdir -p $p; echo x > $p/f
    rl pack one -o out > log
    [ "$(tar -tzf out/layer.tar.gz | wc -l)" = 61 ]
}

case_gzip_has_no_name_and_no_time() {
    mkdir one; echo x > one/f
    rl pack one -o out > log
    [ "$(head -c 10 out/layer.tar.gz | od -An -tx1 | tr -d ' \n')" = 1f8b08000000000000ff ]
}

case_layer_json_says_it_all() {
    need python3
    mkdir one; echo x > one/f
    rl pack one -o out --name n --platform x86_64 --entrypoint /.rac/bin/rac-init --entrypoint -v --env A=1 --env B=2 > log
    python3 - <<'PY'
import hashlib, gzip, json, os
j = json.load(open("out/layer.json"))
l = j["layers"][0]
data = open("out/" + l["location"], "rb").read()
assert l["gzipDigest"] == "sha256:" + hashlib.sha256(data).hexdigest()
assert l["tarDigest"] == "sha256:" + hashlib.sha256(gzip.decompress(data)).hexdigest()
assert l["gzipSize"] == len(data)
assert (l["name"], l["platform"]) == ("n", "linux/amd64")
assert j["entrypoint"] == ["/.rac/bin/rac-init", "-v"] and j["env"] == ["A=1", "B=2"]
PY
}

case_a_bad_option_leaves_what_was_there() {
    mkdir one; echo x > one/f
    rl pack one -o out > log
    cp -r out before
    expect 1 pack one -o out --env NOVALUE
    says "env"
    expect 1 pack one -o out --platform linux
    says "platform"
    expect 1 pack gone -o out
    says "gone"
    diff -r before out
}

case_output_inside_the_folder_is_refused() {
    mkdir one
    expect 1 pack one -o one/out
    says "lies inside"
    [ ! -e one/out ]
    expect 1 pack one -o one
    # A neighbour with the same beginning is no such folder.
    expect 0 pack one -o one-out
}

case_usage_errors_are_2() {
    mkdir one
    expect 2; says "--help"
    expect 2 nonsense; says "nonsense"
    expect 2 pack
    expect 2 pack one
    expect 2 pack one two -o out
    expect 2 pack one -o out --owner root
    expect 2 pack one -o out --owner 0:0 --keep-owner
    expect 2 pack one -o out --mtime yesterday
    expect 2 pack one -o out --nonsense
    expect 2 inject --layout x
    expect 2 inject --injection x
    expect 2 verify
    expect 2 show
    expect 2 show a b
}

case_help_is_there_for_all() {
    for c in "" pack inject verify show; do
        expect 0 $c --help
        says "Usage: rac-layer"
    done
    expect 0 --version
    says "rac-layer "
}

case_full_output_is_an_error() {
    [ -w /dev/full ] || skip "no /dev/full"
    not rl --help > /dev/full 2> log
    mkdir one; rl pack one -o out > log
    not rl show out/layer.tar.gz > /dev/full 2> log
    grep -q 'cannot write' log
}

case_verify_finds_what_is_wrong() {
    mkdir one; seq 100000 > one/f
    rl pack one -o out > log
    expect 0 verify out/layer.json; says "ok  $(digest out)"
    cp -r out bad; printf x >> bad/layer.tar.gz
    expect 1 verify bad/layer.json; says "gzipSize"
    cp out/layer.tar.gz bad/; printf x | dd of=bad/layer.tar.gz bs=1 seek=1000 conv=notrunc 2> log
    expect 1 verify bad/layer.json; says "gzipDigest"; says "expected"; says "found"
    cp out/layer.tar.gz bad/
    sed -i 's/"tarDigest": "sha256:../"tarDigest": "sha256:00/' bad/layer.json
    expect 1 verify bad/layer.json; says "tarDigest"; says "expected"; says "found"
    rm bad/layer.tar.gz
    expect 1 verify bad/layer.json; says "bad/layer.tar.gz"
    expect 1 verify nowhere.json
    echo '{"layers":[{"location":"https://x/y","gzipDigest":"'"$(digest out)"'","gzipSize":1,"tarDigest":"'"$(digest out)"'"}]}' > far.json
    expect 1 verify far.json; says "download it"
}

case_verify_reads_data_locations() {
    need python3
    mkdir one; echo x > one/f
    rl pack one -o out > log
    python3 - <<'PY'
import base64, json, zlib
data = open("out/layer.tar.gz", "rb").read()
j = json.load(open("out/layer.json"))
for kind, b in (("data", data), ("gzip", zlib.compress(data))):
    j["layers"][0]["location"] = kind + ":" + base64.b64encode(b).decode()
    json.dump(j, open(kind + ".json", "w"))
PY
    expect 0 verify data.json
    expect 0 verify gzip.json
    # Where bytes come from does not change what they are.
    [ "$(rl show data.json | head -1)" = "$(rl show out/layer.json | head -1)" ]
    [ "$(rl show data.json | wc -c)" -lt 2000 ]
}

case_show_knows_its_files() {
    make_tree one ""
    rl pack one -o out --zstd --entrypoint /e > log
    rl show out/layer.tar.gz > a; rl show out/layer.tar.zst > b; gunzip -c out/layer.tar.gz | rl show - > c
    cmp a b; cmp a c
    grep -q 'a/sym -> ../../outside$' a
    grep -q 'b-link = a/1$' a
    rl show out/layer.json | grep -q '^entrypoint  *\/e$'
    rl show - < "$FIXTURES/hello-world/index.json" | grep -q '^index  *sha256:975f4b14'
    rl show "$FIXTURES/hello-world/manifest.json" | grep -q '^manifest  *sha256:f54a58bc'
    rl show "$FIXTURES/hello-world/config.json" | grep -q '^Cmd  *\["/hello"\]'
    rl show "$FIXTURES/schema1-manifest.json" | grep -q 'no (schema1)'
    expect 1 show /bin/sh; says "neither JSON nor a tar"
    head -c 2000 out/layer.tar.gz > cut.tar.gz
    expect 1 show cut.tar.gz
}

case_a_file_larger_than_memory_allowed() {
    # 600 MiB through a command that may use 100 MiB of its own (not with a sanitizer, which reserves terabytes).
    if grep -qE "__[at]san_init" "$RAC_LAYER"; then skip "built with a sanitizer"; fi
    mkdir one; truncate -s 600M one/big
    (ulimit -v 300000; rl pack one -o out > log; rl verify out/layer.json > log)
    [ "$(gunzip -c out/layer.tar.gz | wc -c)" = $((512 + 600 * 1048576 + 1024)) ]
}

# An OCI layout in $1 of one image with one layer; further arguments: its config's members.
make_layout() {
    python3 - "$@" <<'PY'
import gzip, hashlib, io, json, os, sys, tarfile
dir = sys.argv[1]
os.makedirs(dir + "/blobs/sha256")
def blob(b):
    d = hashlib.sha256(b).hexdigest()
    open(f"{dir}/blobs/sha256/{d}", "wb").write(b)
    return {"digest": "sha256:" + d, "size": len(b)}
def image(arch):
    t = io.BytesIO()
    with tarfile.open(fileobj=t, mode="w") as tar:
        i = tarfile.TarInfo("base-" + arch); i.size = 2; tar.addfile(i, io.BytesIO(b"x\n"))
    tar = t.getvalue()
    layer = blob(gzip.compress(tar, mtime=0))
    os_ = "windows" if arch == "win" else "linux"
    config = blob(json.dumps({"os": os_, "architecture": arch, "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]}}).encode())
    m = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": dict(mediaType="application/vnd.oci.image.config.v1+json", **config),
        "layers": [dict(mediaType="application/vnd.oci.image.layer.v1.tar+gzip", **layer)]}).encode())
    return dict(mediaType="application/vnd.oci.image.manifest.v1+json", **m, platform={"os": os_, "architecture": arch})
def index(children, **more):
    return dict(mediaType="application/vnd.oci.image.index.v1+json",
        **blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": children}).encode()), **more)
amd, arm, win = image("amd64"), image("arm64"), image("win")
attest = dict(image("unknown"), platform={"os": "unknown", "architecture": "unknown"},
    annotations={"vnd.docker.reference.digest": amd["digest"]})
top = {"one": [dict(amd, annotations={"org.opencontainers.image.ref.name": "docker.io/library/one:1.0"})],
       "many": [index([amd, arm, win, attest])],
       "nested": [index([index([index([amd])])])],
       "deep": [index([index([index([index([index([amd])])])])])]}[sys.argv[2]]
json.dump({"schemaVersion": 2, "manifests": top}, open(dir + "/index.json", "w"))
open(dir + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
PY
}

make_injection() { mkdir -p add/.rac; echo hello > add/.rac/hello.txt; rl pack add -o inj --name rac "$@" > log; }

case_inject_rewrites_a_layout() {
    need python3
    make_layout lay one; make_injection
    cp -r lay before
    expect 0 inject --layout lay --injection inj/layer.json --out new
    says "docker.io/library/one  linux/amd64"; says " -> sha256:"
    diff -r before lay
    cp -r lay place; expect 0 inject --layout place --injection inj/layer.json
    cmp new/index.json place/index.json
    # Everything that the new layout names is there, with the right digest; nothing else is.
    (cd new/blobs/sha256 && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet)
    [ "$(find new/blobs/sha256 -type f | wc -l)" = 4 ]
    python3 - <<'PY'
import json
def blob(d): return json.load(open("new/blobs/" + d["digest"].replace(":", "/")))
top = json.load(open("new/index.json"))["manifests"][0]
assert top["annotations"] == {"org.opencontainers.image.ref.name": "docker.io/library/one:1.0"}
m = blob(top); c = blob(m["config"])
old = json.load(open("lay/index.json"))["manifests"][0]["digest"]
assert len(m["layers"]) == len(c["rootfs"]["diff_ids"]) == 2
assert c["config"]["Labels"]["rac.source"] == "docker.io/library/one@" + old
assert m["annotations"]["org.opencontainers.image.base.digest"] == old
PY
}

case_inject_is_the_same_everywhere() {
    need python3
    make_layout a/lay many; make_layout b/other many; make_injection
    (cd a && rl inject --layout lay --injection ../inj/layer.json --name docker.io/library/x --out out > ../log1)
    rl inject --layout b/other --injection inj/layer.json --name docker.io/library/x > log2
    cmp a/out/index.json b/other/index.json
    cmp log1 log2
}

case_inject_indexes() {
    need python3
    make_layout lay many; make_injection
    expect 0 inject --layout lay --injection inj/layer.json --out new
    says "unchanged (platform)"
    python3 - <<'PY'
import json
def blob(dir, d): return json.load(open(dir + "/blobs/" + d["digest"].replace(":", "/")))
old = blob("lay", json.load(open("lay/index.json"))["manifests"][0])["manifests"]
new = blob("new", json.load(open("new/index.json"))["manifests"][0])["manifests"]
assert [d["platform"] for d in new] == [d["platform"] for d in old[:3]], "the attestation of a rewritten image goes"
assert new[0]["digest"] != old[0]["digest"] and new[1]["digest"] != old[1]["digest"]
assert new[2] == old[2], "Windows stays"
PY
    make_injection --platform arm64
    rl inject --layout lay --injection inj/layer.json --out arm > log
    python3 - <<'PY'
import json
def blob(dir, d): return json.load(open(dir + "/blobs/" + d["digest"].replace(":", "/")))
old = blob("lay", json.load(open("lay/index.json"))["manifests"][0])["manifests"]
new = blob("arm", json.load(open("arm/index.json"))["manifests"][0])["manifests"]
assert [a == b for a, b in zip(old, new)] == [True, False, True, True], "the attestation of what stayed stays"
PY
}

case_inject_nested_indexes() {
    need python3
    make_injection
    make_layout lay nested
    expect 0 inject --layout lay --injection inj/layer.json; says " -> "
    make_layout deep deep
    cp -r deep before
    expect 1 inject --layout deep --injection inj/layer.json; says "4"
    cmp before/index.json deep/index.json
}

case_inject_refuses_bad_input() {
    need python3
    make_layout lay one; make_injection
    expect 1 inject --layout nowhere --injection inj/layer.json; says "nowhere"
    expect 1 inject --layout inj --injection inj/layer.json; says "no OCI layout"
    expect 1 inject --layout lay --injection nowhere.json; says "nowhere.json"
    # A damaged layer or blob is found before anything names it.
    cp -r lay before
    printf x >> inj/layer.tar.gz
    expect 1 inject --layout lay --injection inj/layer.json; says "gzipSize"
    cmp before/index.json lay/index.json
    # One that is among the blobs already is checked too.
    make_injection
    cp -r lay twice
    expect 0 inject --layout twice --injection inj/layer.json
    sed -i 's/"tarDigest": "sha256:../"tarDigest": "sha256:00/' inj/layer.json
    expect 1 inject --layout twice --injection inj/layer.json; says "tarDigest"
    make_injection
    for f in lay/blobs/sha256/*; do printf ' ' >> "$f"; done
    expect 1 inject --layout lay --injection inj/layer.json; says "damaged"
    cmp before/index.json lay/index.json
}

case_inject_nothing_changes_nothing() {
    need python3
    make_layout lay one
    cp -r lay before
    echo '{}' > empty.json
    expect 0 inject --layout lay --injection empty.json; says "unchanged (empty)"
    diff -r before lay
    expect 0 inject --layout lay --injection empty.json --out copy
    cmp before/index.json copy/index.json
    [ "$(find copy/blobs/sha256 -type f | wc -l)" = 3 ]
}

case_skopeo_and_umoci_take_the_result() {
    need skopeo umoci python3
    make_layout lay one; make_injection --env RAC=1
    python3 -c '
import json; p = "lay/index.json"; j = json.load(open(p))
j["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "v1"; json.dump(j, open(p, "w"))'
    rl inject --layout lay --injection inj/layer.json --out new --name docker.io/library/one > log
    skopeo --insecure-policy copy oci:new:v1 "dir:copied" > log 2>&1
    skopeo --insecure-policy copy oci:new:v1 "docker-archive:image.tar:one:v1" > log 2>&1
    umoci unpack --rootless --image new:v1 bundle > log 2>&1
    [ "$(cat bundle/rootfs/.rac/hello.txt)" = hello ]
    [ "$(cat bundle/rootfs/base-amd64)" = x ]
    grep -q '"RAC=1"' bundle/config.json
}

if [ $# = 2 ]; then
    "case_$2"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
for c in $(compgen -A function case_); do
    c=${c#case_}
    mkdir "$work/$c"
    rc=0
    (cd "$work/$c" && exec bash "$self" "$RAC_LAYER" "$c") > "$work/out" 2>&1 || rc=$?
    case $rc in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)); echo "skipped $c: $(sed -n 's/^skip: //p' "$work/out")" ;;
    *) failed=$((failed + 1)); echo "FAILED $c"; sed 's/^/    /' "$work/out" ;;
    esac
    rm -rf "${work:?}/$c"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
