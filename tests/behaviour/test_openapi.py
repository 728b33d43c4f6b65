# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.yaml is true: every path of the server is in it, and what the server answers is what it says."""
import base64
import json
import os
import re

import jsonschema
import pytest
import yaml

from rig import images, proxy
from rig.proxy import ROOT

FILE = os.path.join(ROOT, "docs", "openapi.yaml")
with open(FILE, encoding="utf-8") as _f:
    DOC = yaml.safe_load(_f)
NAME = "lib/app"
PASSWORD = proxy.secret("the-only-word-for-test-openapi")
ACCOUNT = {"Authorization": "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()}
METHODS = ("get", "post", "delete", "put", "patch")


def strict(schema):
    """OpenAPI 3.0's dialect as JSON Schema: nullable, and references from the top of the document."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items() if k not in ("nullable", "example")}
    if schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    return made


STRICT = strict(DOC)


def resolved(part):
    while "$ref" in part:
        at = STRICT
        for step in part["$ref"].lstrip("#/").split("/"):
            at = at[step]
        part = at
    return part


def check(instance, schema):
    jsonschema.Draft7Validator({**schema, "components": STRICT["components"]},
                               format_checker=jsonschema.FormatChecker()).validate(instance)


def operations():
    return {(method, path): op for path, item in STRICT["paths"].items() for method, op in item.items() if method in METHODS}


# Each call: method, path of the document, path as asked, body, headers, status.
def calls(token):
    request = {"containerImage": f"up.test/{NAME}:1", "containerConfig": {"env": ["A=1"]}, "fingerprint": "f"}
    creds = {"userName": "ann", "password": PASSWORD, "registry": "up.test"}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "object": {"spec": {"containers": [{"name": "a", "image": "up.test/lib/app:1"}]}}}}
    tokens, one = "/container-token", "/container-token/{token}"
    yield from [("get", path, path, None, {}, 200) for path in ("/", "/healthz", "/readyz", "/metrics", "/service-info", "/openapi.yaml",
                                                               "/v2/", "/v1/pulls", "/v1/demand")]
    yield from [
        ("post", tokens, tokens, request, {}, 200),
        ("post", "/v1alpha2/container", "/v1alpha2/container", request, {}, 200),
        ("post", tokens, tokens, {"containerImage": 5}, {}, 400),
        ("post", tokens, tokens, {"containerImage": "elsewhere.test/app"}, {}, 403),
        ("post", tokens, tokens, {"containerImage": "up.test/none/such"}, {}, 404),
        ("post", tokens, tokens, {**request, "containerIncludes": ["a"] * 11}, {}, 400),
        ("post", tokens, tokens, request, {"Authorization": "Basic YW5uOndyb25n"}, 401),
        ("get", one, f"/container-token/{token}", None, {}, 200),
        ("get", one, f"/container-token/{'0' * 32}", None, {}, 404),
        ("delete", one, f"/container-token/{token}", None, {}, 401),
        ("delete", one, f"/container-token/{'0' * 32}", None, ACCOUNT, 404),
        ("delete", one, f"/container-token/{token}", None, ACCOUNT, 204),
        ("post", "/validate-creds", "/validate-creds", creds, {}, 200),
        ("post", "/v1alpha2/validate-creds", "/v1alpha2/validate-creds", {"request": creds}, {}, 200),
        ("post", "/validate-creds", "/validate-creds", {**creds, "password": ""}, {}, 400),
        ("post", "/validate-creds", "/validate-creds", {**creds, "more": "x" * 70000}, {}, 413),
        ("post", "/validate-creds", "/validate-creds", {**creds, "registry": "elsewhere.test"}, {}, 403),
        ("post", "/validate-creds", "/validate-creds", {**creds, "registry": "away.test"}, {}, 502),
        ("get", "/v1/pulls", "/v1/pulls?image=up.test/" + NAME + "&kind=pull&limit=1&since=1h", None, {}, 200),
        ("get", "/v1/pulls", "/v1/pulls?limit=0", None, {}, 400),
        ("get", "/v1/demand", "/v1/demand?image=up.test/" + NAME, None, {}, 200),
        ("get", "/v1/demand", "/v1/demand?since=tomorrow", None, {}, 400),
        ("post", "/k8s/mutate", "/k8s/mutate?timeout=10s", review, {}, 200),
        ("post", "/k8s/mutate", "/k8s/mutate", {**review, "request": {}}, {}, 400),
        ("get", "/readyz", "/readyz?exclude=state", None, {}, 200),
        ("get", "/readyz", "/readyz?exclude=disk", None, {}, 400),
        ("get", "/v1/events", "/v1/events?last-event-id=x", None, {}, 400),
    ]


@pytest.fixture
def p(scratch, make, up):
    hashed = scratch.run(proxy.binary("rac-proxy"), "--hash-password", stdin=None, input=PASSWORD + "\n",
                         env=proxy.sanitizer_settings()).stdout.strip()
    config = {"accounts": [{"name": "ann", "password-hash": hashed, "roles": ["admin"]}],
              "access": {"anonymous": ["pull", "request", "read-records"]}}
    return make({"up.test": up.url, "away.test": "http://127.0.0.1:9"}, ["--k8s-proxy-name", "images.lab"], config=config)


def test_what_is_answered_is_what_is_written(p, up):
    image = up.tag(NAME, "1", images.tiny())
    assert p.manifest("up.test/" + NAME, "1").status == 200
    assert p.blob("up.test/" + NAME, json.loads(image.manifest)["config"]["digest"]).status == 200
    made = p.fetch("POST", "/container-token", {}, json.dumps({"containerImage": f"up.test/{NAME}:1"}).encode())
    assert made.status == 200, made.body
    ops, seen = operations(), set()
    for method, path, asked, body, headers, status in calls(made.json["containerToken"]):
        what = f"{method} {asked}"
        if status == 200 and body is not None:
            check(body, ops[method, path]["requestBody"]["content"]["application/json"]["schema"])
        reply = p.fetch(method.upper(), asked, {"Content-Type": "application/json", **headers} if body is not None else headers,
                        json.dumps(body).encode() if body is not None else None)
        assert reply.status == status, (what, reply.status, reply.body[:300])
        said = resolved(ops[method, path]["responses"][str(status)])
        seen.add((method, path, status))
        if "content" not in said:
            assert not reply.body, what
            continue
        (kind, content), = said["content"].items()
        assert reply["content-type"].split(";")[0] == kind, what
        if kind == "application/json":
            check(reply.json, content["schema"])
    # Each operation was seen to succeed; /v1/events never ends, and has tests of its own.
    lacking = {op for op in ops if not any(s[:2] == op and s[2] < 300 for s in seen)}
    assert lacking == {("get", "/v1/events")}


def test_every_path_of_the_server_is_written_down():
    with open(os.path.join(ROOT, "proxy", "api", "api.c"), encoding="utf-8") as f:
        rows = re.findall(r'^\s*\{"(/[^"]*)", (GET|POST|DELETE),', f.read(), re.M)
    assert len(rows) > 10
    there = {(method.lower(), path + "{token}" if path == "/container-token/" else path) for path, method in rows}
    assert there | {("get", "/v2/")} == set(operations())


def test_the_document_is_sound():
    names = [op["operationId"] for op in operations().values()]
    assert len(names) == len(set(names))
    references = re.findall(r"\$ref: \"(#/[^\"]+)\"", open(FILE, encoding="utf-8").read())
    assert references
    for reference in references:
        assert resolved({"$ref": reference})
    for op in operations().values():
        for response in op["responses"].values():
            for content in resolved(response).get("content", {}).values():
                jsonschema.Draft7Validator.check_schema(content["schema"])


def test_it_is_served_as_it_is(p):
    reply = p.get("/openapi.yaml")
    assert reply.status == 200 and reply["content-type"] == "application/yaml"
    with open(FILE, "rb") as f:
        assert reply.body == f.read()
    assert p.fetch("POST", "/openapi.yaml").status == 405


def test_the_check_itself_can_fail():
    schema = operations()["get", "/v1/pulls"]["responses"]["200"]["content"]["application/json"]["schema"]
    check({"pulls": []}, schema)
    with pytest.raises(jsonschema.ValidationError):
        check({"pulls": [], "more": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        check({"pulls": [{"id": "short"}]}, schema)
