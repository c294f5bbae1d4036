"""How long a callback of the host program waits while Hosier's server works in the same event loop.

Started by run.py. Prints one JSON line with the address of the server, waits for the line "start", measures until the
next line or the end of standard input, and prints the delays as JSON, in µs. Every millisecond a timer asks for a
`call_soon` callback: its delay is what a host program feels. How late the timer itself comes is reported beside it.
"""

import asyncio
import json
import sys

import hosier

PERIOD = 0.001


class Probe:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.delays: list[float] = []
        self.late: list[float] = []
        self.stopped = False

    def start(self) -> None:
        self.due = self.loop.time() + PERIOD
        self.loop.call_at(self.due, self.tick)

    def tick(self) -> None:
        now = self.loop.time()
        self.late.append(now - self.due)
        self.loop.call_soon(self.tock, now)

    def tock(self, asked: float) -> None:
        self.delays.append(self.loop.time() - asked)
        if not self.stopped:
            self.start()


def percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[round(share * (len(values) - 1))] * 1e6, 1)


async def lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def main() -> None:
    commands = await lines()
    async with hosier.Server(listen=["127.0.0.1:0"]) as server:
        host, port = server.addresses[0][:2]
        print(json.dumps({"host": host, "port": port}), flush=True)
        await commands.readline()
        probe = Probe(asyncio.get_running_loop())
        probe.start()
        await commands.readline()
        probe.stopped = True
        report = {
            "samples": len(probe.delays),
            "p50_us": percentile(probe.delays, 0.5),
            "p99_us": percentile(probe.delays, 0.99),
            "max_us": percentile(probe.delays, 1),
            "timer_late_p99_us": percentile(probe.late, 0.99),
        }
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
