"""Tokens: who may connect, over RPC and HTTP, with the real programs."""
import pathlib
import secrets
import signal

import pytest

import harness
from harness import HttpError, until


class Secured(harness.Stack):
    """A stack that asks for tokens; each of its programs has one of its own."""

    def __init__(self, **options):
        super().__init__(plugins=["hello"], start=False, **options)
        self.tokens = {role: f"{role}-{secrets.token_urlsafe(16)}" for role in ("client", "runtime")}
        self.accepted = self.directory / "accepted"
        self.write(self.accepted, "".join(f"{t} {role} test\n" for role, t in self.tokens.items()))
        for role, token in self.tokens.items():
            self.write(self.directory / role, f"# for tests\n{token}\n")
        self.server_args += ["--token-file", self.accepted]
        self.runtime_args += ["--token-file", self.directory / "runtime"]
        self.start_redis()
        self.start_server()

    @staticmethod
    def write(path, text, mode=0o600):
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(mode)

    def bearer(self, role="client"):
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def request(self, method, path, body=None, headers=None, raw=None, patience_s=harness.PATIENCE_S):
        return super().request(method, path, body, self.bearer() if headers is None else headers, raw,
                               patience_s)

    def reload(self):
        self.server.send(signal.SIGHUP)


@pytest.fixture
def secured(request):
    s = Secured()
    yield s
    s.close()


def logs(stack):
    return "\n".join(p.log.read_text(errors="replace") for p in stack.processes())


def test_all_of_it_with_tokens(secured):
    secured.start_runtime()
    token = secured.tokens["client"]
    for flags in (["--token-file", secured.directory / "client"], ["--token", token]):
        done = secured.aiki("workflows", "trigger", "hello", "--input", '{"name": "x"}', "--wait", *flags)
        assert "x" in done.stdout
    assert secured.result(secured.start("hello", {"name": "y"}))
    # No token is in a log, and none in what a plugin's process was given.
    for process in secured.runtime.children():
        given = pathlib.Path(f"/proc/{process}/environ").read_bytes() + \
            pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
        assert secured.tokens["runtime"].encode() not in given
    assert not [t for t in secured.tokens.values() if t in logs(secured)]


def test_environment(secured, monkeypatch):
    for name, value in (("AIKI_TOKEN", secured.tokens["client"]),
                        ("AIKI_TOKEN_FILE", str(secured.directory / "client"))):
        with monkeypatch.context() as m:
            m.setenv(name, value)
            assert secured.aiki("workers", "list").returncode == 0
    # A flag wins over the variable of the other.
    monkeypatch.setenv("AIKI_TOKEN", "not-an-accepted-one")
    assert secured.aiki("workers", "list", "--token-file", secured.directory / "client").returncode == 0
    assert secured.aiki("workers", "list", check=False).returncode == 1


@pytest.mark.exact
def test_refused_without(secured):
    for flags in ([], ["--token", "not-an-accepted-one"], ["--token", secured.tokens["runtime"]]):
        done = secured.aiki("workers", "list", *flags, check=False)
        assert done.returncode == 1
        assert "TOKEN_REFUSED" in done.stderr and "--token-file" in done.stderr
    answers = set()
    for headers in ({}, {"Authorization": "Bearer not-an-accepted-one"}, secured.bearer("runtime")):
        with pytest.raises(HttpError) as e:
            secured.request("GET", "/v1/workers", headers=headers)
        assert (e.value.status, e.value.code) == (401, "TOKEN_REFUSED")
        answers.add(str(e.value.body))
    assert len(answers) == 1
    assert secured.request("GET", "/healthz", headers={})[0] == 200
    assert secured.metrics()["aiki_tokens_refused_total"] == 6
    assert secured.server.log.read_text().count("refused for want of a token") == 1


def test_reload(secured):
    runtime = secured.start_runtime()
    first = secured.accepted.read_text()
    secured.write(secured.accepted, "broken\n")
    secured.reload()
    until(lambda: "stay accepted" in secured.server.tail(), "the bad file is told")
    assert secured.get("/v1/workers")["workers"]
    # Withdrawn: the runtime is cut off. Its file names a new one: it comes back by itself.
    new = "another-" + secrets.token_urlsafe(16)
    secured.write(secured.accepted, first.replace(secured.tokens["runtime"], new))
    secured.reload()
    until(lambda: "asks for a token" in runtime.tail(), "the runtime is refused")
    assert not secured.get("/v1/workers")["workers"]
    secured.write(secured.directory / "runtime", new)
    until(lambda: secured.get("/v1/workers")["workers"], "the runtime is back")


def test_files_open_to_others(secured):
    secured.write(secured.directory / "client", secured.tokens["client"], 0o644)
    done = secured.aiki("workers", "list", "--token-file", secured.directory / "client", check=False)
    assert done.returncode == 2 and "chmod 600" in done.stderr
    secured.write(secured.directory / "runtime", secured.tokens["runtime"], 0o604)
    runtime = secured.start_runtime(wait=False)
    assert runtime.popen.wait(harness.PATIENCE_S) == 2 and "chmod 600" in runtime.tail()
    secured.server.stop()
    secured.write(secured.accepted, secured.accepted.read_text(), 0o644)
    server = secured.start_server(wait=False)
    assert server.popen.wait(harness.PATIENCE_S) == 1 and "chmod 600" in server.tail()
