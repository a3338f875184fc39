"""docs/prometheus/rules.yml, held to what real workers render in the states that the rules are for."""
