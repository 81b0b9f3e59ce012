"""What shall go wrong in the emulator, as values: where, when and what.

A plan comes from Python, from a TOML or JSON file (`fault_file`), or over the control address (`control`).
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

API, LOG, STORAGE, UPLOAD = "api", "log", "storage", "upload"
PLACES = (API, LOG, STORAGE, UPLOAD)
_DAY_S = 86400
# An absolute name is among them: a client without a guard writes there, which is what shall be seen.
HOSTILE_NAMES = (
    "../hostile.txt",
    "a/../../hostile.txt",
    "/tmp/hostile.txt",  # noqa: S108 - not a file of ours
    "..\\hostile.txt",
    "C:\\hostile.txt",
    "c:hostile.txt",
    "NUL",
    "con.txt",
    "hostile.txt.",
    "hostile.txt ",
    "hostile\u001b[2J.txt",
    "hostile\u0000.txt",
    "./hostile.txt",
    "hostile//twice.txt",
    "Hostile.TXT",
    "hostile.txt",
    "h" * 300 + ".txt",
    "",
)


class Rule(BaseModel):
    """Where and when a fault strikes; what it does is its subclass.

    Attributes:
        where: `storage`, `storage:GLOB` (the path of an output file, or OWNER/SLUG/VERSION/path), `api`,
            `api:METHOD` (a glob too, such as `api:GetKernel*`), `log` or `log:OWNER/SLUG` (the live log),
            `upload` (bytes of an uploaded dataset). Case matters; `*` also matches slashes.
        skip: so many matching requests are spared first.
        every: of those after that, only every so-many-th is struck.
        burst: how many requests in a row are struck each time.
        probability: whether a request that would be struck is, drawn from the plan's seed.
        first: after so many strikes the fault is over.
        per_name: count each file or method by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    places: ClassVar[tuple[str, ...]] = PLACES

    where: str
    skip: int = Field(default=0, ge=0)
    every: int = Field(default=1, ge=1)
    burst: int = Field(default=1, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    first: int | None = Field(default=None, ge=1)
    per_name: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        place = self.where.partition(":")[0]
        # A place with a pattern of its own stands for exactly that address.
        if place not in self.places and self.where not in self.places:
            raise ValueError(f"where cannot be {self.where!r} here; choose one of: {', '.join(self.places)}")
        if self.burst > self.every:
            raise ValueError("burst cannot be above every")
        return self


class Latency(Rule):
    """The answer begins `seconds` later; several add up."""

    what: Literal["latency"] = "latency"
    seconds: float = Field(ge=0, le=3600)


class Bandwidth(Rule):
    """No connection carries more than `bytes_per_s`; of several the slowest counts."""

    what: Literal["bandwidth"] = "bandwidth"
    bytes_per_s: ByteSize = Field(gt=0)


class Error(Rule):
    """An HTTP error instead of the answer; `retry_after_s` is a header of it."""

    what: Literal["error"] = "error"
    status: int = Field(ge=400, le=599)
    retry_after_s: float | None = Field(default=None, ge=0, le=_DAY_S)


class Reset(Rule):
    """The connection is reset after `after` bytes of the body; a call to the API has had its effect.

    0 means before the answer begins. A body that is shorter comes whole.
    """

    what: Literal["reset"] = "reset"
    after: ByteSize = ByteSize(0)


class Truncated(Rule):
    """The body ends after `after` bytes and the connection is closed; one that is shorter comes whole.

    `declared`: Content-Length admits it, so that only the file's own size and hashes tell.
    """

    places: ClassVar = (STORAGE, API, LOG)
    what: Literal["truncated"] = "truncated"
    where: str = STORAGE
    after: ByteSize
    declared: bool = False


class Corrupted(Rule):
    """One byte of the body is another one: that at `at`, by default the middle one."""

    places: ClassVar = (STORAGE,)
    what: Literal["corrupted"] = "corrupted"
    where: str = STORAGE
    at: ByteSize | None = None


class Stalled(Rule):
    """The body stops after `after` bytes for `seconds`, with the connection open."""

    what: Literal["stalled"] = "stalled"
    after: ByteSize = ByteSize(0)
    seconds: float = Field(gt=0, le=3600)


class RangeIgnored(Rule):
    """A request for a part is answered with 200 and the whole file."""

    places: ClassVar = (STORAGE,)
    what: Literal["range_ignored"] = "range_ignored"
    where: str = STORAGE


class Expired(Rule):
    """The signed URL is over, and stays so; a new listing gives a good one.

    Google's storage answers 400 (ExpiredToken) for its V4 URLs; other stores say 401 or 403.
    """

    places: ClassVar = (STORAGE,)
    what: Literal["expired"] = "expired"
    where: str = STORAGE
    status: Literal[400, 401, 403] = 400


class LogDropped(Rule):
    """The live log's connection is lost after `lines` events; the next one replays from the start.

    Or after `idle_s` without one, as Kaggle's is about every three minutes; looked at with each keep-alive
    comment. `clean`: the answer ends as if it were whole, but without END_OF_LOG.
    """

    places: ClassVar = (LOG,)
    what: Literal["log_dropped"] = "log_dropped"
    where: str = LOG
    lines: int | None = Field(default=None, ge=0)
    idle_s: float | None = Field(default=None, ge=0, le=_DAY_S)
    clean: bool = False

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.lines is None and self.idle_s is None:
            raise ValueError("lines or idle_s must be given")
        return self


class SlowStatus(Rule):
    """The status of a session is that of `seconds` ago."""

    places: ClassVar = ("api:GetKernelSessionStatus",)
    what: Literal["slow_status"] = "slow_status"
    where: str = "api:GetKernelSessionStatus"
    seconds: float = Field(gt=0, le=_DAY_S)


class StaleVersion(Rule):
    """GetKernel, asked for the latest version, gives the one before it."""

    places: ClassVar = ("api:GetKernel",)
    what: Literal["stale_version"] = "stale_version"
    where: str = "api:GetKernel"


class HostileNames(Rule):
    """Names that no client should follow are added to the first page of a session's outputs.

    A client without a guard writes outside its folder, `kaggle kernels output` among them.
    """

    places: ClassVar = ("api:ListKernelSessionOutput",)
    what: Literal["hostile_names"] = "hostile_names"
    where: str = "api:ListKernelSessionOutput"
    names: tuple[str, ...] = HOSTILE_NAMES


Fault = Annotated[
    Latency
    | Bandwidth
    | Error
    | Reset
    | Truncated
    | Corrupted
    | Stalled
    | RangeIgnored
    | Expired
    | LogDropped
    | SlowStatus
    | StaleVersion
    | HostileNames,
    Field(discriminator="what"),
]


class FaultPlan(BaseModel):
    """All faults of an emulator; `seed` makes the drawn ones come again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faults: tuple[Fault, ...] = ()
    seed: int = 0
