"""Encoders of one call that take the same portions: each is decoded once for all of them.

Vectors are stored by a thread beside the forward pass (``vector_writer``): a killed run loses what
is in its hand, a few seconds of work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from usad_workbench.core.embedding_job import EmbedReport, PieceOfWork, layers_of_pooling
from usad_workbench.core.errors import Cancelled, UsadError
from usad_workbench.core.models.encoder import Pooling, Precision
from usad_workbench.core.portions import AskedPortion, EmbeddedPortion
from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.spaces import EncoderRecord
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace

Outcome: TypeAlias = EmbedReport | UsadError
"""What embedding with one encoder of several did, or why it did nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedRequest:
    """What is asked of every encoder."""

    layers: Sequence[int] | None
    pooling: Pooling
    replace: bool
    precision: Precision


class CommonProgress:
    """The progress of several encoders as that of one job."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self._counts: dict[str, tuple[int, int] | None] = dict.fromkeys(names)
        """Done and to be done; none of an encoder that has not begun."""
        self._progress = progress

    def begin(self, name: str, total: int) -> None:
        """Reports that an encoder has so many segments before it."""
        self._counts[name] = (0, total)
        self._show(name)

    def add(self, name: str, n_more: int) -> None:
        """Reports that an encoder has done so many segments more."""
        done, total = self._counts[name] or (0, n_more)
        self._counts[name] = (min(done + n_more, total), total)
        self._show(name)

    def leave_out(self, name: str) -> None:
        """Notes that an encoder does nothing more."""
        done, _ = self._counts[name] or (0, 0)
        self._counts[name] = (done, done)
        self._show(name)

    def _show(self, name: str) -> None:
        begun = [counts for counts in self._counts.values() if counts is not None]
        # An encoder that has not begun is taken to have as much to do as the largest.
        n_waiting = len(self._counts) - len(begun)
        n_total = sum(n for _, n in begun) + n_waiting * max(n for _, n in begun)
        if n_total:
            self._progress(sum(done for done, _ in begun), n_total, f"embed {name}")


@dataclass(kw_only=True, eq=False)
class _Member:
    """One encoder of a group."""

    work: PieceOfWork
    writer: VectorWriter
    pending: dict[int, SegmentAudio]
    started: float

    def store(self, portion: EmbeddedPortion) -> None:
        """Hands the vectors of a portion to the thread that stores them."""
        work = self.work
        work.failed += portion.failed
        work.audio_seconds += portion.audio_seconds
        ids = np.array([s.segment_id for s in portion.segments], dtype=np.int64)
        if len(ids):
            self.writer.add(ids, portion.vectors)


class EncoderGroup:
    """What each encoder of a group misses, and what became of it.

    An encoder that fails is left out, and the others go on.
    """

    def __init__(
        self, workspace: Workspace, request: EmbedRequest, progress: CommonProgress
    ) -> None:
        self._workspace, self._request, self._progress = workspace, request, progress
        self._members: dict[str, _Member] = {}
        self._open: dict[str, ExitStack] = {}
        """What is under way, by encoder."""
        self.outcomes: dict[str, Outcome] = {}

    @contextmanager
    def at_work(self, records: Mapping[str, EncoderRecord | UsadError]) -> Iterator[None]:
        """Registers encoders, or begins to replace; at the end all is stored or in its place.

        Args:
            records: By name what was loaded, or why it was not.
        """
        with ExitStack() as stack:
            for name, record in records.items():
                if isinstance(record, UsadError):
                    self.outcomes[name] = record
                    self._progress.leave_out(name)
                    continue
                self._open[name] = stack.enter_context(ExitStack())
                with self._leaving_out(name):
                    self._join(name, record)
            yield
            for name, member in list(self._members.items()):
                with self._leaving_out(name):
                    self._open[name].close()
                    seconds = time.perf_counter() - member.started
                    self.outcomes[name] = member.work.report(seconds)

    def _join(self, name: str, record: EncoderRecord) -> None:
        started = time.perf_counter()
        request = self._request
        work = PieceOfWork(
            workspace=self._workspace,
            record=record,
            layers=layers_of_pooling(request.layers, record.spec, request.pooling),
            pooling=request.pooling,
        )
        until_end = self._open[name]
        run = until_end.enter_context(work.under_way(request.replace))
        pending = [] if work.is_refused else work.pending(run)
        self._members[name] = _Member(
            work=work,
            writer=until_end.enter_context(work.storing(run)),
            pending={segment.segment_id: segment for segment in pending},
            started=started,
        )
        self._progress.begin(name, len(pending))

    def pending(self) -> Iterator[SegmentAudio]:
        """The segments that some encoder misses, in the order in which they are read.

        Short before long, so that little is padded; those of one length by their number, which
        for windows of a long file is their order in it. What only an encoder misses that was left
        out meanwhile does not come any more.
        """
        of_all: dict[int, SegmentAudio] = {}
        for member in self._members.values():
            of_all |= member.pending
        ordered = sorted(of_all.values(), key=lambda s: (round(s.duration_s, 3), s.segment_id))
        n_members = len(self._members)
        for segment in ordered:
            if len(self._members) == n_members or self._is_missed(segment):
                yield segment

    def _is_missed(self, segment: SegmentAudio) -> bool:
        return any(segment.segment_id in one.pending for one in self._members.values())

    def asked(self, segments: Sequence[SegmentAudio]) -> dict[str, AskedPortion]:
        """What is asked of some segments; encoders that miss none are left out."""
        asked = {}
        for name, member in self._members.items():
            misses = [segment.segment_id in member.pending for segment in segments]
            if any(misses):
                work = member.work
                asked[name] = AskedPortion(misses=misses, layers=work.layers, pooling=work.pooling)
        return asked

    def count(self, name: str, n_more: int) -> None:
        """Notes that an encoder has so many segments behind it."""
        self._progress.add(name, n_more)

    @property
    def is_over(self) -> bool:
        """Whether every encoder was left out: what is read from here on is for nobody."""
        return not self._members

    def store(self, name: str, made: EmbeddedPortion | UsadError) -> None:
        """Stores what an encoder made of a portion, or leaves it out where it could not."""
        if name in self._members:
            with self._leaving_out(name):
                if isinstance(made, UsadError):
                    raise made
                self._members[name].store(made)

    @contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        """An error of one encoder ends its work and nobody else's."""
        try:
            yield
        except Cancelled:
            raise
        except UsadError as error:
            self.outcomes[name] = error
            self._members.pop(name, None)
            self._progress.leave_out(name)
            with suppress(UsadError):  # said already
                self._open[name].__exit__(type(error), error, error.__traceback__)
