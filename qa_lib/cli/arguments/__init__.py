"""What each command takes: a file each, read without torch, so that help and mistakes are answered at once."""
