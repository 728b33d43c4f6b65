# SPDX-License-Identifier: Apache-2.0
"""HTTP as the tests speak it: exact, without any of the help that hides what was on the wire."""
import dataclasses
import hashlib
import http.client
import json
import socket
import ssl

from rig.process import PATIENCE

MANIFEST_TYPES = ", ".join([
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"])


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    broken: str = ""  # how the connection failed, if it did: "reset", "short"

    def __getitem__(self, name):
        return self.headers.get(name)

    def all(self, name):
        return self.headers.get_all(name) or []

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of a distribution error, after checking that it has the form of one."""
        assert (self["Content-Type"] or "").startswith("application/json"), self.headers
        errors = self.json["errors"]
        assert len(errors) == 1 and set(errors[0]) <= {"code", "message", "detail"}, errors
        assert errors[0]["message"], errors
        return errors[0]["code"]

    @property
    def message(self):
        return self.json["errors"][0]["message"]

    @property
    def digest(self):
        return sha256(self.body)


def split(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Connection:
    """One connection: requests one after the other, whole answers."""

    def __init__(self, address, timeout=30, tls=None):
        host, port = split(address)
        timeout *= PATIENCE
        self.http = (http.client.HTTPSConnection(host, port, timeout=timeout, context=tls) if tls
                     else http.client.HTTPConnection(host, port, timeout=timeout))

    def request(self, method, path, headers=None, body=None):
        self.http.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            for one in value if isinstance(value, list) else [value]:
                self.http.putheader(name, one)
        if body is not None:
            self.http.putheader("Content-Length", str(len(body)))
        self.http.endheaders(body)
        response = self.http.getresponse()
        try:
            data, broken = response.read(), ""
        except http.client.IncompleteRead as e:
            data, broken = e.partial, "short"
        except ConnectionResetError:
            data, broken = b"", "reset"
        return Reply(response.status, response.headers, data, broken)

    def close(self):
        self.http.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def fetch(address, method, path, headers=None, body=None, timeout=30, tls=None):
    with Connection(address, timeout, tls) as c:
        return c.request(method, path, headers, body)


class Raw:
    """A socket and what came over it, for what no HTTP library would send."""

    def __init__(self, address, timeout=15, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout * PATIENCE)
        self.socket.connect(split(address))
        self.data = b""
        self.ended = ""  # "closed", "reset", "silent"

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ended = "reset"
        return self

    def read_until(self, condition):
        while not condition(self.data) and not self.ended:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                self.ended = "reset"
            except TimeoutError:
                self.ended = "silent"
            else:
                self.data += piece
                if not piece:
                    self.ended = "closed"
        return self.data

    def read_head(self):
        self.read_until(lambda d: b"\r\n\r\n" in d)
        return self.status

    def read_all(self):
        """Until the other side ends the connection."""
        return self.read_until(lambda d: False)

    def read_reply(self):
        """One answer by its Content-Length; what follows stays in data."""
        self.read_until(lambda d: b"\r\n\r\n" in d)
        head, _, rest = self.data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = http.client.HTTPMessage()
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        status = int(lines[0].split()[1])
        length = 0 if status == 304 else int(headers.get("Content-Length", "0"))
        self.data = rest
        self.read_until(lambda d: len(d) >= length)
        body, self.data = self.data[:length], self.data[length:]
        return Reply(status, headers, body, "" if len(body) == length else self.ended)

    @property
    def status(self):
        line = self.data.split(b"\r\n", 1)[0].split()
        return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/") else 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def exchange(address, request, timeout=15):
    """Sends bytes, and returns (status, all bytes, how it ended) once the other side is through."""
    with Raw(address, timeout) as raw:
        raw.send(request)
        raw.read_all()
        return raw.status, raw.data, raw.ended


def tls_records(address, context, path):
    """Asks over TLS; returns the answer and the sizes of the records of data that it came in (RFC 8446 section 5.2)."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls, raw, answer = context.wrap_bio(coming, going, server_hostname="localhost"), b"", b""
    with socket.create_connection(split(address), 15) as s:
        def until_done(step):
            nonlocal raw
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                s.sendall(going.read())
                if result is not None:
                    return result
                piece = s.recv(65536)
                raw += piece
                coming.write(piece) if piece else coming.write_eof()
        until_done(lambda: tls.do_handshake() or True)
        raw = b""
        until_done(lambda: tls.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()))
        try:
            while piece := until_done(lambda: tls.read(65536)):
                answer += piece
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
    sizes = []
    while len(raw) >= 5:
        length = int.from_bytes(raw[3:5], "big")
        if raw[0] == 23:
            sizes.append(length)
        raw = raw[5 + length:]
    return answer, sizes
