"""The notebooks as the gate runs them: all cells, with what takes long done for less long.

With the environment variable BRIEF set, a cell whose metadata has ``brief``, text -> text, runs with the one in place of the other,
and figures are drawn beside the committed ones. What is stored comes from the whole (``make notebooks``).
"""

import os

# Which tests/panel/test_page.py opens.
collect_ignore = ["page"]


def pytest_collection_modifyitems(items):
    if not os.environ.get("BRIEF"):
        return
    for item in items:
        cell = getattr(item, "cell", None)  # an nbval item
        if cell is not None:
            for text, shorter in cell.metadata.get("brief", {}).items():
                cell.source = cell.source.replace(text, shorter)
            cell.source = cell.source.replace("savefig(figures /", 'savefig(project_folder("out/figures") /')
