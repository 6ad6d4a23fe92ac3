"""Requests to the page of a run, with exactly the headers that a test says."""

import json
import socket

from tensorgraph.train.watch import server as web

HEADER = web.HEADER


def port_of(server):
    return server.server_address[1]


def usual(server, **more):
    """The headers of the page's own requests, and of a command where it is one."""
    port = port_of(server)
    return {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin",
            HEADER: server.key, **more}  # fmt: skip


def raw(server, data, timeout=60.0):
    """What the server answers to these bytes: status, headers, body; None where it closes without a word."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    if not answer.startswith(b"HTTP/"):  # so answered are requests of HTTP/0.9, which has no headers
        return (400, {}, answer) if answer else None
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def ask(server, method="GET", target="/state?since=", headers=None, body=b"", pairs=()):
    """A request with exactly these headers, of which None leaves one out."""
    headers = usual(server) | (headers or {})
    if method == "POST":
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    lines = [f"{name}: {value}" for name, value in (*headers.items(), *pairs) if value is not None]
    return raw(server, "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body)


def command(server, headers=None, pairs=(), target="/command", method="POST", **fields):
    return ask(server, method, target, headers, json.dumps(fields).encode(), pairs)


def commands_of(run):
    return run.folder.control.read_bytes() if run.folder.control.exists() else b""


SET = dict(command="set", name="lr", value=0.004)
