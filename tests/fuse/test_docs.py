# SPDX-License-Identifier: Apache-2.0
"""What docs/s3.md and the manual pages say of the runtime layer, against its code: every variable, every option, every message."""
import os
import re

import pytest

from rig import proxy

SOURCES = [os.path.join(proxy.ROOT, *room) for room in (("fuse-layer", "init"), ("fuse-layer", "s3fs"), ("s3",))]


def text(*path):
    with open(os.path.join(proxy.ROOT, *path), encoding="utf-8") as f:
        return f.read()


def source():
    return "".join(text(folder, name) for folder in SOURCES for name in sorted(os.listdir(folder)) if name.endswith(".c"))


def variables():
    """That the code reads, by getenv or by a table's row."""
    found = set(re.findall(r'(?:getenv|environment|variable|load_file\(&p, |read_timeout)\(?"([A-Z][A-Z0-9_]+)"', source()))
    for row in re.findall(r'"((?:RAC|AWS|FUSION|NXF|SSL)_[A-Z0-9_,]+)"', source()):
        found.update(row.split(","))
    return sorted(found)


def plain_man(name):
    return text("docs", "man", name).replace("\\-", "-").replace("\\fR", "").replace("\\fB", "").replace("\\fP", "")


def test_there_are_variables():
    assert {"RAC_MEMORY", "RAC_MOUNT", "AWS_PROFILE", "AWS_CONFIG_FILE", "FUSION_TAGS", "RAC_MOUNT_TIMEOUT"} <= set(variables())


@pytest.mark.parametrize("name", [v for v in variables() if v not in ("PATH", "HOME")])
def test_a_variable_is_documented(name):
    word = re.compile(rf"(?<![A-Z_]){name}(?![A-Z_])")
    page = text("docs", "s3.md").replace("_FULL_URI`", "AWS_CONTAINER_CREDENTIALS_FULL_URI`").replace(
        "`_TOKEN_FILE`", "`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`")
    assert word.search(page), "docs/s3.md"
    assert word.search(plain_man("rac-init.1") + plain_man("rac-fuse.1")), "docs/man"


def test_no_other_variable_is():
    named = set(re.findall(r"\b(?:RAC|FUSION|NXF|WAVE)_[A-Z0-9_]*[A-Z0-9]\b", text("docs", "s3.md") + plain_man("rac-init.1") +
                           plain_man("rac-fuse.1")))
    assert named - set(variables()) == set()


def test_every_option_is_in_the_manual(scratch):
    options = re.findall(r"^  (--[a-z-]+)", scratch.run(proxy.binary("rac-fuse"), "--help").stdout, re.M)
    assert len(options) > 15
    page = plain_man("rac-fuse.1")
    assert [o for o in options if not re.search(rf"{o}\b", page)] == []


def test_every_message_is_one_of_the_codes():
    """The first column of the table of messages. Numbers stand for what is said there."""
    table = text("docs", "s3.md").partition("## Messages")[2].partition("And what programs are told")[0]
    messages = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and " message " not in line[:11]]
    assert len(messages) > 25
    said = re.sub(r'"\s*\n?\s*"', "", source()) + "Connection refused, Network is unreachable"
    missing = []
    for message in messages:
        for part in re.split(r"[:,] | and |(?<=404|403) ", message):
            part = re.sub(r"\buser \d+", "user", part).strip()
            if not part.isdigit() and part not in said.replace("%u ", ""):
                missing.append(part)
    assert missing == []


def test_every_link_leads_somewhere():
    """Within the page, and to others."""
    page = text("docs", "s3.md")
    headings = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^##+ (.*)$", page, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"`[^`]*`", "", page)):
        name, _, anchor = target.partition("#")
        if name:
            assert os.path.exists(os.path.join(proxy.ROOT, "docs", name)), target
        else:
            assert anchor in headings, target
