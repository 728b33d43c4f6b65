# SPDX-License-Identifier: Apache-2.0
"""A reader of /v1/events."""
import http.client
import json

from rig import wire


class Events:
    """A reader of the stream, as an EventSource is one. shared: of a replica of several, whose ids tell which it was."""

    def __init__(self, p, last=None, timeout=20, shared=False):
        self.proxy = p
        host, port = wire.split(p.address)
        self.http = http.client.HTTPConnection(host, port, timeout=timeout)
        self.http.request("GET", "/v1/events", headers={"Last-Event-ID": last} if last else {})
        self.response = self.http.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.headers["Content-Type"] == "text/event-stream"
        self.last, self.shared = last, shared

    def next(self):
        """(event, record), or None at the end of the stream."""
        fields = {}
        for line in iter(self.response.readline, b""):
            line = line.decode().rstrip("\n")
            if not line and fields:
                self.last = fields["id"]
                record = json.loads(fields["data"])
                id_, dot, _ = fields["id"].partition(".")
                assert record["id"] == id_ and (dot == ".") == self.shared and record["kind"] == fields["event"]
                return record
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        return None

    def take(self, count):
        return [self.next() for _ in range(count)]

    def close(self):
        self.http.close()
