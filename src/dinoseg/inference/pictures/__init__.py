"""Masks drawn for people."""
