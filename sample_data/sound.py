"""Environmental sounds of Minetest, Flare and 0 A.D.: footsteps, digging, doors, fire, water, weather.

Variants of one sound (``default_grass_footstep.1`` … ``.3``) are one cluster: they were made from one recording
session and are not independent. The material task therefore asks for the material across actions: ice that is
dug, broken and stepped on is three clusters, and a fold tests on a cluster that training has not heard.
"""

import re
from pathlib import Path

from usad_workbench.sample_data.packages import archive_folder
from usad_workbench.sample_data.rows import ClipSource

_MINETEST = "usr/share/games/minetest/games/minetest_game/mods"
_FLARE = "usr/share/games/flare/mods"
_ZERO_AD = "usr/share/games/0ad/mods/public/public.zip"
_ZERO_AD_FAMILIES = (
    "actor/singlesteps/fs_grass",
    "actor/singlesteps/fs_gravel",
    "actor/singlesteps/fs_rock",
    "actor/singlesteps/fs_sand",
    "actor/singlesteps/fs_snow_",
    "actor/singlesteps/fs_wood",
    "actor/human/movement/Footsteps/Foorstep_Sand_",  # spelled so in the source
    "actor/human/movement/Footsteps/Footstep_Grass_",
    "actor/human/movement/Footsteps/Footstep_Gravel_",
    "actor/human/movement/Footsteps/Footstep_Rock_",
    "actor/human/movement/Footsteps/Footstep_Wood_",
    "attack/impact/arrow_dirt_",
    "attack/impact/arrow_metal_",
    "attack/impact/arrow_stone_",
    "attack/impact/arrow_wood_",
    "attack/impact/shield_metal_",
    "attack/impact/sling_stone_",
    "resource/construction/con_stone_",
    "resource/construction/con_wood_",
    "resource/mining/mine_metal_",
    "resource/mining/mine_stone_",
    "ambient/water/river_fast_",
    "ambient/water/wavecrash_",
)
"""Beginnings of file names; the first variants of each are taken and the rest is used nowhere."""
_N_VARIANTS = 4
_SAME_MATERIAL = {
    "steel": "metal",
    "river": "water",
    "wavecrash": "water",
    "flame": "fire",
    "rock": "stone",
}
"""Words of file names that mean a material of another word."""
MATERIALS = frozenset(
    {"dirt", "fire", "glass", "grass", "gravel", "ice", "metal"}
    | {"sand", "snow", "stone", "water", "wood"}
)
_UNSURE = frozenset(
    {"cool_lava", "extinguish_flame"}
    | {"fs_gravel", "fs_rock", "footstep_gravel_walking", "footstep_rock_walking"}
)
"""One and the same recording under two names, so its name does not tell what it is."""
_MINETEST_AUTHORS = (
    "celeron55 (Perttu Ahola), Kahrl, erlehmann, BlockMen, Fernando Zapata, PilzAdam, Zeg9, thetoon, PavelS, sofar, "
    "Vanessa Ezekowitz, paramat, yyt16384, Thomas-S, red-001, kilbith, RHRhino, Gambit, ShadowNinja, Wuzzy, "
    "Napiophelios, Extex101, xyz, TumeniNodes"
)
_MINETEST_DOOR_AUTHORS = "CGEffex, bennstir, PilzAdam, BlockMen, MasterGollum, Gambit, BarkersPinhead, rivernile7, HazMatt"
_FLARE_FOLDERS = (
    "empyrean_campaign/soundfx/environment",
    "fantasycore/soundfx/environment",
    "fantasycore/soundfx/inventory",
    "fantasycore/soundfx/steps",
)
_FLARE_SINGLE = ("wood_open", "door_open", "heartbeat")


def material_of(name: str) -> str:
    """The material that a file name spells out, or nothing.

    >>> material_of("default_ice_dug"), material_of("doors_steel_door_open"), material_of("stairs")
    ('ice', 'metal', '')
    """
    name = name.lower()
    if any(unsure in name for unsure in _UNSURE):
        return ""
    words = re.split(r"[_.\d]+", name)
    named = {_SAME_MATERIAL.get(word, word) for word in words} & MATERIALS
    return named.pop() if len(named) == 1 else ""  # the fire mod's flint and steel is neither


def list_sound(minetest: Path, flare: Path, zero_ad: Path) -> list[ClipSource]:
    """Every sound clip of sample_data, in a fixed order.

    Args:
        minetest: Unpacked minetest-data.
        flare: Unpacked flare-game.
        zero_ad: Unpacked 0ad-data.
    """
    return [*_list_minetest(minetest), *_list_flare(flare), *_list_zero_ad(zero_ad)]


def zero_ad_family(name: str) -> str:
    """What the variants of one sound of 0 A.D. share.

    >>> zero_ad_family("fs_snow_14"), zero_ad_family("Footstep_Grass_Running"), zero_ad_family("rain_11")
    ('fs_snow', 'footstep_grass', 'rain')
    """
    return re.sub(r"_?\d+$|_(Running|Walking)$", "", name).lower()


def _list_zero_ad(root: Path) -> list[ClipSource]:
    audio = archive_folder(root / _ZERO_AD) / "audio"
    clips = []
    for start in _ZERO_AD_FAMILIES:
        folder, _, first = start.rpartition("/")
        for file in sorted((audio / folder).glob(f"{first}*.ogg"))[:_N_VARIANTS]:
            family = zero_ad_family(file.stem)
            clips.append(
                ClipSource(
                    clip_id=f"sound_0ad_{file.stem.lower()}",
                    domain="sound",
                    dataset="0ad",
                    package="0ad-data",
                    source_path=f"{_ZERO_AD}#audio/{folder}/{file.name}",
                    cluster_id=f"0ad_{family}",
                    label=family,
                    licence="CC-BY-SA-3.0",
                    author="Wildfire Games and 0 A.D. contributors",
                    tags={"material": material_of(file.stem)},
                )
            )
    return clips


def _minetest_licence(path: str) -> tuple[str, str]:
    """Licence and authors, as the package's copyright file states them by path."""
    if "/tnt/" in path or "doors_glass_door" in path:
        return "CC0-1.0", "no copyright claimed (Minetest)"
    if "/doors/" in path:
        return "CC-BY-3.0", _MINETEST_DOOR_AUTHORS
    return "CC-BY-SA-3.0", _MINETEST_AUTHORS


def _list_minetest(root: Path) -> list[ClipSource]:
    clips = []
    for file in sorted((root / _MINETEST).glob("*/sounds/*.ogg")):
        path = file.relative_to(root).as_posix()
        family = re.sub(r"\.\d+$", "", file.stem)
        licence, author = _minetest_licence(path)
        clips.append(
            ClipSource(
                clip_id=f"sound_minetest_{file.stem.replace('.', '-')}",
                domain="sound",
                dataset="minetest",
                package="minetest-data",
                source_path=path,
                cluster_id=f"minetest_{family}",
                label=family,
                licence=licence,
                author=author,
                tags={"material": material_of(family)},
            )
        )
    return clips


def _list_flare(root: Path) -> list[ClipSource]:
    files = [
        file for folder in _FLARE_FOLDERS for file in sorted((root / _FLARE / folder).glob("*.ogg"))
    ]
    files += [root / _FLARE / "fantasycore/soundfx" / f"{name}.ogg" for name in _FLARE_SINGLE]
    clips = []
    for file in files:
        family = re.sub(r"(_loop|\d+)$", "", file.stem)
        clips.append(
            ClipSource(
                clip_id=f"sound_flare_{file.stem}",
                domain="sound",
                dataset="flare",
                package="flare-game",
                source_path=file.relative_to(root).as_posix(),
                cluster_id=f"flare_{family}",
                label=family,
                licence="CC-BY-SA-3.0",
                author="Clint Bellanger and Flare contributors",
                tags={"material": material_of(family)},
            )
        )
    return clips
