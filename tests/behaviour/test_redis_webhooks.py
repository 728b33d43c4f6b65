# SPDX-License-Identifier: Apache-2.0
"""Webhooks of replicas on one Redis: one of them sends at a time, and another goes on where it was."""
import pytest

from rig import images, receiver
from rig.process import wait_for
from rig.redis import Redis

NAME = "lib/app"
ARGS = ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records"]

pytestmark = pytest.mark.skipif(Redis.missing(), reason="not installed: redis-server")


@pytest.fixture
def hook():
    r = receiver.Receiver()
    yield r
    r.stop()


@pytest.fixture
def replica(make, up, redis, hook):
    """replica() is one more, when it is known whose turn it is. timeout: short, a busy receiver gets a record twice."""
    up.tag(NAME, "1", images.tiny())

    def start(timeout="30s"):
        config = {"notifications": {"endpoints": [{"name": "hook", "url": hook.url, "timeout": timeout, "backoff": "500ms"}]}}
        p = make({"up.test": up.url}, [*ARGS, "--state", redis.url], config)
        wait_for(lambda: redis.ask("EXISTS", "rac:1:turn:webhook:hook") == b":1\r\n", 30, "someone who sends")
        return p
    return start


def pulls(p, *agents):
    for agent in agents:
        assert p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": agent}).status == 200


def agents(hook):
    return [e["request"]["useragent"] for e in hook.events]


def of(which, got):
    return [g for g in got if g[0] == which]


def test_each_record_is_sent_once_and_in_order_whoever_made_it(replica, hook):
    a, b, c = replica(), replica(), replica()
    sent = [f"{which}{i}" for i in range(10) for which in "abc"]
    for agent in sent:
        pulls({"a": a, "b": b, "c": c}[agent[0]], agent)
    hook.wait(30, timeout=40)
    pulls(c, "c-last")
    hook.wait(31, timeout=40)
    got = agents(hook)
    assert len(got) == 31 and set(got) == {*sent, "c-last"}
    for which in "abc":
        assert of(which, got)[:10] == of(which, sent)
    assert len({e["source"]["instanceID"] for e in hook.events}) == 1


def test_another_one_sends_when_the_sender_is_killed(replica, hook):
    a, b = replica("1s"), replica("1s")
    pulls(a, "a1")
    pulls(b, "b1")
    wait_for(lambda: set(agents(hook)) == {"a1", "b1"}, 40, "what both had")
    sender, other = (a, b) if hook.events[-1]["source"]["addr"] == a.address else (b, a)
    sender.kill()
    pulls(other, "2", "3")
    wait_for(lambda: "3" in agents(hook), 60, "what the other one had")
    assert hook.events[-1]["source"]["addr"] == other.address
    sender.start()
    pulls(sender, "4")
    wait_for(lambda: "4" in agents(hook), 40, "what the first one had later")
    once = list(dict.fromkeys(agents(hook)))
    assert sorted(once[:2]) == ["a1", "b1"] and once[2:] == ["2", "3", "4"]


def test_a_sender_that_ends_gives_its_turn_up(replica, hook):
    a, b = replica(), replica()
    pulls(a, "a1")
    hook.wait(1, timeout=40)
    a.stop()
    pulls(b, "b1")
    hook.wait(2, timeout=40)
    assert agents(hook) == ["a1", "b1"]


def test_while_redis_is_away_nothing_is_sent_and_afterwards_all(replica, redis, hook):
    a, b = replica(), replica()
    pulls(a, "a1")
    hook.wait(1, timeout=40)
    redis.kill()
    wait_for(lambda: a.get("/readyz").status == 503, 30, "that Redis is away is seen")
    pulls(a, "a2")
    pulls(b, "b2")
    redis.start()
    wait_for(lambda: set(agents(hook)) == {"a1", "a2", "b2"}, 60, "the records of the meantime")


def test_a_redis_that_comes_back_empty_does_not_begin_again(replica, redis, hook):
    a = replica()
    pulls(a, *[f"a{i}" for i in range(5)])
    hook.wait(5, timeout=40)
    wait_for(lambda: a.metrics()["rac_records_to_forward"] == 0, 30, "a record that is passed on")
    redis.empty()
    pulls(a, "after")
    hook.wait(6, timeout=40)
    assert agents(hook) == [*[f"a{i}" for i in range(5)], "after"]


def test_an_endpoint_that_fails_gets_all_when_it_is_back(replica, hook):
    a, b = replica(), replica()
    hook.status = 500
    pulls(a, "a1", "a2")
    pulls(b, "b1")
    wait_for(lambda: hook.requests >= 3, 30, "tries")
    hook.status = 200
    wait_for(lambda: len(agents(hook)) >= 3, 40, "what it did not take")
    assert sorted(agents(hook)) == ["a1", "a2", "b1"] and of("a", agents(hook)) == ["a1", "a2"]
