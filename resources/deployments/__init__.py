"""Where services run: `base` says what every place can do, one module a place does it.

`local` is a place on this machine. What serves there must outlive Dagster, so it belongs to a
process of its own: `supervisor` keeps the services alive, `front` passes requests on to the one in
charge, and `folder` is where clients and supervisor meet. None of these three imports Dagster.
"""
