"""The ops page: how the deployment stands, what needs a person, what happened to a user. `app` serves it, `door` says
to whom; `picture` is what is shown, `panels` and `pages` how, `needs` what of it a person must mend."""
