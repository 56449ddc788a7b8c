"""What a compression is to reach, and the search for the network that reaches it."""
