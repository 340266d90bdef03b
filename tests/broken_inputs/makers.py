"""Broken inputs from seeds, the commands that get them, and what a command owes to each of them.

Every maker fills a folder and gives the commands to run there. A command's account says that nothing is lost in silence:
what was given is added, skipped, failed or named as ignored.
"""

import io
import json
import os
import shutil
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

Random = np.random.Generator
Account = Callable[[int, Any, str], str]
"""Exit code, JSON document (none without one) and all words to what is wrong, or nothing."""
RATE_HZ = 16_000
ENCODER = "log-mel-statistics"
N_FILES = 5


def owes_nothing(code: int, document: Any, words: str) -> str:
    """For commands that only have to end in words."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command, words in capitals being names in the folder."""

    arguments: Sequence[str]
    account: Account = owes_nothing


@dataclass(frozen=True, kw_only=True)
class Given:
    """What one maker made."""

    steps: list[Step]
    told: str
    """What is broken, for the message of a test that fails."""
    n_inputs: int = 1


@dataclass(frozen=True, kw_only=True)
class Material:
    """Whole things to break, made once."""

    workspace: Path
    """Six clips, embedded and indexed."""
    run: Path
    """Two steps of training of a tiny student."""
    recipe: str
    hits: dict[str, list[Any]] = field(default_factory=dict)
    """Of the whole workspace, by query clip."""


def sound(random: Random, n: int = RATE_HZ // 2) -> np.ndarray:
    return random.uniform(-0.5, 0.5, n).astype(np.float32)


def wav_bytes(random: Random, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(random), RATE_HZ, format=kind, subtype=subtype)
    return buffer.getvalue()


def damaged(data: bytes, random: Random) -> tuple[bytes, str]:
    """The bytes with one kind of damage, and its name."""
    kind = str(random.choice(["cut", "flip", "header", "insert", "zeros", "twice", "tail"]))
    out = bytearray(data)
    if kind == "cut":
        out = out[: int(random.integers(0, len(out)))]
    elif kind == "flip":
        for place in random.integers(0, len(out), int(random.integers(1, 40))):
            out[place] ^= 1 << int(random.integers(8))
    elif kind == "header":  # a number at the beginning, where sizes, rates and counts are
        place = int(random.integers(0, min(60, len(out) - 4)))
        out[place : place + 4] = random.choice([b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f"])
    elif kind == "insert":
        place = int(random.integers(0, len(out)))
        out[place:place] = random.bytes(int(random.integers(1, 500)))
    elif kind == "zeros":
        place = int(random.integers(0, len(out)))
        out[place : place + 400] = bytes(min(400, len(out) - place))
    elif kind == "twice":
        out = out + out
    else:
        out += random.bytes(1000)
    return bytes(out), kind


def accounts_for(n: int) -> Account:
    """Of an import: every one of n files is counted, or its name or suffix is said."""

    def account(code: int, document: Any, words: str) -> str:
        if code == 2:
            return ""  # nothing was done, and words say why
        counted = document["n_added"] + document["n_skipped"] + len(document["failed"])
        if counted >= n or "ignored" in words or "not taken" in words:
            return ""
        return f"{n} files were given, {counted} are counted"

    return account


def _embeds_all(code: int, document: Any, words: str) -> str:
    if code == 0 and document["failed"]:
        return "some failed, exit code 0"
    return ""


IMPORT = ("import", "SOUNDS", "--workspace", "W", "--domain", "sound")
EMBED = ("embed", "--workspace", "W", "--encoders", ENCODER, "--device", "cpu")


def make_containers(folder: Path, material: Material, random: Random) -> Given:
    """Damaged sound files of all formats beside one that is whole."""
    (folder / "SOUNDS").mkdir()
    told = []
    formats = (
        ("wav", "WAV", None),
        ("flac", "FLAC", None),
        ("ogg", "OGG", "VORBIS"),
        ("mp3", "MP3", None),
        ("aiff", "AIFF", None),
        ("wav", "WAV", "FLOAT"),
        ("au", "AU", None),
        ("opus", "OGG", "OPUS"),
    )
    for number in range(N_FILES):
        suffix, kind, subtype = formats[int(random.integers(len(formats)))]
        data, how = damaged(wav_bytes(random, kind, subtype), random)
        (folder / "SOUNDS" / f"f{number}.{suffix}").write_bytes(data)
        told.append(f"{suffix} {how}")
    (folder / "SOUNDS" / "good.wav").write_bytes(wav_bytes(random))

    def good_is_added(code: int, document: Any, words: str) -> str:
        if code == 2 or document["n_added"] < 1:
            return "the whole file was not added"
        return accounts_for(N_FILES + 1)(code, document, words)

    return Given(
        steps=[
            Step(arguments=IMPORT, account=good_is_added),
            Step(arguments=EMBED, account=_embeds_all),
        ],
        told=", ".join(told),
        n_inputs=N_FILES,
    )


def odd_name(random: Random) -> bytes:
    """A file name, without its suffix, that is legal on Linux and troublesome."""
    names = [
        b"\xff\xfe",
        b"caf\xe9",
        b"new\nline",
        b"tab\there",
        b"q'uote",
        b'dou"ble',
        b"-rf",
        b"--help",
        b"%s%n",
        b"a" * 240,
        "ü".encode() * 120,
        "日本語".encode(),
        "Привет".encode(),
        b" space ",
        b"...",
        "e\u0301".encode(),
        "\u202egnp".encode(),
        "🎵".encode(),
        b"\x01\x7f",
        b"=1+1",
        b"v[1]",
        b"*",
        b"?",
        b"back\\slash",
        b"$(reboot)",
        b"a;b",
        b"a,b",
        b"<b>x",
        b"a\rb",
        b"#",
        b"&amp;",
        b"~",
        b"con",
        "\u200b".encode(),
        "\ufeffbom".encode(),
        b"NUL",
        b"{x}",
        b"`x`",
        b"a|b",
        b"C:",
        b"file:",
    ]
    name = names[int(random.integers(len(names)))]
    letters = "".join(random.choice(list(string.ascii_letters), 3))
    return name + letters.encode()


def make_names(folder: Path, material: Material, random: Random) -> Given:
    """Odd file names and odd things that are no files."""
    root = os.fsencode(folder / "SOUNDS")
    os.mkdir(root)
    told, n = [], 0
    for _ in range(N_FILES):
        path = root + b"/" + odd_name(random) + b".wav"
        kind = str(random.choice(["file"] * 5 + ["loop", "dangling", "pipe", "folder", "dark"]))
        told.append(f"{kind} {path.rpartition(b'/')[2]!r}")
        if os.path.lexists(path):
            continue
        n += 1
        if kind == "loop":
            os.symlink(path, path)
        elif kind == "dangling":
            os.symlink(b"nowhere", path)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            os.mkdir(path)
            n -= 1
        else:
            Path(os.fsdecode(path)).write_bytes(wav_bytes(random))
            os.chmod(path, 0 if kind == "dark" else 0o644)
    export = ("export", "--workspace", "W", "--clips", "true", "--format", "csv", "--out", "OUT")
    return Given(
        steps=[
            Step(arguments=IMPORT, account=accounts_for(n)),
            Step(arguments=export),
            Step(arguments=("check", "--workspace", "W")),
        ],
        told=", ".join(told),
        n_inputs=N_FILES,
    )


def make_manifests(folder: Path, material: Material, random: Random) -> Given:
    """Tables of clips with broken forms, columns and cells."""
    for number in range(3):
        (folder / f"a{number}.wav").write_bytes(wav_bytes(random))
    header = ["path", "label", "domain", "clip_id", "extra"]
    odd = [
        "",
        "NA",
        "a,b",
        'q"',
        "x" * 200_000,
        "\x00",
        "../a0.wav",
        "/etc/passwd",
        "a\nb",
        "=1+1",
        "é",
        "None",
        "1e999",
        "\ud7ff",
        "'; DROP TABLE clips; --",
        " ",
        "a" * 300 + ".wav",
    ]
    rows = [[f"a{n}.wav", "l", "sound", f"id{n}", "x"] for n in range(3)]
    told = []
    for _ in range(int(random.integers(1, 4))):
        change = str(random.choice(["cell", "header", "ragged", "swap", "double", "lose"]))
        row = rows[int(random.integers(3))]
        place = int(random.integers(5))
        if change == "cell":
            row[place % len(row)] = str(odd[int(random.integers(len(odd)))])
        elif change == "header":
            names = [
                "path",
                "Label",
                "duration_s",
                "select",
                "audio_sha256",
                "",
                "cluster_id",
                "a b",
                "path ",
                "segment_id",
                "x" * 5000,
                "label",
                "é",
                'a"b',
            ]
            header[place] = str(random.choice(names))
        elif change == "ragged":
            row.append("more")
        elif change == "swap":
            header[0], header[place] = header[place], header[0]
        elif change == "double":
            rows.append(list(row))
        else:
            row.pop()
        told.append(f"{change} {place}")
    separator = str(random.choice([",", ",", ",", ";", "\t"]))
    newline = str(random.choice(["\n", "\n", "\r\n", "\r", "\n\n"]))
    quote = random.random() < 0.5
    cells = [
        [f'"{c.replace(chr(34), chr(34) * 2)}"' if quote else c for c in r] for r in [header, *rows]
    ]
    text = newline.join(separator.join(row) for row in cells) + newline
    encoding = str(random.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    (folder / "TABLE.csv").write_bytes(text.encode(encoding, errors="replace"))
    told.append(f"{separator!r} {newline!r} {encoding}")
    n_lost = len(rows) if quote and separator == "," and encoding == "utf-8" else 0
    return Given(
        steps=[
            Step(
                arguments=("import", "--manifest", "TABLE.csv", "--workspace", "W"),
                account=accounts_for(n_lost),
            ),
            Step(
                arguments=(
                    "import-embeddings",
                    "OLD.parquet",
                    "--workspace",
                    "V",
                    "--role",
                    "teacher",
                    "--clips",
                    "TABLE.csv",
                )
            ),
            Step(arguments=("import", "--tasks", "TABLE.csv", "--workspace", "W")),
        ],
        told=", ".join(told),
    )


def _column(name: str, n: int, random: Random) -> tuple[pa.Array, str]:
    vectors = [[float(x) for x in random.normal(size=4)] for _ in range(n)]
    holes = [list(vector) for vector in vectors]
    holes[0][0] = float(random.choice([np.nan, np.inf, 1e300]))
    choices: dict[str, list[tuple[str, Callable[[], pa.Array]]]] = {
        "clip_id": [
            ("whole", lambda: pa.array([f"c{k}" for k in range(n)])),
            ("whole", lambda: pa.array([f"c{k}" for k in range(n)])),
            ("numbers", lambda: pa.array(range(n))),
            ("missing", lambda: pa.array([None, *[f"c{k}" for k in range(1, n)]])),
            ("double", lambda: pa.array(["c0"] * n)),
            ("bytes", lambda: pa.array([b"\xff\xfe"] * n)),
            ("dictionary", lambda: pa.array([f"c{k}" for k in range(n)]).dictionary_encode()),
            ("lists", lambda: pa.array([["c0"]] * n)),
        ],
        "encoder": [
            ("whole", lambda: pa.array(["made"] * n)),
            ("whole", lambda: pa.array(["made"] * n)),
            ("missing", lambda: pa.array(["made"] * (n - 1) + [None])),
            ("odd", lambda: pa.array(["a/b", "", " ", "x" * 3000, "a'b", "*"][:n])),
            ("numbers", lambda: pa.array([1.5] * n)),
        ],
        "layer": [
            ("whole", lambda: pa.array([0] * n)),
            ("whole", lambda: pa.array([0] * n)),
            ("negative", lambda: pa.array([-1] * n)),
            ("huge", lambda: pa.array([2**40] * n)),
            ("unsigned", lambda: pa.array([2**63 + 5] * n, pa.uint64())),
            ("parts", lambda: pa.array([0.5] * n)),
            ("missing", lambda: pa.array([None] * n, pa.int32())),
            ("text", lambda: pa.array(["zero"] * n)),
            ("dates", lambda: pa.array([0] * n, pa.date32())),
        ],
        "vector": [
            ("whole", lambda: pa.array(vectors)),
            ("whole", lambda: pa.array(vectors)),
            ("other widths", lambda: pa.array([v[: 1 + k % 4] for k, v in enumerate(vectors)])),
            ("empty", lambda: pa.array([[]] * n, pa.list_(pa.float32()))),
            ("missing", lambda: pa.array([None, *vectors[1:]])),
            ("holes", lambda: pa.array([[None, 1.0, 2.0, 3.0]] * n)),
            ("not finite", lambda: pa.array(holes)),
            ("text", lambda: pa.array([["a"] * 4] * n)),
            ("nested", lambda: pa.array([[v] for v in vectors])),
            ("structs", lambda: pa.array([{"x": 1.0}] * n)),
            ("zeros", lambda: pa.array([[0.0] * 4] * n)),
            ("fixed", lambda: pa.array(vectors, pa.list_(pa.float32(), 4))),
        ],
    }
    kind, make = choices[name][int(random.integers(len(choices[name])))]
    return make(), f"{name} {kind}"


def make_parquet(folder: Path, material: Material, random: Random) -> Given:
    """Vectors from elsewhere with wrong types and values, or a damaged file."""
    n = 6
    columns, told = {}, []
    for name in ("clip_id", "encoder", "layer", "vector"):
        columns[name], kind = _column(name, n, random)
        told.append(kind)
    if random.random() < 0.1:
        columns.pop(str(random.choice(list(columns))))
    pq.write_table(pa.table(columns), folder / "NEW.parquet")
    if random.random() < 0.3:
        data, how = damaged((folder / "NEW.parquet").read_bytes(), random)
        (folder / "NEW.parquet").write_bytes(data)
        told.append(how)
    ids = [f"c{k}" for k in range(n)]
    pd.DataFrame({"clip_id": ids, "domain": "d", "cluster_id": ids}).to_csv(
        folder / "CLIPS.csv", index=False
    )

    def account(code: int, document: Any, words: str) -> str:
        if code == 2:
            return ""
        named = document["n_rows"] + document["n_skipped"]
        return "" if named == n or document["failed"] else f"{named} of {n} rows are counted"

    words = ("--workspace", "W", "--role", "teacher")
    return Given(
        steps=[
            Step(
                arguments=("import-embeddings", "NEW.parquet", *words, "--clips", "CLIPS.csv"),
                account=account,
            ),
            Step(arguments=("import-embeddings", "NEW.parquet", *words, "--replace")),
            Step(arguments=("check", "--workspace", "W")),
        ],
        told=", ".join(told),
    )


def make_indexes(folder: Path, material: Material, random: Random) -> Given:
    """Index files that are damaged, lost, exchanged or no files; hits are right all the same."""
    shutil.copytree(material.workspace, folder / "W")
    files = sorted((folder / "W" / "indexes").iterdir())
    file = files[int(random.integers(len(files)))]
    kind = str(random.choice(["damaged"] * 7 + ["folder", "other", "empty"]))
    if kind == "damaged":
        data, how = damaged(file.read_bytes(), random)
        file.write_bytes(data)
        kind += f" {how}"
    elif kind == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        file.mkdir() if kind == "folder" else file.write_bytes(wav_bytes(random))
    clip = str(random.choice(list(material.hits)))

    def hits(code: int, document: Any, words: str) -> str:
        if code != 0:
            return ""
        found = [row["clip_id"] for row in document["hits"]]
        return (
            "" if found == material.hits[clip] else f"hits {found}, {material.hits[clip]} expected"
        )

    search = search_of(clip)
    index = ("index", "--workspace", "W")
    return Given(
        steps=[
            Step(arguments=search, account=hits),
            Step(arguments=("check", "--workspace", "W")),
            Step(
                arguments=index,
                account=lambda code, *_: "" if code == 0 or kind == "folder" else "not built again",
            ),
            Step(arguments=search, account=hits),
        ],
        told=f"{file.name} {kind}",
    )


def search_of(clip: str) -> tuple[str, ...]:
    """The query that indexes are tried with."""
    return (
        "search",
        "--workspace",
        "W",
        "--clip",
        clip,
        "--encoder",
        ENCODER,
        "--layer",
        "-1",
        "-k",
        "4",
    )


def make_databases(folder: Path, material: Material, random: Random) -> Given:
    """A damaged database."""
    shutil.copytree(material.workspace, folder / "W")
    file = folder / "W" / "workspace.duckdb"
    data, how = damaged(file.read_bytes(), random)
    file.write_bytes(data)
    if random.random() < 0.2:
        (folder / "W" / "workspace.duckdb.wal").write_bytes(random.bytes(3000))
        how += " and a journal"
    (folder / "SOUNDS").mkdir()
    (folder / "SOUNDS" / "a.wav").write_bytes(wav_bytes(random))
    steps = [
        ("check", "--workspace", "W"),
        search_of(next(iter(material.hits))),
        IMPORT,
        EMBED,
        ("index", "--workspace", "W"),
        (
            "export",
            "--workspace",
            "W",
            "--space",
            f"{ENCODER}/0",
            "--format",
            "parquet",
            "--out",
            "OUT",
        ),
    ]
    return Given(steps=[Step(arguments=step) for step in steps], told=how)


def make_run_folders(folder: Path, material: Material, random: Random) -> Given:
    """A damaged file of a training run."""
    shutil.copytree(material.run, folder / "RUN")
    files = sorted(path for path in (folder / "RUN").rglob("*") if path.is_file())
    file = files[int(random.integers(len(files)))]
    kind = str(random.choice(["damaged"] * 5 + ["gone", "empty", "text", "null"]))
    if kind == "damaged" and file.stat().st_size > 70:
        data, how = damaged(file.read_bytes(), random)
        file.write_bytes(data)
        kind += f" {how}"
    elif kind == "gone":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "text": b"\xff\xfehello", "null": b"null"}.get(kind, b"{}"))
    (folder / "RECIPE.toml").write_text(material.recipe)
    return Given(
        steps=[
            Step(
                arguments=(
                    "export",
                    "--student",
                    "run:RUN",
                    "--format",
                    "huggingface",
                    "--out",
                    "OUT",
                )
            ),
            Step(arguments=("train", "RECIPE.toml", "--run", "RUN", "--resume")),
        ],
        told=f"{file.relative_to(folder)} {kind}",
    )


def make_recipes(folder: Path, material: Material, random: Random) -> Given:
    """A recipe with values that cannot be, or a broken file."""
    keys = [
        "student.dim",
        "student.n_layers",
        "student.n_heads",
        "student.pos_groups",
        "student.pos_width",
        "student.conv_channels",
        "student.dropout",
        "data.max_clip_s",
        "data.min_clip_s",
        "data.batch_s",
        "data.n_workers",
        "data.cache",
        "objective.target_scaling",
        "objective.layers",
        "optimiser.peak_lr",
        "optimiser.warmup_steps",
        "optimiser.weight_decay",
        "optimiser.clip_norm",
        "run.seed",
        "run.device",
        "run.log_every",
        "run.checkpoint_every",
        "run.precision",
        "run.parallel",
        "start.student",
        "evaluation.every",
        "evaluation.layers",
        "evaluation.max_clips",
        "data.nothing",
        "nothing.at_all",
    ]
    values = [
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "100000000",
        '"x"',
        '""',
        "[]",
        "[-1]",
        "true",
        "{}",
        "1.5",
        "9223372036854775808",
        "2020-01-01",
        '"../../x"',
        "[[]]",
    ]
    arguments = ["train", "RECIPE.toml", "--run", "RUN"]
    told = []
    for key in random.choice(keys, int(random.integers(1, 3)), replace=False):
        arguments += ["--set", f"{key}={random.choice(values)}"]
        told.append(arguments[-1])
    text = material.recipe
    if random.random() < 0.3:
        data, how = damaged(text.encode(), random)
        (folder / "RECIPE.toml").write_bytes(data)
        told.append(how)
    else:
        (folder / "RECIPE.toml").write_text(text)
    return Given(steps=[Step(arguments=arguments)], told=", ".join(told))


MAKERS: dict[str, tuple[Callable[[Path, Material, Random], Given], int]] = {
    "names": (make_names, 40),
    "containers": (make_containers, 60),
    "manifests": (make_manifests, 120),
    "parquet": (make_parquet, 120),
    "indexes": (make_indexes, 80),
    "databases": (make_databases, 60),
    "run_folders": (make_run_folders, 30),
    "recipes": (make_recipes, 120),
}
"""Maker and how many of its kind `make test-slow` takes; names and containers are five inputs each."""


def document_of(out: str) -> Any:
    """The JSON document of a command, or none.

    Raises:
        ValueError: text that is no JSON.
    """
    return json.loads(out) if out.strip() else None
