"""Which files of which packages the distillation corpus may use, as a table of rules.

Files are only listed where the package's copyright file allows free use; the corpus is built on the user's machine
and not redistributed, so ``licence`` names the package's main licence and the copyright file beside the package is
the last word. Sounds of vehicles and animals are left out by name, so that the unseen domain stays unseen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.sample_data.music import PITCHES, PROGRAMS, SOUND_FONT
from usad_workbench.sample_data.packages import ARCHIVE_ENDINGS
from usad_workbench.sample_data.sound import zero_ad_family
from usad_workbench.sample_data.speech import STAMP_VOICES

AUDIO_ENDINGS = (".ogg", ".oga", ".wav", ".flac", ".g722", ".gsm")
UNSEEN = (
    "animal|bat|bird|bug|camel|cat|cattle|chicken|cow|cricket|crow|dog|duck|elephant|fauna|flamingo|frog|goat|"
    "gryphon|horse|lion|mounted|owl|peacock|pig|raven|sheep|tusker|wolf|wolves|"
    "airplane|bus|car|diesel|engine|harbor|helicopter|hover|plane|railtrain|ship|trafichigh|traficlow|train|"
    "truck|ugv|vehicle|monkey|jet|rail|farm|organicfarm|port"
)
"""Words that name vehicles and animals in the paths below."""
HUMAN = (
    "human|female|male|soldiers|civilians|talk|tv|radiomessage|aliencom|dwarf|elf|goblin|orc|ogre|zombie|troll|naga|"
    "mermaid|mermen|lich|groan|ugg|wail|jingle|disco|fanfare|voice|sportscroud|school"
)
"""Words that name voices of people or creatures, and music, among sounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusRule:
    """One group of files."""

    domain: str
    dataset: str
    package: str
    folder: str
    """Inside the unpacked package; every audio file below it belongs to the rule."""
    licence: str
    author: str
    cluster: str = "parent"
    """``parent``: the folder a file is in; ``family``: name without its number; ``file``; or ``=NAME``."""
    language: str = ""
    name_pattern: str = ""
    """Regular expression that the path below ``folder`` must contain."""
    leave_out: str = ""
    """Words that it must not contain."""
    cluster_cap_s: float = 1e9
    """At most this many seconds of one cluster, so that no voice outweighs the others."""
    file_cap_s: float = 30.0
    """At most this many seconds of one file, in evenly spread pieces."""


def _asterisk(
    speaker: str, language: str, package: str, folder: str, licence: str, author: str
) -> CorpusRule:
    return CorpusRule(
        domain="speech",
        dataset="asterisk",
        package=package,
        folder=f"usr/share/asterisk/sounds/{folder}",
        licence=licence,
        author=author,
        cluster=f"={speaker}",
        language=language,
        leave_out="beep|beeperr|silence|monkeys|weasels|ascending|descending",
        cluster_cap_s=180,
    )


_STAMP_VOICES = {
    **{language: f"tuxpaint-desc-{language}" for language in ("be", "bg", "ca", "da", "el", "ro")},
    **{language: speaker for speaker, language, _ in STAMP_VOICES},
}
"""Language and speaker of the stamps' spoken names; three of them also speak in the sample data."""
_CIVILISATIONS = ("greek", "latin", "napatan", "persian")
_PUBLIC_ZIP = "usr/share/games/0ad/mods/public/public.zip.d/audio"
_CC_BY_SA = "CC-BY-SA-3.0"
_WILDFIRE = "Wildfire Games and 0 A.D. contributors"

SPEECH_RULES = (
    _asterisk(
        "allison",
        "en",
        "asterisk-core-sounds-en-g722",
        "en_US_f_Allison",
        _CC_BY_SA,
        "Allison Smith",
    ),
    _asterisk(
        "allison",
        "es",
        "asterisk-core-sounds-es-g722",
        "es_MX_f_Allison",
        _CC_BY_SA,
        "Allison Smith",
    ),
    _asterisk(
        "june", "fr", "asterisk-core-sounds-fr-g722", "fr_CA_f_June", _CC_BY_SA, "June Wallack"
    ),
    _asterisk(
        "carlo", "it", "asterisk-core-sounds-it-g722", "it_IT_m_Carlo", "CC-BY-3.0", "Carlo Flora"
    ),
    _asterisk(
        "ivrvoice",
        "ru",
        "asterisk-core-sounds-ru-g722",
        "ru_RU_f_IvrvoiceRU",
        "CC-BY-3.0",
        "Maxim Topal",
    ),
    _asterisk(
        "menardi",
        "it",
        "asterisk-prompt-it-menardi-wav",
        "it_IT_f_Menardi",
        "CC-BY-SA-3.0-IT",
        "Menardi",
    ),
    _asterisk(
        "armelle",
        "fr",
        "asterisk-prompt-fr-armelle",
        "fr",
        "LicenseRef-Armelle",
        "Michel Gutierrez",
    ),
    _asterisk("july", "es", "asterisk-prompt-es-co", "es", "GPL-2.0", "Avatar Ltda."),
    *(
        CorpusRule(
            domain="speech",
            dataset="gcin-voice",
            package="gcin-voice",
            folder="usr/share/gcin-voice/ogg",
            licence=licence,
            author=author,
            cluster=f"={voice}",
            language="zh",
            name_pattern=rf"/{file}\.ogg$",
            cluster_cap_s=120,
        )
        for voice, file, licence, author in (
            ("chu-lo", 5, "CC-BY-3.0", "Chu Lo and ChionMeilin"),
            ("gcin-3", 3, "GPL-3.0", "Edward Der-Hua Liu"),
        )
    ),
    *(
        CorpusRule(
            domain="speech",
            dataset="tuxpaint-stamps",
            package="tuxpaint-stamps-default",
            folder="usr/share/tuxpaint/stamps",
            licence="GPL-2.0",
            author="Tux Paint contributors",
            cluster=f"={speaker}",
            language=language,
            name_pattern=rf"_desc_{language}\.ogg$",
            cluster_cap_s=120,
        )
        for language, speaker in _STAMP_VOICES.items()
    ),
    CorpusRule(
        domain="speech",
        dataset="klettres",
        package="klettres-data",
        folder="usr/share/klettres",
        licence="GPL-2.0+",
        author="KLettres contributors",
        cluster="first",
        cluster_cap_s=40,
    ),
    CorpusRule(
        domain="speech",
        dataset="ktuberling",
        package="ktuberling-data",
        folder="usr/share/ktuberling/sounds",
        licence="GPL-2.0+",
        author="KTuberling contributors",
        cluster="first",
        cluster_cap_s=60,
    ),
    *(
        CorpusRule(
            domain="speech",
            dataset="fillets",
            package=f"fillets-ng-data-{language}",
            folder="usr/share/games/fillets-ng/sound",
            licence="GPL-2.0",
            author="ALTAR interactive",
            cluster=f"=fillets-{language}",
            language=language,
            cluster_cap_s=300,
        )
        for language in ("cs", "nl")
    ),
    *(
        CorpusRule(
            domain="speech",
            dataset="0ad",
            package="0ad-data",
            folder=f"{_PUBLIC_ZIP}/voice/{people}",
            licence=_CC_BY_SA,
            author=_WILDFIRE,
            cluster=f"=0ad-voice-{people}",
            cluster_cap_s=90,
        )
        for people in _CIVILISATIONS
    ),
)

_SOUND_FOLDERS = ("actor", "ambient", "attack", "interface", "resource")
SOUND_RULES = (
    *(
        CorpusRule(
            domain="sound",
            dataset="0ad",
            package="0ad-data",
            folder=f"{_PUBLIC_ZIP}/{folder}",
            licence=_CC_BY_SA,
            author=_WILDFIRE,
            cluster="family",
            leave_out=f"{UNSEEN}|human|alarm",
            file_cap_s=150,
        )
        for folder in _SOUND_FOLDERS
    ),
    CorpusRule(
        domain="sound",
        dataset="lincity",
        package="lincity-ng-data",
        folder="usr/share/games/lincity-ng/sounds",
        licence="GPL-2.0+",
        author="LinCity-NG team",
        cluster="family",
        leave_out=f"{UNSEEN}|{HUMAN}",
        file_cap_s=150,
    ),
    CorpusRule(
        domain="sound",
        dataset="ufoai",
        package="ufoai-sound",
        folder="usr/share/games/ufoai/base/0snd.pk3.d/sound",
        licence="GPL-2.0+",
        author="The UFO:AI Team",
        cluster="family",
        leave_out=f"{UNSEEN}|{HUMAN}|seq",
        file_cap_s=150,
    ),
    CorpusRule(
        domain="sound",
        dataset="wesnoth",
        package="wesnoth-1.16-data",
        folder="usr/share/games/wesnoth/1.16",
        licence="GPL-2.0+",
        author="The Battle for Wesnoth project",
        cluster="family",
        leave_out=f"{UNSEEN}|{HUMAN}|horn",
    ),
    CorpusRule(
        domain="sound",
        dataset="endless-sky",
        package="endless-sky-data",
        folder="usr/share/games/endless-sky/sounds",
        licence="GPL-3.0+ and CC-BY-SA-4.0",
        author="Endless Sky contributors",
        cluster="family",
    ),
    CorpusRule(
        domain="sound",
        dataset="flare",
        package="flare-game",
        folder="usr/share/games/flare/mods",
        licence=_CC_BY_SA,
        author="Clint Bellanger and Flare contributors",
        cluster="family",
        name_pattern="soundfx/",
        leave_out=f"{UNSEEN}|{HUMAN}|enemies|npcs|warcry|female_die|male_die",
    ),
    CorpusRule(
        domain="sound",
        dataset="bucklespring",
        package="bucklespring-data",
        folder="usr/share/buckle",
        licence="GPL-2.0+",
        author="Ico Doornekampt",
        cluster="file",
    ),
    CorpusRule(
        domain="sound",
        dataset="colobot",
        package="colobot-common-sounds",
        folder="usr/share/games/colobot/sounds",
        licence="GPL-3.0+",
        author="Epsitec and TerranovaTeam",
        cluster="file",
    ),
    CorpusRule(
        domain="sound",
        dataset="freedesktop",
        package="sound-theme-freedesktop",
        folder="usr/share/sounds",
        licence="CC-BY-SA-3.0 and GPL-2.0+",
        author="freedesktop.org contributors",
        cluster="file",
        leave_out="audio-channel",
    ),
)

MUSIC_RULES = (
    CorpusRule(
        domain="music",
        dataset="0ad-music",
        package="0ad-data",
        folder=f"{_PUBLIC_ZIP}/music",
        licence=_CC_BY_SA,
        author=_WILDFIRE,
        cluster="file",
    ),
    CorpusRule(
        domain="music",
        dataset="flare-music",
        package="flare-game",
        folder="usr/share/games/flare/mods",
        licence=_CC_BY_SA,
        author="Flare contributors",
        cluster="file",
        name_pattern="/music/",
        leave_out="ambient",
    ),
    CorpusRule(
        domain="music",
        dataset="wesnoth-music",
        package="wesnoth-1.16-music",
        folder="usr/share/games/wesnoth/1.16",
        licence="GPL-2.0+",
        author="Wesnoth composers",
        cluster="file",
    ),
    CorpusRule(
        domain="music",
        dataset="colobot-music",
        package="colobot-common-sounds",
        folder="usr/share/games/colobot/music",
        licence="GPL-3.0+",
        author="TerranovaTeam",
        cluster="file",
    ),
    CorpusRule(
        domain="music",
        dataset="lomiri",
        package="lomiri-sounds",
        folder="usr/share/sounds/lomiri/ringtones",
        licence="CC-BY-SA-3.0 and CC-BY-4.0",
        author="Canonical and UBports contributors",
        cluster="file",
    ),
    CorpusRule(
        domain="music",
        dataset="sonic-pi",
        package="sonic-pi-samples",
        folder="usr/share/sonic-pi/samples",
        licence="MIT",
        author="Sonic Pi contributors",
        cluster="file",
    ),
)
RULES = (*SPEECH_RULES, *SOUND_RULES, *MUSIC_RULES)

NOTE_PROGRAMS = tuple(
    program
    for program in (*range(0, 96, 3), 32, 34, 36, 46, 52, 68, 70, 104, 108)
    if program not in {used for used, *_ in PROGRAMS}
)
"""General MIDI programs of the corpus: none that a note of the sample data is played with."""


def list_notes() -> Iterator[tuple[int, int, str]]:
    """Program, pitch and source path of every note of the corpus: twelve pitches per program."""
    for number, program in enumerate(NOTE_PROGRAMS):
        for pitch in PITCHES[number % 3 :: 3]:
            yield program, pitch, f"{SOUND_FONT}#{program},{pitch}"


def list_files(rule: CorpusRule, root: Path) -> list[Path]:
    """Audio files of a rule, sorted by path."""
    folder = root / rule.folder
    found = []
    for file in sorted(folder.rglob("*")):
        below = "/" + file.relative_to(folder).as_posix()
        words = set(re.split(r"[^a-z]+", below.lower()))
        if file.suffix.lower() not in AUDIO_ENDINGS or not file.is_file():
            continue
        if rule.name_pattern and not re.search(rule.name_pattern, below):
            continue
        if rule.leave_out and words & set(rule.leave_out.split("|")):
            continue
        found.append(file)
    return found


def source_path_of(file: Path, root: Path) -> str:
    """A file's name in the manifest: ``a.zip#member`` for what was inside an archive."""
    path = file.relative_to(root).as_posix()
    for ending in ARCHIVE_ENDINGS:
        path = path.replace(f"{ending}.d/", f"{ending}#", 1)
    return path


def cluster_of(rule: CorpusRule, file: Path, root: Path) -> str:
    """Speaker, family or recording of a file; the same name as in the sample data where it is the same family."""
    if rule.cluster.startswith("="):
        return rule.cluster[1:]
    if rule.cluster == "first":
        return f"{rule.dataset}-{file.relative_to(root / rule.folder).parts[0]}"
    if rule.cluster == "family" and rule.dataset == "0ad":
        return f"0ad_{zero_ad_family(file.stem)}"
    if rule.cluster == "family":
        return f"{rule.dataset}_{re.sub(r'(_loop|[-_~ ]?[0-9]+)$', '', file.stem)}"
    return f"{rule.dataset}_{file.stem}"
