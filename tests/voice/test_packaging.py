"""A package speaks the same in kgtts, sherpa-onnx and Piper."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from kernel_template.text.spelling import canonical
from orchestrator.errors import UsageError
from orchestrator.voice import SynthesisOptions, open_voice
from orchestrator.voice.facts import VoiceFacts
from orchestrator.voice.package import open_package, write_package
from orchestrator.voice.packaging import VoiceDetails, package_contents
from tests.voice.bangla import (
    bangla_rules,
    heard,
    letters_of,
    piper_says,
    put_bangla_voice,
    sherpa_says,
)

pytest.importorskip("onnxruntime")
TEXT = "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। মৌমাছি বড় ভালো।"
FACTS = VoiceFacts(sentences=("আমার সোনার বাংলা।", "মৌমাছি।"))


def made(place: Path, folder: Path, **asked: Any) -> Path:
    """Package a voice, and unpack it to `folder`."""
    contents = package_contents(place, FACTS, VoiceDetails(**{"title": "আশা", **asked}))
    for name, data in contents.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def hum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package's folder, of a voice that an earlier kgtts exported."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("hum")
    return made(put_bangla_voice(folder / "old"), folder / "package")


def said_here(folder: Path, text: str, speaker: str | None = None) -> list[Any]:
    """The pieces of a text as `kgtts say` speaks them."""
    voice = open_voice(folder / "voice.json")
    return [piece.samples for piece in voice.say(text, SynthesisOptions(noise=0.0, speaker=speaker))]


def test_sherpa_onnx_says_what_say_says(hum: Path) -> None:
    """With the rules it splits where kgtts does, and every piece has the same samples."""
    numpy = pytest.importorskip("numpy")
    here = numpy.concatenate(said_here(hum, TEXT))
    for text in (TEXT, unicodedata.normalize("NFD", TEXT)):
        (there,) = sherpa_says(hum, [text], rules="bangla.fst")
        assert there.shape == here.shape
        assert float(numpy.abs(there - here).max()) < 1e-6


def test_sherpa_onnx_needs_no_rules_for_letters(hum: Path) -> None:
    """Without them, a sentence in either spelling has the same ids."""
    table = json.loads((hum / "voice.json").read_text(encoding="utf-8"))["text"]["characters"]
    one = TEXT.replace("।", ",")
    both = sherpa_says(hum, [one, unicodedata.normalize("NFD", one)])
    assert [letters_of(heard(said), table) for said in both] == [canonical(one)] * 2


def test_piper_says_what_say_says(hum: Path) -> None:
    """ো and ৌ, and the letters with a nukta, are whole in Piper too, which takes them apart."""
    numpy = pytest.importorskip("numpy")
    one = TEXT.replace("।", ",")
    (here,) = said_here(hum, one)
    there = piper_says(hum, one)
    assert there.shape == here.shape
    assert float(numpy.abs(there - here).max()) < 1e-6


def test_piper_reads_digits_one_by_one(hum: Path) -> None:
    """A digit is a word, rather than silence."""
    table = json.loads((hum / "voice.json").read_text(encoding="utf-8"))["text"]["characters"]
    assert letters_of(heard(piper_says(hum, "২৫ টি")), table) == "দুই পাঁচ  টি"


@pytest.mark.parametrize("blanks", [True, False], ids=["blanks", "no blanks"])
def test_a_voice_without_the_nukta_gets_its_letters(tmp_path: Path, *, blanks: bool) -> None:
    """What others give apart has an id that only the graph knows; alone it is dropped."""
    pytest.importorskip("onnx")
    letters = "".join(letter for letter in bangla_rules()["characters"] if letter not in "\u09bc\u09d7")
    rules = bangla_rules(letters, add_blank=blanks)
    folder = made(put_bangla_voice(tmp_path / "old", text=rules), tmp_path / "package")
    apart = unicodedata.normalize("NFD", "বড় মৌ")
    (sherpa, alone), piper = sherpa_says(folder, [apart, "ক\u09bcখ"]), piper_says(folder, "বড় মৌ")
    assert letters_of(heard(sherpa), rules["characters"]) == canonical("বড় মৌ")
    assert heard(piper) == heard(sherpa)
    assert letters_of(heard(alone), rules["characters"]) == "কখ"


def test_several_speakers(tmp_path: Path) -> None:
    """Each program speaks with the speaker of that number, and there is a sample by each."""
    pytest.importorskip("onnx")
    folder = made(put_bangla_voice(tmp_path / "old", speakers=True), tmp_path / "package")
    (here,) = said_here(folder, "আমি", "রবি")
    (there,) = sherpa_says(folder, ["আমি"], speaker=1)
    assert heard(there) == heard(here) == heard(piper_says(folder, "আমি", 1))
    assert heard(here) != heard(said_here(folder, "আমি", "আশা")[0])
    assert len(list((folder / "samples").iterdir())) == 3
    assert "0 আশা, 1 রবি" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_single_speaker_with_a_number(tmp_path: Path) -> None:
    """A model that wants to be told its only speaker speaks everywhere."""
    pytest.importorskip("onnx")
    place = put_bangla_voice(tmp_path / "old", speakers=True)
    card = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**card, "speakers": {"আশা": 0}}), encoding="utf-8")
    folder = made(place, tmp_path / "package")
    (here,), (there,) = said_here(folder, "আমি"), sherpa_says(folder, ["আমি"])
    assert heard(here) == heard(there) == heard(piper_says(folder, "আমি"))


def test_a_voice_of_several_languages_is_refused(tmp_path: Path) -> None:
    """Neither program passes a language, so it would be the first one's."""
    pytest.importorskip("onnx")
    place = put_bangla_voice(tmp_path)
    card = json.loads(place.read_text(encoding="utf-8"))
    inputs = [*card["onnx"]["inputs"], "sid", "langid"]
    place.write_text(json.dumps({**card, "onnx": {**card["onnx"], "inputs": inputs}}), encoding="utf-8")
    with pytest.raises(UsageError, match="langid"):
        package_contents(place, FACTS, VoiceDetails("আশা"))


def test_a_package_is_made_the_same_twice(hum: Path, tmp_path: Path) -> None:
    """The same voice gives the same archive, and its own package can be packaged again."""
    identities = []
    again = package_contents(hum / "voice.json", FACTS, VoiceDetails("আশা")).files
    first = {path.relative_to(hum).as_posix(): path.read_bytes() for path in hum.rglob("*.*")}
    first.pop("said.npz", None)
    assert again == first
    for number, files in enumerate((first, dict(sorted(again.items(), reverse=True)))):
        identities.append(write_package(tmp_path / f"{number}.zip", files))
    assert (tmp_path / "0.zip").read_bytes() == (tmp_path / "1.zip").read_bytes()
    with open_package(tmp_path / "0.zip") as package:
        assert package.identity == identities[0] == identities[1]


def test_a_field_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """Unknown fields are not checked when a voice is opened, so they can hold anything."""
    pytest.importorskip("onnx")
    place = put_bangla_voice(tmp_path)
    card = place.read_text(encoding="utf-8").rstrip().removesuffix("}")
    for value in ("1e999", '"\\ud800"'):
        place.write_text(f'{card}, "later": {value}}}', encoding="utf-8")
        with pytest.raises(UsageError, match=r"not finite|not a valid"):
            package_contents(place, FACTS, VoiceDetails("আশা"))


def test_a_voice_of_phonemes_is_refused(tmp_path: Path) -> None:
    """Nobody else makes the phonemes of its training."""
    pytest.importorskip("onnx")
    place = put_bangla_voice(tmp_path, text=bangla_rules(kind="phonemes"))
    with pytest.raises(UsageError, match="phonemes"):
        package_contents(place, FACTS, VoiceDetails("আশা"))


def test_what_people_and_servers_say_is_no_markup(tmp_path: Path) -> None:
    """A hostile title, author, fact, sentence or speaker shows as it is, in one cell of one table."""
    pytest.importorskip("onnx")
    hostile = "<script>x</script> [a](javascript:b) | ![x](y) https://evil.example www.evil.example\n# Big"
    facts = VoiceFacts(rows=(("Data", hostile),), sentences=(f"আমি {hostile}",))
    place = put_bangla_voice(tmp_path)
    contents = package_contents(place, facts, VoiceDetails(hostile, "mit", hostile, hostile))
    text = contents.files["README.md"].decode()
    for mark in ("<script", "](javascript", "![x]", "https://evil", "www.evil", "\n# Big"):
        assert mark not in text
    body = text.partition("---\n\n")[2]
    assert "\n---\n" not in body
    assert all(line.count("|") - line.count("\\|") in (0, 3, 5) for line in body.splitlines())
