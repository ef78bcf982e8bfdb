"""Sphinx configuration.  Builds without network: no intersphinx, no fonts or scripts fetched."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from biastf_xr import __version__  # noqa: E402

project = "biastf_xr"
author = copyright = "The biastf_xr developers"
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "dataclass_fields",  # docs/_ext: fields of dataclasses as parameters
    "diagrams",  # docs/_ext: the drawings of the concept pages
    "reference_pages",  # docs/_ext: configuration, command line and options, from the code
    "notebook_pages",  # docs/_ext: notebooks/*.py, executed, as pages
    "method_pictures",  # docs/_ext: what every method makes of the generated region
]
exclude_patterns = ["_build", "_ext"]
# HoloViews gives its scripts twice: as JavaScript, and as types only Jupyter knows.
suppress_warnings = ["config.cache", "mystnb.unknown_mime_type"]
default_role = "code"
smartquotes = False

html_theme = "sphinx_book_theme"
html_title = f"biastf_xr {release}"
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebook_pages executes, once for pages and tests

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = False
