"""Past codes and actions -> next codes: the autoregressive transformer."""
