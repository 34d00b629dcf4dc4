"""Whether what a command line asks for fits into memory, before anything is made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from console.errors import BadInputError

PREFIXES = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int:
    """Memory that a process may still take: what is free here or, if less, what a control group leaves."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    for limit, used in CGROUPS:
        with suppress(OSError, ValueError):  # "max" where there is no limit
            left = int(Path(limit).read_text(encoding="ascii")) - int(Path(used).read_text(encoding="ascii"))
            free.append(max(0, left))
    return min(free)


def check_fits(option: str, value: int, each: int, other: int = 0) -> None:
    """Refuse ``--option value`` where ``other + value * each`` bytes are more than there are.

    Estimates are of what a command certainly takes, not of its peak: what passes can still be too much.

    Raises:
        BadInputError: says how much is needed, how much is there, and which value would fit.
    """
    there, needed = available_bytes(), other + value * each
    if needed <= there:
        return
    most = (there - other) // each
    fits = f"at most {most} would fit" if most > 0 else "what the other options ask for is too much already"
    raise BadInputError(
        f"--{option} {value}: needs about {in_words(needed)} of memory, {in_words(there)} are free; {fits}"
    )


def in_words(count: int) -> str:
    """A number of bytes with two digits or so."""
    power = min(len(PREFIXES) - 1, max(0, (count.bit_length() - 1) // 10))
    whole, rest = divmod(count, 1 << (10 * power))
    if whole >= 10**6:
        return f"more than a million {PREFIXES[power]}"
    digits = f"{whole}" if whole >= 10 or not power else f"{whole + rest / (1 << (10 * power)):.1f}"
    return f"{digits} {PREFIXES[power]}"
