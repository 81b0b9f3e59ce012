"""What commands show on a terminal: tables, bars, the live page."""
