"""Kernels: plain Python bodies that Numba compiles, and drivers that take arrays of any layout."""
