"""What other programs get to know of a voice's text."""

from kernel_template.text.front_ends import sherpa_tokens
from kernel_template.text.vocabulary import preferred_spelling


def test_the_vocabulary_for_sherpa_onnx() -> None:
    """A space is a token, a line end cannot be one, and a colon would be spoken at the end of sentences."""
    rules = {"characters": {"ক": 4, " ": 5, ":": 6, "?": 7, "\n": 8}, "steps": [], "ids": {"blank": 3}}
    text = {"kind": "characters", "speakable": True, "why": None, "add_blank": True, **rules}
    assert sherpa_tokens(text) == "\uff1a 6\n\uff1f 7\nক 4\n  5\n? 7\n"


def test_the_spelling_of_the_training_texts() -> None:
    """Of two spellings the one that was met more often, of a letter that was never met none."""
    assert preferred_spelling({"আ": 3, "য\u09bc": 2}) == {"\u09df": "য\u09bc"}
    assert preferred_spelling({"\u09dc": 3, "ড\u09bc": 2}) == {"\u09dc": "\u09dc"}
