# SPDX-License-Identifier: Apache-2.0
"""The clock on the wall jumps, while it runs and between two runs: nothing stays fresh for ever, nothing that lives is lost,
records go on. What is measured in intervals does not see it."""
import email.utils

import pytest

from rig import images
from rig.process import wait_for
import tour as walk

HOUR, DAY = 3600, 86400


@pytest.fixture(scope="module")
def tour(scratch):
    t = walk.Tour(scratch, args=["--upstream-fresh", "1s"], name="c").start()
    yield t
    t.close()


@pytest.fixture
def toured(tour):
    yield tour
    tour.faults.shift_clock(0)


def moved_tag_is_seen(t, name):
    """Within the second that a tag is fresh, or shortly after: never after the clock has come to what it was."""
    image = t.up.tag(name, "1", images.random_image(f"moved{next(t.numbers)}", [3000, 300_000]))
    source = image.layers[0]
    wait_for(lambda: source in [d["digest"] for d in t.px.manifest(name, "1").json["layers"]], 20, "the tag that moved")
    return name, image


def seconds(date):
    return email.utils.mktime_tz(email.utils.parsedate_tz(date))


def newest(t):
    return t.px.get("/v1/pulls?limit=1").json["pulls"][0]["id"]


@pytest.mark.parametrize("jump", [-10 * DAY, -HOUR, HOUR, 40 * DAY])
def test_the_clock_jumps_while_it_runs(toured, jump):
    t, what = toured, toured.image()
    t.walk_right(what)
    kept = t.kept[-1]
    t.faults.shift_clock(jump)
    t.walk_right(what)
    t.walk_right(t.image())
    what = moved_tag_is_seen(t, what[0])
    name, reference, target = kept
    reply = t.px.manifest(name, reference)
    if jump < 36 * HOUR:  # as long as a token lives
        assert (reply.status, reply.digest) == (200, target)
    else:
        assert reply.status == 404, "it has expired, as far as anybody can know"
    before = newest(t)
    t.px.manifest(what[0], "1")
    wait_for(lambda: newest(t) != before, 20, "a record of a pull after the jump")
    t.faults.shift_clock(0)
    t.walk_right(what)
    t.check_tokens(1)
    t.check_store()


@pytest.mark.parametrize("jump", [-40 * DAY, 40 * DAY])
def test_the_clock_jumps_between_two_runs(toured, jump):
    t, what = toured, toured.image()
    t.walk_right(what)
    t.px.stop()
    t.faults.shift_clock(jump)
    t.px.start()
    t.walk_right(what)
    what = moved_tag_is_seen(t, what[0])
    before = newest(t)
    t.px.manifest(what[0], "1")
    wait_for(lambda: newest(t) != before, 20, "a record after the jump")
    t.px.stop()
    t.faults.shift_clock(0)
    t.px.start()
    t.walk_right(what)
    what = moved_tag_is_seen(t, what[0])
    t.check_tokens(1)


def test_what_is_shown_of_time_is_the_clock_s(toured):
    toured.faults.shift_clock(-10 * DAY)
    early = seconds(toured.px.get("/healthz")["Date"])
    toured.faults.shift_clock(0)
    wait_for(lambda: seconds(toured.px.get("/healthz")["Date"]) - early > 9 * DAY, 10, "the time of now")
