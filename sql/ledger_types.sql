-- L24: every type is captured, in bytes that no setting of the session changes, and
-- what is read back is what was stored.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
RESET client_min_messages;
CREATE SCHEMA types;
SET search_path = types;

CREATE TYPE mood AS ENUM ('sad', 'it''s, "fine"');
CREATE TYPE pair AS (a int, b text, at timestamptz);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE DOMAIN short_names AS varchar(10)[];
CREATE TYPE span AS RANGE (subtype = timestamptz);
CREATE TABLE samples (n int GENERATED ALWAYS AS IDENTITY, type text, literal text);
INSERT INTO samples (type, literal) VALUES
	('boolean', 'true'), ('boolean', 'false'),
	('"char"', 'x'), ('name', 'a name'), ('bytea', '\x00ff10'), ('bytea', ''),
	('smallint', '-32768'), ('integer', '-2147483648'), ('bigint', '-9223372036854775808'), ('bigint', '9223372036854775807'),
	('real', '0.1'), ('real', 'NaN'), ('real', '-Infinity'),
	('double precision', '0.1'), ('double precision', 'NaN'), ('double precision', 'Infinity'), ('double precision', '1.7976931348623157e308'),
	('numeric', '12345678901234567890.123456789012345678901'), ('numeric', 'NaN'), ('numeric', '-Infinity'), ('numeric(6,2)', '1.5'), ('numeric', '1.50'),
	('money', '1234567.89'), ('money', '-0.05'),
	('text', E'quotes " \\ and \n new lines \t \x01 é 😀'), ('text', ''), ('varchar(5)', 'abc'), ('char(5)', 'ab'), ('json', '{"b": 1,  "a": [1, 2]}'),
	('jsonb', '{"b": 1, "a": [1.10, null]}'), ('jsonb', '"text"'), ('xml', '<a b="c">d</a>'), ('jsonpath', '$."a"[*]?(@ > 2)'),
	('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
	('date', '2024-02-29'), ('date', 'infinity'), ('date', '-infinity'), ('date', '4713-01-01 BC'), ('date', '5874897-12-31'),
	('time', '23:59:59.999999'), ('time', '24:00:00'), ('timetz', '12:00:00.5+05:30'),
	('timestamp', '1999-12-31 23:59:59.999999'), ('timestamp', 'infinity'), ('timestamp', '0044-03-15 10:00:00 BC'),
	('timestamptz', '2024-06-01 12:00:00+02'), ('timestamptz', '-infinity'), ('timestamptz', '294276-12-31 23:59:59.999999+00'),
	('interval', '1 year -2 mons 3 days -04:05:06.7'), ('interval', '0'),
	('inet', '192.0.2.1/24'), ('cidr', '2001:db8::/32'), ('macaddr', '08:00:2b:01:02:03'), ('macaddr8', '08:00:2b:01:02:03:04:05'),
	('bit(5)', '10101'), ('varbit', '101'), ('tsvector', $$'a':1A 'it''s':2$$), ('tsquery', $$'a' & !'b'$$),
	('point', '(0.1,-2)'), ('lseg', '[(0,0),(1,1)]'), ('path', '((0,0),(1,1))'), ('box', '(1,1),(0,0)'), ('polygon', '((0,0),(1,1),(0,1))'),
	('line', '{1,-1,0}'), ('circle', '<(0,0),0.1>'),
	('int4range', '[1,10)'), ('int4range', 'empty'), ('numrange', '(,1.5]'), ('tsrange', '[2024-01-01,2024-02-01)'), ('tstzrange', '[2024-01-01 00:00+02,)'),
	('daterange', '[2024-01-01,infinity)'), ('int8range', '[1,2)'), ('int4multirange', '{[1,3),[5,7)}'), ('tstzmultirange', '{[2024-01-01 00:00+02,)}'),
	('nummultirange', '{[1.1,2.2)}'), ('tsmultirange', '{}'), ('datemultirange', '{[2024-01-01,2024-02-01)}'), ('int8multirange', '{[1,2)}'),
	('oid', '4294967295'), ('xid', '4294967295'), ('xid8', '18446744073709551615'), ('cid', '7'), ('tid', '(1,2)'), ('pg_lsn', '16/B374D848'),
	('int2vector', '1 2 3'), ('oidvector', '1 2'), ('regclass', 'types.samples'), ('regtype', 'types.pair'), ('regproc', 'pg_catalog.now'),
	('regprocedure', 'pg_catalog.abs(integer)'), ('regoper', 'pg_catalog.||/'), ('regoperator', 'pg_catalog.+(integer,integer)'), ('regnamespace', 'types'),
	('regrole', 'bulwark_admin'), ('regconfig', 'pg_catalog.simple'), ('regdictionary', 'pg_catalog.simple'), ('regcollation', 'pg_catalog."C"'),
	('refcursor', 'a cursor'), ('pg_snapshot', '10:20:10,14,15'), ('txid_snapshot', '10:20:10,14,15'), ('aclitem', 'bulwark_admin=r/bulwark_keys'),
	('types.mood', 'it''s, "fine"'), ('types.pair', '(1,"a ""b"", c","2024-06-01 12:00:00+02")'), ('types.pair', '(,,)'), ('types.positive', '1.25'),
	('types.short_names', '{a,"b c"}'), ('types.span', '["2024-06-01 12:00:00+02",)'), ('types.pair[]', '{"(1,x,\"2024-06-01 12:00:00+02\")",NULL}'),
	('integer[]', '{{1,2},{3,NULL}}'), ('integer[]', '[0:1]={1,2}'), ('text[]', '{"a,b","\"q\"",NULL,"NULL",""}'), ('bytea[]', '{"\\x00ff"}'),
	('timestamptz[]', '{"2024-06-01 12:00:00+02"}'), ('double precision[]', '{0.1,NaN}'), ('interval[]', '{"1 year -04:05:06"}'), ('money[]', '{"1.50"}'),
	('date[]', '{2024-02-29}'), ('uuid[]', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'), ('types.mood[]', '{sad}'), ('regclass[]', '{types.samples}');

-- No type of the server is forgotten (those whose names begin with pg_ belong to its own bookkeeping).
SELECT t.oid::regtype FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.typelem = 0
	AND t.typname !~ '^pg_|^gtsvector$' AND NOT EXISTS (SELECT FROM samples s WHERE s.type::regtype = t.oid) ORDER BY 1;

-- One table, a column for each sample.
DO $$
BEGIN
	EXECUTE (SELECT format('CREATE TABLE types.every (id int PRIMARY KEY, nothing int, %s)', string_agg(format('c%s %s', n, type), ', ' ORDER BY n)) FROM types.samples);
END
$$;
SELECT bulwark.audit('every');
CREATE FUNCTION insert_every(id int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE (SELECT format('INSERT INTO types.every VALUES (%s, NULL, %s)', id, string_agg(format('%L', literal), ', ' ORDER BY n)) FROM types.samples);
END
$$;
-- The bytes behind the salt.
CREATE FUNCTION bytes(relation text) RETURNS SETOF bytea LANGUAGE sql AS $$
	SELECT substr(content, 19) FROM bulwark_internal.ledger_entries WHERE position(convert_to(relation, 'UTF8') IN leaf) > 0 AND get_byte(leaf, 3) = 1
$$;

SET DateStyle = ISO;
SET TimeZone = UTC;
SET lc_monetary = 'C';
SELECT insert_every(1);
SELECT column_name, data_type, (SELECT new ->> column_name FROM bulwark.ledger WHERE entity_type = 'types.every' AND action = 'insert') AS captured
FROM information_schema.columns WHERE table_schema = 'types' AND table_name = 'every' ORDER BY ordinal_position;
-- what was captured, cast back, is what is stored (arrays are shown as JSON arrays)
CREATE FUNCTION differences() RETURNS TABLE (type text, literal text, stored text, captured text) LANGUAGE plpgsql AS $$
DECLARE
	s record;
BEGIN
	FOR s IN SELECT * FROM types.samples AS x WHERE (SELECT typcategory <> 'A' FROM pg_type WHERE oid = x.type::regtype) ORDER BY n LOOP
		type := s.type;
		literal := s.literal;
		EXECUTE format('SELECT e.c%s::text, (l.new %s %L)::%s::text FROM types.every e, bulwark.ledger l
			WHERE e.id = 1 AND l.entity_type = ''types.every'' AND l.action = ''insert'' AND l.entity_id = ''1''',
			s.n, CASE s.type WHEN 'jsonb' THEN '->' ELSE '->>' END, 'c' || s.n, s.type) INTO stored, captured;
		IF stored IS DISTINCT FROM captured THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
SELECT * FROM differences();

-- The same bytes whatever the session is set to.
CREATE TABLE kept AS TABLE every;
UPDATE every SET c1 = c1;
DELETE FROM every;
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'sql_standard';
SET TimeZone = 'Asia/Kathmandu';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
SET lc_monetary = 'C.UTF-8';
SET xmlbinary = hex;
SET quote_all_identifiers = on;
SET search_path = pg_catalog, types;
INSERT INTO types.every SELECT * FROM types.kept;
UPDATE types.every SET c1 = c1;
DELETE FROM types.every;
RESET ALL;
SET search_path = types;
SELECT get_byte(leaf, 2) AS action, count(*), count(DISTINCT substr(content, 19)) AS "distinct" FROM bulwark_internal.ledger_entries
WHERE position('types.every'::bytea IN leaf) > 0 AND get_byte(leaf, 3) = 1 GROUP BY 1 ORDER BY 1;

-- Generated, dropped and out-of-line columns; no key, several keys, a replica identity.
CREATE TABLE odd (a int, gone text, b int GENERATED ALWAYS AS (a * 2) STORED, c text COLLATE "C", d timestamptz DEFAULT '2024-01-01 00:00+00');
ALTER TABLE odd DROP COLUMN gone;
SELECT bulwark.audit('odd');
INSERT INTO odd (a, c) VALUES (1, 'x');
CREATE TABLE keyed (a text, b int, c uuid, v int, PRIMARY KEY (b, a, c));
SELECT bulwark.audit('keyed');
INSERT INTO keyed VALUES (E'quote " and \\', 7, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1);
CREATE TABLE identified (a int NOT NULL, b date NOT NULL UNIQUE);
ALTER TABLE identified REPLICA IDENTITY USING INDEX identified_b_key;
SELECT bulwark.audit('identified');
INSERT INTO identified VALUES (1, '2024-02-29');
CREATE TABLE stamped (at timestamptz PRIMARY KEY);
SELECT bulwark.audit('stamped');
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO stamped VALUES ('2024-06-01 12:00:00+00');
RESET TimeZone;
SELECT entity_type, entity_id, new FROM bulwark.ledger WHERE entity_type IN ('types.odd', 'types.keyed', 'types.identified', 'types.stamped')
	AND action = 'insert' ORDER BY entry_id;

-- Large values: out of line and unchanged they are not repeated; over the limit
-- they are digest and length.
CREATE TABLE document (id int PRIMARY KEY, n int, body text, scan bytea);
ALTER TABLE document ALTER body SET STORAGE EXTERNAL, ALTER scan SET STORAGE EXTERNAL;
SELECT bulwark.audit('document');
INSERT INTO document VALUES (1, 1, repeat('word ', 20000), convert_to(repeat('x', 1048577), 'UTF8'));
UPDATE document SET n = 2;
UPDATE document SET body = body || '!';
UPDATE document SET body = NULL, scan = '';
DELETE FROM document;
SELECT action, left(old ->> 'body', 40) AS old_body, length(old ->> 'body'), left(new ->> 'body', 40) AS new_body, length(new ->> 'body'),
	regexp_replace(old ->> 'scan', '[0-9a-f]{64}', 'digest') AS old_scan, regexp_replace(new ->> 'scan', '[0-9a-f]{64}', 'digest') AS new_scan
FROM bulwark.ledger WHERE entity_type = 'types.document' AND source = 'captured' ORDER BY entry_id;
SELECT length(b) < 300 AS small FROM bytes('types.document') AS b OFFSET 1 LIMIT 1;
-- the digest is over the salt and the value
CREATE TABLE digested (id int PRIMARY KEY, v text);
SELECT bulwark.audit('digested');
INSERT INTO digested VALUES (1, repeat('secret', 200000));
SELECT position(sha256(substr(content, 3, 16) || convert_to(repeat('secret', 200000), 'UTF8')) IN content) > 0 AS digest,
	position('secret'::bytea IN content) AS plain, length(content) < 200 AS small
FROM bulwark_internal.ledger_entries WHERE position('types.digested'::bytea IN leaf) > 0 AND get_byte(leaf, 3) = 1;

DROP SCHEMA types CASCADE;
