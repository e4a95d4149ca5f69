"""Where work is done: on the cores of this machine, by Ray, or as jobs of Slurm."""
