"""Servers that echo whatever a Dask comm sends, each in a process of its own."""

import asyncio
import os
import subprocess
import sys
import tempfile

import psutil


class Server:
    """A running server; ends with the block."""

    def __init__(self, command):
        # Appended to, since the place in it is shared with who reads it.
        self.log = tempfile.TemporaryFile("a+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        line = self.process.stdout.readline()
        announced = "listening on "
        assert line.startswith(announced), f"{command}: {line!r}"
        self.address = "tcp://" + line.removeprefix(announced).strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def logged(self):
        """What it has said on standard error."""
        self.log.seek(0)
        return self.log.read()

    def processor_time(self):
        """How many seconds it has computed."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def most_resident(self):
        """How many KiB it has had in memory at most."""
        with open(f"/proc/{self.process.pid}/status") as status:
            (line,) = [line for line in status if line.startswith("VmHWM:")]
        return int(line.split()[1])


def readinto(*options):
    """Ours."""
    return Server([os.environ["DASK_ECHO"], "--listen", "127.0.0.1:0", *options])


def tornado():
    """Dask's own, in the way of its scheduler, which passes arrays on as they came."""
    return Server([sys.executable, __file__])


async def serve():
    from distributed.comm import CommClosedError, listen

    async def echo(comm):
        try:
            while True:
                await comm.write(await comm.read())
        except CommClosedError:
            pass

    async with listen("tcp://127.0.0.1:0", echo, deserialize=False) as listener:
        address = listener.contact_address.removeprefix("tcp://")
        print("listening on", address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
