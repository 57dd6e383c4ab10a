"""The commands of `tfinvert`: one module each, and one in `flags/` that declares it."""
