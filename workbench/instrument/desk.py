"""What the routes of one server share."""

from dataclasses import dataclass, field

from usad_workbench.workbench.instrument.collection import Collection
from usad_workbench.workbench.instrument.projecting import Projecting
from usad_workbench.workbench.instrument.queries import Queries
from usad_workbench.workbench.instrument.sounds import Sounds


@dataclass(frozen=True, slots=True)
class Desk:
    """The collection, the sounds that were read or handed in last, and the map that is made."""

    collection: Collection
    sounds: Sounds = field(default_factory=Sounds)
    queries: Queries = field(default_factory=Queries)
    projecting: Projecting = field(default_factory=Projecting)
