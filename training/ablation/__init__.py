"""The ablation of the papers in small: the grid of runs, its material, its table."""
