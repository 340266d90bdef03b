"""Notes rendered from a recorded sound font with fluidsynth, one run per program.

Reverb and chorus are off, so that a note does not ring into the next one and the result does not depend on
their random phases.
"""

import struct
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from usad_workbench.sample_data.packages import BuildError, require_tool

RENDER_RATE_HZ = 44_100
VELOCITY = 100
_SPACING_MS = 3_000
_TICKS_PER_BEAT = 1_000
_TEMPO_US = 1_000_000
"""With these two a tick is one millisecond."""


def _variable_length(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.append((value & 0x7F) | 0x80)
    return bytes(reversed(out))


def midi_of_notes(program: int, pitches: range, note_s: float) -> bytes:
    """A MIDI file that plays the pitches one after another, three seconds apart.

    Source: Standard MIDI File 1.0, format 0.
    """
    note_ms = round(note_s * 1_000)
    events = (
        b"\x00\xff\x51\x03" + struct.pack(">I", _TEMPO_US)[1:] + b"\x00" + bytes([0xC0, program])
    )
    wait_ms = 0
    for pitch in pitches:
        events += _variable_length(wait_ms) + bytes([0x90, pitch, VELOCITY])
        events += _variable_length(note_ms) + bytes([0x80, pitch, 0])
        wait_ms = _SPACING_MS - note_ms
    events += _variable_length(wait_ms) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS_PER_BEAT)
    return header + b"MTrk" + struct.pack(">I", len(events)) + events


def render_notes(
    sound_font: Path, program: int, pitches: range, note_s: float, work: Path
) -> dict[int, np.ndarray]:
    """Every pitch as mono float32 at 44.1 kHz, three seconds from its onset.

    Raises:
        BuildError: fluidsynth is missing or failed.
    """
    fluidsynth = require_tool("fluidsynth", "fluidsynth")
    folder = work / "notes"
    folder.mkdir(parents=True, exist_ok=True)
    midi, wav = folder / f"{program}.mid", folder / f"{program}.wav"
    midi.write_bytes(midi_of_notes(program, pitches, note_s))
    options = [
        "-ni",
        "-q",
        "-R",
        "0",
        "-C",
        "0",
        "-g",
        "0.6",
        "-r",
        str(RENDER_RATE_HZ),
        "-O",
        "s16",
        "-T",
        "wav",
    ]
    command = [fluidsynth, *options, "-F", str(wav), str(sound_font), str(midi)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not wav.exists():
        raise BuildError(
            f"fluidsynth ended with {done.returncode}: {done.stderr.strip()}; expected {wav}"
        )
    samples, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    mono = np.ascontiguousarray(samples.mean(axis=1))
    wav.unlink()
    midi.unlink()
    spacing = _SPACING_MS * RENDER_RATE_HZ // 1_000
    return {pitch: mono[at * spacing : (at + 1) * spacing] for at, pitch in enumerate(pitches)}
