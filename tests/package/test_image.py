# SPDX-License-Identifier: Apache-2.0
"""The container image of rac-proxy itself, made without docker and run by docker: read-only, no capability, no root."""
import os
import re
import secrets

import pytest

from rig import images, proxy, radosgw, wire
from rig.process import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture(scope="module")
def archive(scratch, deb):
    """After the package, for which everything was built."""
    assert deb
    path = os.path.join(scratch.folder("image"), "rac-proxy.tar")
    scratch.run(os.path.join(proxy.ROOT, "packaging", "image"), path)
    return path


def test_it_serves(docker, archive, up):
    reference = re.search(r"rac-proxy:\S+", docker.command("load", "-i", archive).stdout)[0]
    up.tag("lib/app", "1", images.tiny())
    address, name = f"127.0.0.1:{radosgw.free_port()}", f"proxy-{secrets.token_hex(4)}"
    url = re.sub(r"//[\d.]+:", "//localhost:", up.url)  # names are looked up in it
    docker.command("run", "-d", "--name", name, "--network", "host", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                   "--ulimit", "nofile=4096:4096", reference, "--listen", address, "--upstream", f"up.test={url}")
    try:
        def log():
            done = docker.command("logs", name, check=False)
            return done.stdout + done.stderr
        wait_for(lambda: "msg=ready" in log() or "cannot start" in log(), 30, "the container's log")
        assert "msg=ready" in log(), log()
        assert wire.fetch(address, "GET", "/readyz").status == 200
        got = wire.fetch(address, "GET", "/v2/lib/app/manifests/1", {"Accept": wire.MANIFEST_TYPES})
        assert got.status == 200 and len(got.json["layers"]) == 2, (got.body, log()[-2000:])
        pid = int(docker.command("inspect", "-f", "{{.State.Pid}}", name).stdout)
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = f.read()
        assert re.search(r"Uid:\t65532\b", status) and re.search(r"CapBnd:\t0+\n", status), status
        docker.command("stop", name)
        assert docker.command("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() == "0", log()[-2000:]
        assert "msg=drained" in log()
    finally:
        docker.command("rm", "-f", "-v", name, check=False)


def test_nothing_else_is_in_it(scratch, archive):
    """No shell, nothing that could start another program, nothing that belongs to a user who writes it."""
    folder = scratch.folder("files")
    scratch.run("tar", "-C", folder, "-xf", archive, "layer.tar")
    listed = scratch.run("tar", "--numeric-owner", "-tvf", os.path.join(folder, "layer.tar")).stdout.splitlines()
    rows = [line.split(None, 5) for line in listed]
    programs = {row[5] for row in rows if row[0][0] == "-" and "x" in row[0] and not re.search(r"\.so(\.|$)", row[5])}
    assert programs == {"./usr/bin/rac-proxy"}, programs
    assert {row[5] for row in rows if row[1] != "0/0"} == {"./var/lib/rac-proxy/"}
    assert not [row for row in rows if "s" in row[0].lower()]
