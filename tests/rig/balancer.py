# SPDX-License-Identifier: Apache-2.0
"""A plain TCP balancer, as a cloud or a Service of Kubernetes is one: each connection goes to the next backend in turn. It
knows nothing of HTTP. What refuses is passed over; what is drained gets no new connections, and keeps those it has.

A reset is handed on as one, and an end as one: a client must see of its replica what it would see without us.
"""
import asyncio
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)
PIECE = 256 << 10


class Balancer:
    """backends: {name: address}, which may be changed at any time."""

    def __init__(self, backends=None):
        self.backends = dict(backends or {})
        self.drained = set()
        self.served = {}    # connections so far, by name
        self.routes = {}    # {(host, port) of a client's side: name} of the last connection from there
        self._turn = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._tasks = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._loop.call_soon_threadsafe(lambda: self._start(self._accept()))

    def drain(self, name):
        self.drained.add(name)

    def fill(self, name):
        self.drained.discard(name)

    def close(self):
        async def end():
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._listener.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def _in_turn(self):
        """Every backend that takes connections, the next one first."""
        with self._lock:
            self._turn += 1
            names = [n for n in self.backends if n not in self.drained]
            turn = self._turn % max(1, len(names))
            return [(n, self.backends[n]) for n in names[turn:] + names[:turn]]

    def _start(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self):
        while True:
            try:
                client, _ = await self._loop.sock_accept(self._listener)
            except (OSError, ValueError):
                return
            self._start(self._serve(client))

    async def _serve(self, client):
        backend = None
        try:
            backend = await self._connect(client.getpeername())
            if backend is None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return
            for s in (client, backend):
                s.setblocking(False)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._both(self._pump(client, backend), self._pump(backend, client))
        except OSError:
            # One side is gone without an end: so it is for the other.
            for s in filter(None, (client, backend)):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        finally:
            client.close()
            if backend:
                backend.close()

    async def _connect(self, client):
        for name, address in self._in_turn():
            host, _, port = address.rpartition(":")
            s = socket.socket()
            s.setblocking(False)
            try:
                await self._loop.sock_connect(s, (host, int(port)))
            except OSError:
                s.close()
                continue
            with self._lock:
                self.served[name] = self.served.get(name, 0) + 1
                self.routes[client] = name
            return s
        return None

    @staticmethod
    async def _both(*pumps):
        """Until both are through, or one fails; none is left that waits for a socket which is about to be closed."""
        tasks = [asyncio.ensure_future(p) for p in pumps]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for t in tasks:
                t.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for t in done:
            t.result()

    async def _pump(self, source, target):
        while data := await self._loop.sock_recv(source, PIECE):
            await self._loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)
