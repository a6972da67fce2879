"""What we know offline of manifests: ours or anybody's. Pure rules over parsed documents.

Texts come in, findings go out. Rules look at the whole set together (`manifests`), because most
mistakes are between two objects. Nothing here asks a cluster or the network, and of files only
deployctl's own data and schemas are read.
"""

from deployctl.checking.finding import RULES, Finding, Rule, Severity
from deployctl.checking.manifests import Options
from deployctl.checking.run import Report, check_texts

__all__ = ["RULES", "Finding", "Options", "Report", "Rule", "Severity", "check_texts"]
