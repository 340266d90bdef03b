"""``usad bench``."""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """One entry of the list; its module is only imported when it runs."""

    module: str
    function: str
    measures: str
    needs_cuda: bool = False
    takes_size: bool = False
    """Whether it is of so many vectors as ``--size`` says."""
    takes_without: bool = False
    """Whether it has peers that may take long, which ``--without`` leaves out."""
    takes_folder: bool = False
    """Whether it can keep what it made in a folder, for the next time."""


BENCHMARKS = {
    "student-forward": Benchmark(
        module="forward",
        function="bench_student_forward",
        measures="forward pass of the student against a matrix product",
    ),
    "encode": Benchmark(
        module="student",
        function="bench_encode",
        measures="clips through the shipped student against Whisper tiny.en",
    ),
    "training-throughput": Benchmark(
        module="student",
        function="bench_training_throughput",
        measures="training with cached targets against float32 with teachers online",
    ),
    "similarity-cube": Benchmark(
        module="similarity",
        function="bench_similarity_cube",
        measures="CKA of all layer pairs and domains against full Gram matrices",
    ),
    "adapters": Benchmark(
        module="adapters",
        function="bench_adapters",
        measures="models of transformers through our adapters against a plain loop",
    ),
    "embed": Benchmark(
        module="embedding",
        function="bench_embed",
        measures="the whole of embedding against the bare forward pass",
    ),
    "embed-free": Benchmark(
        module="free_encoder",
        function="bench_free_encoder",
        measures="embedding with an encoder that costs nothing against DuckDB's own bulk insert",
    ),
    "store-write": Benchmark(
        module="storing",
        function="bench_store_write",
        measures="vectors into a space against DuckDB's own bulk insert",
        takes_size=True,
    ),
    "store-read": Benchmark(
        module="storing",
        function="bench_store_read",
        measures="a space read once and again against DuckDB and a memory map",
        takes_size=True,
    ),
    "store-stack": Benchmark(
        module="storing",
        function="bench_store_stack",
        measures="all layers of an encoder that costs nothing against DuckDB's own bulk insert",
        takes_size=True,
    ),
    "import-embeddings": Benchmark(
        module="importing",
        function="bench_import_embeddings",
        measures="vectors from Parquet against a table that DuckDB makes of it",
        takes_size=True,
    ),
    "search": Benchmark(
        module="searching",
        function="bench_search",
        measures="every kind of index against FAISS, hnswlib, usearch and perch-hoplite",
        takes_size=True,
        takes_without=True,
    ),
    "search-filtered": Benchmark(
        module="filtering",
        function="bench_filtered_search",
        measures="filters that 0.1 to 100 % of the rows pass against exact search",
        takes_size=True,
    ),
    "search-overhead": Benchmark(
        module="filtering",
        function="bench_search_overhead",
        measures="one query in an open workspace against the same index in FAISS",
        takes_size=True,
    ),
    "project": Benchmark(
        module="mapping",
        function="bench_project",
        measures="maps against umap-learn and PaCMAP",
        takes_size=True,
        takes_without=True,
    ),
    "app": Benchmark(
        module="app",
        function="bench_app",
        measures="the page Map against plotly, regl-scatterplot and Spotlight, in a browser",
        takes_size=True,
        takes_without=True,
        takes_folder=True,
    ),
    "large-training": Benchmark(
        module="accelerator",
        function="bench_large_training",
        measures="training of Large and XLarge, share of time not waiting for data",
        needs_cuda=True,
    ),
    "xxlarge-inference": Benchmark(
        module="accelerator",
        function="bench_xxlarge_inference",
        measures="XXLarge at 25 Hz against the published speed",
        needs_cuda=True,
    ),
}


MIN_SIZE = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="all that can run where none")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="vectors, where a benchmark is of vectors; default: 100,000, of maps 20,000",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="PEER",
        help="a peer that is left out, by how its name begins, such as umap-learn or hnswlib",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="of `app`: keeps the collection, which takes minutes to make at a million points",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Measures, and sets each value beside that of its peer."""
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        raise UnknownNameError(
            f"Found no benchmark {', '.join(unknown)}, expected {', '.join(BENCHMARKS)}."
        )
    if args.size is not None and args.size < MIN_SIZE:
        raise ConfigError(f"Found --size {args.size}, expected {MIN_SIZE} vectors or more.")
    if args.list:
        entries = [
            {
                "name": name,
                "measures": benchmark.measures,
                "needs": "CUDA" if benchmark.needs_cuda else "",
            }
            for name, benchmark in BENCHMARKS.items()
        ]
        output.result(entries, table(entries, list(entries[0])))
        return DONE
    import torch

    rows: list[dict[str, Any]] = []
    for name in args.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        if benchmark.needs_cuda and not torch.cuda.is_available():
            output.note(f"{name}: needs CUDA, skipped")
            continue
        module = import_module(f"usad_workbench.workbench.speed.{benchmark.module}")
        measure = cast(Callable[..., Iterable[Any]], getattr(module, benchmark.function))
        output.note(f"{name}: measuring")
        settings: dict[str, Any] = {}
        if benchmark.takes_size and args.size is not None:
            settings["size"] = args.size
        if benchmark.takes_without:
            settings["without"] = tuple(args.without)
        if benchmark.takes_folder and args.folder is not None:
            settings["folder"] = args.folder / f"{args.size or 'default'}"
        for row in measure(**settings):
            # At once: a benchmark of many rows takes minutes.
            output.note(f"{row.name}: {row.ratio:.2f} of {row.peer}")
            rows.append(asdict(row))
    shown = ["name", "value", "unit", "peer", "peer_value", "ratio"]
    output.result(rows, table(rows, shown) if rows else "nothing measured")
    return DONE


def main() -> int:
    """``usad bench`` alone, where the package is not installed and has no ``usad``."""
    parser = argparse.ArgumentParser(prog="bench", description="Measures speeds.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_arguments(parser)
    args = parser.parse_args()
    return run(args, Output(as_json=args.json))


if __name__ == "__main__":
    sys.exit(main())
