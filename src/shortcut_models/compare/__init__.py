"""Methods at equal compute."""
