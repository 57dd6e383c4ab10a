"""Image grids, plots and the HTML report that show how well an inversion works."""
