"""Run a notebook with papermill for the book, and say whether an executed copy may be shown.

    python book/execute.py notebooks/01_residual_unit.ipynb

writes book/executed/01_residual_unit.ipynb; without a name, every notebook of the book that needs it is run. The copy
appears only when the whole notebook has run; a notebook that fails is kept as NAME.failed.ipynb. An executed copy that
is still good is not run again.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDS = "book/executed/runs"  # where run.ipynb leaves its record; emptied before each execution
PARAMETERS: dict[str, dict[str, Any]] = {
    "run": {
        "network": "attention-56",
        "attention": "arl",
        "dataset": "shapes",
        "schedule": "smoke",
        "results": RECORDS,
    }
}
# what chapters of results show: a file that is added or changed makes their executed copies stale
SHOWN = (
    "results/paper/*.csv",
    "results/bench/*.json",
    *(
        f"results/*/*/{name}"
        for name in ("record.json", "probes.csv", "gradients.csv", "ablation.csv", "weights.safetensors")
    ),
    "book/_static/cifar10_samples.png",
    "book/_static/cat.jpg",
)
SHOW_RECORDS = re.compile(r"(0[6-9]|1\d)_|how_fast|explain|finetune")


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as parsed JSON."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def cell_text(cell: dict[str, Any]) -> tuple[str, str]:
    """A cell's type and source, whether the file holds the source as one string or as a list of lines."""
    return cell["cell_type"], "".join(cell["source"])


def fingerprint(source: Path, root: Path = ROOT) -> str:
    """SHA-256 of all that a page is made from: cells with tags and captions, parameters, the package, what it shows."""
    cells = [
        (*cell_text(cell), cell["metadata"].get("tags"), cell["metadata"].get("mystnb"))
        for cell in read_notebook(source)["cells"]
    ]
    digest = hashlib.sha256(json.dumps([cells, PARAMETERS.get(source.stem)], sort_keys=True).encode())
    files = sorted((root / "ran").rglob("*.py"))
    if SHOW_RECORDS.match(source.name):
        files += sorted(path for pattern in SHOWN for path in root.glob(pattern))
    for path in files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def shown(notebook: dict[str, Any]) -> str:
    """SHA-256 of what an executed notebook shows beside its source: outputs, their order, injected parameters."""
    cells = [
        [cell_text(cell), cell.get("outputs"), cell.get("execution_count"), cell["metadata"].get("tags")]
        for cell in notebook["cells"]
    ]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


def faults(executed: Path, root: Path = ROOT) -> list[str]:
    """Reasons not to show an executed notebook; none if it is whole, without errors, and no older than its source."""
    source = root / "notebooks" / executed.name
    if not source.exists():
        return [f"its source notebooks/{source.name} does not exist"]
    if not executed.exists():
        return ["it does not exist: the notebook has not been run, or it failed"]
    try:
        notebook = read_notebook(executed)
        cells = notebook["cells"]
        recorded, outputs = (notebook["metadata"].get("ran", {}).get(name) for name in ("fingerprint", "shown"))
    except (ValueError, KeyError, TypeError) as error:
        return [f"it is not a notebook: {error!r}"]
    found = []
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code":
            continue
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        found += [f"cell {number} ended in {output['ename']}: {output['evalue']}" for output in errors]
        if "".join(cell["source"]).strip() and cell["execution_count"] is None:
            found.append(f"cell {number} was not run")
    own = [cell_text(cell) for cell in cells if "injected-parameters" not in cell["metadata"].get("tags", [])]
    if own != [cell_text(cell) for cell in read_notebook(source)["cells"]]:
        found.append(f"its cells are not those of notebooks/{source.name}")
    elif recorded != fingerprint(source, root):
        found.append(f"it is older than notebooks/{source.name}, the package ran or the records that it shows")
    elif outputs != shown(notebook):
        found.append("its outputs are not those of the execution: they were changed afterwards")
    return found


def execute(source: Path, root: Path = ROOT) -> None:
    """Run notebooks/NAME.ipynb into book/executed/NAME.ipynb, with the repository's root as working folder.

    Raises PapermillExecutionError when a cell fails; an earlier executed copy is then left as it was.
    """
    import papermill  # slow to import, and the gate needs only faults()
    from papermill.exceptions import PapermillExecutionError

    target = root / "book" / "executed" / source.name
    partial, failed = target.with_suffix(".partial.ipynb"), target.with_suffix(".failed.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    parameters = PARAMETERS.get(source.stem, {})
    if "results" in parameters:  # a run that is recorded would not be trained again
        shutil.rmtree(root / parameters["results"], ignore_errors=True)
    mark = fingerprint(source, root)  # before the run: an edit while it runs must make the copy stale
    try:
        papermill.execute_notebook(
            os.path.relpath(source),  # relative, since papermill notes the paths in the copy
            os.path.relpath(partial),
            parameters=parameters,
            cwd=str(root),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own remarks, not the notebook's output
        )
    except PapermillExecutionError:
        os.replace(partial, failed)
        raise
    notebook = read_notebook(partial)
    notebook["metadata"]["ran"] = {"fingerprint": mark, "shown": shown(notebook)}
    partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, target)
    failed.unlink(missing_ok=True)


def in_contents(root: Path = ROOT) -> list[Path]:
    """The notebooks behind the executed ones in _toc.yml, in the order of the book."""
    entries = re.findall(r"file: book/executed/(\S+)", (root / "_toc.yml").read_text(encoding="utf-8"))
    return [root / "notebooks" / f"{entry}.ipynb" for entry in entries]


def main(arguments: list[str] | None = None) -> int:
    """Command line: execute every notebook whose executed copy is not good; 0, or 1 when a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="*", help="notebooks; all of the book, in its order, without any")
    sources = [source.resolve() for source in parser.parse_args(arguments).sources] or in_contents()
    sources.sort(key=lambda source: source.stem not in PARAMETERS)  # runs first: a chapter may show what they leave
    return max([_refresh(source) for source in sources])


def _refresh(source: Path) -> int:
    root = source.parents[1]
    if not faults(root / "book" / "executed" / source.name, root):
        return 0
    start = time.perf_counter()
    print(f"{source.name}: running ...", flush=True)
    try:
        execute(source, root)
    except Exception as error:
        if not hasattr(error, "ename") or not hasattr(error, "evalue"):  # not papermill's report of a failed cell
            raise
        print(f"{source.name}: failed with {error.ename}: {error.evalue}", file=sys.stderr)
        print(f"see book/executed/{source.stem}.failed.ipynb", file=sys.stderr)
        return 1
    print(f"{source.name}: {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
