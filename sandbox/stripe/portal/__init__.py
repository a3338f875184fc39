"""The customer portal: what it lets customers do, and the sessions in which they do it (`sandbox/stripe/pages`)."""
