"""Pages of metrics that real engines gave, each release's once, after a load: tests/data/pages.

python -m tests.pages 0.31.0 http://127.0.0.1:8000 [TOKEN_FILE]      # records one
"""

import gzip
import re
import sys
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).resolve().parent / "data" / "pages"
# Labels that a scrape gives, rather than the page.
GIVEN = {"namespace", "service", "pod", "instance", "job"}


def versions():
    """Releases of which there is a page."""
    return sorted(file.name.removesuffix(".txt.gz") for file in FOLDER.glob("*.txt.gz"))


def recorded(version):
    """A release's page."""
    return gzip.decompress((FOLDER / f"{version}.txt.gz").read_bytes()).decode()


def record(version, page):
    """Writes a release's page; the same bytes for the same page."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{version}.txt.gz").write_bytes(gzip.compress(page.encode(), mtime=0))


def samples(page):
    """Every sample's name and labels."""
    families = text_string_to_metric_families(page)
    return [(sample.name, sample.labels) for family in families for sample in family.samples]


def names(page):
    """Every name with the names of its labels."""
    return {(name, *sorted(labels)) for name, labels in samples(page)}


def selects(selector, page_samples):
    """Whether a query's selector finds any of a page's samples once it is scraped."""
    return any(
        name == selector.name and all(_matches(labels, *matcher) for matcher in selector.matchers)
        for name, labels in page_samples
    )


def _matches(labels, label, operator, value):
    if label in GIVEN:
        return True
    own = labels.get(label, "")
    found = re.fullmatch(value, own) is not None if operator.endswith("~") else own == value
    return found != operator.startswith("!")


if __name__ == "__main__":
    version, url, *token = sys.argv[1:]
    asked = urllib.request.Request(f"{url}/metrics")
    for file in token:
        asked.add_header("Authorization", f"Bearer {Path(file).read_text().strip()}")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        record(version, answer.read().decode())
