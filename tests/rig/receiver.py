# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks: a real HTTP server that keeps what it was sent, and can be down, slow or unwilling."""
import http.server
import json
import threading
import time


class Receiver:
    """envelopes: [(headers, document)] as they came; status: what it answers, a number or a function of how many came
    before. Stopped and started it keeps its port."""

    def __init__(self, port=0):
        self.envelopes, self.requests = [], 0
        self.status, self.delay, self.headers = 200, 0, {}
        self.lock = threading.Lock()
        self.port = port
        self.start()

    def start(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver.lock:
                    status = receiver.status(receiver.requests) if callable(receiver.status) else receiver.status
                    receiver.requests += 1
                time.sleep(receiver.delay)
                if 200 <= status < 400:
                    with receiver.lock:
                        receiver.envelopes.append((self.headers, json.loads(body)))
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/events"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def events(self):
        with self.lock:
            return [e for _, document in self.envelopes for e in document["events"]]

    def wait(self, count, timeout=40):
        end = time.monotonic() + timeout
        while len(self.events) < count and time.monotonic() < end:
            time.sleep(0.05)
        return self.events
