"""What each command does; what it is asked for stands beside this package, without PyTorch."""
