"""What an inversion network is compared with, and what can be read from one."""
