"""The page of a run: who must not get in does not, by raw sockets."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from panda_pages import HEADER, SET, ask, command, commands_of, port_of, raw, usual
from run_events import steered, written
from run_training import trained

from tensorgraph.commands.cli import main
from tensorgraph.train.watch import server as web
from tensorgraph.train.watch.server import served


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with trained(tmp_path_factory.mktemp("web") / "<i>first") as run:
        yield run


@pytest.fixture(scope="module")
def page(run):
    with served(run) as (server, file):
        yield server, file


# ---- who asks


def test_the_usual_request_is_answered(page, run):
    server, _ = page
    status, headers, body = ask(server)
    state = json.loads(body)
    assert status == 200 and state["status"] == "running" and "lr" in [one["name"] for one in state["settable"]]
    assert headers["content-type"] == "application/json" and headers["cache-control"] == "no-store"
    status, _, body = command(server, **SET)
    assert status == 200 and json.loads(body) == {"done": "set lr = 0.004"}
    assert run.hyperparameters["lr"] == 0.004


def wrong_hosts(server):
    port = port_of(server)
    return [None, "", "evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
            f"localhost.evil.example:{port}", f"127.0.0.1:{port}@evil.example",
            f"[::1]:{port}", f"0.0.0.0:{port}", f"127.0.0.1:{port}, evil.example",
            f"LOCALHOST.:{port}", f"127.1:{port}"]  # fmt: skip


def test_another_host_is_refused_everywhere(page, run):
    server, _ = page
    before = commands_of(run)
    for host in wrong_hosts(server):
        for answer in (ask(server, headers={"Host": host}), ask(server, target="/", headers={"Host": host}),
                       command(server, {"Host": host, "Origin": f"http://{host}"}, **SET)):  # fmt: skip
            assert answer[0] == 403 and server.key.encode() not in answer[2] and b"lr" not in answer[2], host
    twice = ask(server, pairs=[("Host", "evil.example")])
    assert twice[0] == 400
    assert ask(server, target=f"http://127.0.0.1:{port_of(server)}/state?since=")[0] == 404  # an address in full
    assert commands_of(run) == before
    assert ask(server, headers={"Host": f"localhost:{port_of(server)}", "Origin": None})[0] == 200


def test_another_origin_is_refused(page, run):
    server, _ = page
    before, port = commands_of(run), port_of(server)
    own = f"http://127.0.0.1:{port}"
    for origin in ("http://evil.example", "null", "", own.replace("http", "https"), f"http://127.0.0.1:{port + 1}",
                   f"http://localhost:{port}", f"{own}.evil.example", f"{own}/"):  # fmt: skip
        assert ask(server, headers={"Origin": origin})[0] == 403
        assert command(server, {"Origin": origin}, **SET)[0] == 403
    assert command(server, {"Origin": None}, **SET)[0] == 403  # where something is to change, it must be there
    for site in ("cross-site", "same-site", "none", "", "SAME-ORIGIN"):
        assert ask(server, headers={"Sec-Fetch-Site": site})[0] == 403
        assert command(server, {"Sec-Fetch-Site": site}, **SET)[0] == 403
    assert commands_of(run) == before
    for answer in (ask(server), ask(server, target="/")):
        assert not [name for name in answer[1] if name.startswith("access-control")]
    assert ask(server, "OPTIONS", "/command", {"Access-Control-Request-Headers": HEADER})[0] == 501


def test_without_the_key_there_is_neither_reading_nor_changing(page, run):
    server, _ = page
    before, key = commands_of(run), server.key
    for wrong in (None, "", key[:-1], f"{key}x", key.swapcase(), "a" * 5000, "\xff" * 43, f"{key}, {key}", "None"):
        for answer in (ask(server, headers={HEADER: wrong}), command(server, {HEADER: wrong}, **SET)):
            assert answer[0] == 401 and b"lr" not in answer[2]
    assert ask(server, pairs=[(HEADER, "x")])[0] == 400
    for elsewhere in (f"/state?since=&key={key}", f"/state?key={key}", f"/?{key}"):
        assert ask(server, target=elsewhere, headers={HEADER: None})[0] == 404
    assert ask(server, headers={HEADER: None, "Cookie": f"key={key}", "Authorization": f"Bearer {key}"})[0] == 401
    assert commands_of(run) == before


def test_a_get_changes_nothing(page, run):
    server, _ = page
    before = commands_of(run)
    body = json.dumps(SET).encode()
    for target in ("/command", "/command?command=stop", "/state?since=&command=stop", "/stop", "/set?name=lr&value=1"):
        length = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        assert ask(server, "GET", target, length, body)[0] == 404
    for method in ("PUT", "PATCH", "DELETE", "HEAD", "TRACE", "CONNECT", "QUERY", "get"):
        assert ask(server, method, "/command", {"Content-Length": str(len(body))}, body)[0] == 501
    assert ask(server, "POST", "/state?since=", {}, body)[0] == 404 and ask(server, "POST", "/", {}, body)[0] == 404
    assert commands_of(run) == before


# ---- what is asked


def test_no_path_leads_to_a_file(page, run):
    server, file = page
    (run.folder.path / "secret.txt").write_text("secret")
    for target in ("/secret.txt", "/run.json", "/events.jsonl", f"/{file.name}", f"/{file.stem}.key", "/../run.json",
                   "/..%2frun.json", "/%2e%2e/run.json", "//etc/passwd", "/etc/passwd", "/state/../../run.json",
                   "/state?since=../../x", "/state?since=\x00", "/./", "/?", "/#", "*", "", "\\", "/" + "a" * 60_000,
                   str(run.folder.path / "run.json"), "file:///etc/passwd"):  # fmt: skip
        answer = ask(server, target=target)
        assert answer[0] in (400, 404, 414), target
        for word in (b"secret", b"root:", b"digest", server.key.encode()):
            assert word not in answer[2]


def test_only_what_is_listed_can_be_set_and_only_to_numbers(page, run):
    server, _ = page
    before = commands_of(run)
    for fields in (
        {}, {"command": "exec"}, {"command": None}, {"command": ["set"]}, {"command": "__init__"}, {"command": "load"},
        SET | {"name": "speed"}, SET | {"name": "__class__"}, SET | {"name": "folder"}, SET | {"name": ""},
        SET | {"name": None}, SET | {"name": ["lr"]}, SET | {"name": "lr\n"}, SET | {"value": "1"},
        SET | {"value": True}, SET | {"value": None}, SET | {"value": -1.0}, SET | {"value": [1]},
        SET | {"value": {"a": 1}}, SET | {"id": "a" * 16}, SET | {"more": 1},
        {"command": "set"}, {"command": "pause", "name": "lr"}, {"command": "stop", "value": 1},
        {"command": "checkpoint", "name": 3}, {"command": "checkpoint", "name": "x" * 121},
        {"command": "checkpoint", "name": ""},
        {"command": "rollback", "to": 1.5}, {"command": "rollback", "to": True}, {"command": "rollback", "to": ["x"]},
    ):  # fmt: skip
        answer = command(server, **fields)
        assert answer[0] == 400 and answer[1]["content-type"].startswith("text/plain"), fields
    for body in (b"", b"{", b"[]", b"1", b'"stop"', b"null", b"\xff\xfe{}",
                 b'{"command": "set", "name": "lr", "value": NaN}',
                 b'{"command": "set", "name": "lr", "value": 1e999}', b"[" * 4000, b"command=stop"):  # fmt: skip
        assert ask(server, "POST", "/command", {}, body)[0] == 400, body
    assert commands_of(run) == before


def test_what_the_run_refuses_is_told(page):
    server, _ = page
    status, _, body = command(server, command="set", name="beta1", value=5)
    assert status == 409 and "beta1" in json.loads(body)["refused"]
    status, _, body = command(server, command="rollback", to="nowhere")
    assert status == 409 and "no checkpoint 'nowhere'" in json.loads(body)["refused"]


def test_bodies_are_small_and_say_what_they_are(page, run):
    server, _ = page
    before = commands_of(run)
    body = json.dumps(SET).encode()
    large = json.dumps(SET | {"x": "a" * 5000}).encode()
    assert ask(server, "POST", "/command", {}, large)[0] == 413
    for length in ("99999999999", "9" * 18):  # of which nothing is waited for
        assert ask(server, "POST", "/command", {"Content-Length": length}, body)[0] == 413
    for length in (None, "", "-1", "1e3", "0x20", "+5", "9" * 19, " 5 5"):
        assert ask(server, "POST", "/command", {"Content-Length": length}, body)[0] in (400, 411), length
    assert ask(server, "POST", "/command", {}, body, [("Content-Length", "3")])[0] == 400
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert ask(server, "POST", "/command", {"Transfer-Encoding": "chunked"}, chunked)[0] == 411
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"):
        assert ask(server, "POST", "/command", {"Content-Type": kind}, body)[0] == 415
    assert raw(server, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n")[0] == 414
    many = [(f"X-{i}", "1") for i in range(300)]
    assert ask(server, pairs=many)[0] == 431
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        answer = raw(server, nonsense)
        assert answer is None or answer[0] in (400, 403, 505)
    assert commands_of(run) == before and ask(server)[0] == 200


def test_those_who_say_nothing_do_not_keep_others_out(page, monkeypatch):
    server, _ = page
    monkeypatch.setattr(web.Handler, "timeout", 0.3)
    silent = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(web.MOST_AT_ONCE + 10)]
    try:
        for connection in silent[:5]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        until = time.monotonic() + 60
        while True:  # they are let go of
            with suppress(OSError):
                answer = ask(server)
                if answer is not None and answer[0] == 200:
                    break
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        for connection in silent:
            connection.close()
    assert sum(thread.name.startswith("Thread-") for thread in threading.enumerate()) <= web.MOST_AT_ONCE + 10


def test_a_request_that_comes_byte_by_byte_is_ended(page, monkeypatch):
    server, _ = page
    monkeypatch.setattr(web, "LONGEST", 0.3)
    with socket.create_connection(("127.0.0.1", port_of(server)), 20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        ended = False
        for _ in range(1200):  # the server's patience is with silence alone
            try:
                connection.sendall(b"a")
                connection.settimeout(0.05)
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:  # reset
                ended = True
            break
    assert ended and ask(server)[0] == 200


# ---- where it listens, and where the key is


def test_it_listens_on_the_loopback_address_alone(page):
    server, _ = page
    assert server.server_address[0] == "127.0.0.1" and server.socket.family == socket.AF_INET
    with open("/proc/net/tcp") if os.path.exists("/proc/net/tcp") else pytest.skip("no /proc") as table:
        bound = [line.split()[1] for line in table if line.split()[1].endswith(f":{port_of(server):04X}")]
    assert set(bound) == {f"0100007F:{port_of(server):04X}"}


def test_the_key_lies_in_files_of_the_owner_alone_and_nowhere_else(run, capfd, tmp_path):
    before = os.umask(0)  # a careless one
    try:
        with served(run) as (server, file):
            made = [file, file.with_suffix(".key")]
            for path in made:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600 and server.key in path.read_text()
            assert stat.S_IMODE(run.folder.path.stat().st_mode) == 0o700
            ask(server), command(server, {HEADER: "wrong"}, **SET), ask(server, target="/x")
            for path in run.folder.path.rglob("*"):
                if path.is_file() and path not in made:
                    assert server.key.encode() not in path.read_bytes()
            assert server.key not in " ".join(sys.argv) and server.key not in str(os.environ)
            assert server.key.encode() not in ask(server, target="/")[2]
            one = server.key
            with served(run) as (other, second):  # another page of the same run has another key
                assert other.key != one and second != file and len(one) >= 43
                assert ask(other, headers={HEADER: one})[0] == 401
        assert not any(path.exists() for path in made)
    finally:
        os.umask(before)
    assert capfd.readouterr() == ("", "")  # nothing is logged


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C is no signal to one process")
def test_the_command_serves_until_ctrl_c_and_prints_no_key(tmp_path):
    run = written(tmp_path / "run", steered())
    command = [sys.executable, "-m", "tensorgraph", "panda", str(run.folder.path), "watch", "--web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        told = process.stdout.readline() + process.stdout.readline()
        (file,) = run.folder.path.glob("web-*.key")
        key = file.read_text().strip()
        assert file.with_suffix(".html").name in told and f"http://127.0.0.1:{file.stem.removeprefix('web-')}/" in told
        if os.path.exists("/proc"):
            assert key.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGINT)
        try:
            told += process.communicate(timeout=60)[0]
        finally:
            process.kill()  # one that goes on would be waited for
    assert process.returncode == 0 and told.endswith("the page has ended\n") and key not in told
    assert list(run.folder.path.glob("web-*")) == []


def test_the_key_is_not_sent_where_the_file_leads(page):
    server, file = page
    text = file.read_text()
    assert re.search(rf"url=http://127.0.0.1:{port_of(server)}/#{re.escape(server.key)}\"", text)
    assert 'name="referrer" content="no-referrer"' in text


def test_a_folder_that_others_can_look_into_is_refused(tmp_path, capsys):
    run = written(tmp_path / "open", steered())
    run.folder.path.chmod(0o755)
    with pytest.raises(PermissionError, match="chmod 700"), served(run):
        pass
    assert main(["panda", str(run.folder.path), "watch", "--web"]) == 2
    assert "chmod 700" in capsys.readouterr().err
    assert list(run.folder.path.glob("web-*")) == []


def test_a_file_that_lies_in_the_way_is_not_written_through(tmp_path, run):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (run.folder.path / f"web-{port}.key").symlink_to(victim)
    with served(run, port) as (server, file):
        assert not file.with_suffix(".key").is_symlink()
    assert victim.read_text() == "mine"


def test_a_port_that_is_taken_is_told(page, run):
    with pytest.raises(OSError, match="cannot be had"), served(run, port_of(page[0])):
        pass
    assert list(run.folder.path.glob("web-*")) and ask(page[0])[0] == 200


def test_the_answers_forbid_what_is_not_needed(page):
    server, _ = page
    for answer in (ask(server, target="/"), ask(server), ask(server, target="/x"), ask(server, headers={"Host": "x"})):
        headers = answer[1]
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer" and "python" not in headers["server"].lower()
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_where_nobody_trains_nothing_is_sent(tmp_path):
    run = written(tmp_path / "done", steered())
    with served(run) as (server, _):
        status, _, body = command(server, **SET)
        assert status == 409 and "nobody trains" in json.loads(body)["refused"] and commands_of(run) == b""
        state = json.loads(ask(server)[2])
        assert state["status"] == "finished" and len(state["data"]) == 4
        run.folder.events.write_bytes(run.folder.events.read_bytes() + b"{broken\n")
        assert ask(server)[0] == 500


def test_news_are_waited_for(page):
    server, _ = page
    state = json.loads(ask(server)[2])
    step = state["step"]
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    while state["step"] == step:  # the end of an epoch is news too
        before = state["at"]
        connection.request("GET", f"/state?since={before}", headers=usual(server))
        state = json.loads(connection.getresponse().read())
        assert state["at"] != before
    connection.close()
    assert state["step"] > step
