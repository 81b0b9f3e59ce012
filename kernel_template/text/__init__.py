"""The texts that a voice is trained on and speaks, in one module for sessions and the laptop.

    spoken(text)              any text as it is read aloud: numbers, dates, money, Latin letters in words
    for_voice(spoken, voice)  the same in the letters that a voice can say
    canonical(text)           one spelling, to compare texts

Standard library only.
"""

from kernel_template.text.pieces import Latin, Loss, Piece, Spoken
from kernel_template.text.speaking import spoken
from kernel_template.text.spelling import canonical
from kernel_template.text.vocabulary import Vocabulary, count_letters, for_voice

__all__ = [
    "Latin",
    "Loss",
    "Piece",
    "Spoken",
    "Vocabulary",
    "canonical",
    "count_letters",
    "for_voice",
    "spoken",
]
