"""Which of several machines that train together this one is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from kernel_template.contract import HEAD, NODE, NODES, PORT, EndReason
from kernel_template.tools.outcome import KernelFailure

_PORT = 29470  # Unless KGTTS_PORT names another.
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Nodes:
    """This machine among those that train together.

    Attributes:
        count: how many machines there are; with 1 nothing here does anything.
        number: this one; machine 0, the head, decides and has the results.
        head: the address of machine 0.
        port: where the head's session hands out its settings.
    """

    count: int = 1
    number: int = 0
    head: str = ""
    port: int = _PORT

    @property
    def several(self) -> bool:
        """Whether more than one machine trains."""
        return self.count > 1

    @property
    def only_trains(self) -> bool:
        """Whether another machine decides and has the results."""
        return self.number > 0

    @property
    def training_port(self) -> int:
        """Where the head's training listens."""
        return self.port + 1

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Take what the environment says; one machine if it says nothing.

        Raises:
            KernelFailure: the variables contradict each other.
        """
        count = _number(environment, NODES, 1)
        if count == 1:
            return cls()
        found = cls(
            count,
            _number(environment, NODE, -1),
            environment.get(HEAD, "").strip(),
            _number(environment, PORT, _PORT),
        )
        if not 0 <= found.number < count or not found.head or not 0 < found.port < _MAX_PORT:
            raise KernelFailure(
                EndReason.BAD_CONFIG,
                f"With {NODES}={count}, {NODE} must be a number from 0 to {count - 1}, {HEAD} the address of "
                f"machine 0, and {PORT}, if it is set, a port below {_MAX_PORT}.",
            )
        return found


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or (name == NODES and not int(text)):
        raise KernelFailure(EndReason.BAD_CONFIG, f"{name} must be a whole number, not {text!r}.")
    return int(text)
