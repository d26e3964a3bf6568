"""The roles of people, from the least to the most. Here alone, so that asking for one maps no tables."""

MANAGER, ADMIN, SUPER_ADMIN = "manager", "admin", "super_admin"
ROLES = (MANAGER, ADMIN, SUPER_ADMIN)
