"""Shipped inverters."""
