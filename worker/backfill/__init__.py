"""Publishing a file of profiles again. Start at `publishing`."""
