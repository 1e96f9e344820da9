"""The plan's sections on data, training, inference and scoring; `medseg.plans.schema` puts the plan together.

Defaults of the plan are given here and in `schema`, and nowhere else.
"""
