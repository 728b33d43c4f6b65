# SPDX-License-Identifier: Apache-2.0
"""A small S3 server in memory that breaks where it is told to. Without rules it is a proper one, as far as rac-fuse asks:
objects, ranges, conditions, listings, multipart uploads, copies. It checks no signature (radosgw.py does), but what is in
it: region and key.

    s3 = S3Faults()                                     # bucket "data" exists
    s3.rule("GET /data/x", Fault(reset_after=1000))     # every time
    s3.rule("PUT /data/*", Fault(lose=True), times=1)   # done, and the answer lost, once
    s3.rule("*", Fault(status=503, code="SlowDown"), every=10)
    s3.objects["data"]["x"].body, s3.uploads, s3.seen
    s3.close()

The first rule that matches "METHOD /path?query" (by fnmatch) and is not used up decides.
"""
import base64
import collections
import dataclasses
import datetime
import email.utils
import fnmatch
import hashlib
import http.server
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse
import xml.etree.ElementTree as tree
from xml.sax.saxutils import escape

RESET = struct.pack("ii", 1, 0)


@dataclasses.dataclass
class Fault:
    status: int = None          # answered instead of doing anything
    code: str = "InternalError"
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = None          # of that answer, instead of an <Error>
    error_in_200: str = None    # this code in a 200, nothing is done
    late_status: int = None     # answered after everything is done
    refuse: bool = False        # the connection is reset before anything is done
    lose: bool = False          # … after everything is done, before the answer
    hold: threading.Event = None  # nothing is done before it is set
    hold_answer: threading.Event = None  # … not before that is set
    delay: float = 0            # seconds before the answer
    reset_after: int = None     # the connection is reset after that many bytes of the body
    cut_after: int = None       # … closed
    stall_after: int = None     # … silent for `stall` seconds
    stall: float = 60
    rate: int = None            # bytes a second
    shift_range: int = 0        # the answer is of a range that many bytes further on, and says so
    short_by: int = 0           # Content-Range and body end that many bytes early
    etag: str = None            # says this one
    ignore_range: bool = False
    chunked: bool = False
    then: object = None         # called with the server after the answer


@dataclasses.dataclass
class Object:
    body: bytes
    etag: str
    mtime: float
    meta: dict
    tags: str = ""


@dataclasses.dataclass
class Upload:
    bucket: str
    key: str
    meta: dict
    started: float
    parts: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Seen:
    method: str
    path: str
    query: dict
    headers: dict
    length: int
    status: int = 0


@dataclasses.dataclass
class Rule:
    pattern: str
    fault: Fault
    times: int
    every: int
    matched: int = 0


class Refused(Exception):
    def __init__(self, status, code, headers=None, body=None):
        super().__init__(code)
        self.status, self.code, self.headers, self.body = status, code, headers or {}, body


def make_object(body, meta=None, etag=None):
    return Object(body, etag or hashlib.md5(body).hexdigest(), time.time(), meta or {})


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return base64.b64encode(struct.pack(">I", crc ^ 0xffffffff)).decode()


def iso(t):
    return datetime.datetime.fromtimestamp(t, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class S3Faults:
    def __init__(self, tls=None, region=None):
        """tls: an ssl.SSLContext; region: the only one it takes signatures for (None: any)."""
        self.objects = collections.defaultdict(dict, {"data": {}})
        self.uploads, self.rules, self.seen = {}, [], []
        self.region, self.redirect = region, 400  # how a wrong region is told: 400 or 301
        self.refused_keys = {}                    # access key -> code
        self.known_tokens = None                  # session tokens that are taken; None: any
        self.check_crc = True
        self.continue_after = 0                   # seconds until a body is asked for (100 Continue), and again until it is read
        self.lock = threading.RLock()
        self._connections = set()
        server = self

        class Handler(_Handler):
            s3 = server

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def environment(self, **more):
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "never-to-be-shown",
                "AWS_EC2_METADATA_DISABLED": "true", **more}

    def put(self, key, body, bucket="data", **meta):
        with self.lock:
            self.objects[bucket][key] = make_object(body, {f"x-amz-meta-{k}": v for k, v in meta.items()})

    def rule(self, pattern, fault, times=None, every=1):
        with self.lock:
            self.rules.append(Rule(pattern, fault, times, every))

    def fault_for(self, line):
        with self.lock:
            for rule in self.rules:
                if fnmatch.fnmatchcase(line, rule.pattern):
                    rule.matched += 1
                    due = rule.matched % rule.every == 0
                    if due and (rule.times is None or rule.matched // rule.every <= rule.times):
                        return rule.fault
        return Fault()

    def count(self, pattern="*"):
        with self.lock:
            return sum(fnmatch.fnmatchcase(f"{s.method} {s.path}", pattern) for s in self.seen)

    def drop_connections(self):
        """What a server does to connections that are idle for too long."""
        with self.lock:
            for connection in list(self._connections):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.http.shutdown()
        self.drop_connections()
        self.http.server_close()
        self.thread.join(5)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3 = None
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        with self.s3.lock:
            self.s3._connections.add(self.request)

    def finish(self):
        with self.s3.lock:
            self.s3._connections.discard(self.request)
        try:
            super().finish()
        except OSError:
            pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError, OSError):
            self.close_connection = True

    def handle_expect_100(self):
        time.sleep(self.s3.continue_after)
        done = super().handle_expect_100()
        time.sleep(self.s3.continue_after)
        return done

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    # -- one request ---------------------------------------------------------------------------------------
    def _handle(self):
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        path = urllib.parse.unquote(parts.path, errors="surrogateescape")
        _, self.bucket, self.key = (path + "//").split("/", 2)
        self.key = self.key[:-1] if self.key.endswith("/") and path.count("/") < 2 else path[len(self.bucket) + 2:]
        length = int(self.headers.get("Content-Length") or 0)
        fault = self.s3.fault_for(f"{self.command} {self.path}")
        seen = Seen(self.command, path, self.query, {k.lower(): v for k, v in self.headers.items()}, length)
        with self.s3.lock:
            self.s3.seen.append(seen)
        if fault.refuse:
            return self._reset()
        data = self.rfile.read(length)
        if len(data) < length:
            self.close_connection = True
            return None
        if fault.hold:
            fault.hold.wait(60)
        try:
            self._check_signer()
            if fault.status:
                raise Refused(fault.status, fault.code, fault.headers, fault.body)
            if fault.error_in_200:
                status, headers, body = 200, {}, self._error(fault.error_in_200)
            else:
                with self.s3.lock:
                    status, headers, body = self._answer(data, fault)
        except Refused as e:
            status, headers, body = e.status, dict(e.headers), e.body if e.body is not None else self._error(e.code)
        if fault.late_status:
            status, headers, body = fault.late_status, {}, self._error(fault.code)
        seen.status = status
        if fault.lose:
            return self._reset()
        if fault.hold_answer:
            fault.hold_answer.wait(60)
        time.sleep(fault.delay)
        self._send(status, headers, body, fault)
        if fault.then:
            fault.then(self.s3)
        return None

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connection.close()
        self.close_connection = True

    def _error(self, code):
        region = f"<Region>{self.s3.region}</Region>" if self.s3.region else ""
        return f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as told</Message>{region}</Error>".encode()

    def _send(self, status, headers, body, fault):
        self.send_response_only(status)
        headers = {"Date": self.date_time_string(), "x-amz-request-id": f"REQ{len(self.s3.seen)}", **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.chunked and self.command != "HEAD":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7000]), body[i:i + 7000])
                            for i in range(0, len(body), 7000)) + b"0\r\n\r\n"
        elif "Content-Length" not in headers and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD" or status == 204:
            return
        for limit, end in ((fault.reset_after, "reset"), (fault.cut_after, "cut"), (fault.stall_after, "stall")):
            if limit is not None and limit < len(body):
                self._write(body[:limit], fault.rate)
                if end == "stall":
                    time.sleep(fault.stall)
                if end == "reset":
                    time.sleep(0.05)  # what was sent is to arrive before the reset overtakes it
                    self._reset()
                self.close_connection = True
                return
        self._write(body, fault.rate)

    def _write(self, body, rate):
        step = max(1, rate // 20) if rate else max(1, len(body))
        for i in range(0, len(body), step):
            self.wfile.write(body[i:i + step])
            if rate:
                time.sleep(0.05)

    def _check_signer(self):
        found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/s3/aws4_request", self.headers.get("Authorization", ""))
        if not found:
            return
        key, region = found.groups()
        token = self.headers.get("X-Amz-Security-Token")
        if key in self.s3.refused_keys:
            raise Refused(400 if self.s3.refused_keys[key] == "ExpiredToken" else 403, self.s3.refused_keys[key])
        if self.s3.known_tokens is not None and token not in self.s3.known_tokens:
            raise Refused(400, "ExpiredToken")
        if self.s3.region and region != self.s3.region:
            if self.s3.redirect == 301:
                raise Refused(301, "PermanentRedirect", {"x-amz-bucket-region": self.s3.region})
            raise Refused(400, "AuthorizationHeaderMalformed")

    # -- what S3 does --------------------------------------------------------------------------------------
    def _answer(self, data, fault):
        s3, q = self.s3, self.query
        if not self.bucket:
            names = "".join(f"<Bucket><Name>{escape(b)}</Name></Bucket>" for b in s3.objects)
            return 200, {}, f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>".encode()
        if self.bucket not in s3.objects:
            raise Refused(404, "NoSuchBucket")
        if not self.key:
            return self._bucket(data)
        if "uploads" in q or "uploadId" in q:
            return self._multipart(data)
        if self.command == "PUT":
            return self._put(data)
        if self.command == "DELETE":
            s3.objects[self.bucket].pop(self.key, None)
            return 204, {}, b""
        return self._get(fault)

    def _bucket(self, data):
        if self.command == "POST" and "delete" in self.query:
            for element in tree.fromstring(data).iter():
                if element.tag.endswith("Key"):
                    self.s3.objects[self.bucket].pop(element.text, None)
            return 200, {}, b"<DeleteResult/>"
        if "uploads" in self.query:
            return self._list_uploads()
        return self._list()

    def _list_uploads(self):
        found = "".join(
            f"<Upload><Key>{urllib.parse.quote(u.key)}</Key><UploadId>{i}</UploadId><Initiated>{iso(u.started)}"
            f"</Initiated></Upload>" for i, u in self.s3.uploads.items()
            if u.bucket == self.bucket and u.key.startswith(self.query.get("prefix", "")))
        return 200, {}, f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>".encode()

    def _list(self):
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        after, limit = self.query.get("continuation-token", ""), int(self.query.get("max-keys", "1000"))
        contents, prefixes, last, truncated = [], [], "", False
        for key in sorted(self.s3.objects[self.bucket], key=lambda k: k.encode("utf-8", "surrogateescape")):
            if not key.startswith(prefix):
                continue
            name = key
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            if at >= 0:
                name = key[:at + len(delimiter)]
            if name <= after or (prefixes and name == prefixes[-1]):
                continue
            if len(contents) + len(prefixes) == limit:
                truncated = limit > 0
                break
            last = name
            if at >= 0:
                prefixes.append(name)
            else:
                contents.append(key)
        out = ["<ListBucketResult><EncodingType>url</EncodingType>"]

        def quote(text):
            return urllib.parse.quote_plus(text, safe="/", errors="surrogateescape")
        for key in contents:
            o = self.s3.objects[self.bucket][key]
            out.append(f"<Contents><Key>{quote(key)}</Key><LastModified>{iso(o.mtime)}</LastModified>"
                       f"<ETag>&quot;{o.etag}&quot;</ETag><Size>{len(o.body)}</Size></Contents>")
        out += [f"<CommonPrefixes><Prefix>{quote(p)}</Prefix></CommonPrefixes>" for p in prefixes]
        out.append(f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>")
        if truncated:
            out.append(f"<NextContinuationToken>{escape(last)}</NextContinuationToken>")
        return 200, {}, ("".join(out) + "</ListBucketResult>").encode("utf-8", "surrogateescape")

    def _meta(self):
        keep = ("content-type", "x-amz-storage-class", "x-amz-server-side-encryption")
        return {k.lower(): v for k, v in self.headers.items()
                if k.lower().startswith("x-amz-meta-") or k.lower() in keep}

    def _check_new(self):
        if self.headers.get("If-None-Match") == "*" and self.key in self.s3.objects[self.bucket]:
            raise Refused(412, "PreconditionFailed")

    def _check_data(self, data):
        crc, sha = self.headers.get("x-amz-checksum-crc32c"), self.headers.get("x-amz-content-sha256", "")
        if crc and self.s3.check_crc and len(data) <= 1 << 16 and crc != crc32c(data):
            raise Refused(400, "BadDigest")
        if len(sha) == 64 and sha != hashlib.sha256(data).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch")

    def _source(self):
        """The bytes of x-amz-copy-source, its object; conditions checked."""
        _, bucket, key = urllib.parse.unquote(self.headers["x-amz-copy-source"], errors="surrogateescape").split("/", 2)
        source = self.s3.objects.get(bucket, {}).get(key)
        if not source:
            raise Refused(404, "NoSuchKey")
        wanted = self.headers.get("x-amz-copy-source-if-match")
        if wanted and wanted.strip('"') != source.etag:
            raise Refused(412, "PreconditionFailed")
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("x-amz-copy-source-range", ""))
        if span and int(span[2]) >= len(source.body):
            raise Refused(416, "InvalidRange")
        return source.body[int(span[1]):int(span[2]) + 1] if span else source.body, source

    def _put(self, data):
        self._check_new()
        if "x-amz-copy-source" in self.headers:
            body, source = self._source()
            replace = self.headers.get("x-amz-metadata-directive") == "REPLACE"
            # As AWS does: of what was uploaded in parts, the copy has another ETag.
            o = make_object(body, self._meta() if replace else dict(source.meta))
            self.s3.objects[self.bucket][self.key] = o
            return 200, {}, f"<CopyObjectResult><ETag>&quot;{o.etag}&quot;</ETag></CopyObjectResult>".encode()
        self._check_data(data)
        o = make_object(data, self._meta())
        o.tags = self.headers.get("x-amz-tagging", "")
        self.s3.objects[self.bucket][self.key] = o
        return 200, {"ETag": f'"{o.etag}"'}, b""

    def _get(self, fault):
        o = self.s3.objects[self.bucket].get(self.key)
        if not o:
            raise Refused(404, "NoSuchKey")
        wanted = self.headers.get("If-Match")
        if wanted and wanted.strip('"') != o.etag:
            raise Refused(412, "PreconditionFailed")
        headers = {"ETag": f'"{fault.etag or o.etag}"', "Last-Modified": email.utils.formatdate(o.mtime, usegmt=True),
                   "Accept-Ranges": "bytes", **o.meta}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.command == "HEAD":
            return 200, {**headers, "Content-Length": str(len(o.body))}, b""
        if not span or fault.ignore_range:
            return 200, headers, o.body
        first, last = int(span[1]), min(int(span[2] or len(o.body)), len(o.body) - 1)
        if first > last:
            raise Refused(416, "InvalidRange", {"Content-Range": f"bytes */{len(o.body)}"})
        last -= fault.short_by
        length = last + 1 - first
        first += fault.shift_range
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{len(o.body)}"
        return 206, headers, o.body[first:first + length].ljust(length, b"?")

    def _multipart(self, data):
        q, uploads = self.query, self.s3.uploads
        if "uploads" in q:
            name = secrets.token_hex(8)
            uploads[name] = Upload(self.bucket, self.key, self._meta(), time.time())
            return 200, {}, f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode()
        upload = uploads.get(q["uploadId"])
        if not upload:
            raise Refused(404, "NoSuchUpload")
        if self.command == "DELETE":
            del uploads[q["uploadId"]]
            return 204, {}, b""
        if self.command == "PUT":
            return self._part(upload, data)
        if self.command == "GET":
            return self._list_parts(upload)
        self._check_new()
        return self._complete(upload, data)

    def _list_parts(self, upload):
        """Two a page, so that whoever asks has to turn it."""
        after = int(self.query.get("part-number-marker") or 0)
        numbers = [n for n in sorted(upload.parts) if n > after]
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>&quot;{hashlib.md5(upload.parts[n]).hexdigest()}&quot;</ETag>"
                        f"<Size>{len(upload.parts[n])}</Size></Part>" for n in numbers[:2])
        more = f"<NextPartNumberMarker>{numbers[1]}</NextPartNumberMarker>" if len(numbers) > 2 else ""
        return 200, {}, (f"<ListPartsResult>{more}<IsTruncated>{'true' if more else 'false'}</IsTruncated>{parts}"
                         "</ListPartsResult>").encode()

    def _part(self, upload, data):
        number = int(self.query["partNumber"])
        if "x-amz-copy-source" in self.headers:
            upload.parts[number], _ = self._source()
            etag = hashlib.md5(upload.parts[number]).hexdigest()
            return 200, {}, f"<CopyPartResult><ETag>&quot;{etag}&quot;</ETag></CopyPartResult>".encode()
        self._check_data(data)
        upload.parts[number] = data
        return 200, {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}, b""

    def _complete(self, upload, data):
        numbers, hashes, last = [], [], 0
        for part in (e for e in tree.fromstring(data) if e.tag.endswith("Part")):
            fields = {e.tag.rpartition("}")[2]: e.text for e in part}
            number, etag = int(fields["PartNumber"]), fields["ETag"].strip('"')
            body = upload.parts.get(number)
            if body is None or hashlib.md5(body).hexdigest() != etag:
                raise Refused(400, "InvalidPart")
            if number <= last:
                raise Refused(400, "InvalidPartOrder")
            last = number
            numbers.append(number)
            hashes.append(hashlib.md5(body).digest())
        if not numbers:
            raise Refused(400, "MalformedXML")
        if any(len(upload.parts[n]) < 5 << 20 for n in numbers[:-1]):
            raise Refused(400, "EntityTooSmall")
        etag = f"{hashlib.md5(b''.join(hashes)).hexdigest()}-{len(numbers)}"
        o = make_object(b"".join(upload.parts[n] for n in numbers), upload.meta, etag)
        self.s3.objects[self.bucket][self.key] = o
        del self.s3.uploads[self.query["uploadId"]]
        return 200, {}, f"<CompleteMultipartUploadResult><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>".encode()
