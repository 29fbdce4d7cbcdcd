"""The expert of CarRacing: line, speed and steering."""
