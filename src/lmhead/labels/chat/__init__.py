"""Chat labels by proof: what a template renders of each message -> which tokens are learnt."""
