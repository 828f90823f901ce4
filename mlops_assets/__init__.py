"""The life cycle of a model as a Dagster asset graph, from one Python file a use case."""
