"""Servers that scripts start, and how they are asked."""

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

LIMIT_S = 120


def connect(url, timeout_s=LIMIT_S):
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=timeout_s)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# QEMU's port forwarding has room for one connection that it has not accepted yet; of a burst, Linux resets some.
ONE_AT_A_TIME = threading.Lock()


def connect_through(url):
    """A connection that has been accepted by whom it is for, and not only by QEMU."""
    with ONE_AT_A_TIME:
        connection = connect(url)
        ask(connection, "/health")
    return connection


def ask(connection, path):
    """Status and body of what is at a path."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def get(url, path):
    """The same on a connection of its own."""
    connection = connect(url)
    answer = ask(connection, path)
    connection.close()
    return answer


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(*command, limit_s=LIMIT_S):
    """A server, from when it answers until it is told to stop."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(port if word == "PORT" else word) for word in command]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = []
    threading.Thread(target=lambda: said.extend(server.stderr), daemon=True).start()
    try:
        until = time.monotonic() + limit_s
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if get(url, "/health")[0] == 200:
                    break
            if server.poll() is not None or time.monotonic() > until:
                sys.exit(f"{command[0]} does not serve: {b''.join(said[-9:]).decode()}")
            time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(LIMIT_S)


@contextlib.contextmanager
def health(url, taken_s, pause_s=0.05):
    """Asks how the server is, again and again, each time on a new connection; how long the answers took."""
    is_over = threading.Event()

    def probe():
        while not is_over.wait(pause_s):
            with ONE_AT_A_TIME:
                started = time.monotonic()
                status, body = get(url, "/health")
                assert status == 200, (status, body)
                taken_s.append(time.monotonic() - started)

    prober = threading.Thread(target=probe)
    prober.start()
    yield
    is_over.set()
    prober.join()


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else None
