"""`python -m tfinvert` is the command `tfinvert`."""

import pkgutil

# By name, since no file at the top needs one of a folder that needs them.
pkgutil.resolve_name("tfinvert.commands.main:main")()
