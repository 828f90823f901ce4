"""The online service: what runs inside the Bento, and knows nothing of how it came there.

`bundle` makes the files a Bento is built from, `main` is what BentoML starts, and `app` is the
application it mounts. Requests are answered by a Starlette application of our own and not by
`@bentoml.api`: a request then costs a quarter, and the OpenAPI document states what the use case
says of its columns. BentoML gives the rest: the build, the image, the processes, health, metrics.
"""
