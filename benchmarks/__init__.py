"""What this costs, beside what people would use otherwise: each module measures one thing.

Its docstring tells how; `measure(quick)` returns its rows. `python -m benchmarks` runs them all.
"""
