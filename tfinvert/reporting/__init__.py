"""Image grids, charts and HTML reports."""
