"""The commands of kgtts, one file each: parse, one call into the library, show."""
