"""Runs test programs, with limits on their time and memory."""

import math
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

from sources import ROOT
from state import TREE, Program

# The same conformance kit as the repository's own tests take: beside the tree there is none.
ENVIRONMENT = {
    "FERRITE_KIT": os.environ.get("FERRITE_KIT", str(ROOT / "../shared/conformance")),
    "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true",
}
# Some tests reserve 10 GiB, of which they touch little.
MAX_BYTES = 16 << 30
# In all, a program may take so many times its limit of the CPU's time, and somewhat more: other programs run too.
WAIT_TIMES, WAIT_MORE_S = 20, 60

Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass
class Outcome:
    """How a program ended: `passed`, `failed` or `timed out`; the CPU's time that it took; what it printed."""

    how: str
    cpu_s: float
    output: str


def tests_of(program: Program) -> list[str]:
    """The tests of a program; one without a name if it is no harness of Rust's."""
    if not program.has_harness:
        return [""]
    listed = subprocess.run([program.path, "--list", "--format", "terse"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]


def run(program: Program, tests: list[str], cpu_s: float, variables: dict[str, str]) -> Outcome:
    """Runs these tests one after another for at most so much of the CPU's time."""
    limit = math.ceil(cpu_s)
    command = ["prlimit", f"--cpu={limit}:{limit + 1}", f"--data={MAX_BYTES}", "--core=0", program.path]
    if program.has_harness:
        command += ["--test-threads", "1", "--exact", *tests]
    folder = str(TREE / program.crate)
    environment = os.environ | ENVIRONMENT | {"CARGO_MANIFEST_DIR": folder} | variables
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        waited_too_long = threading.Event()

        def kill() -> None:
            waited_too_long.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(WAIT_TIMES * limit + WAIT_MORE_S, kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    used_s = usage.ru_utime + usage.ru_stime
    if process.returncode == 0:
        how = "passed"
    elif waited_too_long.is_set() or process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        how = "timed out"
    else:
        how = "failed"
    return Outcome(how, used_s, text)


def failed_tests(output: str) -> list[str]:
    """Names of the tests that failed, as Rust's harness prints them."""
    return re.findall(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", output, re.MULTILINE)


def in_parallel(jobs: int, work: Callable[[Item], Result], items: list[Item]) -> Iterator[Result]:
    """What `work` returns for each item, as soon as it does. Begins no more of it when the caller stops."""
    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(work, item) for item in items]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
