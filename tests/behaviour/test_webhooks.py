# SPDX-License-Identifier: Apache-2.0
"""Webhooks: each record reaches each endpoint at least once and in order, whatever happens in between."""
import itertools
import time

import pytest

from rig import images, proxy, receiver, wire
from rig.process import wait_for

NAME = "lib/app"
ARGS = ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records"]


@pytest.fixture
def hook():
    r = receiver.Receiver()
    yield r
    r.stop()


def config(*hooks, **members):
    return {"notifications": {"endpoints": [
        {"name": f"hook-{i}", "url": h.url, "timeout": "10s", "backoff": "500ms", **members}
        for i, h in enumerate(hooks)]}}


def pulls(p, *agents):
    for agent in agents:
        assert p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": agent}).status == 200


def agents(events):
    return [e["request"]["useragent"] for e in events]


def once(values):
    """Without what came again right behind itself: at least once is allowed to be twice."""
    return list(dict.fromkeys(values))


def test_the_envelope(make, up, hook):
    image = up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    reply = p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": "engine/1"})
    e, = hook.wait(1)
    headers, document = hook.envelopes[0]
    assert headers["Content-Type"] == "application/vnd.docker.distribution.events.v2+json"
    assert list(document) == ["events"] and list(e) == ["id", "timestamp", "action", "target", "request", "actor", "source"]
    record, = p.get("/v1/pulls").json["pulls"]
    assert (e["id"], e["timestamp"], e["action"]) == (record["id"], record["time"], "pull")
    assert e["target"] == {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest),
                           "repository": f"up.test/{NAME}", "tag": "1",
                           "url": f"http://{p.address}/v2/up.test/{NAME}/manifests/{image.digest}"}
    assert p.get(e["target"]["url"].partition(p.address)[2]).digest == image.digest
    assert e["request"] == {"id": reply["X-Request-Id"], "addr": "127.0.0.1", "host": p.address, "method": "GET",
                            "useragent": "engine/1"}
    assert e["actor"] == {"name": ""} and e["source"]["addr"] == p.address and len(e["source"]["instanceID"]) == 32


def test_by_digest_there_is_no_tag_and_a_check_is_a_check(make, up, hook):
    image = up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    p.manifest(NAME, image.digest)
    p.manifest(NAME, "1", "HEAD")
    pulled, checked = hook.wait(2)
    assert (pulled["action"], checked["action"]) == ("pull", "check")
    assert "tag" not in pulled["target"] and checked["target"]["tag"] == "1"
    assert checked["request"]["method"] == "HEAD"


def test_what_is_ignored_is_not_sent(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    up.tag(NAME, "2", images.tiny("two", oci=True))
    other = receiver.Receiver()
    c = config(hook, other)
    c["notifications"]["endpoints"][0]["ignore"] = {"actions": ["check"]}
    c["notifications"]["endpoints"][1]["ignore"] = {"mediaTypes": ["application/vnd.oci.image.manifest.v1+json"]}
    p = make({"up.test": up.url}, ARGS, c)
    p.manifest(NAME, "1", "HEAD")
    time.sleep(1.5)
    for tag in ("2", "1"):
        p.manifest(NAME, tag)
    assert [(e["action"], e["target"]["tag"]) for e in hook.wait(2)] == [("pull", "2"), ("pull", "1")]
    assert [(e["action"], e["target"]["tag"]) for e in other.wait(2)] == [("check", "1"), ("pull", "1")]
    other.stop()
    assert p.metrics()['rac_webhook_events_total{endpoint="hook-0",result="ignored"}'] == 1


def test_headers_are_sent_and_never_shown(make, up, hook, scratch):
    up.tag(NAME, "1", images.tiny())
    c = config(hook, headers={"Authorization": "Bearer " + proxy.secret("hook-secret-1")})
    path = scratch.folder("headers") + "/h"
    with open(path, "w", encoding="utf-8") as f:
        f.write("X-Key: " + proxy.secret("hook-secret-2") + "\nX-Other: b: c\n")
    c["notifications"]["endpoints"][0]["headers-file"] = path
    p = make({"up.test": up.url}, ARGS, c)
    hook.status = lambda n: 500 if n == 0 else 200
    pulls(p, "a")
    hook.wait(1)
    headers = hook.envelopes[0][0]
    assert (headers["Authorization"], headers["X-Key"], headers["X-Other"]) == ("Bearer hook-secret-1", "hook-secret-2", "b: c")
    shown = proxy.run_once(p.scratch, "--config", p.config_file, "--check-config")
    assert "headers set" in shown.stdout and "hook-secret" not in shown.stdout + shown.stderr
    assert "hook-secret" not in p.get("/metrics").body.decode()


@pytest.mark.parametrize("status", [200, 202, 204, 302])
def test_what_counts_as_delivered(make, up, hook, status):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    hook.status, hook.headers = status, {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    pulls(p, "a", "b")
    assert agents(hook.wait(2)) == ["a", "b"]
    wait_for(lambda: p.metrics()['rac_webhook_behind{endpoint="hook-0"}'] == 0, 30, "that nothing is left to send")
    time.sleep(0.5)
    assert len(hook.events) == 2


def test_failures_are_tried_again_in_order(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    hook.status = lambda n: (500, 404, 429, 200)[n % 4]
    sent = [f"n{i}" for i in range(30)]
    for agent in sent:
        pulls(p, agent)
        time.sleep(0.05)
    assert agents(hook.wait(30)) == sent
    assert p.metrics()['rac_webhook_failures_total{endpoint="hook-0"}'] >= 3


def test_a_receiver_that_hangs_is_given_up_and_tried_again(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook, timeout="1s"))
    hook.delay = 3
    pulls(p, "a")
    time.sleep(1.5)
    hook.delay = 0
    pulls(p, "b")
    assert once(agents(hook.wait(3))) == ["a", "b"]


def test_one_that_is_down_does_not_hold_up_another(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    down = receiver.Receiver()
    down.stop()
    p = make({"up.test": up.url}, ARGS, config(down, hook))
    pulls(p, "a", "b")
    assert agents(hook.wait(2)) == ["a", "b"]
    wait_for(lambda: p.metrics()['rac_webhook_behind{endpoint="hook-1"}'] == 0, 30, "that it knows so")
    assert p.metrics()['rac_webhook_behind{endpoint="hook-0"}'] == 2


def test_past_the_threshold_it_is_left_alone(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook, threshold=2, backoff="3s"))
    hook.status = 500
    pulls(p, "a")
    wait_for(lambda: "left alone" in p.log(), 30, "the threshold")
    assert hook.requests == 2
    hook.status = 200
    assert agents(hook.wait(1)) == ["a"]


def test_receiver_down_and_restarted_and_proxy_killed_in_between(make, up, hook):
    """The whole of it, again and again: nothing is missing, and the order holds."""
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    names = (f"n{i}" for i in itertools.count())
    sent = []

    def some(count):
        batch = list(itertools.islice(names, count))
        pulls(p, *batch)
        sent.extend(batch)
    for turn in range(3):
        some(20)
        hook.stop()
        some(20)
        time.sleep(1.2)  # at most the last second is lost
        p.kill()
        if turn % 2:
            hook.start()
        p.start()
        some(20)
        if not turn % 2:
            hook.start()
        some(20)
        time.sleep(1.2)
        p.kill()
        p.start()
    hook.wait(len(sent))
    deadline = time.monotonic() + 20
    while once(agents(hook.events)) != sent and time.monotonic() < deadline:
        time.sleep(0.1)
    assert once(agents(hook.events)) == sent
    assert len({e["id"] for e in hook.events}) == len(sent)


def test_many_at_once_come_in_batches(make, up, hook):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ARGS, config(hook))
    sent = [f"n{i}" for i in range(1000)]
    with wire.Connection(p.address) as c:
        for agent in sent:
            assert c.request("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": agent}).status == 200
    assert agents(hook.wait(1000)) == sent
    assert max(len(document["events"]) for _, document in hook.envelopes) <= 100 and len(hook.envelopes) < 200


@pytest.mark.parametrize("entry, said", [
    ({"name": "a"}, "no 'url'"),
    ({"url": "http://x"}, "no 'name'"),
    ({"name": "a b", "url": "http://x"}, "letters"),
    ({"name": "a", "url": "ftp://x"}, "http"),
    ({"name": "a", "url": "http://user:hunter2@x/"}, "headers"),
    ({"name": "a", "url": "http://x", "headers": {"A": "b\x01"}}, ""),
    ({"name": "a", "url": "http://x", "headers": {"Host": "b"}}, "not for setting"),
    ({"name": "a", "url": "http://x", "headers": {"A B": "b"}}, "a name and a value"),
    ({"name": "a", "url": "http://x", "headers": ["A"]}, "found a list"),
    ({"name": "a", "url": "http://x", "timeout": "0"}, "timeout"),
    ({"name": "a", "url": "http://x", "threshold": 0}, "threshold"),
    ({"name": "a", "url": "http://x", "ignore": {"actions": ["push"]}}, "push"),
    ({"name": "a", "url": "http://x", "ignore": {"mediaType": ["x"]}}, "mediaTypes"),
    ({"name": "a", "url": "http://x", "treshold": 1}, "did you mean 'threshold'"),
    ("a=http://x", "found a single value"),
])
def test_a_configuration_that_is_wrong_says_where(scratch, entry, said):
    import yaml
    path = scratch.folder("bad") + "/proxy.yaml"
    with open(path, "w", encoding="utf-8") as f:
        yaml.safe_dump({"notifications": {"endpoints": [entry]}}, f)
    done = proxy.run_once(scratch, "--config", path, "--check-config")
    assert done.returncode == 2 and said in done.stderr and path in done.stderr
    assert "hunter2" not in done.stderr


def test_the_same_name_twice(scratch):
    done = proxy.run_once(scratch, "--notify", "a=http://x", "--notify", "a=http://y", "--check-config")
    assert done.returncode == 2 and "'a' is there twice" in done.stderr
    done = proxy.run_once(scratch, "--notify", "a=http://x", "--notify", "b=http://y", "--check-config")
    assert done.returncode == 0 and "endpoint b" in done.stdout
