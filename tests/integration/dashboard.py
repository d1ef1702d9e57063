"""The page at "/": served whole, allowed nothing but itself, never made of markup from outside."""
import http.client
import re

from harness import ROOT

SCRIPT = (ROOT / "server/dashboard/dashboard.js").read_text()


def fetch(s, path, method="GET"):
    host, port = s.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer, answer.read().decode()


def test_page_and_its_files_are_served(stacks):
    s = stacks(runtimes=0)
    answer, page = fetch(s, "/")
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert sorted(files) == ["/dashboard.css", "/dashboard.js"]
    for name in files:
        answer, text = fetch(s, name)
        assert answer.status == 200
        assert text == (ROOT / "server/dashboard" / name[1:]).read_text()
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
    answer, text = fetch(s, "/", method="HEAD")
    assert (answer.status, text) == (200, "")
    assert fetch(s, "/", method="POST")[0].status == 405


def test_nothing_from_outside_becomes_markup():
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|srcdoc", SCRIPT)
    assert "<script>" not in (ROOT / "server/dashboard/index.html").read_text()


def test_what_the_page_asks_for_exists(stacks):
    """Every field of the API that the script reads is there."""
    s = stacks(plugins=["hello"])
    run = s.start("hello", {"name": "<img src=x onerror=alert(1)>"})
    s.result(run)
    listed = s.get("/v1/runs?limit=50")
    assert set(re.findall(r"\brun\.(\w+)", SCRIPT)) <= set(s.run(run)) | set(listed["runs"][0])
    assert {"runs", "next"} <= set(listed)
    flow = s.get("/v1/workflows")["workflows"][0]
    assert set(re.findall(r"\bflow\.(\w+)", SCRIPT)) <= set(flow)
    history = s.get(f"/v1/runs/{run}/history?limit=200&after=0")
    assert {"events", "next"} <= set(history)
    assert {"seq", "at", "kind", "hash", "epoch"} <= set(history["events"][0])
    assert "workers" in s.get("/v1/workers") and "plugins" in s.get("/v1/plugins")
