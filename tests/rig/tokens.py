# SPDX-License-Identifier: Apache-2.0
"""A token server as registries have them: Basic in, a signed JWT out. Counts what it is asked."""
import base64
import http.server
import json
import os
import secrets
import subprocess
import threading
import time
import urllib.parse


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    def __init__(self, scratch, user, password, anonymous=()):
        """user/password may pull anything; nobody in particular may pull the repositories in `anonymous`."""
        self.user, self.password, self.anonymous = user, password, set(anonymous)
        self.folder = scratch.folder("tokens")
        self.key = os.path.join(self.folder, "key.pem")
        self.bundle = os.path.join(self.folder, "bundle.pem")
        scratch.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out",
                    self.bundle,
                    "-days", "30", "-subj", "/CN=rac test tokens")
        self.der = "".join(line for line in open(self.bundle, encoding="ascii").read().splitlines()
                           if "---" not in line)
        self.refresh_token = secrets.token_urlsafe(30) + "+/= &"  # to be encoded well
        self.requests = []  # (user or None, scopes)
        self.tokens = []    # all that were given out: secrets, to be looked for in logs
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer._answer(self)

            def do_POST(self):
                outer._exchange(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self.server.server_port}/token"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def _exchange(self, handler):
        """A refresh token for an access token (distribution's spec/auth/oauth.md)."""
        form = urllib.parse.parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode(), strict_parsing=True)
        scopes = [s for value in form.get("scope", []) for s in value.split()]
        good = (handler.headers["Content-Type"] == "application/x-www-form-urlencoded" and form["grant_type"] == ["refresh_token"]
                and form["client_id"] and form["refresh_token"] == [self.refresh_token] and form["service"] == ["rac-registry"]
                and "Authorization" not in handler.headers and "?" not in handler.path)
        self.requests.append(("refresh token" if good else "bad form", scopes))
        if not good:
            handler.send_response(401)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        access = [dict(zip(("type", "name", "actions"), (*s.split(":")[:2], s.split(":")[2].split(",")))) for s in scopes]
        self._send(handler, {"access_token": self.sign(access), "expires_in": 300, "refresh_token": self.refresh_token})

    @staticmethod
    def _send(handler, document):
        body = json.dumps(document).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _answer(self, handler):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        scopes = [s for value in query.get("scope", []) for s in value.split()]
        user = None
        given = handler.headers.get("Authorization", "")
        if given.startswith("Basic "):
            user, _, password = base64.b64decode(given[6:]).decode().partition(":")
            if (user, password) != (self.user, self.password):
                self.requests.append((user, scopes))
                handler.send_response(401)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
        self.requests.append((user, scopes))
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = actions.split(",") if user else [a for a in actions.split(",") if a == "pull"
                                                       and name in self.anonymous]
            access.append({"type": kind, "name": name, "actions": allowed})
        self._send(handler, {"token": self.sign(access), "expires_in": 300})

    def sign(self, access):
        now = int(time.time())
        parts = [{"typ": "JWT", "alg": "RS256", "x5c": [self.der]},
                 {"iss": "rac-test", "aud": "rac-registry", "sub": "test", "exp": now + 300, "nbf": now - 10,
                  "iat": now,
                  "jti": secrets.token_hex(8), "access": access}]
        text = ".".join(_b64(json.dumps(p, separators=(",", ":")).encode()) for p in parts)
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(),
                                   stdout=subprocess.PIPE, check=True).stdout
        token = f"{text}.{_b64(signature)}"
        self.tokens.append(token)
        return token

    def close(self):
        self.server.shutdown()
        self.server.server_close()
