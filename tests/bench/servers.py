# SPDX-License-Identifier: Apache-2.0
"""The servers that are measured, each in a folder of its own, on a port that the system picks, ended by its pid."""
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A process and its children, once it listens."""

    def __init__(self, name, command, log, address=None, listening=None, tls=False):
        self.name, self.log, self.tls = name, log, tls
        begin = time.monotonic()
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.address = address
        end = time.monotonic() + 20
        while not self._ready(listening):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                with open(log, encoding="utf-8", errors="replace") as f:
                    raise RuntimeError(f"{name} did not start:\n{f.read()[-2000:]}")
            time.sleep(0.002)
        self.start_seconds = time.monotonic() - begin

    def _ready(self, listening):
        if listening:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                found = re.search(listening, f.read())
            if found:
                self.address = found.group(1)
            return bool(found)
        host, port = self.address.rsplit(":", 1)
        with socket.socket() as s:
            return s.connect_ex((host, int(port))) == 0

    def url(self, path):
        return f"{'https' if self.tls else 'http'}://{self.address}{path}"

    def pids(self):
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            found.append(pid)
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                new += [int(p) for p in f.read().split()]
        return found

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory_bytes(self):
        """Resident, of all processes; what they share counts once for each."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
                total += int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) << 10
        return total

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Servers:
    """Starts them; ends all that it started."""

    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.all, self.count = binaries, folder, [], 0
        self.certificate, self.key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)

    def _begin(self, name):
        self.count += 1
        here = os.path.join(self.folder, f"{self.count}-{name.replace(' ', '-')}")
        os.makedirs(here)
        return here

    def _add(self, server):
        self.all.append(server)
        return server

    def stop(self, server):
        server.stop()
        self.all.remove(server)

    def stop_all(self):
        for server in reversed(self.all):
            server.stop()
        self.all = []

    def binary(self, name):
        return os.path.join(self.binaries, name)

    def upstream(self, content, latency_ms=0, bytes_per_s=0):
        here = self._begin("upstream")
        return self._add(Server("upstream",
                                [self.binary("bench_upstream"), content, str(latency_ms), str(bytes_per_s)],
                                os.path.join(here, "log"), listening=r"listening on (\S+)"))

    def rac(self, upstream, inject=None, log=True, name="rac-proxy", tls=False, data=None, options=()):
        """data: a folder that is there already. Every test of many connections needs more than the default."""
        here = self._begin(name)
        command = [self.binary("rac-proxy"), "--listen", "127.0.0.1:0", "--data", data or os.path.join(here, "data"),
                   "--upstream", f"bench={upstream.url('')}", "--http-max-connections", "20000", *options]
        command += ["--inject", inject] if inject else ["--no-inject"]
        command += [] if log else ["--log-access=false"]
        command += ["--tls-certificate", self.certificate, "--tls-key", self.key] if tls else []
        return self._add(Server(name, command, os.path.join(here, "log"), listening=r"msg=ready listen=(\S+)", tls=tls))

    def bare(self):
        """Our HTTP server with nothing behind it: a small document from memory on every path."""
        here = self._begin("bare")
        return self._add(Server("bare HTTP server", [self.binary("http_hello"), "127.0.0.1:0", "0"],
                                os.path.join(here, "log"), listening=r"listening on (\S+)"))

    def registry(self, upstream, tls=False):
        """Debian's configuration, but for the address, the folder, the upstream and no password."""
        here = self._begin("docker-registry")
        config = {"version": "0.1", "log": {"fields": {"service": "registry"}},
                  "storage": {"cache": {"blobdescriptor": "inmemory"},
                              "filesystem": {"rootdirectory": os.path.join(here, "data")},
                              "delete": {"enabled": True}},
                  "http": {"addr": "127.0.0.1:0", "headers": {"X-Content-Type-Options": ["nosniff"]}},
                  "health": {"storagedriver": {"enabled": True, "interval": "10s", "threshold": 3}},
                  "proxy": {"remoteurl": upstream.url("")}}
        if tls:
            config["http"]["tls"] = {"certificate": self.certificate, "key": self.key}
        path = os.path.join(here, "config.yml")
        with open(path, "w", encoding="ascii") as f:
            json.dump(config, f)  # JSON is YAML
        return self._add(Server("docker-registry", ["docker-registry", "serve", path], os.path.join(here, "log"),
                                listening=r"listening on (127\.0\.0\.1:\d+)", tls=tls))

    def nginx(self, root=None, upstream=None, log=True, name="nginx", tls=False, cache=True):
        """Debian's configuration, without gzip: `root` as files by sendfile, or `upstream` by proxy_cache, or passed on."""
        here = self._begin(name)
        os.chmod(here, 0o755)
        if root:
            what = f"root {root}; default_type application/vnd.oci.image.manifest.v1+json;"
        else:
            what = "proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection '';"
            what += "proxy_cache bench; proxy_cache_lock on; proxy_cache_valid 200 1d;" if cache else ""
        with socket.socket() as s:  # nginx does not say which port it got
            s.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % s.getsockname()[1]
        conf = os.path.join(here, "nginx.conf")
        # As Debian's nginx.conf has it, less what is older than 1.2: without it nginx 1.22 does no TLS 1.3.
        secure = (f" ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers on; ssl_certificate {self.certificate};"
                  f" ssl_certificate_key {self.key}") if tls else ""
        user = "user root;" if os.geteuid() == 0 else ""
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"""
{user} worker_processes auto; daemon off; pid {here}/pid; error_log {here}/error.log;
worker_rlimit_nofile 50000;
events {{ worker_connections 20000; }}
http {{
    sendfile on; tcp_nopush on; types_hash_max_size 2048; types {{}}
    access_log {f"{here}/access.log" if log else "off"};
    proxy_cache_path {here}/cache keys_zone=bench:8m max_size=20g;
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/f;
    uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
    {f"upstream upstream {{ server {upstream.address}; keepalive 32; }}" if upstream else ""}
    server {{ listen {address}{secure}; location / {{ {what} }} }}
}}
""")
        return self._add(Server(name, ["nginx", "-e", f"{here}/error.log", "-p", here, "-c", conf],
                                os.path.join(here, "log"), address=address, tls=tls))


UNCHECKED = ssl._create_unverified_context()  # the certificate is ours, and not what is measured


def fetch(url, method="GET"):
    request = urllib.request.Request(url, method=method, headers={
        "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"})
    with urllib.request.urlopen(request, timeout=120, context=UNCHECKED) as answer:
        return answer.read(), answer.headers


def versions(binaries):
    def first_line(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]

    def package(name):
        return first_line("dpkg-query", "-W", "-f=${Package} ${Version}", name)

    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        cpu = re.search(r"model name\s*: (.*)", f.read())
    return [first_line(os.path.join(binaries, "rac-proxy"), "--version"), package("docker-registry"),
            package("nginx-common"), package("libh2o-evloop0.13"), package("wrk"), package("curl"),
            f"Linux {os.uname().release}, {os.cpu_count()} × {cpu.group(1) if cpu else os.uname().machine}"]


def need(binaries):
    ours = ("rac-proxy", "rac-layer", "bench_upstream", "bench_load", "bench_hold", "http_hello")
    missing = [os.path.join(binaries, n) for n in ours if not os.access(os.path.join(binaries, n), os.X_OK)]
    missing += [n for n in ("nginx", "docker-registry", "wrk", "curl", "openssl")
                if not shutil.which(n, path=os.environ["PATH"] + ":/usr/sbin")]
    return missing
