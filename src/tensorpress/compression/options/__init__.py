"""What can be done with each layer, and the choice of one for each."""
