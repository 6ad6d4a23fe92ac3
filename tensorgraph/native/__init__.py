"""Kernels over vectors and addresses: their vocabulary, its two meanings (machine code and NumPy), and what keeps them.

A kernel is a Python function in a small subset of the language, ``def name(words, block, blocks)``, which reads what it
is to do from an array of 64-bit words: addresses, strides, sizes, numbers. It is lowered to machine code by llvmlite,
or run as plain Python over an emulation of the vocabulary, which is what the tests hold it to.
"""
