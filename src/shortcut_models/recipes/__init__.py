"""Named configurations, the commands that reproduce their runs, and training one."""
