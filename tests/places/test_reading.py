"""Results in a bucket or a folder: found, shown, brought here, and never trusted."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from filelock import FileLock

from kernel_template.contract import MANIFEST_FILE, STATE_FILE
from orchestrator.errors import KgttsError, ServiceError, UsageError
from orchestrator.locks import TRAINING_LOCK
from orchestrator.places.opening import open_place
from orchestrator.places.reading import find_run
from orchestrator.results import Results, SessionFolder
from tests.support import Cli

RUN = "0123456789ab"
BUCKET = "memory://asha-voices/tts"
CHECKPOINT = "training/run/checkpoint_20.pth"


@pytest.fixture(autouse=True)
def bucket() -> Iterator[Any]:
    """An empty bucket in memory."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


def session_files(number: int, *, ended: bool = True, run: str = RUN, **state: Any) -> dict[str, bytes]:
    """Return the outputs of a session as it leaves them; one that did not end has no manifest."""
    weights = f"weights of {number}".encode() * 1000
    files = {
        CHECKPOINT.replace("20", str(10 * number)): weights,
        "training/run/config.json": b"{}",
        "metrics.jsonl": b'{"event": "eval", "t": 1, "session": %d, "epoch": 1, "global_step": %d, '
        b'"losses": {"avg_loss_mel": 20.5}}\n' % (number, 10 * number),
        "train_log.txt": b"a log\n",
        "notes/unchosen.bin": b"0",
    }
    listed = [
        {
            "path": CHECKPOINT.replace("20", str(10 * number)),
            "global_step": 10 * number,
            "size": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        }
    ]
    history = [
        {
            "session": each,
            "kernel": "skypilot/bangla-tts",
            "from_step": 10 * each - 10,
            "to_step": 10 * each,
            "from_epoch": each - 1,
            "to_epoch": each,
            "reason": "killed" if each < number else "finished" if ended else None,
            "seconds": 60.0,
        }
        for each in range(1, number + 1)
    ]
    content = {
        "schema": 1,
        "run": {
            "id": run,
            "session": number,
            "parent": None,
            "fingerprint": "0" * 64,
            "kernel": "skypilot/bangla-tts",
            "kgtts": "0.1.0",
        },
        "status": "complete" if ended else "running",
        "reason": "finished" if ended else None,
        "message": "All epochs are trained." if ended else None,
        "done": ended,
        "global_step": 10 * number,
        "epoch": number - 1,  # The one in which it was saved.
        "epochs": 3,
        "losses": {"train": {"loss_mel": 21.0}, "eval": {"avg_loss_mel": 20.5}},
        "checkpoint": listed[0]["path"],
        "checkpoints": listed,
        "history": history,
        **state,
    }
    files[STATE_FILE] = json.dumps(content).encode()
    if ended:
        entries = [
            {"path": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        ]
        files[MANIFEST_FILE] = json.dumps({"files": entries}).encode()
    return files


def put(fs: Any, files: dict[str, bytes], number: int, *, below: str = f"bangla-tts/{RUN}/") -> None:
    """Put a session's outputs into the bucket."""
    for name, data in files.items():
        fs.pipe(f"/asha-voices/tts/{below}session-{number:02}/{name}", data)


@pytest.fixture
def series(bucket: Any) -> Any:
    """A run of three sessions, of which the first two were killed."""
    for number in (1, 2, 3):
        put(bucket, session_files(number, ended=number == 3), number)
    return bucket


@pytest.mark.parametrize(
    "place",
    [BUCKET, f"{BUCKET}/bangla-tts", f"{BUCKET}/bangla-tts/{RUN}/", "memory://asha-voices"],
    ids=["root", "slug", "run", "above"],
)
def test_a_run_is_found_from_any_folder_above_it(series: Any, place: str) -> None:
    """Whatever of the path is named, all its sessions are found, in their order."""
    run = find_run(place)
    assert (run.id, run.slug, [item.number for item in run.sessions]) == (RUN, "bangla-tts", [1, 2, 3])
    assert [item.is_running for item in run.sessions] == [True, True, False]


def test_all_sessions_come_home(cli: Cli, workplace: Path, series: Any) -> None:
    """Each lies where a session of Kaggle would, checked, and checkpoints come from the newest alone."""
    result = cli("pull", "--from", BUCKET)
    assert result.code == 0, result.said
    folder = workplace / "runs" / "bangla-tts"
    newest = SessionFolder(folder / "session-03")
    assert newest.contents == ("skypilot/bangla-tts/3", RUN)
    assert (newest.path / "training/run/checkpoint_30.pth").is_file()
    assert not list((folder / "session-01").rglob("*.pth"))
    assert (folder / "session-01" / "metrics.jsonl").is_file()
    assert not (newest.path / "notes").exists()
    again = cli("pull", "--from", BUCKET, "--all", "--json").json
    assert [item["session"] for item in again["sessions"]] == [1, 2, 3]
    assert len(list(folder.rglob("*.pth"))) == 3
    assert cli("metrics", "--json").code == 0
    told = cli("status", "--from", BUCKET, "--json").json
    assert (told["status"], told["done"], told["global_step"]) == ("complete", True, 30)
    assert (told["epoch"], told["epochs"]) == (3, 3)


def test_a_folder_is_read_like_a_bucket(cli: Cli, workplace: Path, tmp_path: Path) -> None:
    """A folder of this machine, such as a volume that is mounted here, is a place too."""
    for name, data in session_files(1).items():
        path = tmp_path / "mount" / "session-01" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert cli("pull", "--from", tmp_path / "mount").code == 0
    [found] = Results(workplace / "runs").find("bangla-tts", None)
    assert (found.number, found.run) == (1, RUN)


def test_status_tells_when_it_was_heard_of(cli: Cli, workplace: Path, bucket: Any) -> None:
    """A session that was killed still says that it runs, so the time of its last word is shown."""
    put(bucket, session_files(1, ended=False), 1)
    said = cli("status", "--from", BUCKET)
    assert said.code == 0, said.said
    for words in (
        "running",
        "checkpoint of step 10",
        "epoch 1 of 3",
        "mel 21.000",
        "UTC, 0 s ago",
        "sky jobs queue",
    ):
        assert words in said.out
    document = cli("status", "--from", BUCKET, "--json").json
    assert (document["status"], document["done"], document["global_step"]) == ("running", False, 10)
    assert document["heard"] is not None


def test_who_stopped_a_session_is_not_told_that_it_failed(cli: Cli, workplace: Path, bucket: Any) -> None:
    """A session that was interrupted has the status of a failure in state.json."""
    put(bucket, session_files(1, status="failed", reason="interrupted", done=False), 1)
    said = cli("status", "--from", BUCKET)
    assert said.out.splitlines()[0] == "skypilot/bangla-tts/1  stopped"


def test_tables_and_pages_read_a_bucket(cli: Cli, workplace: Path, series: Any) -> None:
    """What they need is brought first, without checkpoints."""
    values = cli("metrics", "--from", BUCKET, "--json")
    assert values.code == 0, values.said
    assert '"avg_loss_mel"' in values.out
    page = cli("report", "--from", BUCKET)
    assert page.code == 0, page.said
    assert (workplace / "runs" / "bangla-tts" / "report.html").is_file()
    assert not list((workplace / "runs").rglob("*.pth"))
    assert SessionFolder(workplace / "runs" / "bangla-tts" / "session-03").contents is None


def test_a_damaged_file_is_not_kept(cli: Cli, workplace: Path, series: Any) -> None:
    """A checkpoint that is not what the session left ends the pull, and does not stay."""
    series.pipe(f"/asha-voices/tts/bangla-tts/{RUN}/session-03/training/run/checkpoint_30.pth", b"other")
    result = cli("pull", "--from", BUCKET)
    assert result.code != 0
    assert "checkpoint_30.pth arrived damaged" in result.err
    assert not list((workplace / "runs").rglob("*.pth"))


def test_a_checkpoint_of_a_killed_session_is_checked_too(cli: Cli, workplace: Path, bucket: Any) -> None:
    """Without a manifest, state.json has the hashes of checkpoints."""
    put(bucket, session_files(1, ended=False), 1)
    bucket.pipe(f"/asha-voices/tts/bangla-tts/{RUN}/session-01/training/run/checkpoint_10.pth", b"half")
    assert "arrived damaged" in cli("pull", "--from", BUCKET).err
    put(bucket, session_files(1, ended=False), 1)
    assert cli("pull", "--from", BUCKET).code == 0
    folder = SessionFolder(workplace / "runs" / "bangla-tts" / "session-01")
    assert folder.contents is None  # It may still train.


@pytest.mark.parametrize(
    "run",
    [{"id": "../../x"}, {"kernel": "../evil"}, {"session": 2}, {"id": ["x"]}, "nothing"],
    ids=["id", "kernel", "number", "type", "no object"],
)
def test_hostile_states_name_no_folder(cli: Cli, workplace: Path, bucket: Any, run: Any) -> None:
    """A state.json that does not fit is no session, and nothing is written."""
    files = session_files(1)
    content = json.loads(files[STATE_FILE])
    content["run"] = run if isinstance(run, str) else {**content["run"], **run}
    put(bucket, {**files, STATE_FILE: json.dumps(content).encode()}, 1)
    with pytest.raises(ServiceError, match="is damaged, and there is no other session"):
        find_run(BUCKET)
    assert cli("pull", "--from", BUCKET).code == 7
    assert not (workplace / "runs").exists()


def test_hostile_names_are_refused(cli: Cli, workplace: Path, bucket: Any) -> None:
    """A name that some system cannot hold is refused and said; the rest comes."""
    put(bucket, {**session_files(1, ended=False), "voice/a:b": b"1", ".kgtts-complete": b"x y z"}, 1)
    result = cli("pull", "--from", BUCKET, "--all")
    assert result.code == 8
    assert "a:b" in result.err
    folder = workplace / "runs" / "bangla-tts" / "session-01"
    assert (folder / "metrics.jsonl").is_file()
    assert SessionFolder(folder).contents is None


def test_another_session_of_that_number_is_not_replaced(cli: Cli, workplace: Path, series: Any) -> None:
    """What was trained here meanwhile under the same number stays."""
    files = session_files(3)
    mine = files[STATE_FILE].replace(b"skypilot/bangla-tts", b"local/bangla-tts")
    place = workplace / "runs" / "bangla-tts" / "session-03" / STATE_FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(mine)
    result = cli("pull", "--from", BUCKET)
    assert result.code == 8
    assert "local/bangla-tts" in result.err
    assert place.read_bytes() == mine


def test_nothing_is_brought_where_a_session_trains(cli: Cli, workplace: Path, series: Any) -> None:
    """The session that trains here may be of the number that the bucket has."""
    place = workplace / "runs" / "bangla-tts" / TRAINING_LOCK
    place.parent.mkdir(parents=True)
    with FileLock(place):
        result = cli("pull", "--from", BUCKET)
    assert (result.code, "is at work in" in result.err) == (8, True)
    assert not list((workplace / "runs").rglob(STATE_FILE))


def test_a_session_that_is_there_twice_is_not_chosen(series: Any) -> None:
    """Nobody can say which of two folders with the same session counts."""
    put(series, session_files(1), 1, below="copy/")
    with pytest.raises(UsageError, match=f"has session 1 of run {RUN} in two folders"):
        find_run(BUCKET)


def test_one_of_several_runs_is_named(cli: Cli, series: Any) -> None:
    """The run heard of last is meant; the others are named, and can be."""
    put(series, session_files(1, run="other"), 1, below="bangla-tts/other/")
    assert find_run(BUCKET, RUN[:4]).id == RUN
    assert find_run(BUCKET).id == "other"
    assert RUN in cli("status", "--from", BUCKET).err
    with pytest.raises(UsageError, match="holds no run nonsense"):
        find_run(BUCKET, "nonsense")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "is not a folder"),
        ("nonsense://x", "nonsense"),
        ("memory://nowhere", "nowhere"),
    ],
)
def test_a_place_that_is_not_there(cli: Cli, workplace: Path, place: str, words: str) -> None:
    """Each ends with a sentence."""
    result = cli("status", "--from", place)
    assert result.code in (2, 8), result.said
    assert words in result.err
    assert "kgtts itself failed" not in result.said


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without s3fs the error says what brings it."""

    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(KgttsError, match="s3fs") as failure:
        open_place("s3://asha")
    assert "kgtts[cloud]" in str(failure.value.hint)


@pytest.mark.parametrize("content", [b"", b'{"schema": 1', b'{"schema": 9}', b"[" * 9999], ids=range(4))
def test_a_damaged_session_is_named(cli: Cli, workplace: Path, series: Any, content: bytes) -> None:
    """It is not passed over in silence, as if an older session were the newest; alone it is an error."""
    put(series, {STATE_FILE: content}, 3)
    for command in ("status", "pull"):
        said = cli(command, "--from", BUCKET)
        assert "session-03/state.json is damaged" in said.err
    assert "session-02" in said.out
    alone = cli("status", "--from", f"{BUCKET}/bangla-tts/{RUN}/session-03")
    assert (alone.code, "is damaged" in alone.err) == (7, True)
