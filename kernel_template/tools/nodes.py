"""Which of several machines that train together this one is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from kernel_template.contract import HEAD_VARIABLE, NODE_VARIABLE, NODES_VARIABLE, PORT_VARIABLE, EndReason
from kernel_template.tools.outcome import KernelFailure

_PORT = 29470
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Nodes:
    """The machines that train together.

    Attributes:
        count: how many there are.
        number: this one; machine 0 decides and has the results, the others only train.
        head: the address of machine 0.
        port: where machine 0's session answers the others; its training listens on the next one.
    """

    count: int = 1
    number: int = 0
    head: str = "127.0.0.1"
    port: int = _PORT

    @property
    def training_port(self) -> int:
        """Where machine 0's training listens."""
        return self.port + 1

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Self:
        """Read the environment; without the variables it is one machine.

        Raises:
            KernelFailure: they contradict each other.
        """
        names = {NODES_VARIABLE: "1", NODE_VARIABLE: "0", PORT_VARIABLE: str(_PORT)}
        count, number, port = (env.get(name, "").strip() or default for name, default in names.items())
        if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"{NODES_VARIABLE}={count} and {NODE_VARIABLE}={number} do not name one of several machines.",
            )
        if not port.isdecimal() or not 0 < int(port) < _MAX_PORT:
            raise KernelFailure(
                EndReason.BAD_CONFIG, f"{PORT_VARIABLE}={port} is no port: it must be below {_MAX_PORT}."
            )
        head = env.get(HEAD_VARIABLE, "").strip()
        if int(count) > 1 and not head:
            raise KernelFailure(
                EndReason.BAD_CONFIG, f"With {NODES_VARIABLE}={count}, {HEAD_VARIABLE} must name machine 0."
            )
        return cls(int(count), int(number), head or "127.0.0.1", int(port))
