"""What a database holds, in a form in which two of them can be compared."""

from __future__ import annotations

from typing import Any

from tests.support.postgres import PostgresServer

# Everything that a catalog can spell, as one text for each.
DEFINITIONS = """
    SELECT 'index', indexdef FROM pg_indexes WHERE schemaname !~ '^pg_'
    UNION ALL SELECT 'constraint', conrelid::regclass::text || conname || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL SELECT 'view', viewname || definition FROM pg_views WHERE schemaname = 'public'
    UNION ALL SELECT 'matview', matviewname || definition FROM pg_matviews
    UNION ALL SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'rule', definition FROM pg_rules WHERE schemaname = 'public'
    UNION ALL SELECT 'policy', p::text FROM pg_policies p
    UNION ALL SELECT 'sequence', schemaname || sequencename || start_value || coalesce(last_value::text, '-')
        FROM pg_sequences
    UNION ALL SELECT 'statistics', pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
    UNION ALL SELECT 'type', t.typname || enumlabel FROM pg_enum JOIN pg_type t ON t.oid = enumtypid
    UNION ALL SELECT 'column', attrelid::regclass::text || attname || format_type(atttypid, atttypmod) ||
        attidentity::text || attgenerated::text || attnotnull || coalesce(pg_get_expr(adbin, adrelid), '')
        FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm')
        AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    UNION ALL SELECT 'comment', objsubid || description FROM pg_description WHERE objoid >= 16384
    UNION ALL SELECT 'large object', md5(lo_get(oid)) FROM pg_largeobject_metadata
    UNION ALL SELECT 'row security', oid::regclass::text || relforcerowsecurity FROM pg_class WHERE relrowsecurity
    UNION ALL SELECT 'extension', extname FROM pg_extension
    ORDER BY 1, 2
"""


def content(server: PostgresServer, database: str) -> tuple[list[Any], list[Any]]:
    """A hash over the rows of each table, and the definitions of everything."""
    tables = server.query(
        database,
        "SELECT table_schema, table_name, format('%I.%I', table_schema, table_name) FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema !~ '^(pg_|information_schema)' ORDER BY 1, 2",
    )
    digest = "SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text COLLATE \"C\"), '')) FROM ONLY {} t"
    rows = [(schema, name, server.query(database, digest.format(quoted))) for schema, name, quoted in tables]
    return rows, server.query(database, DEFINITIONS)
