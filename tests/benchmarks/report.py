"""The tables that a run ends with."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence

PEERS = ("tensorflow", "torch")


@dataclasses.dataclass(frozen=True)
class Row:
    """What one test found, by implementation: milliseconds, the seconds to compile those of JAX, and their memory.

    That of temporaries, in MB, where it is what the test is about.
    """

    case: str
    pass_: str
    milliseconds: Mapping[str, float]
    compile_seconds: Mapping[str, float]
    megabytes: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def ratio(self, *others: str) -> float | None:
        """Our time divided by the best of the others'."""
        found = [self.milliseconds[name] for name in others if name in self.milliseconds]
        return self.milliseconds["ours"] / min(found) if found else None


def comparison(rows: Sequence[Row]) -> list[str]:
    """Ours against the plain form and the peers."""
    heads = ["case", "pass", "ours ms", "plain ms", "tensorflow ms", "torch ms"]
    heads += ["ours / best peer", "ours / plain", "compile ours s", "compile plain s"]
    cells = [
        [row.case, row.pass_]
        + [number(row.milliseconds.get(name)) for name in ("ours", "plain", *PEERS)]
        + [number(row.ratio(*PEERS)), number(row.ratio("plain"))]
        + [number(row.compile_seconds.get(name)) for name in ("ours", "plain")]
        for row in rows
    ]
    return [*table(heads, cells), "", *means(rows)]


def means(rows: Sequence[Row]) -> list[str]:
    """The geometric means of the ratios, by pass and of all."""
    lines = []
    for pass_ in ("forward", "gradient", "step", ""):
        for against, names in (("best peer", PEERS), ("plain", ("plain",))):
            ratios = [row.ratio(*names) for row in rows if row.pass_ == pass_ or not pass_]
            known = [ratio for ratio in ratios if ratio is not None]
            if known:
                mean = statistics.geometric_mean(known)
                lines.append(f"ours / {against}, {pass_ or 'all'}: geometric mean {mean:.2f} of {len(known)} cases")
    return lines


def memory(rows: Sequence[Row]) -> list[str]:
    """The temporaries of ours and of the plain form."""
    cells = [
        [row.case, row.pass_, *map(number, (ours, plain, ours / plain))]
        for row in rows
        for ours, plain in [(row.megabytes["ours"], row.megabytes["plain"])]
    ]
    return table(["case", "pass", "ours MB", "plain MB", "ours / plain"], cells)


def scans(rows: Sequence[Row], micro_batches: int) -> list[str]:
    """Ours inside ``lax.scan`` against a Python loop."""
    heads = ["case", "pass", f"{micro_batches} times in a loop ms", "in lax.scan ms", "scan / loop"]
    heads += ["compile loop s", "compile scan s"]
    cells, ratios = [], []
    for row in rows:
        loop, scan = row.milliseconds["loop"], row.milliseconds["scan"]
        ratios.append(scan / loop)
        compiling = [number(row.compile_seconds[name]) for name in ("loop", "scan")]
        cells.append([row.case, row.pass_, number(loop), number(scan), number(scan / loop), *compiling])
    mean = f"scan / loop: geometric mean {statistics.geometric_mean(ratios):.2f} of {len(ratios)} cases"
    return [*table(heads, cells), "", mean]


def growth(rows: Sequence[Row]) -> list[str]:
    """Our step with the least and with the most classes."""
    cells = []
    for row in rows:
        least, most = row.milliseconds.values()
        cells.append([row.case, number(least), number(most), number(most / least)])
    return table(["case", *(f"{size} ms" for size in rows[0].milliseconds), "growth"], cells)


def number(value: float | None) -> str:
    """Three digits are more than such measurements hold."""
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, aligned."""
    lines = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
