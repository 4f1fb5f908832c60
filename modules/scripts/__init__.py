"""Scripts: recipes that make many inner requests of one, under WebUI's titles; a file each, listed in `registry`."""
