"""How a message leaves the house: e-mail, channels by Apprise URL, pings. Knows no database and no configuration."""
