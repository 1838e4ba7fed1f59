"""Rules and a comparison become a verdict. Pure: the same inputs give the same verdict."""
