"""A kernel in QEMU: its API, its shell, and what happens to it from outside."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from servers import LIMIT_S, free_port, get

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROMPT = b"\rferrite> \x1b[K"
# What a kernel says last that does not end by itself.
ENDS = [b"PANIC", b"FAULT", b"cannot boot"]


class Monitor:
    """QEMU's monitor for programs (QMP)."""

    def __init__(self, path, is_there):
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                if not is_there():
                    raise
                time.sleep(0.05)
        self.lines = self.socket.makefile("rb")
        self.lock = threading.Lock()
        # What QEMU has told without having been asked.
        self.events = []
        self.lines.readline()
        self.command("qmp_capabilities")

    def command(self, name, /, **arguments):
        """What QEMU returns; an error is raised."""
        with self.lock:
            request = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            while line := self.lines.readline():
                told = json.loads(line)
                if "event" in told:
                    self.events.append(told["event"])
                elif "error" in told:
                    raise ValueError(f"{name}: {told['error']['desc']}")
                elif "return" in told:
                    return told["return"]
        raise EOFError(f"{name}: QEMU has ended")


class Machine:
    """A kernel that `scripts/run` has started with --serve and more options, from when it answers."""

    def __init__(self, *options, qemu="", boot_args=""):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "qmp"
        more = {
            "QEMU_EXTRA": f"{os.environ.get('QEMU_EXTRA', '')} {qemu} -qmp unix:{path},server=on,wait=off",
            "FERRITE_BOOTARGS": f"{os.environ.get('FERRITE_BOOTARGS', '')} {boot_args}",
        }
        command = [ROOT / "scripts/run", *options, "--serve", str(self.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=os.environ | more, **pipes)
        # All that it has written.
        self.console = b""
        self.has_written = threading.Condition()
        self.shell = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.monitor = Monitor(path, lambda: self.process.poll() is None)
        except OSError as error:
            self.process.wait(LIMIT_S)
            sys.exit(f"QEMU does not start: {error}: {self.console.decode(errors='replace')}")
        self._wait(lambda: PROMPT in self.console)
        until = time.monotonic() + LIMIT_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the kernel does not serve: {self.console.decode(errors='replace')}")
            time.sleep(0.05)

    def _answers(self):
        with contextlib.suppress(OSError, EOFError, ValueError):
            return get(self.url, "/health")[0] == 200
        return False

    def _read(self):
        while piece := self.process.stdout.read1():
            with self.has_written:
                self.console += piece
                self.has_written.notify_all()

    def _wait(self, holds):
        with self.has_written:
            if not self.has_written.wait_for(holds, LIMIT_S):
                raise TimeoutError(f"the shell says nothing: {self.console[-300:]}")

    def run(self, line):
        """What a line of the shell prints."""
        with self.shell:
            begin = len(self.console)
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
            self._wait(lambda: PROMPT in self.console[begin:])
            said = self.console[begin:].split(PROMPT)[0]
        return said.replace(b"\r", b"").decode(errors="replace").partition("\n")[2]

    def failure(self):
        """Why it is not the machine any more that it was, if it is not."""
        if self.process.poll() is not None:
            return f"QEMU has ended: {self.console[-500:]}"
        for end in ENDS:
            if end in self.console:
                at = self.console.index(end)
                return f"the kernel has ended: {self.console[at:][:500]}"
        self.monitor.command("query-status")
        restarts = [event for event in self.monitor.events if event in ("RESET", "SHUTDOWN", "GUEST_PANICKED")]
        return f"the machine has started again: {restarts}" if restarts else None

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT_S)
        self.folder.cleanup()
