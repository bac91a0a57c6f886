"""Sphinx settings."""

import importlib.metadata

project = "jnnops"
author = "The jnnops authors"
release = importlib.metadata.version("jnnops")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
html_theme = "furo"
exclude_patterns = ["_build", "numerics_origin.rst"]
