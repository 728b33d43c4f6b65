# SPDX-License-Identifier: Apache-2.0
"""One figure at a time: a load on one server, what it answered, and the CPU time it took for that."""
import json
import os
import statistics
import subprocess
import tempfile

from content import MANIFEST_TYPE

SUMMARY = """done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"bytes":%d,"seconds":%.6f,"errors":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d}\\n',
    summary.requests, summary.bytes, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


def _json_of(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _with_cpu(server, run):
    before = server.cpu_seconds()
    result = run()
    result["cpu_seconds"] = server.cpu_seconds() - before
    return result


def requests_get(server, path, connections, seconds, close=False):
    """wrk, one thread; its bytes are those of whole answers, with their heads. close: a connection for each request."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SUMMARY)
        script.flush()
        command = ["wrk", "-t1", "--timeout", "10s", f"-c{connections}", f"-d{seconds}s", "-s", script.name,
                   "-H", f"Accept: {MANIFEST_TYPE}", *(["-H", "Connection: close"] if close else []), server.url(path)]
        result = _with_cpu(server, lambda: _json_of(command))
    if result["errors"]:
        raise RuntimeError(f"{server.name}: {result['errors']} errors of {result['requests']} under load")
    return _rates(result)


def requests_load(binary, server, path, connections, seconds, *options):
    """bench_load: what wrk does not know (HEAD, ranges, many paths), and bodies that are not to be copied."""
    return _rates(_with_cpu(server, lambda: _json_of(
        [binary, *options, "-c", str(connections), "-d", str(seconds), server.address, path])))


def once(binary, server, path, clients):
    """bench_load: every client asks for all paths, and is done."""
    return _rates(_with_cpu(server, lambda: _json_of([binary, "-o", "-c", str(clients), server.address, path])))


def _rates(result):
    result["per_second"] = result["requests"] / result["seconds"]
    result["cpu_per_100k"] = result["cpu_seconds"] * 1e5 / max(1, result["requests"])
    if "bytes" in result:
        result["mb_per_second"] = result["bytes"] / 1e6 / result["seconds"]
        result["cpu_per_gb"] = result["cpu_seconds"] * 1e9 / max(1, result["bytes"])
    return result


def download(server, path, size, times=1):
    """curl, one connection, `times` in a row. The first byte's time is that of the first of them."""
    command = ["curl", "-sSk", "--fail", "-w", "%{time_starttransfer} %{time_total} %{size_download}\\n"]
    for _ in range(times):
        command += ["-o", os.devnull, server.url(path)]

    def run():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line.split() for line in done.stdout.splitlines()]
        if done.returncode != 0 or any(int(line[2]) != size for line in lines):
            raise RuntimeError(f"{server.name}: {done.stderr.strip() or 'short download'}")
        return {"first_byte_ms": float(lines[0][0]) * 1e3, "seconds": sum(float(line[1]) for line in lines),
                "bytes": size * times}

    result = _with_cpu(server, run)
    result["mb_per_second"] = result["bytes"] / 1e6 / result["seconds"]
    result["cpu_per_gb"] = result["cpu_seconds"] * 1e9 / result["bytes"]
    return result


class Samples:
    """What a row measured, round by round: A B A B, so that what disturbs the machine disturbs both."""

    def __init__(self):
        self.rounds = []  # each {contestant: result}

    def values(self, who, figure):
        return [r[who][figure] for r in self.rounds]

    def median(self, who, figure):
        return statistics.median(self.values(who, figure))

    def ratio(self, who, other, figure):
        """Median, least and most of the rounds' ratios; None where there is nothing to divide by."""
        pairs = [(r[who][figure], r[other][figure]) for r in self.rounds]
        pairs = [(a, b) for a, b in pairs if b > 0]
        if len(pairs) * 2 <= len(self.rounds):
            return None
        ratios = [a / b for a, b in pairs]
        return statistics.median(ratios), min(ratios), max(ratios)


class Held:
    """bench_hold: connections that stay, until close()."""

    def __init__(self, binary, server, path, connections, bytes_per_s=0):
        rate = ["-r", str(bytes_per_s)] if bytes_per_s else []
        self.process = subprocess.Popen([binary, "-c", str(connections), *rate, server.address, path],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            self.process.wait()
            raise RuntimeError(f"{server.name}: it does not hold {connections} connections")

    def close(self):
        """What was read, and how many connections the server ended."""
        out, _ = self.process.communicate("\n", 60)
        return json.loads(out)


def rounds(count, contestants, say):
    """contestants: {name: function}. Every round asks each once, every other in the opposite order."""
    samples = Samples()
    for i in range(count):
        order = list(contestants) if i % 2 == 0 else list(reversed(contestants))
        say(f"round {i + 1} of {count}")
        samples.rounds.append({name: contestants[name]() for name in order})
    return samples
