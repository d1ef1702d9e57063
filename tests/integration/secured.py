"""Tokens and TLS: who may connect, over RPC and HTTP, with the real programs."""
import http.client
import pathlib
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

import harness
from harness import ASKS, HttpError, until


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


def test_personal_data_is_for_admins(secured):
    """A client sees what is marked as little as anybody; the role admin is a client who may ask for it."""
    admin = "admin-" + secrets.token_urlsafe(16)
    secured.tokens["admin"] = admin
    secured.write(secured.accepted, secured.accepted.read_text() + f"{admin} admin test\n")
    secured.write(secured.directory / "admin", admin + "\n")
    secured.reload()
    secured.drop("personal")
    secured.start_runtime()

    def is_let_in():
        try:
            return secured.request("GET", "/v1/workers", headers=secured.bearer("admin"))
        except HttpError:
            return False

    until(is_let_in, "the token is known")
    run = secured.start("personal", {"name": "Ada"})
    assert secured.result(run)["to"] == "[redacted]"
    paths = [f"/v1/runs/{run}{what}reveal=true" for what in ("?", "/history?", "/events?", "/result?")]
    for path in paths + ["/v1/dead-letters?reveal=true"]:
        with pytest.raises(HttpError) as refused:
            secured.get(path)
        assert (refused.value.status, refused.value.code) == (403, "REVEAL_DENIED")
    for path in paths:
        assert "Ada" in str(secured.request("GET", path, headers=secured.bearer("admin"))[1])
    for command in (["runs", "inspect", run, "--reveal"], ["runs", "result", run, "--reveal"],
                    ["runs", "watch", run, "--reveal"], ["dead-letters", "list", "--reveal"]):
        done = secured.aiki(*command, "--token-file", secured.directory / "client", check=False)
        assert done.returncode != 0 and "REVEAL_DENIED" in done.stderr, done
        assert "Ada" not in done.stdout
        done = secured.aiki(*command, "--token-file", secured.directory / "admin")
        assert "Ada" in done.stdout or command[0] == "dead-letters"
    assert "Ada" not in secured.aiki("runs", "inspect", run, "--token-file", secured.directory / "client").stdout


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


def test_refused_without(secured):
    began = time.monotonic()
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
    refused = secured.metrics()["aiki_tokens_refused_total"]  # who is not answered within CONNECT_MS_MAX connects again
    assert 0 <= refused - 3 * ASKS - 3 <= (time.monotonic() - began) // 5
    told = [int(n) for n in re.findall(r"refused for want of a token that is accepted \((\d+) ", secured.server.log.read_text())]
    assert 1 <= len(told) <= 1 + (time.monotonic() - began) / 10, "TOKENS_LOG_MS"


def test_the_gate_before_deployment_is_told_at_once(secured):
    """It reads journals, which are for runtimes."""
    for flags in ([], ["--token", "not-an-accepted-one"], ["--token-file", secured.directory / "client"]):
        done = secured.aiki("plugins", "gate", harness.plugin("hello"), *flags, check=False)
        assert done.returncode == 3, done
        assert "not known: TOKEN_REFUSED: " in done.stdout and "a token for runtimes" in done.stdout, done
    assert "open runs" in secured.aiki("plugins", "gate", harness.plugin("hello"), "--token-file", secured.directory / "runtime").stdout


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


# ---- TLS --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([harness.ROOT / "tests/support/certificates", folder], check=True)
    return folder


class Encrypted(Secured):
    """The same over TLS."""

    def __init__(self, certificates, name="server", client_ca=None):
        self.certificates = certificates
        self.own = None
        args = ["--tls-cert", certificates / f"{name}.pem", "--tls-key", certificates / f"{name}.key"]
        super().__init__(server_args=args + (["--tls-client-ca", certificates / client_ca] if client_ca else []))
        self.port = self.rpc.rsplit(":", 1)[1]
        self.trust = ["--tls-ca", certificates / "ca.pem"]
        self.runtime_args += ["--server", f"tls:localhost:{self.port}", *self.trust]

    def show(self, name):
        """From now on clients present this certificate."""
        self.own = name
        flags = ["--tls-cert", self.certificates / f"{name}.pem", "--tls-key", self.certificates / f"{name}.key"]
        self.trust += flags
        self.runtime_args += flags

    def http_connection(self, patience_s):
        context = ssl.create_default_context(cafile=self.certificates / "ca.pem")
        if self.own:
            context.load_cert_chain(self.certificates / f"{self.own}.pem", self.certificates / f"{self.own}.key")
        return http.client.HTTPSConnection("localhost", int(self.http.rsplit(":", 1)[1]), timeout=patience_s,
                                           context=context)

    def client(self, *args, server=None, trust=None, check=True):
        return self.aiki(*args, "--server", server or f"tls:localhost:{self.port}", "--token-file",
                         self.directory / "client", *(self.trust if trust is None else trust), check=check)


@pytest.fixture
def encrypted(certificates):
    s = Encrypted(certificates)
    yield s
    s.close()


def test_all_of_it_with_tls(encrypted):
    encrypted.start_runtime()
    assert "x" in encrypted.client("workflows", "trigger", "hello", "--input", '{"name": "x"}', "--wait").stdout
    assert "y" in encrypted.client("workflows", "trigger", "hello", "--input", '{"name": "y"}', "--wait",
                                   server=f"tls:127.0.0.1:{encrypted.port}").stdout
    runs = [encrypted.start("hello", {"name": str(i)}) for i in range(50)]
    assert all(encrypted.result(run) for run in runs)
    with pytest.raises(HttpError) as e: # read whole, and told what is wrong with it
        encrypted.start("hello", {"name": "z" * (3 << 20)})
    assert e.value.code == "SCHEMA_MISMATCH"
    # The connections survive a restart of the server.
    encrypted.server.kill()
    encrypted.start_server()
    assert encrypted.result(encrypted.start_surely("hello", {"name": "after"}, "k"))
    encrypted.server.stop()


def test_variables(encrypted, monkeypatch):
    monkeypatch.setenv("AIKI_TLS_CA", str(encrypted.certificates / "ca.pem"))
    assert encrypted.client("workers", "list", trust=[]).returncode == 0


def refused(stack, code, **how):
    done = stack.client("workers", "list", check=False, **how)
    assert done.returncode != 0 and code in done.stderr, done.stderr
    return done


def test_reasons_not_to_talk(encrypted):
    other = ["--tls-ca", encrypted.certificates / "other-ca.pem"]
    refused(encrypted, "TLS_UNKNOWN_CA", trust=other)
    refused(encrypted, "TLS_UNKNOWN_CA", trust=[])
    refused(encrypted, "TLS_REQUIRED", server=encrypted.rpc)
    refused(encrypted, "no-such.pem", trust=["--tls-ca", "no-such.pem"])
    # A runtime says why, and goes on trying.
    runtime = encrypted.start_runtime(wait=False, args=other)
    until(lambda: "CA that is not trusted" in runtime.tail(), "the runtime says why")
    assert runtime.alive()
    plain = encrypted.start_runtime(1, wait=False, args=["--server", encrypted.rpc])
    until(lambda: "speaks TLS only" in plain.tail(), "the runtime says why")
    # Plain HTTP, and junk, on the TLS ports.
    for address in (encrypted.http, encrypted.rpc):
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=harness.PATIENCE_S) as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in s.recv(1000)
    assert encrypted.request("GET", "/healthz", headers={})[0] == 200


@pytest.mark.parametrize("name,code", [("expired", "TLS_EXPIRED"), ("wrong-name", "TLS_WRONG_NAME")])
def test_certificates_that_do_not_fit(certificates, name, code):
    s = Encrypted(certificates, name)
    try:
        refused(s, code)
        with pytest.raises(ssl.SSLCertVerificationError):
            s.get("/healthz")
    finally:
        s.close()


def presented(address):
    """The certificate a listener shows to a new connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=harness.PATIENCE_S) as plain:
        with context.wrap_socket(plain) as s:
            return s.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_used_after_a_reload(certificates):
    def install(name, live="live"):
        for end in ("pem", "key"):
            shutil.copy(certificates / f"{name}.{end}", certificates / f"{live}.{end}")
    install("server")
    s = Encrypted(certificates, name="live")
    try:
        listeners = (s.http, s.rpc)
        first = presented(s.http)
        assert presented(s.rpc) == first
        s.start_runtime()
        kept = s.http_connection(harness.PATIENCE_S)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
        shutil.copy(certificates / "client.key", certificates / "live.key")
        s.reload()
        until(lambda: "stays in use" in s.server.tail(), "a key of another certificate is refused")
        assert {presented(a) for a in listeners} == {first}
        install("client")
        s.reload()
        until(lambda: all(presented(a) != first for a in listeners), "the new one is shown")
        assert presented(s.http) == presented(s.rpc)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read(), "who was connected stays so"
        assert "connection lost" not in s.runtimes[0].tail()
        install("server")
        s.reload()
        until(lambda: all(presented(a) == first for a in listeners), "and back")
        assert s.get("/v1/workers")["workers"]
    finally:
        s.close()


def test_no_tls_where_it_is_asked_for(secured, certificates):
    done = secured.aiki("workers", "list", "--server", f"tls:{secured.rpc}", "--token-file",
                        secured.directory / "client", "--tls-ca", certificates / "ca.pem", check=False)
    assert done.returncode == 3 and "does the peer speak TLS?" in done.stderr


def test_certificates_of_clients(certificates):
    s = Encrypted(certificates, client_ca="ca.pem")
    try:
        refused(s, "TLS_CERTIFICATE_REFUSED")
        with pytest.raises((HttpError, OSError)):
            s.get("/v1/workers")
        s.show("client")
        s.start_runtime()
        assert "x" in s.client("workflows", "trigger", "hello", "--input", '{"name": "x"}', "--wait").stdout
        until(lambda: s.get("/v1/workers")["workers"], "its runtime is known")
        s.show("other-client")
        refused(s, "TLS_CERTIFICATE_REFUSED")
        with pytest.raises((HttpError, OSError)):
            s.get("/v1/workers")
    finally:
        s.close()
