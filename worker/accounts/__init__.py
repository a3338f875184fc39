"""Who calls the API: `callers` tells whose a bearer token is, by `keys` (a JWKS URL's, which `jwks` asks, or a shared
secret) or by the digests of admin tokens (`tokens`).
"""
