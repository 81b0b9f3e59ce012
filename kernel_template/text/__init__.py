"""The texts that a voice is trained on and speaks, in one module for sessions and the laptop.

    spoken(text)              any text as it is read aloud: numbers, dates, money, Latin letters in words
    for_voice(spoken, voice)  the same in the letters that a voice can say
    sentences(text, voice)    a text as the sentences that a voice says one by one
    read(text, voice)         the same, part by part, with what was changed and lost
    canonical(text)           one spelling, to compare texts

Standard library only.
"""

from kernel_template.text.pieces import Latin, Loss, Piece, Spoken, joined
from kernel_template.text.sentences import Reading, Sentence, read, sentences
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import canonical
from kernel_template.text.vocabulary import Vocabulary, count_letters, for_voice

__all__ = [
    "Latin",
    "Loss",
    "Piece",
    "Reading",
    "Sentence",
    "Spoken",
    "Vocabulary",
    "canonical",
    "count_letters",
    "for_voice",
    "joined",
    "read",
    "sentences",
    "spoken",
]
