"""Every kind of fault, as a value: where, when and what.

To add one: a subclass of `Rule` here, listed in `Fault`; its effect in `middleware` or `body`, or in the
handler of the method that it is about (`call.faults.first(Kind)`); a row in the documentation's table.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

API, LOG, STORAGE, UPLOAD = "api", "log", "storage", "upload"
PLACES = (API, LOG, STORAGE, UPLOAD)
_DAY_S = 86400
# Among them an absolute path: a client without a check writes there, and a test can see that it did.
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
    """Which requests a fault hits. A subclass says what it does to them.

    Attributes:
        where: `storage`, `storage:GLOB` (the path of an output file, or OWNER/SLUG/VERSION/path), `api`,
            `api:METHOD` (a glob too, such as `api:GetKernel*`), `log` or `log:OWNER/SLUG` (the live log),
            `upload` (the bytes of an uploaded file). Case matters; `*` also matches slashes.
        skip: this many matching requests are spared first.
        every: after those, only every n-th request is hit.
        burst: how many requests in a row are hit each time.
        probability: the chance that a request is hit, drawn with the plan's seed.
        first: the fault ends after this many hits.
        per_name: count each file or method separately.
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
        # A place that includes a pattern stands for exactly that address.
        if place not in self.places and self.where not in self.places:
            raise ValueError(f"where cannot be {self.where!r}; choose one of: {', '.join(self.places)}")
        if self.burst > self.every:
            raise ValueError("burst cannot be above every")
        return self


class Latency(Rule):
    """The response begins `seconds` later; several add up."""

    what: Literal["latency"] = "latency"
    seconds: float = Field(ge=0, le=3600)


class Bandwidth(Rule):
    """Each connection carries at most `bytes_per_s`; of several, the slowest counts."""

    what: Literal["bandwidth"] = "bandwidth"
    bytes_per_s: ByteSize = Field(gt=0)


class Error(Rule):
    """An HTTP error in place of the response, with a `Retry-After` header if `retry_after_s` is given."""

    what: Literal["error"] = "error"
    status: int = Field(ge=400, le=599)
    retry_after_s: float | None = Field(default=None, ge=0, le=_DAY_S)


class Reset(Rule):
    """The connection is reset after `after` bytes of the body; a call to the API has taken effect by then.

    0 resets it before the response begins. A shorter body arrives complete.
    """

    what: Literal["reset"] = "reset"
    after: ByteSize = ByteSize(0)


class Truncated(Rule):
    """The body ends after `after` bytes and the connection is closed; a shorter body arrives complete.

    With `declared`, Content-Length agrees, so that only the file's own size and hashes show the fault.
    """

    places: ClassVar = (STORAGE, API, LOG)
    what: Literal["truncated"] = "truncated"
    where: str = STORAGE
    after: ByteSize
    declared: bool = False


class Corrupted(Rule):
    """One byte of the body is wrong: the one at `at`, by default the middle one."""

    places: ClassVar = (STORAGE,)
    what: Literal["corrupted"] = "corrupted"
    where: str = STORAGE
    at: ByteSize | None = None


class Stalled(Rule):
    """The body pauses for `seconds` after `after` bytes, with the connection open."""

    what: Literal["stalled"] = "stalled"
    after: ByteSize = ByteSize(0)
    seconds: float = Field(gt=0, le=3600)


class RangeIgnored(Rule):
    """A request for part of a file gets 200 and the whole file."""

    places: ClassVar = (STORAGE,)
    what: Literal["range_ignored"] = "range_ignored"
    where: str = STORAGE


class Expired(Rule):
    """The signed URL has expired, for good; a new listing gives a valid one.

    Google's storage answers 400 (ExpiredToken) for its V4 URLs; other stores answer 401 or 403.
    """

    places: ClassVar = (STORAGE,)
    what: Literal["expired"] = "expired"
    where: str = STORAGE
    status: Literal[400, 401, 403] = 400


class UploadLost(Rule):
    """What an upload sends beyond byte `after` of its file is lost, and answered with 503."""

    places: ClassVar = (UPLOAD,)
    what: Literal["upload_lost"] = "upload_lost"
    where: str = UPLOAD
    after: ByteSize = ByteSize(0)


class LogDropped(Rule):
    """The live log's connection is lost after `lines` events; the next connection replays from the start.

    Or after `idle_s` seconds without an event, as Kaggle's is about every three minutes; checked with each
    keep-alive comment. With `clean`, the response ends as if it were complete, but without END_OF_LOG.
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
    """The status of a session is the one from `seconds` ago."""

    places: ClassVar = ("api:GetKernelSessionStatus",)
    what: Literal["slow_status"] = "slow_status"
    where: str = "api:GetKernelSessionStatus"
    seconds: float = Field(gt=0, le=_DAY_S)


class UnknownWord(Rule):
    """The status of a session, or of a dataset, is a word that no client knows."""

    places: ClassVar = ("api:GetKernelSessionStatus", "api:GetDatasetStatus")
    what: Literal["unknown_word"] = "unknown_word"
    where: str = "api:GetKernelSessionStatus"
    word: str = Field(default="PAUSED", min_length=1, max_length=100)


class StaleVersion(Rule):
    """GetKernel, asked for the latest version, answers with the one before it."""

    places: ClassVar = ("api:GetKernel",)
    what: Literal["stale_version"] = "stale_version"
    where: str = "api:GetKernel"


class NotVisible(Rule):
    """A kernel that was created less than `seconds` ago is answered with 403, except to pushes.

    With `listed = false`, the account's list of kernels leaves it out as well.
    """

    places: ClassVar = (API, LOG)
    what: Literal["not_visible"] = "not_visible"
    where: str = API
    seconds: float = Field(gt=0, le=_DAY_S)
    listed: bool = True


class HostileNames(Rule):
    """The first page of a session's outputs also lists names that no client should write to.

    A client without a check, such as `kaggle kernels output`, writes outside its folder.
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
    | UploadLost
    | LogDropped
    | SlowStatus
    | UnknownWord
    | StaleVersion
    | NotVisible
    | HostileNames,
    Field(discriminator="what"),
]
