"""Acting: policies, episodes, rollouts, races, and collecting demonstrations."""
