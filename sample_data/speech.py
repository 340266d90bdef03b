"""Speech clips: parallel prompts of seven voices, digits of more voices, stamp names of three more.

Prompt ids are the file names that the voices share, so the same id is the same utterance in meaning; within a
language it is the same words. Who speaks is read from the packages' CREDITS, copyright files and changelogs.
"""

from dataclasses import dataclass

from usad_workbench.sample_data.rows import ClipSource

_SOUNDS = "usr/share/asterisk/sounds"
STAMPS_FOLDER = "usr/share/tuxpaint/stamps"

SENTENCES = (
    "agent-loggedoff",
    "agent-loginok",
    "conf-enteringno",
    "conf-errormenu",
    "conf-hasjoin",
    "conf-hasleft",
    "conf-lockednow",
    "conf-otherinparty",
    "conf-thereare",
    "conf-unlockednow",
    "queue-thereare",
    "vm-calldiffnum",
    "vm-deleted",
    "vm-from-phonenumber",
    "vm-msgsaved",
    "vm-nomore",
    "vm-savedto",
    "vm-star-cancel",
    "vm-then-pound",
    "vm-tocancel",
)
"""Prompts between one and four seconds that every voice has."""
LETTERS = ("a", "f", "k", "r", "x")
PHONETIC = ("c", "h", "l", "t", "w")
STAMPS = (
    "birds/blackbird",
    "birds/crow",
    "birds/duck",
    "birds/owl",
    "birds/pigeon",
    "birds/turkey",
    "mammals/aquatic/dolphin",
    "mammals/aquatic/whale",
    "mammals/bears/bear",
    "mammals/bovines/cow",
    "mammals/bovines/goat",
    "mammals/cats/lion",
    "mammals/cats/tiger",
    "mammals/dogs/fox",
    "mammals/elephant",
    "mammals/equines/horse",
    "mammals/equines/zebra",
    "mammals/pig",
    "mammals/rodents/rabbit",
    "mammals/cats/cheetah",
)
MANDARIN_DIGITS = (
    "ㄌㄧㄥ2",
    "ㄧ",
    "ㄦ4",
    "ㄙㄢ",
    "ㄙ4",
    "ㄨ3",
    "ㄌㄧㄡ4",
    "ㄑㄧ",
    "ㄅㄚ",
    "ㄐㄧㄡ3",
)
"""Folders of the syllables líng, yī, èr, sān, sì, wǔ, liù, qī, bā, jiǔ (zero to nine)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """One voice of the Asterisk prompts."""

    speaker: str
    language: str
    package: str
    folder: str
    ending: str
    licence: str
    author: str
    sex: str = ""
    """Only where the source's own folder name says it (``en_US_f_Allison``)."""
    has_letters: bool = True


ASTERISK_VOICES = (
    Voice(
        speaker="allison",
        language="en",
        package="asterisk-core-sounds-en-g722",
        folder="en_US_f_Allison",
        ending="g722",
        licence="CC-BY-SA-3.0",
        author="Allison Smith; Digium, Inc.",
        sex="f",
    ),
    Voice(
        speaker="allison",
        language="es",
        package="asterisk-core-sounds-es-g722",
        folder="es_MX_f_Allison",
        ending="g722",
        licence="CC-BY-SA-3.0",
        author="Allison Smith; Digium, Inc.",
        sex="f",
    ),
    Voice(
        speaker="june",
        language="fr",
        package="asterisk-core-sounds-fr-g722",
        folder="fr_CA_f_June",
        ending="g722",
        licence="CC-BY-SA-3.0",
        author="June Wallack; Digium, Inc.",
        sex="f",
    ),
    Voice(
        speaker="carlo",
        language="it",
        package="asterisk-core-sounds-it-g722",
        folder="it_IT_m_Carlo",
        ending="g722",
        licence="CC-BY-3.0",
        author="Carlo Flora",
        sex="m",
    ),
    Voice(
        speaker="ivrvoice",
        language="ru",
        package="asterisk-core-sounds-ru-g722",
        folder="ru_RU_f_IvrvoiceRU",
        ending="g722",
        licence="CC-BY-3.0",
        author="Maxim Topal (ivrvoice.ru)",
        sex="f",
    ),
    Voice(
        speaker="menardi",
        language="it",
        package="asterisk-prompt-it-menardi-wav",
        folder="it_IT_f_Menardi",
        ending="wav",
        licence="CC-BY-SA-3.0-IT",
        author="Marco Menardi and Paola Dal Zot",
        sex="f",
    ),
    Voice(
        speaker="armelle",
        language="fr",
        package="asterisk-prompt-fr-armelle",
        folder="fr",
        ending="gsm",
        licence="LicenseRef-Armelle",
        author="Michel Gutierrez; voice Armelle Desjardins",
    ),
    Voice(
        speaker="july",
        language="es",
        package="asterisk-prompt-es-co",
        folder="es",
        ending="gsm",
        licence="GPL-2.0",
        author="Avatar Ltda.; July E. Jiménez",
        has_letters=False,
    ),
)

TUXPAINT_AUTHORS = "Tux Paint stamps, Bill Kendrick and contributors"
DIGIT_VOICES = (
    ("tuxpaint-en", "en", "", TUXPAINT_AUTHORS),
    ("arundel", "en", "_en_GB", f"{TUXPAINT_AUTHORS}; voice John Arundel"),
    ("gazzan", "es", "_es", f"{TUXPAINT_AUTHORS}; voice: the son of Gabriel Gazzan"),
    ("tuxpaint-fr", "fr", "_fr", TUXPAINT_AUTHORS),
    ("tuxpaint-it", "it", "_it", f"{TUXPAINT_AUTHORS}; from Schoolsplay"),
    ("tuxpaint-ru", "ru", "_ru", f"{TUXPAINT_AUTHORS}; from Schoolsplay"),
    ("tuxpaint-zh", "zh", "_zh_tw", TUXPAINT_AUTHORS),
)
"""Speaker, language, file ending, author. Only languages that a second person speaks too."""
STAMP_VOICES = (
    ("ortiz", "es", f"{TUXPAINT_AUTHORS}; voice Estefanía Ortiz"),
    ("paulk", "fr", f"{TUXPAINT_AUTHORS}; voice PaulK"),
    ("veber", "ru", f"{TUXPAINT_AUTHORS}; voice Edwin Veber"),
)
MANDARIN_VOICES = (
    (
        "chu-lo",
        "5.ogg",
        "CC-BY-3.0",
        "Chu Lo and ChionMeilin (聲優 羅竺與徵音梅林開發委員會錄音組)",
    ),
    ("gcin-3", "3.ogg", "GPL-3.0", "Edward Der-Hua Liu"),
)
MISSING = frozenset({("_it", 0), ("_ru", 0)})
"""Digits that the stamps do not have."""


def list_speech() -> list[ClipSource]:
    """Every speech clip of sample_data, in a fixed order."""
    return [*_list_asterisk(), *_list_digits(), *_list_mandarin(), *_list_stamps()]


def _prompts(has_letters: bool) -> list[tuple[str, str]]:
    """Prompt id, and the word where it is a single one."""
    prompts = [(f"digits/{digit}", str(digit)) for digit in range(10)]
    if has_letters:
        prompts += [(f"letters/{letter}", letter) for letter in LETTERS]
        prompts += [(f"phonetic/{letter}_p", f"{letter}_p") for letter in PHONETIC]
    return prompts + [(prompt, "") for prompt in SENTENCES]


def _speech_tags(speaker: str, language: str, prompt: str, word: str) -> dict[str, str]:
    """Tags that all speech has.

    The groups of the voice task are kinds of prompt, because a voice is known when it is recognised in digits
    after being heard in sentences; random groups of prompts are too easy.
    """
    kind = prompt.split("/")[0] if "/" in prompt else "sentences"
    group = {"letters": "spelling", "phonetic": "spelling"}.get(kind, kind)
    tags = {"speaker": speaker, "language": language, "prompt": prompt}
    tags |= {"word": word, "prompt_group": group}
    if kind == "digits":
        tags["digit"] = word
    return tags


def _list_asterisk() -> list[ClipSource]:
    clips = []
    for voice in ASTERISK_VOICES:
        for prompt, word in _prompts(voice.has_letters):
            tags = _speech_tags(voice.speaker, voice.language, prompt, word)
            tags |= {"voice": voice.speaker, "sex": voice.sex}
            clips.append(
                ClipSource(
                    clip_id=f"speech_{voice.language}_{voice.speaker}_{prompt.replace('/', '-')}",
                    domain="speech",
                    dataset="asterisk",
                    package=voice.package,
                    source_path=f"{_SOUNDS}/{voice.folder}/{prompt}.{voice.ending}",
                    cluster_id=voice.speaker,
                    label=voice.language,
                    licence=voice.licence,
                    author=voice.author,
                    tags=tags,
                )
            )
    return clips


def _list_digits() -> list[ClipSource]:
    clips = []
    for speaker, language, ending, author in DIGIT_VOICES:
        for digit in range(10):
            if (ending, digit) in MISSING:
                continue
            clips.append(
                ClipSource(
                    clip_id=f"speech_{language}_{speaker}_digits-{digit}",
                    domain="speech",
                    dataset="tuxpaint-stamps",
                    package="tuxpaint-stamps-default",
                    source_path=f"{STAMPS_FOLDER}/symbols/math/{digit}{ending}.ogg",
                    cluster_id=speaker,
                    label=language,
                    licence="GPL-2.0",
                    author=author,
                    tags=_speech_tags(speaker, language, f"digits/{digit}", str(digit)),
                )
            )
    return clips


def _list_mandarin() -> list[ClipSource]:
    clips = []
    for speaker, file_name, licence, author in MANDARIN_VOICES:
        for digit, syllable in enumerate(MANDARIN_DIGITS):
            clips.append(
                ClipSource(
                    clip_id=f"speech_zh_{speaker}_digits-{digit}",
                    domain="speech",
                    dataset="gcin-voice",
                    package="gcin-voice",
                    source_path=f"usr/share/gcin-voice/ogg/{syllable}/{file_name}",
                    cluster_id=speaker,
                    label="zh",
                    licence=licence,
                    author=author,
                    tags=_speech_tags(speaker, "zh", f"digits/{digit}", str(digit)),
                )
            )
    return clips


def _list_stamps() -> list[ClipSource]:
    clips = []
    for speaker, language, author in STAMP_VOICES:
        for stamp in STAMPS:
            word = stamp.rsplit("/", 1)[1]
            clips.append(
                ClipSource(
                    clip_id=f"speech_{language}_{speaker}_stamps-{word}",
                    domain="speech",
                    dataset="tuxpaint-stamps",
                    package="tuxpaint-stamps-default",
                    source_path=f"{STAMPS_FOLDER}/animals/{stamp}_desc_{language}.ogg",
                    cluster_id=speaker,
                    label=language,
                    licence="GPL-2.0",
                    author=author,
                    tags=_speech_tags(speaker, language, f"stamps/{word}", word),
                )
            )
    return clips
