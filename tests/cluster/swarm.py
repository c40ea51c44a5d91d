"""Many clients in a process of their own: swarm.py load|watch ADDRESS PORT NUMBER SILOS AUTHORIZATION. SIGTERM ends it with one line of JSON.

load: NUMBER requests a second, each over a connection of its own; every tenth is a change. watch: NUMBER streams, each of one silo; one that ends is
opened again, after the pause that the hub asked for, where it was.
"""

import asyncio
import json
import random
import resource
import signal
import sys
import time

AT_ONCE = 400  # requests under way
GIVE_UP_SECONDS = 20


class Swarm:
    def __init__(self, address, port, number, silos, authorization):
        self.address, self.port, self.number, self.silos, self.authorization = address, int(port), int(number), int(silos), authorization
        self.done = asyncio.Event()

    async def ask(self, method, path, body=""):
        """HTTP/1.0: an answer ends with its connection, a stream has no chunks."""
        reader, writer = await asyncio.open_connection(self.address, self.port)
        writer.write(f"{method} {path} HTTP/1.0\r\nHost: hub\r\nAuthorization: {self.authorization}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        return status, reader, writer


class Load(Swarm):
    def __init__(self, *words):
        super().__init__(*words)
        self.sent, self.failed, self.seconds, self.under_way = 0, [], [], asyncio.Semaphore(AT_ONCE)

    async def request(self, n):
        silo, started, text = f"load{random.randrange(self.silos)}", time.monotonic(), ""
        method, body = ("PUT", json.dumps({"dnsrecords": [{"hostname": "h", "ip": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"}]})) \
            if n % 10 == 0 else ("GET", "")
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                status, reader, writer = await self.ask(method, f"/silos/{silo}", body)
                text = (await reader.read()).decode()
                writer.close()
        except (OSError, IndexError, ValueError, TimeoutError) as failure:
            status, text = 0, repr(failure)
        self.seconds.append(time.monotonic() - started)
        if status not in (200, 201):
            self.failed.append(f"{time.time():.3f} {method} {silo}: {status} {text[:200]}")
        self.under_way.release()

    async def run(self):
        began, tasks = time.monotonic(), set()
        while not self.done.is_set():
            due = int((time.monotonic() - began) * self.number)
            while self.sent < due and not self.done.is_set():
                await self.under_way.acquire()
                self.sent += 1
                task = asyncio.create_task(self.request(self.sent))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.002)
        took = time.monotonic() - began
        await asyncio.gather(*tasks)
        times = sorted(self.seconds)
        return {"requests": self.sent, "per_second": round(self.sent / took), "failed": len(self.failed), "first_failures": self.failed[:5],
                "p50_ms": round(times[len(times) // 2] * 1000, 1), "p99_ms": round(times[len(times) * 99 // 100] * 1000, 1)}


class Watch(Swarm):
    def __init__(self, *words):
        super().__init__(*words)
        self.synced, self.gaps, self.resets, self.wrong, self.refused, self.events = 0, [], 0, [], {}, 0

    async def stream(self, n, state):
        """One, to its end."""
        since = f"&since={state['since']}&hub={state['hub']}" if state["since"] else ""
        status, reader, writer = await self.ask("GET", f"/watch?silo=load{n % self.silos}{since}")
        kind = number = ""
        if status != 200:
            self.refused[status] = self.refused.get(status, 0) + 1
        while status == 200 and (line := (await reader.readline()).decode()):
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                kind = value
            elif field == "id":
                number = value
            elif field == "retry":
                state["retry"] = int(value) / 1000
            elif field == "data":
                self.dispatch(state, kind, json.loads(value))
            elif not field:
                state["since"] = number or state["since"]
        writer.close()

    def dispatch(self, state, kind, data):
        self.events += 1
        if kind == "reset":
            self.resets += 1
            state["newest"] = 0
        elif kind == "synced":
            state["hub"] = data["hub"]
            self.synced += not state["there"]
            state["there"] = True
            if state["lost"]:
                self.gaps.append(time.monotonic() - state["lost"])
        elif kind in ("silo", "deleted"):
            if data["revision"] < state["newest"]:
                self.wrong.append(f"revision {data['revision']} after {state['newest']}")
            state["newest"] = data["revision"]

    async def watcher(self, n):
        state = {"since": None, "hub": None, "newest": 0, "lost": None, "there": False, "retry": 1.0}
        while not self.done.is_set():
            try:
                await self.stream(n, state)
            except (OSError, IndexError, ValueError):
                pass
            if state["there"]:
                state["there"], state["lost"] = False, time.monotonic()
                self.synced -= 1
                await asyncio.sleep(state["retry"])
            else:
                await asyncio.sleep(random.uniform(0.05, 0.5))

    async def run(self):
        tasks = []
        for n in range(self.number):
            tasks.append(asyncio.create_task(self.watcher(n)))
            if n % 50 == 0:
                await asyncio.sleep(0.02)
        while self.synced < self.number and not self.done.is_set():
            await asyncio.sleep(0.05)
        print(json.dumps({"synced": self.synced}), flush=True)
        await self.done.wait()
        there = self.synced
        for task in tasks:
            task.cancel()
        gaps = sorted(self.gaps) or [0]
        return {"watchers": self.number, "there": there, "came_back": len(self.gaps), "p50_s": round(gaps[len(gaps) // 2], 2), "longest_s": round(gaps[-1], 2),
                "resets": self.resets, "wrong": self.wrong[:5], "refused": self.refused, "events": self.events}


async def main():
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    swarm = {"load": Load, "watch": Watch}[sys.argv[1]](*sys.argv[2:])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, swarm.done.set)
    print(json.dumps(await swarm.run()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
