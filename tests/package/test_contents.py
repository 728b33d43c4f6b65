# SPDX-License-Identifier: Apache-2.0
"""What is in the package, and whether Debian's own tools and the shells find it good."""
import gzip
import json
import os
import re

import pytest

from conftest import needs, output


def test_what_is_in_it(deb):
    found = {}
    for line in output("dpkg-deb", "-c", deb).splitlines():
        mode, owner, _, _, _, path = line.split(None, 5)
        found[path] = mode
        assert owner == "root/root", line
        assert not re.search("[sSt]", mode) and mode[8] != "w", line
        assert re.match(r"\./((etc|lib|usr)(/|$)|$)", path), line
    for path, mode in {"./usr/bin/rac-proxy": "-rwxr-xr-x", "./usr/bin/rac-layer": "-rwxr-xr-x", "./etc/rac-proxy/config.yaml": "-rw-r--r--",
                       "./lib/systemd/system/rac-proxy.service": "-rw-r--r--", "./usr/share/man/man1/rac-proxy.1.gz": "-rw-r--r--",
                       "./usr/share/rac/layer/layer.json": "-rw-r--r--",
                       "./usr/share/bash-completion/completions/rac-proxy": "-rw-r--r--"}.items():
        assert found.get(path) == mode, (path, found.get(path))


def test_what_it_says_of_itself(deb):
    fields = dict(line.split(": ", 1) for line in output("dpkg-deb", "-f", deb).splitlines() if re.match(r"[A-Z][\w-]*: ", line))
    for library in ("libc6", "libcurl4", "libh2o-evloop0.13", "libssl3", "libsqlite3-0", "libhiredis0.14", "adduser"):
        assert re.search(rf"(^|, ){re.escape(library)}\b", fields["Depends"]), fields["Depends"]
    assert fields["Package"] == "rac-proxy" and fields["Architecture"] == output("dpkg", "--print-architecture").strip()


def test_the_layer_is_whole_and_for_both_architectures(unpacked, scratch):
    folder = os.path.join(unpacked, "usr/share/rac/layer")
    with open(os.path.join(folder, "layer.json"), encoding="utf-8") as f:
        layers = json.load(f)["layers"]
    assert {layer["platform"]["architecture"] if isinstance(layer["platform"], dict) else layer["platform"].split("/")[1]
            for layer in layers} == {"amd64", "arm64"}
    scratch.run(os.path.join(unpacked, "usr/bin/rac-layer"), "verify", os.path.join(folder, "layer.json"))


@needs("lintian")
def test_lintian_has_nothing_to_say(deb):
    assert output("lintian", "--allow-root", "--fail-on", "error,warning", deb) == ""


@needs("systemd-analyze")
def test_the_unit_is_right_and_tight(unpacked, scratch):
    unit = os.path.join(unpacked, "lib/systemd/system/rac-proxy.service")
    with open(unit, encoding="utf-8") as f:
        text = f.read()
    assert "ExecStart=/usr/bin/rac-proxy --config /etc/rac-proxy/config.yaml\n" in text
    here = os.path.join(scratch.folder("unit"), "rac-proxy.service")
    with open(here, "w", encoding="utf-8") as f:
        f.write(text.replace("/usr/bin/rac-proxy", os.path.join(unpacked, "usr/bin/rac-proxy")))
    said = scratch.run("systemd-analyze", "verify", "--man=no", here)
    assert "rac-proxy.service:" not in said.stderr, said.stderr
    # The figure is in docs/security.md; 10.0 is a service without any of it.
    scratch.run("systemd-analyze", "security", "--offline=yes", "--threshold=11", here)


@pytest.mark.parametrize("words,has,hasnt", [
    (["--log-l"], ["--log-level"], ["--listen"]),
    (["--log-level", ""], ["debug", "warn"], ["--listen"]),
    (["--log-level", "=", "e"], ["error"], ["debug"]),
    (["--no-inject", "--lis"], ["--listen"], []),
    (["--config", "/etc/host"], ["/etc/hosts"], ["--listen"]),
    (["--data", "/us"], ["/usr"], []),
])
def test_bash_completes(unpacked, words, has, hasnt):
    script = """compopt() { :; }
. "$1"; shift
COMP_WORDS=(rac-proxy "$@") COMP_CWORD=$#
_rac_proxy
printf '%s\\n' "${COMPREPLY[@]}" """
    said = output("bash", "-c", script, "-", os.path.join(unpacked, "usr/share/bash-completion/completions/rac-proxy"), *words).splitlines()
    assert all(w in said for w in has) and not any(w in said for w in hasnt), said


def test_every_flag_is_completed(unpacked):
    flags = set(re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", output(os.path.join(unpacked, "usr/bin/rac-proxy"), "--help"), re.M))
    assert len(flags) > 40
    for shell in ("bash-completion/completions/rac-proxy", "zsh/vendor-completions/_rac-proxy"):
        with open(os.path.join(unpacked, "usr/share", shell), encoding="utf-8") as f:
            assert flags <= set(re.findall(r"--[a-z0-9-]+", f.read()))


def test_the_manual_pages_are_those_of_the_sources(unpacked):
    folder = os.path.join(unpacked, "usr/share/man/man1")
    assert {"rac-proxy.1.gz", "rac-layer.1.gz", "rac-init.1.gz"} <= set(os.listdir(folder))
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as f:
            packed = f.read()
        assert packed[4:8] == b"\0\0\0\0" and gzip.decompress(packed).startswith(b".")
