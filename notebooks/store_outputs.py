"""Runs the notebooks in place and stores their outputs, as they are committed.

    python notebooks/store_outputs.py                 # all
    python notebooks/store_outputs.py 01_setup.ipynb  # some

Widgets live only in a running kernel: their saved state is left out, and of a widget's output only
its text and its picture are kept, so that a page without a kernel shows these and not an error. What a
notebook has archived is forgotten first: what is stored comes from a first run. An error in a cell ends
the run and leaves that notebook as it was.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def as_seen(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What a reader sees in the end: one text for each stream, of a progress bar its last state."""
    seen: list[NotebookNode] = []
    for output in outputs:
        if output.get("data", {}).pop(WIDGET_VIEW, None) and not output.data.get("text/plain"):
            continue  # its picture is an output of its own
        if "qa-picture" in output.get("data", {}).get("text/html", ""):
            del output.data["text/html"]  # the same picture again, for where the widget stands beside it
        previous = seen[-1] if seen else None
        if output.output_type == "stream" and previous and previous.get("name") == output.name:
            previous.text += output.text
        else:
            seen.append(output)
    for output in seen:
        if output.output_type == "stream":
            lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.text.split("\n"))
            output.text = "\n".join(lines)
    return seen


def store_outputs(path: Path) -> None:
    """Executes one notebook and writes it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    for archive in (path.parent.parent / "data").glob(f"{path.stem}.sqlite*"):
        archive.unlink()
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,
        record_timing=False,
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = as_seen(cell.outputs)
    # What a kernel adds about itself would change from machine to machine.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in [HERE / name for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        print(path.name, flush=True)
        store_outputs(path)
