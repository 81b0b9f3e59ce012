"""Bangla sentences for a base voice: put together from words of our own by a fixed random sequence.

They need no sense, only every letter of the voice in many surroundings: a sentence is subject, circumstances,
object and verb; about a fifth of the words are made-up syllables, so that rare conjuncts are heard too. The
letters ড়, ঢ় and য় come in both of their spellings.
"""

import random

_PEOPLE = """আমি তুমি আপনি সে তিনি আমরা তোমরা আপনারা তারা মা বাবা ভাই বোন দাদু দিদি নানা নানি চাচা মামা খালা বন্ধু
শিক্ষক ছাত্র ছাত্রী ডাক্তার কৃষক জেলে মাঝি রাজা রানি শিশু মেয়েটি ছেলেটি লোকটি বৃদ্ধ কবি লেখক গায়ক খেলোয়াড় দোকানদার প্রতিবেশী
অতিথি সৈনিক পাখিটি বিড়ালটা কুকুরটা হাতিটা ঘোড়াটা ঈশান ঐশী উষা ঊর্মি ঋতু ওমর ঔষধওয়ালা রফিক করিম সুমন মিঠু ঝুমা টুটুল ডলি
ফরিদা শাহানা জহির ঠাকুর ভৃত্য বৌদি মৌসুমি জ্ঞানী যুবক ইঞ্জিনিয়ার সাংবাদিক বিজ্ঞানী উকিল ঢাকি ছোটভাই""".split()
_TIMES = """আজ কাল পরশু সকালে দুপুরে বিকেলে সন্ধ্যায় রাতে ভোরে এখন তখন এখনই রোজ প্রতিদিন মাঝে-মাঝে কখনো আবার হঠাৎ
আস্তে-আস্তে তাড়াতাড়ি ধীরে চুপচাপ একা একসাথে সবসময় শীতকালে বর্ষাকালে গ্রীষ্মে শরতে বসন্তে হেমন্তে ছুটিতে বৈশাখে চৈত্রে আষাঢ়ে শ্রাবণে
ঈদের-দিন বৃহস্পতিবার শুক্রবার মঙ্গলবার অবশেষে ঠিকঠাক ভীষণ নিশ্চয়ই সত্যিই দুঃখে ইতিমধ্যে তৎক্ষণাৎ অকস্মাৎ উনিশশো-একাত্তরে""".split()
_PLACES = """বাড়িতে ঘরে মাঠে নদীতে পুকুরে বাজারে হাটে শহরে গ্রামে ঢাকায় চট্টগ্রামে খুলনায় রাজশাহীতে সিলেটে বরিশালে রংপুরে স্কুলে কলেজে
বিশ্ববিদ্যালয়ে হাসপাতালে স্টেশনে রাস্তায় গাছতলায় পাহাড়ে সমুদ্রে জঙ্গলে বাগানে উঠোনে ছাদে রান্নাঘরে জানালায় নৌকায় বাসে ট্রেনে রিকশায় আকাশে
মেঘের-ওপর ঐখানে এখানে সেখানে ওখানে বিদেশে দেশে দোকানে মেলায় মসজিদে মন্দিরে অফিসে থানায় আদালতে লাইব্রেরিতে ব্যাংকে""".split()
_ADJECTIVES = """ভালো মন্দ বড় ছোট নতুন পুরোনো সুন্দর লাল নীল সবুজ হলুদ সাদা কালো মিষ্টি টক ঝাল তেতো গরম ঠান্ডা উঁচু নিচু লম্বা খাটো মোটা
পাতলা ভারী হালকা শক্ত নরম পরিষ্কার নোংরা আঁকাবাঁকা সোজা গভীর চওড়া সরু ধনী গরিব দুষ্টু শান্ত চঞ্চল বুদ্ধিমান অদ্ভুত আশ্চর্য প্রিয় দামি সস্তা
টাটকা পাকা কাঁচা শুকনো ভেজা উজ্জ্বল অন্ধকার মূল্যবান ঐতিহাসিক ঔপন্যাসিক বিখ্যাত প্রাচীন স্বাধীন জরুরি গোপন অসংখ্য সামান্য রঙিন গাঢ় মূঢ়
দৃঢ় প্রৌঢ় ঘন ছেঁড়া বাঁকা ফাঁকা""".split()
_THINGS = """বই খাতা কলম ভাত মাছ ডাল মাংস ডিম দুধ চা পানি জল রুটি পিঠা মিষ্টি আম জাম কাঁঠাল লিচু কলা পেয়ারা আনারস ফুল ফল গাছ পাতা ঘাস
ধান পাট গম আলু পেঁয়াজ রসুন মরিচ বেগুন ঢেঁড়শ কুমড়া ছাতা জুতা জামা শাড়ি লুঙ্গি চশমা ঘড়ি আংটি চিঠি খবর গল্প কবিতা গান ছবি নাটক
সিনেমা খেলা বল ঘুড়ি নৌকা গাড়ি সাইকেল বাস জাহাজ বিমান সেতু পথ দরজা জানালা চেয়ার টেবিল খাট আয়না থালা বাটি চামচ ঝুড়ি হাঁড়ি
কলসি প্রদীপ মোমবাতি আগুন বাতাস বৃষ্টি ঝড় মেঘ চাঁদ সূর্য তারা আকাশ মাটি পাথর সোনা রুপা টাকা পয়সা কাজ কথা প্রশ্ন উত্তর ভাষা শব্দ
বাক্য অক্ষর বিজ্ঞান ইতিহাস অঙ্ক সঙ্গীত জ্ঞান শক্তি স্বপ্ন আশা ভালোবাসা দুঃখ সুখ হাসি কান্না রোগ ঔষধ স্বাস্থ্য শরীর হাত পা মাথা চোখ কান নাক মুখ
দাঁত চুল আঙুল হৃদয় রক্ত ব্যাঙ সাপ বাঘ হরিণ বানর ইঁদুর ঈগল উট ঊরু ঋণ এলাচ ঐক্য ওজন ঔদার্য ব্যাঞ্জন মঞ্চ ঝাঞ্ঝা কাণ্ড ঠোঙা ডঙ্কা ফাল্গুন
অভিজ্ঞতা যন্ত্র রাষ্ট্র লক্ষ্মী পদ্মা ব্রহ্মপুত্র চিহ্ন মধ্যাহ্ন আহ্বান বিহ্বল অ্যালবাম উদ্‌যাপন কার্‌ সত্ত্বা সন্ধ্যা বিদ্যুৎ ভবিষ্যৎ জগৎ সৎসাহস""".split()
_VERBS = """দেখি দেখে দেখেন দেখেছি দেখলাম দেখব দেখবে খাই খায় খান খেয়েছি খেলাম খাব যাই যায় যান গেছে গিয়েছিল যাব যাবেন আসি আসে
আসেন এসেছে এসেছিলাম আসব করি করে করেন করেছি করলেন করব করছিল বলি বলে বলেন বলেছিল বললেন বলব শুনি শোনে শুনেছি শুনব লিখি লেখে
লিখছি লিখলেন লিখব পড়ি পড়ে পড়েন পড়েছি পড়ছিল পড়ব চাই চায় চান চেয়েছিলাম কিনি কেনে কিনেছেন কিনব আনি আনে এনেছি আনবেন রাখি রাখে
রেখেছি রাখব খুঁজি খোঁজে খুঁজছে খুঁজেছিল ভাবি ভাবে ভাবছেন ঘুমাই ঘুমায় ঘুমিয়েছে জাগে জাগব হাসে হাসছে কাঁদে কাঁদছিল দৌড়ায় দৌড়াচ্ছে ওড়ে ওড়াচ্ছে
ভাঙে ভেঙেছে গড়ে গড়েছি ধরে ধরেছেন ছাড়ে ছেড়েছি নেয় নিয়েছি দেয় দিয়েছেন দেব পায় পেয়েছি পাব বোঝে বুঝেছি বুঝলাম জানি জানে জানতাম মানে
শেখে শিখছি শেখান বিক্রি-করে অপেক্ষা-করছে পরিষ্কার-করলাম সাহায্য-করবেন বিশ্রাম-নিচ্ছে উঠল নামল ঢুকল বেরোল থামল ফিরল ডুবল ভাসল
বাঁচে মরে ঝরে ফোটে ডাকে ডেকেছি রাঁধেন বাজায় আঁকে নাচে গাইছে লাফায় ঠেলে টানে হয় হয়েছে হবে ছিল ছিলাম আছে আছি নেই""".split()
_JOINERS = "এবং আর কিন্তু তবে তাই কারণ যদি তাহলে অথবা নাকি বরং যদিও তবুও অতএব".split()
_QUESTIONS = "কী কে কেন কোথায় কখন কীভাবে কত কোন কার কাকে".split()
_CONSONANTS = "কখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ\u09dc\u09dd\u09df"
_SIGNS = ["", "া", "ি", "ী", "ু", "ূ", "ৃ", "ে", "ৈ", "ো", "ৌ"]
_VOWELS = "অআইঈউঊএঐওঔ"
_CLUSTERS = """ক্ক ক্ত ক্র ক্ল ক্ষ ক্স গ্ধ গ্ন গ্র গ্ল ঘ্ন ঙ্ক ঙ্গ ঙ্খ চ্চ চ্ছ জ্জ জ্ঞ জ্ব ঞ্চ ঞ্জ ঞ্ছ ট্ট ট্র ড্ড ড্র ণ্ট ণ্ঠ ণ্ড ত্ত ত্থ ত্ন ত্ম ত্য ত্র ত্ব থ্য দ্দ দ্ধ দ্ব দ্ভ
দ্ম দ্য দ্র ধ্য ধ্র ন্ত ন্থ ন্দ ন্ধ ন্ন ন্ম ন্য ন্ট ন্ড প্ট প্ত প্ন প্প প্র প্ল ফ্র ফ্ল ব্জ ব্দ ব্ধ ব্ব ব্য ব্র ব্ল ভ্য ভ্র ম্ন ম্প ম্ফ ম্ব ম্ভ ম্ম ম্য ম্র ম্ল য্য র্ক র্গ র্চ র্জ
র্ত র্থ র্দ র্ধ র্প র্ব র্ম র্য র্ল র্শ র্ষ র্হ ল্ক ল্গ ল্ট ল্ড ল্প ল্ম ল্ল শ্চ শ্ন শ্র শ্ল শ্ব ষ্ক ষ্ট ষ্ঠ ষ্ণ ষ্প ষ্ম স্ক স্ট স্ত স্থ স্ন স্প স্ব স্ম স্র স্ল হ্ন হ্ম হ্ল ড়্গ""".split()
_COMPOSED = {"ড\u09bc": "\u09dc", "ঢ\u09bc": "\u09dd", "য\u09bc": "\u09df"}


def sentences(count: int, seed: int, characters: str) -> list[str]:
    """Give `count` different sentences that hold no other letters than `characters`.

    Args:
        count: how many.
        seed: of the random sequence; the same gives the same sentences.
        characters: all that the voice knows, its punctuation included.
    """
    # Nothing secret is drawn here: the sequence must be the same everywhere.
    chance = random.Random(seed)  # noqa: S311
    known, made = set(characters), dict.fromkeys(list[str]())
    while len(made) < count:
        text = _spell(_sentence(chance), chance)
        unknown = set(text) - known
        if unknown:
            raise ValueError(f"{text!r} holds {unknown!r}, which the voice does not know.")
        made[text] = None
    return list(made)


def _sentence(chance: random.Random) -> str:
    """Put a sentence together; the shortest is a word or two, the longest about nine."""
    draw = chance.random()
    if draw < 0.08:
        words = [chance.choice(_PEOPLE), _verb(chance)]
    elif draw < 0.16:
        words = [_word(chance, _THINGS) for _ in range(chance.randint(1, 4))]
    elif draw < 0.75:
        words = _clause(chance)
    elif draw < 0.87:
        first, second = _clause(chance, short=True), _clause(chance, short=True)
        words = [*first[:-1], first[-1] + ",", chance.choice(_JOINERS), *second]
    else:
        words = [*_clause(chance)[:-1], chance.choice(_QUESTIONS), _verb(chance)]
    question = draw >= 0.87
    mark = "?" if question else chance.choices("।!.|", (86, 6, 5, 3))[0]
    text = " ".join(words) + mark
    # The hyphens of the lists above join what is spoken as two words.
    text = text.replace("-", "-" if chance.random() < 0.15 else " ")
    if chance.random() < 0.02:
        text = "‘" + text + "’"
    elif chance.random() < 0.02:
        text = text.replace(" ", " — ", 1)
    return text


def _clause(chance: random.Random, *, short: bool = False) -> list[str]:
    words = [_word(chance, _PEOPLE)]
    if not short or chance.random() < 0.3:
        words += [_word(chance, _TIMES)] if chance.random() < 0.5 else []
        words += [_word(chance, _PLACES)] if chance.random() < 0.5 else []
    words += [_word(chance, _ADJECTIVES)] if chance.random() < 0.5 else []
    words.append(_word(chance, _THINGS))
    words.append(_verb(chance))
    return words


def _verb(chance: random.Random) -> str:
    return chance.choice(_VERBS) + (" না" if chance.random() < 0.12 else "")


def _word(chance: random.Random, words: list[str]) -> str:
    return _syllables(chance) if chance.random() < 0.2 else chance.choice(words)


def _syllables(chance: random.Random) -> str:
    word = chance.choice(_VOWELS) if chance.random() < 0.15 else ""
    for number in range(chance.randint(1, 3)):
        onset = chance.choice(_CLUSTERS) if chance.random() < 0.3 else _consonant(chance)
        word += onset + chance.choice(_SIGNS)
        if chance.random() < 0.12:
            word += chance.choice("ংঁঁৎঃ" if number else "ংঁ")
    return word + (_consonant(chance) if chance.random() < 0.3 else "")


_LETTERS = [letter for letter in _CONSONANTS if letter != "\u09bc"]


def _consonant(chance: random.Random) -> str:
    return chance.choice(_LETTERS)


def _spell(text: str, chance: random.Random) -> str:
    """Spell ড়, ঢ় and য় either all composed or all with the nukta."""
    composed = chance.random() < 0.5
    for apart, together in _COMPOSED.items():
        text = text.replace(apart, together)
    if not composed:
        for apart, together in _COMPOSED.items():
            text = text.replace(together, apart)
    return text
