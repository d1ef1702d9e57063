"""The named points of runtime/base/fault.def, and who passes them."""
import re

from harness import ROOT

POINTS = sorted(text for _, text in re.findall(r'X\((\w+), *"([^"]+)"\)', (ROOT / "runtime/base/fault.def").read_text()))
# Only reached when a run does not fit the newest build: tests/fault/moves.py.
MOVES = ["child.unfit.sent", "runtime.moved.sent", "runtime.unfit.read"]
# Only reached when code asks for a task that its build does not define: tests/fault/undefined.py.
UNDEFINED = ["child.undefined.left"]
# Only reached when a new build is replayed against open runs: tests/fault/gates.py.
GATES = ["runtime.gate.assigned", "server.gate.journal"]
# Only reached when a process is worn: tests/fault/recycling.py.
RECYCLING = ["child.leave.sent", "runtime.spare.serves", "runtime.spare.started"]

# Only reached when a build crashes too often: tests/fault/quarantines.py.
QUARANTINES = ["server.lift.after", "server.lift.before", "server.lift.runs", "server.quarantine.after",
               "server.quarantine.before"]

# Only reached when a build that was signed begins to serve: tests/integration/policy.py.
SIGNED = ["runtime.kept.signed"]

# Only reached when a process starts because a run needs it, or ends because none does: tests/fault/on_demand.py.
ON_DEMAND = ["child.loaded", "runtime.demand.ending", "runtime.demand.started"]

# Only reached once a process, as it starts: tests/fault/starts.py.
STARTS = ["runtime.cache.made", "runtime.cache.opened"]


def owner_of(point):
    return point.split(".")[0]
