"""Named configurations, their words on a command line, and training one."""
