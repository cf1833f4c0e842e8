"""The pages of the documentation: README, the notebooks, and one for each folder of qa_lib with the names that it hands out."""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what lies elsewhere in the repository, and what is written here."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in (*notebooks, *sorted((ROOT / "figures").glob("*.png")), ROOT / "figures" / "panel.gif"):
        source = f"{path.parent.name}/{path.name}"
        files.append(File(source, str(ROOT), config.site_dir, config.use_directory_urls))
    pages = {"index.md": _readme(), "contributing.md": (ROOT / "CONTRIBUTING.md").read_text()}
    pages |= {f"reference/{folder.name}.md": _reference(folder) for folder in _folders()}
    pages["reference/errors.md"] = (
        "# qa_lib.errors\n\n::: qa_lib.errors\n    options: {show_root_heading: false}\n"
    )
    for source, text in pages.items():
        files.append(File.generated(config, source, content=text))
    names = [*(folder.name for folder in _folders()), "errors"]
    config.nav = [
        {"qa_lib": "index.md"},
        {"Notebooks": [f"notebooks/{path.name}" for path in notebooks]},
        {"Reference": [{f"qa_lib.{name}": f"reference/{name}.md"} for name in names]},
        {"Contributing": "contributing.md"},
    ]
    return files


def _readme() -> str:
    """README; what it links to outside of the pages is named, not linked."""
    text = (ROOT / "README.md").read_text()
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!http|notebooks/|figures/)[^)]*\)", r"\1", text)


def _folders() -> list[Path]:
    """The folders that hand out names, as a user meets them."""
    folders = [path.parent for path in sorted((ROOT / "qa_lib").glob("*/__init__.py"))]
    return [folder for folder in folders if _names(folder)]


def _names(folder: Path) -> list[str]:
    """``__all__`` of a folder."""
    for node in ast.parse((folder / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return sorted(ast.literal_eval(node.value))
    return []


def _reference(folder: Path) -> str:
    summary = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    # What an Evaluator knows is in a class of its own, which nobody needs to hear of.
    inherits = {"Evaluator": "\n    options: {inherited_members: true}"}
    blocks = [f"::: qa_lib.{folder.name}.{name}{inherits.get(name, '')}" for name in _names(folder)]
    return "\n\n".join([f"# qa_lib.{folder.name}", summary or "", *blocks]) + "\n"
