"""What `tfinvert COMMAND` does: a module a command, and in `flags/` its help and its flags."""
