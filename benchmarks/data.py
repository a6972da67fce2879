"""Data that benchmarks replay: text files, compressed where large (`gzip -9n FILE`)."""

import gzip
import zlib
from pathlib import Path


def read_text(file: Path) -> str:
    """A file's text, of UTF-8. One whose name ends in `.gz` is decompressed.

    Raises:
        OSError: it cannot be read or decompressed.
        UnicodeDecodeError: it is no text.
    """
    content = file.read_bytes()
    if file.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error) as error:  # the third, BadGzipFile, is an OSError
            raise OSError(f"not a whole gzip file: {error}") from error
    return content.decode("utf-8")


def write_compressed(file: Path, text: str) -> None:
    """Writes a text as gzip. The same text gives the same bytes: no time is noted."""
    file.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
