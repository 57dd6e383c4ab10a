"""The studio: a local web page for trying the shipped inverters (extra `studio`)."""
