# SPDX-License-Identifier: Apache-2.0
"""rac-proxy --export-pulls: every record as a line, beside the process that writes them."""
import json
import os
import time

import pytest

from rig import images, proxy
from test_records import records

NAME = "lib/app"


@pytest.fixture
def rec(make, up):
    up.tag(NAME, "1", images.tiny())
    p = make({"up.test": up.url}, ["--pulls-check-window", "1s", "--access-anonymous", "pull,read-records"])
    for i in range(30):
        p.fetch("GET", f"/v2/{NAME}/manifests/1", {"User-Agent": f"n{i}"})
    records(p, 30)
    time.sleep(1.5)  # they are closed: complete or not, they do not change any more
    return p


def export(p, *args):
    return proxy.run_once(p.scratch, "--data", p.data, "--export-pulls", *args)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_it_is_what_the_api_says_oldest_first(rec):
    done = export(rec, "-")
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout) == records(rec, 30)[::-1]


def test_to_a_file_and_compressed(rec, scratch):
    folder = scratch.folder("export")
    for name in ("a.ndjson", "b.ndjson.zst"):
        done = export(rec, f"{folder}/{name}")
        assert done.returncode == 0 and "30 records" in done.stderr
    assert scratch.run("zstd", "-dc", f"{folder}/b.ndjson.zst").stdout == open(f"{folder}/a.ndjson", encoding="utf-8").read()
    assert sorted(os.listdir(folder)) == ["a.ndjson", "b.ndjson.zst"]
    assert os.stat(f"{folder}/a.ndjson").st_mode & 0o007 == 0
    done = export(rec, f"{folder}/a.ndjson")
    assert done.returncode == 1 and "is there already" in done.stderr


def test_since(rec):
    middle = records(rec, 30)[10]
    assert len(lines(export(rec, "-", "--since", middle["time"]).stdout)) == sum(
        r["time"] >= middle["time"] for r in records(rec, 30))
    assert len(lines(export(rec, "-", "--since", "1h").stdout)) == 30
    assert export(rec, "-", "--since", "2999-01-01T00:00:00Z").stdout == ""


def test_without_the_process(rec):
    rec.stop()
    assert len(lines(export(rec, "-").stdout)) == 30


def test_what_is_wrong_is_said(rec, scratch):
    assert "expected a time" in export(rec, "-", "--since", "soon").stderr
    assert export(rec, "/nowhere/x").returncode == 1
    none = scratch.folder("none")
    done = proxy.run_once(scratch, "--data", none, "--export-pulls", "-")
    assert done.returncode == 1 and "records.db" in done.stderr and os.listdir(none) == []
    assert "--export-pulls" in proxy.run_once(scratch, "--since", "1h").stderr
