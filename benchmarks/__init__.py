"""Speed of tensorgraph beside other libraries: ``python -m benchmarks``, or ``make bench``.

Nothing here is part of the package. `README.md` in this folder says what is measured and how.
"""
