"""How the documentation is built: `make docs` writes it to build/docs, with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import whisper_peft

project = "whisper_peft"
author = "the contributors of whisper_peft"
copyright = "the contributors of whisper_peft"
release = version = whisper_peft.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated_reference",
]
exclude_patterns = ["_extensions", "_static", "how-to/plug-in-example"]
nitpicky = False  # types are those of Python, torch and PEFT, whose sites are not asked at a build

# Anchors of headings as GitHub makes them, so that a link works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Commands and Python of the pages are run by tests/docs; a build only draws them.
nb_execution_mode = "off"

# Docstrings write names in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# What is copied from a block is what is typed: not the prompt, and not what was printed.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"

html_theme = "furo"
html_title = f"whisper_peft {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sphinx = False
