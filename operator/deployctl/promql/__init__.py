"""PromQL: read as people write it, and written for what we deploy. Pure text.

It knows the language and no metric; which names, kinds and labels there are is the engines' room.
"""

from deployctl.promql.parse import MAX_QUERY, parse
from deployctl.promql.syntax import (
    Aggregation,
    Arithmetic,
    Expression,
    FunctionCall,
    LabelMatcher,
    Literal,
    Selector,
    Subquery,
    walk,
)
from deployctl.promql.write import write

__all__ = [
    "MAX_QUERY",
    "Aggregation",
    "Arithmetic",
    "Expression",
    "FunctionCall",
    "LabelMatcher",
    "Literal",
    "Selector",
    "Subquery",
    "parse",
    "walk",
    "write",
]
