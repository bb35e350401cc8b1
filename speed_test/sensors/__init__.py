"""What tells how a machine is doing, and which one it is: a module for each system, and for what they share."""
