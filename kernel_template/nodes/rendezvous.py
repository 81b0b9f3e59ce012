"""What ranks on several machines tell each other, through torch's store on machine 0."""

import contextlib
import datetime as dt
import functools
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kernel_template.host.protocol import Control
from kernel_template.host.rendezvous import WAIT_S, Rendezvous
from kernel_template.nodes.same import described, difference

STORE_PREFIX = "kgtts"  # In torch's store; its own keys have other prefixes.


@functools.cache
def connect(address: str) -> Any:
    """Connect to torch's store at `host:port`."""
    torch: Any = importlib.import_module("torch.distributed")  # Not before the script has imported it.
    host, _, port = address.rpartition(":")
    timeout = dt.timedelta(seconds=WAIT_S)
    store = torch.TCPStore(host, int(port), None, is_master=False, timeout=timeout)
    return torch.PrefixStore(STORE_PREFIX, store)


@dataclass(frozen=True, slots=True)
class NodesRendezvous(Rendezvous):
    """This process among those that train one model on several machines.

    Attributes:
        store: torch's store on machine 0, as host:port.
        local_rank: this process among those of its machine.
        node: its machine.
    """

    store: str = ""
    local_rank: int = 0
    node: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the first rank on its machine, which prepares the data there."""
        return not self.local_rank

    def failed(self, *, out_of_memory: bool) -> None:
        """Note that this rank failed; one that has not come as far as torch is known by its exit code."""
        if "torch" in sys.modules:
            Rendezvous.failed(self, out_of_memory=out_of_memory)

    def put(self, name: str, data: bytes) -> None:
        """Tell the other ranks something."""
        connect(self.store).set(name, data)

    def claim(self, name: str, data: bytes) -> None:
        """Tell it unless another rank has done so before."""
        connect(self.store).compare_set(name, "", data.decode())

    def has(self, name: str) -> bool:
        """Whether some rank has told it; machine 0 may be gone."""
        with contextlib.suppress(RuntimeError):
            return bool(connect(self.store).check([name]))
        return False

    def get(self, name: str, what: str, sleep: Callable[[float], None] = time.sleep) -> bytes:  # noqa: ARG002 - the store waits.
        """Wait until another rank tells it.

        Raises:
            TimeoutError: none has within half an hour, or machine 0 is gone.
        """
        try:
            found: bytes = connect(self.store).get(name)
        except RuntimeError as error:
            raise self.late(what) from error
        return found

    def pack(self, value: Any) -> bytes:
        """Return the value as JSON, since nothing that comes from a network is unpickled."""
        with contextlib.suppress(TypeError, ValueError):
            text = json.dumps(value)
            if json.loads(text) == value:
                return text.encode()
        return b""

    def unpack(self, data: bytes) -> Any:
        """Return the value that rank 0 has packed."""
        return json.loads(data)

    def group(self) -> dict[str, Any]:
        """Return where torch's process group meets: in the store that is there."""
        return {"store": connect(self.store)}

    def check_same(self, control: Control, trainer: Any, record: Mapping[str, Any] | None) -> None:
        """Check that all ranks train the same thing from the same step.

        Raises:
            RuntimeError: this rank has other settings than rank 0, or resumes from another step.
        """
        own = json.loads(json.dumps(described(control, trainer, record)))
        if not self.rank:
            self.put("training-of-rank0", json.dumps(own).encode())
            return
        first = json.loads(self.get("training-of-rank0", "rank 0's settings"))
        if (found := difference(own, first)) is not None:
            needed = "All machines need the same settings, inputs and checkpoint."
            raise RuntimeError(f"Machine {self.node} has {found}. {needed}")
