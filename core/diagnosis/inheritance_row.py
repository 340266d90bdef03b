"""A row of the panel inheritance: one reading of one teacher's excess in one domain and layer."""

import math
from dataclasses import dataclass

from usad_workbench.core.diagnosis.excess_doubt import NOT_TESTABLE, TestedExcess
from usad_workbench.core.diagnosis.panel import PanelRow, Shares, cell_name
from usad_workbench.core.similarity.placebo_excess import Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class InheritanceRow(PanelRow):
    """One reading of the excess of student and teacher over peers and placebos."""

    teacher: str
    domain: str
    layer: int
    teacher_layer: int
    measure: Reading
    form: str = "none"
    """Who stands beside: peers and placebos, or placebos of the home domain alone."""
    excess: float = math.nan
    """What the student gained over its peers with the teacher, minus the same with placebos."""
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    p_kind: str = "none"
    q_value: float = math.nan
    pair_p_value: float = math.nan
    """Of teacher and domain as a whole."""
    inherited: str = NOT_TESTABLE
    """yes, through a column, no, undecided, or not testable."""
    over_peers: float = math.nan
    """The gain over the peers with the teacher alone."""
    placebos: Shares | None = None
    """The same gain with each placebo in the teacher's place."""
    p_peers: float = math.nan
    p_placebos: float = math.nan
    detectable: float = math.nan
    """The smallest excess whose interval would have left 0 out."""
    similarity: float = math.nan
    """Of student and teacher."""
    level: float = math.nan
    """Mean similarity of all others, of which an excess is a share; NaN of partial readings."""
    clips_ci_low: float = math.nan
    """Limits of the excess over other clips, the encoders as they are."""
    clips_ci_high: float = math.nan
    carrier: str | None = None
    """The column that takes most of the excess when it is erased, in the cell of a pair that was
    looked at: the clearest that stands out. Its answer holds for the others that do."""
    excess_after_erasure: float = math.nan
    excess_by_chance: float = math.nan
    """What is left after erasing the values of other clusters."""
    is_home: bool = True
    """Whether the teacher was made for this domain."""
    students: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    n_families: int = 0
    """Of placebos."""
    rests_on: str | None = None
    """What says that peers and placebos may stand there."""
    accuracy: float = math.nan
    """Of the students beside their peers, or of the teacher beside its controls."""
    control_accuracy: float = math.nan
    gap_low: float = math.nan
    gap_high: float = math.nan
    is_matched: bool | None = None
    n_clips: int
    n_clusters: int
    reason: str = ""

    @property
    def cell(self) -> str:
        """The name of the cell that the row is about."""
        return cell_name(
            teacher=self.teacher,
            domain=self.domain,
            layer=self.layer,
            measure=self.measure,
            form=self.form,
        )

    @property
    def pair(self) -> tuple[str, str]:
        """Teacher and domain."""
        return self.teacher, self.domain

    def tested(self) -> TestedExcess:
        """What the rules read of it."""
        return TestedExcess(
            value=self.excess,
            ci_low=self.ci_low,
            ci_high=self.ci_high,
            detectable=self.detectable,
            level=self.level,
        )
