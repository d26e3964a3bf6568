-- A database with one of everything that a dump has to carry. Names are chosen to break quoting.
CREATE SCHEMA "Odd ""schema"".x";
CREATE TYPE mood AS ENUM ('sad', 'it''s fine');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, 'touched'); RETURN NEW; END $$;

CREATE TABLE customers (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, mood mood DEFAULT 'sad',
    score positive, doubled int GENERATED ALWAYS AS (score * 2) STORED, note text);
INSERT INTO customers (name, score) SELECT 'customer ' || g, g FROM generate_series(1, 1000) g;
CREATE TRIGGER touching BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION touch();
CREATE INDEX by_score ON customers (score) WHERE score > 10;
CREATE STATISTICS customers_stats ON score, doubled FROM customers;
COMMENT ON TABLE customers IS 'who buys; "quoted" and ''single''';
COMMENT ON COLUMN customers.note IS 'a column';

CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers (id), payload bytea, text text);
INSERT INTO orders (customer, payload, text)
    SELECT 1 + g % 1000, decode(md5(g::text), 'hex'),
        CASE g % 6 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'\\.\nnew line\ttab\r\b\\N' WHEN 3 THEN '\N'
                   WHEN 4 THEN repeat('long ', 600) ELSE 'plain ü €' END
    FROM generate_series(1, 6000) g;

CREATE TABLE "Odd ""schema"".x"."a.b" ("we ird" text, "UPPER" int);
INSERT INTO "Odd ""schema"".x"."a.b" VALUES ('x', 1), (NULL, 2);
CREATE TABLE "Odd ""schema"".x"."new
line 'and' ""quotes"" \ back" (v int);
INSERT INTO "Odd ""schema"".x"."new
line 'and' ""quotes"" \ back" SELECT generate_series(1, 12);
CREATE TABLE "Ünïcödé €" (v text);
INSERT INTO "Ünïcödé €" VALUES ('日本語');
CREATE TABLE "host=evil dbname=x" (v int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE empty (id int, v text);
CREATE TABLE narrow (a int, b int);
INSERT INTO narrow SELECT g, g * 7 FROM generate_series(1, 30000) g;
CREATE TABLE long_values (v text);
INSERT INTO long_values SELECT repeat('y', n) FROM unnest(ARRAY[9, 10, 255, 2559, 2560, 65535, 65536, 655359, 655360]) n;

CREATE TABLE events (at date, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (what);
CREATE TABLE events_2026_a PARTITION OF events_2026 FOR VALUES IN ('a');
CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
CREATE INDEX ON events (at);
INSERT INTO events SELECT date '2025-06-01' + g, chr(97 + g % 3) FROM generate_series(0, 399) g;
CREATE TABLE parent (k int);
CREATE TABLE child (extra text) INHERITS (parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (3, 'c');

CREATE VIEW good_customers AS SELECT id, name FROM customers WHERE score > 500;
CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n FROM orders GROUP BY 1;
CREATE RULE quiet AS ON DELETE TO empty DO INSTEAD NOTHING;
CREATE SEQUENCE "lonely seq" START 77;
SELECT nextval('"lonely seq"');
ALTER TABLE narrow ENABLE ROW LEVEL SECURITY;
ALTER TABLE narrow FORCE ROW LEVEL SECURITY;
CREATE POLICY only_small ON narrow USING (a < 100);
SELECT lo_from_bytea(0, decode(repeat('00ff0a', 20000), 'hex')), lo_from_bytea(0, ''), lo_create(0);
