"""Frees disks of what nothing needs any more: looked at first, decided, then removed."""
