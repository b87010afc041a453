"""results/runs → results/tables: every table, and the card of the paper's claims, written from the records."""

from collections.abc import Callable
from pathlib import Path

from ran.files import write_whole
from ran.runs import all_records
from ran.study.claims import card
from ran.study.experiments import OWN, TABLES
from ran.study.tables import beside_paper


def write_tables(results: Path, report: Callable[[str], None] = print) -> list[Path]:
    """Write all tables and the card of claims, by `all_records`, to <results>/tables/NAME.csv; returns the paths.

    Files with unchanged content are not written again, so that the book is not rebuilt for them.
    """
    records = all_records(results, report)
    written = []
    texts = {name: beside_paper(name, records) for name in (*TABLES, *OWN)} | {"claims": card(records)}
    for name, table in texts.items():
        target = results / "tables" / f"{name}.csv"
        text = table.to_csv(index=False)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, text)
        written.append(target)
    return written
