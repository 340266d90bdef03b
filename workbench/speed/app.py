"""The page ``Map`` against other browsers of embeddings, in a Chromium that draws in software.

Five steps of a person: the first picture, from an empty page and a server that was asked nothing
before; the answer to a lasso, from letting go; a click on a point until it is heard; another
layer; similar sounds. Of steps that can be repeated it is the median of three, each of something
that was not asked before. A viewer that has no such step has no row.

embedding-atlas is not among the peers: it draws by WebGPU with ``shader-f16``, which Chromium's
software renderer lacks ("Could not get WebGPU device"), so its page stays without points.
"""

import logging
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from usad_workbench.workbench.speed.browsing import WAIT_MS, StepCost, chromium, new_page
from usad_workbench.workbench.speed.measure import Row, make_row
from usad_workbench.workbench.speed.planted_app import Collection, planted_collection
from usad_workbench.workbench.speed.viewer_peers import Regl, Spotlight
from usad_workbench.workbench.speed.viewers import STEPS, Plotly, Viewer, Workbench

logger = logging.getLogger(__name__)

SIZE = 100_000
REPEATS = 3
Costs = dict[str, StepCost | None]
"""By step; none where it was not done within ``WAIT_MS``."""


def bench_app(
    size: int = SIZE, without: tuple[str, ...] = (), folder: Path | None = None
) -> Iterator[Row]:
    """Seconds of the processor and of the wall for each step, beside each peer.

    Args:
        size: How many points.
        without: How the names of peers begin that are left out.
        folder: Keeps the collection, which takes minutes to make at a million.
    """
    with tempfile.TemporaryDirectory() as name:
        made = folder or Path(name)
        made.mkdir(parents=True, exist_ok=True)
        collection = planted_collection(size, made)
        ours = costs_of(Workbench(), collection, Path(name))
        for peer in (Plotly(), Regl(), Spotlight()):
            if peer.name.startswith(without):
                continue
            if reason := peer.missing():
                logger.warning("app: %s is left out: %s", peer.name, reason)
                continue
            yield from _rows(size, ours, peer.name, costs_of(peer, collection, Path(name)))


def costs_of(viewer: Viewer, collection: Collection, folder: Path) -> Costs:
    """What each step costs in one viewer; ends with the first that is not done in time."""
    found: Costs = {}
    with ExitStack() as stack:
        address = stack.enter_context(viewer.serve(collection, folder))
        page = new_page(stack.enter_context(chromium()))
        steps: dict[str, Callable[[int], StepCost | None]] = {
            "first picture": lambda i: viewer.first_picture(page, address) if i == 0 else None,
            "click to sound": lambda i: viewer.click(page, i),
            "lasso": lambda i: viewer.lasso(page, i),
            "layer change": lambda i: viewer.layer(page, i),
            "search": lambda i: viewer.search(page, i),
        }
        for name, act in steps.items():
            try:
                done = [cost for i in range(REPEATS) if (cost := act(i)) is not None]
            except Exception as error:
                if type(error).__name__ != "TimeoutError":  # of playwright, which may be missing
                    raise
                found[name] = None
                logger.warning("app: %s, %s: not done in time", viewer.name, name)
                break
            if done:
                found[name] = median_step(done)
                logger.warning("app: %s, %s: %s", viewer.name, name, found[name])
    return found


def median_step(costs: list[StepCost]) -> StepCost:
    """The median of each clock."""
    return StepCost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.processor_s for cost in costs),
    )


def _rows(size: int, ours: Costs, peer: str, theirs: Costs) -> Iterator[Row]:
    for name in STEPS:
        own = ours.get(name)
        if name not in theirs or own is None:
            continue
        other = theirs[name]
        label = f"app, {size:,} points, {name}"
        if other is None:
            late = f"{peer}, not done by then"
            yield make_row(f"{label}, wall", own.wall_s, "s", late, WAIT_MS / 1000)
            continue
        yield make_row(f"{label}, processor", own.processor_s, "s", peer, other.processor_s)
        yield make_row(f"{label}, wall", own.wall_s, "s", peer, other.wall_s)
