"""The stress suite: hard cases in groups, and how a classifier does on them before and after the graph's healing.

It stands above training in the layers, so that import-linter refuses whatever trains or tunes with it.
"""

from .cases import EMOTIONS, GROUPS, Case, agreement, agreement_table, load_cases, read_cases
from .outcomes import Answer, Outcome, answered, figures, is_right, summary

__all__ = [
    "EMOTIONS",
    "GROUPS",
    "Answer",
    "Case",
    "Outcome",
    "agreement",
    "agreement_table",
    "answered",
    "figures",
    "is_right",
    "load_cases",
    "read_cases",
    "summary",
]
