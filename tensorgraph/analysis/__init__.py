"""What can be said of a graph without running it: cost, differences, faults of style, its derivative explained."""
