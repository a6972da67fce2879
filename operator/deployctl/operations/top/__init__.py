"""Services as they are now, again and again: what `deployctl top` shows.

`row` makes a row of two readings, `trend` keeps what was, `watch` looks and reads, each service in
a thread of its own.
"""
