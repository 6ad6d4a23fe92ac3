"""A run in a browser: one page on the loopback address that follows the run and steers it.

Who must not get in, and what keeps each of them out.

- *Other machines.* The server listens on 127.0.0.1 and nowhere else.
- *Other sites in the user's browser.* A site may send requests to 127.0.0.1, and a name of its own may resolve to that
  address (DNS rebinding). So the ``Host`` must be 127.0.0.1 or localhost with the port; an ``Origin`` must be the
  page's own, and be there where something is to change; ``Sec-Fetch-Site``, where a browser sends it, must say
  same-origin. Data and changes want the key in a header of our own, which another origin could send after a preflight
  alone, and no preflight is answered. No answer allows another origin to read it, or the page to be framed.
- *Other users of this machine.* The port is open to all of them, so address and origin prove nothing, and reading is
  kept as closed as changing: the run's folder is 0700, and its curves must not leak through a port. Everything but the
  empty page wants the key: 32 random bytes, made anew at each start, compared in constant time. It stands in two files
  in the run's folder, 0600 (the folder must be its owner's alone). It is never an argument, since those can be seen by
  all, never in an address that is sent, and nothing is logged. Who takes our port after the server's end, or before its
  start, learns a key that opens nothing.
- *What the user opens.* One of the two files is a page that leads to the server with the key in the fragment, the part
  of an address that browsers never send. The page takes it out of the address bar at once, and keeps it for the tab
  alone, so that it can be loaded again. Elsewhere (a browser at the other end of a tunnel) the key is pasted from the
  other file.
- *What a name may do.* The page's policy lets its own script and style run, by their hashes, and nothing else; whatever
  a user named reaches it escaped. No path leads to files; what may be changed is a list of names; requests are small,
  few at a time, and may not last.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import re
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tensorgraph.pages import assets, document, policy, scripted, themed
from tensorgraph.train.run.control import COMMANDS
from tensorgraph.train.run.lines import EventReader
from tensorgraph.train.run.log import CHECKPOINT
from tensorgraph.train.watch.charts import chart_data
from tensorgraph.train.watch.curves import panels
from tensorgraph.train.watch.report import charts_of, facts_of, marks_table
from tensorgraph.train.watch.story import Story, name_of, told
from tensorgraph.train.watch.terminal import outcome, pace

__all__ = ["Server", "served"]

ADDRESS = "127.0.0.1"
HEADER = "X-Tensorgraph-Key"
MOST_BODY = 4096  # bytes of a command
MOST_TARGET = 200  # characters of what is asked for
MOST_AT_ONCE = 24  # requests under way; beyond, connections are closed
PATIENCE = 15.0  # seconds in which a request must have come
LONGEST = 60.0  # seconds that a request may last altogether
HOLD = 8.0  # seconds for which an answer waits for news
LOOK = 0.2  # seconds between looks at the events
ANSWER = 5.0  # seconds for which a command waits for its answer
LONGEST_NAME = 120


class Refusal(Exception):
    """A request that is not answered: with which status, and why."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Live:
    """A run as the page sees it: its story, read on when asked, and what of it is sent."""

    def __init__(self, run: Any) -> None:
        self.run, self.story = run, Story()
        self._reader = EventReader(run.folder)
        self._lock = threading.Lock()
        self._sent: tuple[tuple[int, str], bytes] = ((-1, ""), b"")

    def state(self, since: str) -> bytes:
        """All that the page shows, as JSON; waits for something new where the page has it already."""
        until = time.monotonic() + HOLD
        while True:
            with self._lock:
                key, data = self._now()
            if f"{key[0]}-{key[1]}" != since or time.monotonic() > until:
                return data
            time.sleep(LOOK)

    def _now(self) -> tuple[tuple[int, str], bytes]:
        busy = self.run.folder.busy()  # asked first, so that what was written before the end is read
        self._read()
        key = self.story.count, self.story.log.status(busy)
        if key != self._sent[0]:
            self._sent = key, json.dumps(self._told(key[1])).encode()
        return self._sent

    def _read(self) -> None:
        for event in self._reader.new():
            self.story.add(event)

    def _told(self, status: str) -> dict[str, Any]:
        story = self.story
        settable = [(name, f"{story.now[name]:.6g}") for name in story.settable if name in story.now]
        return {
            "at": f"{story.count}-{status}", "name": name_of(self.run), "status": status,
            "outcome": outcome(story, status), "pace": pace(story) if status == "running" else "",
            "step": story.step, "total": story.total,
            "settable": [{"name": name, "value": value} for name, value in settable],
            "checkpoints": [_checkpoint(found) for found in self.run.checkpoints][-30:],
            "facts": facts_of(story), "charts": charts_of(story), "marks": marks_table(story),
            "data": [chart_data(panel) for panel in panels(story)],
        }  # fmt: skip

    def command(self, given: dict[str, Any]) -> tuple[HTTPStatus, dict[str, Any]]:
        """Send a command to the run and wait for its answer."""
        send = self._sender(given)
        if not self.run.folder.busy():
            return HTTPStatus.CONFLICT, {"refused": "nobody trains in this folder now"}
        id = send()
        try:
            answer = self.run.wait(id, timeout=ANSWER)
        except TimeoutError:
            return HTTPStatus.ACCEPTED, {"waiting": "sent; it is applied between two steps"}
        if answer.get("event") == "refused":
            return HTTPStatus.CONFLICT, {"refused": str(answer.get("reason"))}
        return HTTPStatus.OK, {"done": told(answer)}

    def _sender(self, given: dict[str, Any]) -> Callable[[], str]:
        """The run's method with its arguments, each of them checked."""
        run, kind = self.run, given.get("command")
        fields = COMMANDS.get(kind) if isinstance(kind, str) else None
        if fields is None or not set(given) <= {"command", *fields}:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"a command is one of {', '.join(COMMANDS)}, with its fields alone")
        name, value, to = given.get("name"), given.get("value"), given.get("to")
        if kind == "set":
            with self._lock:
                self._read()
            if not isinstance(name, str) or name not in self.story.settable:
                raise Refusal(HTTPStatus.BAD_REQUEST, "name must be one of those that may be set")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise Refusal(HTTPStatus.BAD_REQUEST, "value must be a finite number, at least 0")
            return lambda: str(run.set(name, value))
        if not (name is None or (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME)):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"name must be a text of at most {LONGEST_NAME} characters")
        if not (to is None or (isinstance(to, int) and not isinstance(to, bool)) or _is_name(to)):
            raise Refusal(HTTPStatus.BAD_REQUEST, "to must be the number or the name of a checkpoint")
        if kind == CHECKPOINT:
            return lambda: str(run.checkpoint(name=name))
        if kind == "rollback":
            return lambda: str(run.rollback(to=to))
        plain: dict[str, Callable[[], str]] = {"pause": run.pause, "resume": run.resume, "stop": run.stop}
        return plain[str(kind)]


def _checkpoint(found: Any) -> dict[str, str]:
    """A checkpoint as it is chosen."""
    name = f" ({found.name})" if found.name else ""
    return {"number": str(found.number), "words": f"{found.number}{name}: step {found.step:,}"}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


# ---- the page


@cache
def page() -> tuple[bytes, str]:
    """The page, which holds nothing of the run, and its policy."""
    script = scripted(assets(__package__, "charts.js", "live.js"))
    style = f"{themed()}{assets(__package__, 'charts.css', 'live.css')}"
    allowed = ("connect-src 'self'",)
    text = document("A run of tensorgraph", assets(__package__, "live.html"), style=style, script=script, more=allowed)
    return text.encode(), policy(style, script, *allowed, "frame-ancestors 'none'")


def leading(port: int, key: str) -> str:
    """The file that leads to the page, with the key where browsers do not send it."""
    address = f"http://{ADDRESS}:{port}/#{key}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={address}"><title>A run of tensorgraph</title></head>'
        f'<body><p><a href="{address}" rel="noreferrer">To the run</a></p></body></html>\n'
    )


class Handler(BaseHTTPRequestHandler):
    """One request: who asks is looked at first, then what."""

    server: Server
    timeout = PATIENCE
    server_version, sys_version = "tensorgraph", ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, act: Callable[[], None]) -> None:
        try:
            self._check_host()
            act()
        except Refusal as refusal:
            self._send(refusal.status, "text/plain; charset=utf-8", f"{refusal.reason}\n".encode())
        except (ValueError, OSError, RuntimeError) as error:  # of the run's files
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode())

    def _get(self) -> None:
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", page()[0])
            return
        asked = re.fullmatch(r"/state\?since=([\w-]{0,40})", self.path) if len(self.path) <= MOST_TARGET else None
        if asked is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        self._check_origin(needed=False)
        self._check_key()
        self._send(HTTPStatus.OK, "application/json", self.server.live.state(asked[1]))

    def _post(self) -> None:
        if self.path != "/command":
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        self._check_origin(needed=True)
        self._check_key()
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a command is application/json")
        status, said = self.server.live.command(self._body())
        self._send(status, "application/json", json.dumps(said).encode())

    # ---- who asks

    def _only(self, name: str) -> str | None:
        """A header that may come once."""
        found = self.headers.get_all(name, [])
        if len(found) > 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"{name} is given twice")
        return str(found[0]) if found else None

    def _check_host(self) -> None:
        port = self.server.server_address[1]
        if self._only("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            raise Refusal(HTTPStatus.FORBIDDEN, f"this page is http://{ADDRESS}:{port}/ and has no other name")

    def _check_origin(self, *, needed: bool) -> None:
        origin = self._only("Origin")
        if (needed or origin is not None) and origin != f"http://{self._only('Host')}":
            raise Refusal(HTTPStatus.FORBIDDEN, "only this page may ask")
        if self._only("Sec-Fetch-Site") not in (None, "same-origin"):
            raise Refusal(HTTPStatus.FORBIDDEN, "only this page may ask")

    def _check_key(self) -> None:
        given = self._only(HEADER) or ""
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.server.key.encode()):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "the key is missing or another: open the file in the run's folder")

    # ---- what is asked

    def _body(self) -> dict[str, Any]:
        length = self._only("Content-Length")
        if (
            self.headers.get("Transfer-Encoding") is not None
            or length is None
            or not re.fullmatch("[0-9]{1,18}", length)
        ):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "a command says its length")
        if int(length) > MOST_BODY:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a command has at most {MOST_BODY} bytes")
        data = self.rfile.read(int(length))
        try:
            given = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "a command is a JSON object")
        return given

    # ---- the answer

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        with suppress(ConnectionError, TimeoutError):  # the browser has gone
            self.send_response(status)
            for name, value in (*SAFE.items(), ("Content-Security-Policy", page()[1])):
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself: no such method, a line too long."""
        self.close_connection = True
        self._send(HTTPStatus(code), "text/plain; charset=utf-8", b"this is not understood\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


SAFE: dict[str, str] = {
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Connection": "close",
}  # fmt: skip


def hang_up(request: socket.socket) -> None:
    """End a connection that another thread may be reading from."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class Server(ThreadingHTTPServer):
    """The server of one run's page.

    Parameters
    ----------
    run : Run
    port : int
        0 takes a free one.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 16
    # on Windows this would let others listen on the same port
    allow_reuse_address: ClassVar[bool] = os.name != "nt"  # type: ignore[misc]

    def __init__(self, run: Any, port: int = 0) -> None:
        self.live, self.key = Live(run), secrets.token_urlsafe(32)
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((ADDRESS, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a request, while there are not too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        end = threading.Timer(LONGEST, hang_up, [request])  # who sends a byte now and then is never out of patience
        end.name, end.daemon = "tensorgraph panda limit", True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._room.release()

    def wait(self) -> None:
        """Block until Ctrl-C."""
        while True:
            time.sleep(3600.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nobody's error."""


@contextmanager
def served(run: Any, port: int = 0) -> Iterator[tuple[Server, Path]]:
    """The page of a run while the block runs; gives the server and the file that leads to it.

    Raises
    ------
    PermissionError
        If others than its owner can look into the run's folder.
    OSError
        If the port is taken.
    FileFormatError
        If the run is of a newer version, or its description is damaged.
    """
    folder = run.folder.path
    check_private(folder)
    run.folder.read()  # before an address is told
    try:
        server = Server(run, port)
    except OSError as error:
        raise OSError(f"port {port} cannot be had ({error.strerror}): give another, or none") from error
    number = server.server_address[1]
    made = folder / f"web-{number}.html", folder / f"web-{number}.key"
    thread = threading.Thread(target=server.serve_forever, name="tensorgraph panda", daemon=True)
    try:
        for path, text in zip(made, (leading(number, server.key), f"{server.key}\n")):
            write_private(path, text)
        thread.start()
        yield server, made[0]
    finally:
        if thread.ident is not None:
            server.shutdown()
            thread.join()
        server.server_close()
        for path in made:
            with suppress(OSError):
                path.unlink()


def check_private(folder: Path) -> None:
    """Refuse a folder that others can look into."""
    if os.name == "nt":
        return
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(f"{str(folder)!r} belongs to another user, who could read the page's key: copy the run")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(
            f"{str(folder)!r} can be looked into by others than its owner, and the page's key would lie in it: "
            f"chmod 700 {folder}"
        )


def write_private(path: Path, text: str) -> None:
    """A new file for its owner alone, whatever the umask; an older one of this name goes."""
    with suppress(FileNotFoundError):
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
