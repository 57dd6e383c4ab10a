"""A local page to play with the inverters that ship: the extra `studio`."""
