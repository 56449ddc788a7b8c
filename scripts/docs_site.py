"""What the site has besides the pages of docs/: hooks of mkdocs, named in mkdocs.yml.

Pages link to files as these lie in the repository, so that links work where it is read. On the site
the pages at the root of the repository stand beside those of docs/, notebooks are pages, links lead
to both, and anchors are made as code hosts make them.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
_TARGET = re.compile(r"(?<=\]\()[^()#\s]+(?=[)#])")


def on_config(config: Any) -> Any:
    from pymdownx.slugs import slugify

    config.mdx_configs["toc"] = {"permalink": True, "slugify": slugify(case="lower")}
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    made = {name: (ROOT / name).read_text(encoding="utf-8") for name in ROOT_PAGES}
    for file in files:
        if file.src_uri.endswith(".ipynb"):
            name = posixpath.basename(file.src_uri)
            made[uri_of(f"docs/{file.src_uri}")] = notebook_page(file.content_string, name)
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return _TARGET.sub(lambda found: site_link(page.file.src_uri, found[0]), markdown)


def site_link(uri: str, target: str) -> str:
    """The target of a link on the page ``uri`` of the site, given the one in the repository."""
    folder = posixpath.dirname(uri if uri in ROOT_PAGES else f"docs/{uri}")
    path = posixpath.normpath(posixpath.join(folder, target))
    if path in ROOT_PAGES or path.startswith("docs/"):
        return posixpath.relpath(uri_of(path), posixpath.dirname(uri) or ".")
    return target


def uri_of(path: str) -> str:
    """Where a file of the repository stands on the site."""
    return re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/"))


def notebook_page(notebook: str, name: str) -> str:
    """The page of a notebook: its text, its code and what that printed."""
    first, *cells = json.loads(notebook)["cells"]
    parts = ["".join(first["source"]), f'<a href="{name}" download>Download this notebook.</a>']
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else _fenced("python", source))
        for output in cell.get("outputs", ()):
            parts.append(_fenced("text", "".join(output["text"])))
    return "\n\n".join(parts) + "\n"


def _fenced(kind: str, text: str) -> str:
    return f"```{kind}\n{text.rstrip()}\n```"
