"""Sphinx extension: the address of the repository is one setting, and all that needs it follows from it.

`repository: url` in _config.yml, an address on GitHub, gives every page links to its source and to the issues, every
notebook buttons that open it in Colab and Binder, and the book its own address on GitHub Pages, unless
`html: baseurl` names another. Where the setting is empty, nothing is shown that leads nowhere.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
BUTTONS = {
    "use_repository_button": True,
    "use_source_button": True,
    "use_issues_button": True,
    "launch_buttons": {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    },
}


def pages_address(owner: str, repository: str) -> str:
    """Where GitHub Pages publishes a repository."""
    host = f"https://{owner.lower()}.github.io/"
    return host if repository.lower() == f"{owner.lower()}.github.io" else f"{host}{repository}/"


def settle(app: Sphinx, config: Config) -> None:
    """Switch on what needs the address. Raises ConfigError for one that is not of a repository on GitHub."""
    url = config.html_theme_options.get("repository_url") or ""
    if not url:
        return
    match = GITHUB.fullmatch(url)
    if match is None:
        raise ConfigError(
            f"repository: url in _config.yml is {url!r}, not the address of a repository on GitHub, such as "
            "https://github.com/OWNER/REPOSITORY. Correct it, or leave it empty."
        )
    options = {"repository_url": f"https://github.com/{match[1]}/{match[2]}", "repository_branch": "main"}
    config.html_theme_options |= BUTTONS | options
    config.html_baseurl = config.html_baseurl or pages_address(*match.groups())


def to_sources(button: Any) -> Any:
    """The same button, or list of them, for notebooks/, where an executed notebook comes from."""
    if isinstance(button, list):
        return [to_sources(each) for each in button]
    if isinstance(button, dict):
        return {key: to_sources(value) for key, value in button.items()}
    if isinstance(button, str) and button.startswith("https:"):  # not a file of the book itself
        return button.replace("book/executed/", "notebooks/")
    return button


def lead_to_sources(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Executed notebooks are not in the repository: what leads to them leads to their sources."""
    context["header_buttons"] = to_sources(context.get("header_buttons", []))


def setup(app: Sphinx) -> dict[str, Any]:
    """Entry point for Sphinx."""
    app.connect("config-inited", settle, priority=900)
    app.connect("html-page-context", lead_to_sources, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
