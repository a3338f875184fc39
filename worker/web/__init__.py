"""HTTP: `app` has the table of what is served, `server` serves it, `protocol` keeps its peers within bounds. What is
served: `health`, and `stripe_webhook`."""
