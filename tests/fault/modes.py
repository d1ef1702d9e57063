"""The modes of base/fault.h do what they say; tests/modes then runs every other test in each of them."""
import re

import pytest

import chain
from harness import ROOT, Ledger, until

MODES = re.findall(r'^    X\(\w+, "([^"]+)"\)', (ROOT / "runtime/base/fault.h").read_text(), re.M)


def run_ledger(s, steps=4):
    path = s.directory / "ledger.txt"
    run = s.start("ledger", {"steps": steps, "task_ms": 0, "path": str(path), "width": 1})
    assert s.result(run) == {"steps": steps}
    events = s.history(run)
    chain.check(events)
    assert [len(stamps) for stamps in Ledger(path).executions(run).values()] == [1] * steps
    return events


@pytest.fixture
def under(stacks):
    return lambda mode, *plugins: stacks(plugins=plugins, env={"AIKI_FAULT_MODE": mode})


def test_every_mode_is_in_the_command():
    command = (ROOT / "tests/modes").read_text()
    assert MODES and all(mode in command for mode in MODES)


def test_always_replay_moves_the_run_after_every_append(under):
    claims = [e for e in run_ledger(under("always-replay", "ledger")) if e["kind"] == "claimed"]
    assert len(claims) == 4


def test_a_page_of_one_brings_a_journal_in_as_many_pages_as_it_has_events(under):
    s = under("page-of-one", "waits")
    run = s.start("collect", {"count": 3})
    for i in range(2):
        s.signal(run, "item", i)
    until(lambda: s.state(run) == "awaiting_signal", "it waits for the third")
    s.signal(run, "item", 2)
    assert s.result(run)["items"] == [0, 1, 2]
    chain.check(s.history(run))


def test_duplicate_offers_every_ticket_twice_and_the_second_claim_is_refused(under):
    s = under("duplicate", "ledger")
    count = lambda name: s.metrics()[f"aiki_{name}_total"]
    # The runtime makes the stream's group and says so, whereupon what is queued for it is offered again: each
    # offer is counted, and so the tickets are exactly twice the offers, and all but one claim is refused.
    run_ledger(s)
    until(lambda: count("tickets_published") == 2 * (1 + count("tickets_reoffered")), "each offer is two tickets")
    until(lambda: count("claims_refused") == count("tickets_published") - 1, "each ticket but one was refused")
    assert count("claims") == 1
    # From then on nobody has a reason to offer anything again.
    before = count("tickets_published"), count("tickets_reoffered")
    run_ledger(s)
    until(lambda: count("tickets_published") - before[0] == 2, "one offer, two tickets")
    until(lambda: count("claims_refused") == count("tickets_published") - 2, "and the second was refused")
    assert (count("claims"), count("tickets_reoffered")) == (2, before[1])


def test_drop_first_reply_costs_a_session_for_each_type_and_nothing_else(under):
    s = under("drop-first-reply", "ledger")
    run_ledger(s)
    lost = s.runtime.log.read_text().count("a reply was lost on purpose")
    assert lost >= 1, "complaints of one outage are logged once"
    assert s.aiki("runs", "list", "--json").returncode == 0
