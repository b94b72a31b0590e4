"""Tables of the papers: what was published, what our records say, and a verdict on each cell."""

from bregbench.tables.published import Published, read_published
from bregbench.tables.spec import Row, Table
from bregbench.tables.verdicts import Judgement, Verdict, judge

__all__ = ["Judgement", "Published", "Row", "Table", "Verdict", "judge", "read_published"]
