"""What other services post to us."""
