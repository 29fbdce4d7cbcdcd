"""Arrays in, pictures and videos out. Knows no run, model or task."""
