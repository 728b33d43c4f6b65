# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests that pytest runs. What a fixture starts, it ends; the session checks that nothing is left."""
import itertools
import signal
import sys
import zlib

import pytest

sys.dont_write_bytecode = True

from rig import certs, cluster, engines, images, process, proxy, radosgw, registry, tokens, upstream  # noqa: E402
from rig.bucket import Bucket  # noqa: E402
from rig.redis import Redis  # noqa: E402

_buckets = itertools.count()
# Short limits, so that a test of a fault takes as long as the fault and not as long as a patient user would wait.
IMPATIENT = ["--upstream-connect-timeout", "2s", "--upstream-head-timeout", "2s", "--upstream-stall-timeout",
             "2s",
             "--upstream-missing", "0s"]


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the cases that take minutes")
    parser.addoption("--shard", metavar="K/N", help="the K-th of N parts of the tests, for running them side by side")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; only with --long")
    config.addinivalue_line("markers", "replicated: of what `topology` repeats with replicas, this is not left to --long")
    # Asked to stop, from a terminal or by a script that runs this in the background: fixtures end what they started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Scripts ignore it in what they start in the background, and what is ignored is handed on to containers.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_make_parametrize_id(config, val, argname):
    """Some cases are kilobytes long: their names are not."""
    del config, argname
    return f"{val[:40]}...{len(val)}" if isinstance(val, str) and len(val) > 60 else None


def pytest_collection_modifyitems(config, items):
    if config.getoption("--shard"):
        part, parts = map(int, config.getoption("--shard").split("/"))
        # By function, so that cases which share what their module started stay together.
        mine = [i for i in items if zlib.crc32(i.nodeid.partition("[")[0].encode()) % parts == part - 1]
        config.hook.pytest_deselected(items=[i for i in items if i not in mine])
        items[:] = mine
    if not config.getoption("--long"):
        for item in items:
            again = hasattr(item, "callspec") and item.callspec.params.get("topology") == "three"
            if item.get_closest_marker("long") or (again and not item.get_closest_marker("replicated")):
                item.add_marker(pytest.mark.skip(reason="takes minutes: ./test.sh --long"))


@pytest.fixture(scope="session")
def scratch():
    s = process.Scratch()
    yield s
    left = s.close()
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def authority(scratch):
    return certs.Authority(scratch)


@pytest.fixture(scope="session")
def layer(scratch):
    return proxy.Layer(scratch)


@pytest.fixture
def up():
    u = upstream.Upstream()
    yield u
    u.close()


@pytest.fixture
def another():
    """A second server, on another port: another host, as far as credentials go."""
    u = upstream.Upstream()
    yield u
    u.close()


@pytest.fixture
def redis(scratch):
    r = Redis(scratch)
    yield r
    r.close()


@pytest.fixture
def make(scratch, request):
    """make(...) is a Proxy that is stopped and checked at the end of the test."""
    made = []

    def start(*args, **kwargs):
        made.append(proxy.Proxy(scratch, *args, **kwargs))
        return made[-1]
    yield start
    problems = []
    for p in made:
        try:
            p.close()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module", params=["one", "three"])
def topology(request, scratch):
    """topology(upstreams, args, ...) is a Proxy, or three of them on one Redis behind a balancer: whoever pulls must not
    be able to tell. Engines begin with nothing: the layers are the same, and would not be pulled again."""
    made = []

    def start(*args, **kwargs):
        made.append((proxy.Proxy if request.param == "one" else cluster.Cluster)(scratch, *args, **kwargs))
        return made[-1]
    if request.param == "three":
        if Redis.missing():
            pytest.skip("not installed: redis-server")
        for engine in ("docker", "podman", "containerd"):
            request.getfixturevalue(engine).forget()
    yield start
    for one in made:
        one.close()


@pytest.fixture
def px(make, up):
    """A proxy in front of `up`, which is its default upstream and called up.test; nothing is injected."""
    return make({"up.test": up.url}, IMPATIENT)


@pytest.fixture
def ix(make, up, layer):
    """The same with the layer of the tests for every image."""
    return make({"up.test": up.url}, IMPATIENT, inject=layer.path)


@pytest.fixture(scope="session")
def store(scratch):
    """Debian's docker-registry with every image of the tests, as lib/<name>:latest."""
    r = registry.Registry(scratch)
    for name, build in images.RUNNABLE.items():
        r.push(f"lib/{name}", "latest", build())
    yield r
    r.close()


@pytest.fixture(scope="session")
def token_server(scratch):
    t = tokens.TokenServer(scratch, "puller", proxy.secret("correct-horse-token"))
    yield t
    t.close()


@pytest.fixture(scope="session")
def token_registry(scratch, token_server):
    r = registry.Registry(scratch, "token-registry", tokens=token_server)
    r.push("team/private", "latest", images.busybox())
    yield r
    r.close()


@pytest.fixture(scope="session")
def basic_registry(scratch):
    r = registry.Registry(scratch, "basic-registry", basic=("puller", proxy.secret("correct-horse-basic")))
    r.push("team/private", "latest", images.busybox())
    yield r
    r.close()


@pytest.fixture(scope="session")
def gateway(scratch):
    """A real S3 server, 14 s after it is asked for."""
    if radosgw.missing():
        pytest.skip(f"not installed: {' '.join(radosgw.missing())}")
    g = radosgw.Radosgw(scratch)
    yield g
    g.close()


@pytest.fixture
def bucket(gateway):
    """One of the test's own. Nothing may be left of an upload that was begun."""
    b = Bucket(gateway.environment(), f"bucket-{next(_buckets)}")
    yield b
    assert b.uploads() == []


@pytest.fixture(scope="session")
def docker(scratch):
    d = engines.Docker(scratch)
    yield d
    d.close()


@pytest.fixture(scope="session")
def podman(scratch):
    p = engines.Podman(scratch)
    yield p
    p.close()


@pytest.fixture(scope="session")
def skopeo(scratch):
    return engines.Skopeo(scratch)


@pytest.fixture(scope="session")
def containerd(scratch):
    c = engines.Containerd(scratch)
    yield c
    c.close()
