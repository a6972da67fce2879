"""What we know offline of manifests: ours or anybody's. Pure rules over parsed documents.

Texts come in, findings go out. Rules look at the whole set at once (`manifests`), because most
mistakes are between two objects. Nothing here reads a file, a cluster or the network.
"""

from deployctl.checking.finding import RULES, Finding, Rule, Severity
from deployctl.checking.manifests import Options
from deployctl.checking.run import Report, check_texts

__all__ = ["RULES", "Finding", "Options", "Report", "Rule", "Severity", "check_texts"]
