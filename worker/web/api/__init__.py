"""The HTTP API. `operations` is the table of it, each with its access rule, from which both the routes (`app`) and the
OpenAPI document (`openapi`) are made; `subscriptions` reads, `changes` changes (`change_views`: what is told of that).
"""
