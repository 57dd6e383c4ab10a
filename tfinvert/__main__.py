"""Runs the command `tfinvert` as `python -m tfinvert`."""

import pkgutil

# Resolved by name, because modules at the root of the package import none of its folders.
pkgutil.resolve_name("tfinvert.commands.main:main")()
