"""What several test folders share: real servers and the command line as a real process."""
