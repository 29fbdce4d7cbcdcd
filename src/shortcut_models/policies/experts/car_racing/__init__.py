"""The expert of CarRacing: its line, its speed, its steering."""
