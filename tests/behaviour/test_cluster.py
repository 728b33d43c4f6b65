# SPDX-License-Identifier: Apache-2.0
"""Three replicas, a Redis and a balancer are one registry: whoever is asked, whoever is restarted, lost or added, and
whatever happens to Redis."""
import threading

import pytest

from rig import images, token_api
from rig.cluster import Cluster
from rig.process import wait_for
from rig.pulls import Failed, Load, pull
from rig.redis import Redis
from rig.sentinel import Failover

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")

IMAGES = 6
NAMES = [f"lib/app{i}" for i in range(IMAGES)]
ARGS = ["--upstream-connect-timeout", "2s", "--upstream-missing", "0s", "--tokens-rate", "0",
        "--access-anonymous", "pull,request,read-records"]


@pytest.fixture
def cluster(scratch, up, layer):
    for i, name in enumerate(NAMES):
        up.tag(name, "1", images.random_image(f"cluster-{i}", [200_000, 3_000]))
    made = []

    def start(*args, **kwargs):
        made.append(Cluster(scratch, {"up.test": up.url}, [*ARGS, *args], inject=layer.path, **kwargs))
        return made[-1]
    yield start
    for c in made:
        c.close()


def ask_token(p, name, n=0):
    """A token that was answered, or Failed: with 503 the client is told to come again."""
    try:
        reply = token_api.ask(p, f"up.test/{name}:1", {"env": [f"N={n}"]})
    except OSError as e:
        raise Failed(f"token: {type(e).__name__}: {e}") from None
    if reply.status != 200 or reply.broken:
        raise Failed(f"token: {reply.status} {reply.body[:300]}")
    return token_api.Token(p, reply)


def holds(p, token):
    """The token is answered there with what was announced."""
    reply = p.manifest(token.name, token.reference)
    assert (reply.status, reply.digest) == (200, token.target), (p.address, reply.status, reply.body[:500])


def test_any_request_to_any_replica(cluster):
    c = cluster()
    digest = pull(c.address, NAMES[0], "1")
    token = ask_token(c, NAMES[0])
    c.ready()
    answers = set()
    for p in c.replicas:
        assert pull(p.address, NAMES[0], digest) == pull(p.address, NAMES[0], "1") == digest
        holds(p, token)
        about = p.get(f"/container-token/{token.text}").json
        answers.add((p.manifest(NAMES[0], "1").body, p.get("/v2/_catalog").body, about["sourceDigest"], about["targetDigest"],
                     p.get(f"/v2/{NAMES[0]}/tags/list").body))
    assert len(answers) == 1


class Use:
    """What a load does with a cluster: pulls by tag, by digest and by token, and asks for tokens, in turn."""

    def __init__(self, cluster):
        self.cluster, self.tokens, self.lock = cluster, [], threading.Lock()
        self.digests = {name: pull(cluster.address, name, "1") for name in NAMES}

    def __call__(self, n):
        name = NAMES[n % IMAGES]
        kind = n // IMAGES % 4
        if kind == 0:
            token = ask_token(self.cluster, name, n)
            with self.lock:
                self.tokens.append(token)
        elif kind == 1 and self.tokens:
            with self.lock:
                token = self.tokens[n % len(self.tokens)]
            assert pull(self.cluster.address, token.name, token.reference) == token.target
        else:
            reference = "1" if kind == 2 else self.digests[name]
            assert pull(self.cluster.address, name, reference) == self.digests[name]

    def check(self):
        """Each replica answers for each token that was answered, and for each image."""
        self.cluster.ready()
        assert self.tokens
        for p in self.cluster.replicas:
            for token in self.tokens:
                holds(p, token)
            for name, digest in self.digests.items():
                assert pull(p.address, name, "1") == digest


def test_a_rolling_restart_fails_no_pull(cluster):
    """SIGTERM and another one in its place, one after the other: nothing that a client would not try again by itself."""
    c = cluster()
    use = Use(c)
    with Load(use) as load:
        for i in range(3):
            load.more(10)
            c.restart(i)
        load.more(20)
    assert not load.failed
    use.check()


def test_one_that_is_drained_first(cluster):
    """As Kubernetes does it with a readiness that is gone: no new connections, and those that are there come to their end."""
    c = cluster()
    with Load(Use(c)) as load:
        load.more(5)
        c.balancer.drain(1)
        load.more(10)
        c.restart(1)
        c.balancer.fill(1)
        load.more(10)
    assert not load.failed


def test_lost_and_added_under_load(cluster):
    """kill -9 may cost the pulls that are under way there; each of them works when it is begun again, and nothing that was
    answered is lost."""
    c = cluster()
    use = Use(c)

    def work(n):
        try:
            use(n)
        except Failed:
            use(n)

    with Load(work) as load:
        load.more(10)
        c.kill(0)
        load.more(20)
        c.add()
        load.more(20)
        c.start(0)
        load.more(20)
    assert not load.failed
    assert len(c.replicas) == 4
    use.check()


def records(c, *which):
    """Pulls by what was served, of all replicas or of some."""
    found = {}
    for p in which or c.replicas:
        for r in p.get("/v1/pulls?limit=1000").json["pulls"]:
            found[r["id"]] = r["servedDigest"]
    return found


def test_no_record_is_lost_with_its_replica(cluster):
    c = cluster()
    digest = pull(c.address, NAMES[0], "1")
    for _ in range(8):
        pull(c.address, NAMES[0], "1")
    wait_for(lambda: len(records(c)) == 9, 60, "nine records", step=0.2)
    before = records(c)
    assert set(before.values()) == {digest}
    c.kill(1)
    c.start(1)
    wait_for(lambda: all(records(c, p) == before for p in c.replicas), 60, "all of them know all of it", step=0.2)


def test_redis_killed_and_restarted_under_load(cluster):
    c = cluster()
    use = Use(c)
    with Load(use) as load:
        load.more(30)
        told = list(use.tokens)
        c.redis.kill()
        wait_for(lambda: all(p.get("/readyz").status == 503 for p in c.replicas), 60, "that it is away is seen", step=0.1)
        load.more(20)
        c.redis.start()
        c.ready()
        well = load.begun()
        load.more(30)
    # What is known goes on; new tokens, and those that a replica does not have in memory, are told to wait.
    assert [f for f in load.failed if "503" not in f] == []
    assert load.failed_from(well) == []
    assert len(told) < len(use.tokens)
    use.check()


def test_a_rewritten_digest_while_redis_is_away(cluster, up):
    """Whether the digest is ours only Redis knows: 404 would be believed, and the pull given up for good."""
    c = cluster(replicas=2)
    a, b = c.replicas
    digest = pull(a.address, NAMES[0], "1")
    config = a.manifest(NAMES[0], digest).json["config"]["digest"]
    original = up.tags[NAMES[0]]["1"]
    c.redis.kill()
    wait_for(lambda: b.get("/readyz").status == 503, 60, "that it is away is seen", step=0.1)
    for reply in (b.manifest(NAMES[0], digest), b.blob(NAMES[0], config)):
        assert reply.status == 503 and int(reply["Retry-After"]) > 0 and reply.code == "UNAVAILABLE", reply
    assert b.manifest(NAMES[0], original.digest).digest == original.digest
    assert b.blob(NAMES[0], original.layers[0]).digest == original.layers[0]
    c.redis.start()
    c.ready()
    assert b.manifest(NAMES[0], digest).digest == digest and b.blob(NAMES[0], config).digest == config
    assert b.manifest(NAMES[0], "sha256:" + "0" * 64).status == 404


def test_redis_restarted_empty_under_load(cluster):
    c = cluster()
    use = Use(c)
    c.redis.empty()
    c.ready()
    for p in c.replicas:
        for name, digest in use.digests.items():
            assert pull(p.address, name, "1") == digest
    use.tokens.clear()
    with Load(use) as load:
        load.more(30)
    assert not load.failed
    use.check()


@pytest.mark.skipif(Failover.missing(), reason="not installed: redis-sentinel")
def test_redis_failed_over_by_sentinel(cluster, scratch):
    sentinel = Failover(scratch)
    try:
        c = cluster(state=sentinel.url)
        use = Use(c)
        with Load(use) as load:
            load.more(30)
        assert not load.failed
        sentinel.in_step()
        told = list(use.tokens)
        with Load(use) as load:
            sentinel.kill_primary()
            c.ready()
            well = load.begun()
            load.more(20)
        assert [f for f in load.failed if "503" not in f] == []
        assert load.failed_from(well) == []
        # docs/redis.md: the last moments before it may be lost, nothing else is.
        use.tokens = told + use.tokens[-5:]
        use.check()
        for p in c.replicas:
            p.stop()
    finally:
        sentinel.close()


@pytest.mark.parametrize("how", ["stopped", "told to pause"])
@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.long)])
def test_redis_paused_under_load(cluster, how, seconds):
    """It holds its connections and says nothing. Nobody hangs, and it comes back by itself."""
    c = cluster()
    use = Use(c)
    c.ready()
    with Load(use) as load:
        load.more(30)
        if how == "stopped":
            c.redis.pause()
            resume = threading.Timer(seconds, c.redis.resume)
        else:
            c.redis.ask("CLIENT", "PAUSE", str(seconds * 1000), "ALL")
            resume = threading.Timer(seconds, lambda: None)
        resume.start()
        load.more(10)  # pulls of what is known do not wait for it
        resume.join()
        c.ready()
        well = load.begun()
        load.more(30)
    assert [f for f in load.failed if "503" not in f] == []
    assert load.failed_from(well) == []
    use.check()
