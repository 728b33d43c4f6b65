# SPDX-License-Identifier: Apache-2.0
"""A bucket as S3 has it, beside the driver: what tests put there, and what they find there. Signature version 4 by hand,
so that nothing of the driver's own client is believed."""
import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import xml.etree.ElementTree

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Bucket:
    """environment: of rig.radosgw; the bucket is made if it is not there."""

    def __init__(self, environment, name):
        self.name = name
        self.host = urllib.parse.urlsplit(environment["AWS_ENDPOINT_URL"]).netloc
        self.access, self.secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        self.region = environment.get("AWS_REGION", "us-east-1")
        self.request("PUT")

    def request(self, method, key="", query=None, body=b"", headers=None, expect=(200, 204)):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        path = "/" + self.name + ("/" + urllib.parse.quote(key, safe="/~") if key else "")
        query = urllib.parse.urlencode(sorted((query or {}).items()), quote_via=urllib.parse.quote, safe="~")
        digest = hashlib.sha256(body).hexdigest()
        signed = {**{k.lower(): v for k, v in (headers or {}).items()}, "host": self.host, "x-amz-date": now,
                  "x-amz-content-sha256": digest}
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, path, query, *(f"{k}:{signed[k]}" for k in sorted(signed)), "", names, digest])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key_ = ("AWS4" + self.secret).encode()
        for part in (now[:8], self.region, "s3", "aws4_request"):
            key_ = _hmac(key_, part)
        signature = hmac.new(key_, text.encode(), hashlib.sha256).hexdigest()
        signed["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, "
                                   f"Signature={signature}")
        del signed["host"]
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path + ("?" + query if query else ""), body, signed)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        assert response.status in expect, f"{method} {path}: {response.status} {content[:300]}"
        return response, content

    def put(self, key, content, **headers):
        self.request("PUT", key, body=content, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def get(self, key):
        """The object's bytes, or None."""
        response, content = self.request("GET", key, expect=(200, 404))
        return content if response.status == 200 else None

    def meta(self, key):
        response, _ = self.request("HEAD", key)
        return {k[11:].lower(): v for k, v in response.getheaders() if k.lower().startswith("x-amz-meta-")}

    def delete(self, key):
        self.request("DELETE", key)

    def _pages(self, query, element):
        token = None
        while True:
            _, content = self.request("GET", query={**query, **({"continuation-token": token} if token else {})})
            page = xml.etree.ElementTree.fromstring(content)
            yield from page.iter(NAMESPACE + element)
            token = page.findtext(NAMESPACE + "NextContinuationToken")
            if not token:
                return

    def keys(self, prefix=""):
        found = self._pages({"list-type": "2", "prefix": prefix, "encoding-type": "url"}, "Contents")
        return sorted(urllib.parse.unquote_plus(e.findtext(NAMESPACE + "Key")) for e in found)

    def uploads(self):
        """Uploads that were begun and neither completed nor aborted."""
        _, content = self.request("GET", query={"uploads": ""})
        page = xml.etree.ElementTree.fromstring(content)
        return [e.findtext(NAMESPACE + "Key") for e in page.iter(NAMESPACE + "Upload")]
