# SPDX-License-Identifier: Apache-2.0
"""Starting, asking how it is, changing its mind, ending."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
import yaml

from rig import images, proxy, wire

NAME = "lib/app"


def test_version(scratch):
    done = proxy.run_once(scratch, "--version")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout) and not done.stderr


def test_help(scratch):
    done = proxy.run_once(scratch, "--help")
    assert done.returncode == 0 and not done.stderr
    assert all(flag in done.stdout for flag in ("--listen", "--data", "--upstream", "--inject", "--config",
                                                "--cache-size"))
    assert "\x1b" not in done.stdout and max(map(len, done.stdout.splitlines())) <= 120


def test_healthz_and_readyz(px):
    for path in ("/healthz", "/readyz"):
        reply = px.get(path)
        assert reply.status == 200 and px.head(path).status == 200


def test_readyz_says_which_store_is_broken(px):
    blobs = os.path.join(px.data, "blobs")
    subprocess.run(["rm", "-rf", os.path.join(px.data, "partial"), blobs], check=True)
    with open(blobs, "w", encoding="ascii") as f:
        f.write("in the way")
    reply = px.get("/readyz")
    assert reply.status == 503 and "blob store" in reply.json["message"]
    alone = px.get("/readyz?exclude=state")
    assert alone.status == 503 and "blob store" in alone.json["message"]
    assert px.get("/healthz").status == 200


def test_metrics_count_what_happened(ix, up):
    image = up.tag(NAME, "1", images.tiny())
    before = ix.metrics()
    reply = ix.manifest(NAME, "1")
    for _ in range(3):
        ix.manifest(NAME, "1")
    ix.blob(NAME, image.layers[0])
    ix.blob(NAME, image.layers[0])
    after = ix.metrics()
    assert all(re.fullmatch(r'rac_[a-z0-9_]+(\{[^}]*\})?|process_[a-z_]+(\{[^}]*\})?', name)
               for name in after), list(after)

    def grown(*words):
        return sum(v - before.get(k, 0) for k, v in after.items() if all(w in k for w in words))
    assert grown("rac_", "requests_total", "manifests") >= 4
    assert grown("upstream", "requests_total") >= 3 and grown("upstream", "bytes_total") > 0
    assert grown("injections_total") >= 1 or grown("injection", "made") >= 1
    assert reply.status == 200


def test_metrics_are_well_formed_prometheus_text(px):
    reply = px.get("/metrics")
    assert reply.status == 200 and reply["Content-Type"].startswith("text/plain")
    typed, seen = set(), set()
    for line in reply.body.decode().splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed, f"{name} is declared twice"
            typed.add(name)
        elif line and not line.startswith("#"):
            found = re.fullmatch(r'([a-z_:][a-z0-9_:]*)(\{([a-z_]+="(\\.|[^"\\])*",?)*\})? (\S+)', line)
            assert found, line
            float(found.group(5))
            assert line.rpartition(" ")[0] not in seen, line
            seen.add(line.rpartition(" ")[0])
            assert found.group(1) in typed or re.sub(r"_(bucket|sum|count)$", "",
                                                     found.group(1)) in typed, line


def test_the_access_log_has_one_line_a_request(px, up):
    up.tag(NAME, "1", images.tiny())
    request_id = px.manifest(NAME, "1")["X-Request-Id"]
    px.stop()
    lines = [line for line in px.log().splitlines() if request_id in line and "status=" in line]
    assert len(lines) == 1 and "status=200" in lines[0] and f"/v2/{NAME}/manifests/1" in lines[0]


def test_logs_as_logfmt(make, up):
    p = make({"up.test": up.url}, ["--log-format", "logfmt"])
    p.stop()
    assert all(re.match(r"^(time|ts|level)=", line) for line in p.log().splitlines() if line.strip()), p.log()


def test_two_listeners(make, up):
    p = make({"up.test": up.url}, ["--listen", "127.0.0.1:0"])
    assert len(p.addresses) == 2 and len(set(p.addresses)) == 2
    assert all(wire.fetch(a, "GET", "/v2/").status == 200 for a in p.addresses)


@pytest.mark.parametrize("args,words", [
    (["--listen", "nonsense"], ["listen", "nonsense"]),
    (["--listen", "127.0.0.1:99999"], ["99999"]),
    (["--upstream", "x"], ["upstream", "x"]),
    (["--upstream", "a.test=ftp://x"], ["ftp"]),
    (["--upstream", "a.test=http://user:pw@x"], ["--upstream", "password-file"]),
    (["--cache-size", "much"], ["cache", "much"]),
    (["--cache-size", "0%"], ["cache"]),
    (["--upstream-fresh", "soon"], ["fresh", "soon"]),
    (["--log-level", "loud"], ["loud"]),
    (["--inject", "/nonexistent.json"], ["/nonexistent.json"]),
    (["--config", "/nonexistent.yaml"], ["/nonexistent.yaml"]),
    (["--lissten", "x"], ["--lissten", "--listen"]),
    (["--default-upstream", "no.such"], ["no.such"]),
    (["--tls-certificate", "/nonexistent.pem"], ["tls"]),
    (["stray"], ["stray"]),
])
def test_options_that_are_wrong(scratch, args, words):
    done = proxy.run_once(scratch, "--data", scratch.folder("d"), "--check-config", *args)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert all(w in done.stderr for w in words), done.stderr
    assert "pw" not in done.stderr.split()


@pytest.mark.parametrize("text,words", [
    ("upstrems: []", ["upstrems", "upstreams", "1"]),
    ("listen: 5\n", ["listen"]),
    ("cache: [\n", ["2"]),
    ("upstreams:\n  - name: a.test\n    urll: http://x\n", ["3", "urll"]),
    ("upstreams:\n  - url: http://x\n", ["name"]),
    ("upstreams:\n  - {name: a.test, url: 'http://x', username: u}\n", ["password"]),
    ("upstreams:\n  - {name: a.test, url: 'http://x', username: u, password-file: /nonexistent-file}\n",
     ["/nonexistent-file"]),
    ("data: a\ndata: b\n", ["data", "2"]),
    ("a: &x [1]\nb: *x\n", ["1"]),
    ("inject:\n  - match: '*'\n", ["injection"]),
    ("inject: /nonexistent-injection.json\n", ["/nonexistent-injection.json"]),
    ("\t- x", ["1"]),
    ("x" * (2 << 20), ["proxy.yaml"]),
])
def test_configuration_files_that_are_wrong(scratch, text, words):
    path = os.path.join(scratch.folder("config"), "proxy.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    done = proxy.run_once(scratch, "--check-config", "--config", path, "--data", scratch.folder("d"))
    assert done.returncode == 2 and path in done.stderr, done.stderr
    assert all(w in done.stderr for w in words), done.stderr


def test_a_configuration_that_is_right(scratch):
    path = os.path.join(scratch.folder("config"), "proxy.yaml")
    password = proxy.secret("never-to-be-printed")
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump({"upstreams": [{"name": "a.test", "url": "https://a.test", "username": "me",
                                       "password": password}]}, f)
    done = proxy.run_once(scratch, "--check-config", "--config", path, "--data", scratch.folder("d"),
                          "--cache-size", "1GiB",
                          env={"RAC_LOG_LEVEL": "warn"})
    assert done.returncode == 0 and "valid" in done.stdout
    assert password not in done.stdout + done.stderr


def test_flag_over_environment_over_file(make, up):
    """Whether something missing is asked for again shows which value of upstream.missing holds."""
    def asked(args=(), env=None, **members):
        p = make({"up.test": up.url}, args, config=members, env=env)
        up.log.clear()
        p.manifest(NAME, "1")
        first = len(up.log)
        p.manifest(NAME, "1")
        return len(up.log) - first
    long, none = "1h", "0s"
    assert asked(**{"upstream": {"missing": long}}) == 0 and asked(**{"upstream": {"missing": none}}) > 0
    assert asked(env={"RAC_UPSTREAM_MISSING": none}, **{"upstream": {"missing": long}}) > 0
    assert asked(["--upstream-missing", long], {"RAC_UPSTREAM_MISSING": none}) == 0


def test_a_port_that_is_taken(scratch, px):
    done = proxy.run_once(scratch, "--listen", px.address, "--data", scratch.folder("d"))
    assert done.returncode == 1 and px.address.rpartition(":")[2] in done.stderr and "use" in done.stderr


def test_a_data_folder_that_is_in_use(scratch, px):
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", px.data)
    assert done.returncode == 1 and px.data in done.stderr and "use" in done.stderr


def test_a_data_folder_that_cannot_be_made(scratch):
    done = proxy.run_once(scratch, "--listen", "127.0.0.1:0", "--data", "/proc/nothing")
    assert done.returncode == 1 and "/proc/nothing" in done.stderr


def test_reload_takes_new_upstreams_without_dropping_a_connection(make, up, another):
    p = make(config={"upstreams": [{"name": "one.test", "url": up.url}]})
    image = another.tag(NAME, "1", images.tiny())
    with wire.Connection(p.address) as c:
        assert c.request("GET", f"/v2/two.test/{NAME}/manifests/1").status == 403
        p.configure({"upstreams": [{"name": "one.test", "url": up.url},
                                   {"name": "two.test", "url": another.url}]})
        p.reload()
        reply = c.request("GET", f"/v2/two.test/{NAME}/manifests/1")
        assert (reply.status, reply.body) == (200, image.manifest)


def test_a_reload_of_nonsense_changes_nothing(make, up):
    p = make(config={"upstreams": [{"name": "up.test", "url": up.url}]})
    image = up.tag(NAME, "1", images.tiny())
    p.configure({"upstreams": [{"name": "up.test", "url": "ftp://nonsense"}]})
    p.reload()
    assert p.manifest(NAME, "1").body == image.manifest
    assert re.search(r"level=(error|warn).*ftp", p.log())


def test_a_reload_takes_new_rules(make, up, layer):
    base = {"upstreams": [{"name": "up.test", "url": up.url}]}
    p = make(config=base)
    image = up.tag(NAME, "1", images.tiny())
    assert p.manifest(NAME, "1").body == image.manifest
    p.configure({**base, "inject": [{"match": "*/lib/*", "injection": layer.path}]})
    p.reload()
    assert p.manifest(NAME, "1").json["layers"][-1]["digest"] == layer.gzip_digest


def test_tls_and_a_new_certificate(make, authority, up):
    certificate, key = authority.issue("front")
    p = make({"up.test": up.url}, ["--tls-certificate", certificate, "--tls-key", key])
    image = up.tag(NAME, "1", images.random_image("tls", [300_000]))
    client = authority.client()
    client.check_hostname = False

    def served():
        import socket  # pylint: disable=import-outside-toplevel
        with socket.create_connection(wire.split(p.address)) as s, client.wrap_socket(s) as t:
            return t.getpeercert(binary_form=True)
    assert wire.fetch(p.address, "GET", f"/v2/{NAME}/manifests/1", tls=client).body == image.manifest
    assert wire.fetch(p.address, "GET", f"/v2/{NAME}/blobs/{image.layers[0]}",
                      tls=client).digest == image.layers[0]
    assert wire.fetch(p.address, "GET", f"/v2/{NAME}/blobs/{image.layers[0]}",
                      tls=client).digest == image.layers[0]
    first = served()
    for new, old in zip(authority.issue("front2"), (certificate, key)):
        os.replace(new, old)
    p.reload()
    assert served() != first


def test_a_blob_comes_in_full_tls_records_from_its_beginning(make, authority, up):
    certificate, key = authority.issue("records")
    p = make({"up.test": up.url}, ["--tls-certificate", certificate, "--tls-key", key])
    image = up.tag(NAME, "1", images.random_image("records", [150_000]))
    client = authority.client()
    assert wire.fetch(p.address, "GET", f"/v2/{NAME}/manifests/1", tls=client).status == 200
    assert wire.fetch(p.address, "GET", f"/v2/{NAME}/blobs/{image.layers[0]}", tls=client).digest == image.layers[0]
    answer, sizes = wire.tls_records(p.address, client, f"/v2/{NAME}/blobs/{image.layers[0]}")
    assert wire.sha256(answer.partition(b"\r\n\r\n")[2]) == image.layers[0]
    assert max(sizes) > 16000 and len(sizes) < 30  # in records of 1,400 bytes it would be over a hundred


def test_a_hundred_idle_connections_and_a_limit(make, up):
    p = make({"up.test": up.url}, ["--http-max-connections", "20"])
    held = [wire.Raw(p.address)]
    try:
        for _ in range(2):  # in, before there are others; and served as before when the limit is reached
            held[0].send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert held[0].read_reply().status == 200
            if len(held) == 1:
                held += [wire.Raw(p.address) for _ in range(39)]
                time.sleep(0.3)
    finally:
        for c in held:
            c.close()
    assert p.get("/healthz").status == 200


def test_sigint_ends_it_too(make, up):
    p = make({"up.test": up.url})
    p.daemon.signal(signal.SIGINT)
    assert p.daemon.process.wait(20) == 0


def test_scrub_finds_a_flipped_bit(scratch, px, up):
    image = up.tag(NAME, "1", images.random_image("scrub", [100_000]))
    px.manifest(NAME, "1")
    px.blob(NAME, image.layers[0])
    from rig.process import wait_for  # pylint: disable=import-outside-toplevel
    path = px.blob_file(image.layers[0])
    wait_for(lambda: os.path.exists(path), 10, "blob in the store")
    px.stop()
    assert proxy.run_once(scratch, "--scrub", "--data", px.data).returncode == 0
    data = bytearray(images.read(path))
    data[5000] ^= 1
    os.chmod(path, 0o600)
    with open(path, "wb") as f:
        f.write(data)
    done = proxy.run_once(scratch, "--scrub", "--data", px.data)
    assert done.returncode == 1 and "1 damaged" in done.stdout, done.stdout + done.stderr
    assert not os.path.exists(path)
    px.start()
    assert px.blob(NAME, image.layers[0]).digest == image.layers[0]


def test_scrub_beside_a_running_proxy(scratch, px, up):
    image = up.tag(NAME, "1", images.random_image("scrub beside", [100_000]))
    px.manifest(NAME, "1")
    px.blob(NAME, image.layers[0])
    from rig.process import wait_for  # pylint: disable=import-outside-toplevel
    path = px.blob_file(image.layers[0])
    wait_for(lambda: os.path.exists(path), 10, "blob in the store")
    px.blob(NAME, image.layers[0])  # open in the proxy by now
    with open(path, "r+b") as f:
        f.seek(5000)
        f.write(b"spoilt")
    assert proxy.run_once(scratch, "--scrub", "--data", px.data).returncode == 1
    wait_for(lambda: px.blob(NAME, image.layers[0]).digest == image.layers[0], 20, "the right bytes again")


def test_data_is_not_for_everybody(px, up):
    image = up.tag(NAME, "1", images.tiny())
    px.manifest(NAME, "1")
    px.blob(NAME, image.layers[0])
    from rig.process import wait_for  # pylint: disable=import-outside-toplevel
    wait_for(lambda: os.path.exists(px.blob_file(image.layers[0])), 10, "blob in the store")
    for folder, _, files in os.walk(px.data):
        for name in files:
            assert os.stat(os.path.join(folder, name)).st_mode & 0o007 == 0, os.path.join(folder, name)


def test_logs_as_json(make, up):
    p = make({"up.test": up.url}, ["--log-format", "json"], start=False)
    from rig.process import Daemon, wait_for  # pylint: disable=import-outside-toplevel
    p.daemon = Daemon(p.scratch, "proxy", [proxy.binary("rac-proxy"), *p.args], env=p.env)
    wait_for(lambda: '"ready"' in p.log(), 20, "ready line")
    p.stop()
    lines = [json.loads(line) for line in p.log().splitlines() if line.strip()]
    ready = next(line for line in lines if line.get("msg") == "ready")
    assert ready["listen"].startswith("127.0.0.1:")
