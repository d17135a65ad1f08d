-- Who sees and writes which rows of each kind of protected table: each actor
-- tries each statement in a transaction of its own, undone at once.  The answer
-- is the ids that a query returns, the number of rows that were written, or the
-- SQLSTATE.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SET bulwark.new_tables = ignore;

SELECT plan(180 + CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 6 ELSE 0 END);

CREATE ROLE pgtap_protect_app LOGIN IN ROLE bulwark_app;
CREATE ROLE pgtap_protect_owner LOGIN IN ROLE bulwark_admin;
CREATE ROLE pgtap_protect_keeper LOGIN IN ROLE bulwark_maintenance;

CREATE TABLE thing (name text PRIMARY KEY, id uuid NOT NULL);
GRANT SELECT ON thing TO PUBLIC;
CREATE FUNCTION the(name text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM public.thing t WHERE t.name = $1';
INSERT INTO thing SELECT 'a', bulwark.tenant_create('a', 'A', '1');
INSERT INTO thing SELECT 'b', bulwark.tenant_create('b', 'B', '2');
INSERT INTO thing SELECT 'north', bulwark.affiliation_create(the('a'), 'north', 'North', '10');
INSERT INTO thing SELECT 'south', bulwark.affiliation_create(the('a'), 'south', 'South', '20');
INSERT INTO thing SELECT 'b north', bulwark.affiliation_create(the('b'), 'north', 'North', '10');
INSERT INTO thing SELECT name, bulwark.principal_create(name || '@example.org')
	FROM unnest('{root,chief,reader,guest,both,stranger}'::text[]) name;
SELECT bulwark.membership_grant(the('root'), the('a'), 'tenant_admin'),
	bulwark.membership_grant(the('chief'), the('a'), 'admin', the('north')),
	bulwark.membership_grant(the('reader'), the('a'), 'read_only'),
	bulwark.membership_grant(the('guest'), the('a'), 'read_only', the('north')),
	bulwark.membership_grant(the('both'), the('a'), 'tenant_admin'),
	bulwark.membership_grant(the('both'), the('b'), 'tenant_admin'),
	bulwark.membership_grant(the('stranger'), the('b'), 'tenant_admin') \g /dev/null

-- One table of each kind.  Ids: tens are north's, twenties south's, thirties of no
-- affiliation, forties tenant b's, 90 nobody's.
CREATE TABLE doc (id int PRIMARY KEY, tenant_id uuid, place int, note text, next int REFERENCES doc);
CREATE TABLE page (id int PRIMARY KEY, doc_id int REFERENCES doc);
CREATE TABLE word (id int PRIMARY KEY, page_id int REFERENCES page);
CREATE TABLE stamp (id int PRIMARY KEY, doc_id int REFERENCES doc);
CREATE TABLE flat (id int PRIMARY KEY, tenant text);
CREATE TABLE event (id int, tenant bigint, place text) PARTITION BY RANGE (id);
CREATE TABLE event_low PARTITION OF event FOR VALUES FROM (0) TO (25);
CREATE TABLE event_high PARTITION OF event FOR VALUES FROM (25) TO (100);
CREATE TABLE base (id int, tenant smallint);
CREATE TABLE heir (extra text) INHERITS (base);
CREATE TABLE language (id int PRIMARY KEY);
INSERT INTO doc VALUES (10, the('a'), 10), (20, the('a'), 20), (30, the('a'), NULL), (31, the('a'), 77), (40, the('b'), 10), (90, NULL, 10);
INSERT INTO page SELECT id, id FROM doc;
INSERT INTO page VALUES (91, NULL);
INSERT INTO word SELECT id, id FROM page;
INSERT INTO stamp SELECT id, id FROM doc;
INSERT INTO flat VALUES (10, '1'), (40, '2'), (41, '01'), (42, ' 1'), (43, '+1'), (44, ''), (90, NULL);
INSERT INTO event SELECT id, CASE WHEN tenant_id = the('a') THEN 1 WHEN tenant_id = the('b') THEN 2 END, place FROM doc;
INSERT INTO base VALUES (10, 1), (40, 2), (90, NULL);
INSERT INTO heir VALUES (11, 1), (41, 2);
INSERT INTO language VALUES (1), (2);
-- rules of a superuser's table, which write past row security
CREATE TABLE inbox (id int, tenant uuid, place int);
INSERT INTO inbox VALUES (1);
GRANT ALL ON ALL TABLES IN SCHEMA public TO pgtap_protect_app;

SELECT bulwark.protect('doc', 'tenant_id', 'place') \g /dev/null
SELECT bulwark.protect('page', parent => 'doc'), bulwark.protect('word', parent => 'page'),
	bulwark.protect('stamp', parent => 'doc', materialize => true) \g /dev/null
CALL bulwark.materialize('stamp');
SELECT bulwark.protect('flat', 'tenant'), bulwark.protect('event', 'tenant', 'place'),
	bulwark.protect('base', 'tenant'), bulwark.protect('language', shared => true) \g /dev/null
CREATE RULE to_doc AS ON INSERT TO inbox DO INSTEAD INSERT INTO doc (id, tenant_id, place) VALUES (NEW.id, NEW.tenant, NEW.place);
CREATE RULE change_doc AS ON UPDATE TO inbox DO INSTEAD UPDATE doc SET note = 'x';
-- policies of the DBA's afterwards that would open everything
CREATE POLICY open_to_all ON doc USING (true) WITH CHECK (true);
CREATE POLICY open_to_all ON page USING (true) WITH CHECK (true);

CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	n bigint;
BEGIN
	IF statement ~ '^SELECT' THEN
		EXECUTE format('SELECT coalesce(string_agg(id::text, '' '' ORDER BY id), '''') FROM (%s) q', statement) INTO result;
	ELSE
		EXECUTE statement;
		GET DIAGNOSTICS n = ROW_COUNT;
		result := n || ' rows';
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZ000' THEN result ELSE SQLSTATE END;
END
$$;

CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, actor text, statement text, expected text, what text);
GRANT SELECT ON attempts TO PUBLIC;

-- Reading: what each actor sees of each table.  A permission held on an affiliation
-- holds on what has no affiliation, too.
INSERT INTO attempts (actor, statement, expected, what)
SELECT actor, 'SELECT id FROM ' || source, CASE actor WHEN 'root' THEN root WHEN 'reader' THEN root WHEN 'both' THEN root
		WHEN 'chief' THEN north WHEN 'guest' THEN north WHEN 'stranger' THEN stranger ELSE '' END,
	number || ': ' || CASE WHEN actor = 'nobody' THEN 'without an identity there are no rows of ' ELSE 'sees its rows of ' END || source
FROM (VALUES
	('I19', 'doc', '10 20 30 31', '10', '40'),
	('I19', 'page', '10 20 30 31', '10', '40'),
	('I27', 'word', '10 20 30 31', '10', '40'),
	('I27', 'stamp', '10 20 30 31', '10', '40'),
	('I28', 'flat', '10', '10', '40'),
	('I27', 'event', '10 20 30 31', '10', '40'),
	('I20', 'event_low', '10 20', '10', ''),
	('I20', 'event_high', '30 31', '', '40'),
	('I20', 'base', '10 11', '10 11', '40 41'),
	('I20', 'ONLY base', '10', '10', '40'),
	('I20', 'heir', '11', '11', '41'),
	('I32', 'language', '1 2', '1 2', '1 2')) AS s (number, source, root, north, stranger),
	unnest('{root,reader,both,chief,guest,stranger,nobody}'::text[]) actor;

-- I32: who may only read writes nothing, in no way, on no kind of table.
INSERT INTO attempts (actor, statement, expected, what)
SELECT actor, statement, expected, 'I32: writes nothing: ' || statement
FROM (VALUES
	('INSERT INTO doc (id, place) VALUES (1, 10)', '42501'),
	('INSERT INTO doc (id, place) VALUES (10, 10) ON CONFLICT (id) DO UPDATE SET note = ''x''', '42501'),
	('MERGE INTO doc USING (VALUES (10)) v (k) ON id = k WHEN MATCHED THEN DELETE', '42501'),
	('UPDATE doc SET note = ''x''', '0 rows'),
	('DELETE FROM word', '0 rows'),
	('SELECT id FROM doc FOR UPDATE', ''),
	('INSERT INTO page VALUES (1, 10)', '42501'),
	('UPDATE page SET doc_id = 10', '0 rows'),
	('INSERT INTO word VALUES (1, 10)', '42501'),
	('INSERT INTO stamp VALUES (1, 10)', '42501'),
	('UPDATE stamp SET doc_id = 10', '0 rows'),
	('INSERT INTO event VALUES (1, 1, ''10'')', '42501'),
	('DELETE FROM event_low', '0 rows'),
	('INSERT INTO heir VALUES (1, 1)', '42501'),
	('INSERT INTO language VALUES (3)', '42501'),
	('DELETE FROM language', '0 rows'),
	('TRUNCATE doc', '42501')) AS s (statement, expected), unnest('{reader,guest}'::text[]) actor;

INSERT INTO attempts (actor, statement, expected, what) VALUES
	-- an affiliation's administrator: its own rows, and children of its own parents
	('chief', 'INSERT INTO doc (id, place) VALUES (1, 10)', '1 rows', 'inserts into its affiliation'),
	('chief', 'INSERT INTO doc (id, place) VALUES (1, 20)', '42501', 'I32: inserts nothing into another affiliation'),
	('chief', 'INSERT INTO doc (id, place) VALUES (1, NULL)', '42501', 'I27: inserts nothing into no affiliation'),
	('chief', 'UPDATE doc SET note = ''x''', '1 rows', 'I32: updates its affiliation''s rows only'),
	('chief', 'UPDATE doc SET place = 20 WHERE id = 10', '42501', 'I32: moves no row into another affiliation'),
	('chief', 'DELETE FROM word', '1 rows', 'I32: deletes the children of its affiliation''s parents only'),
	('chief', 'INSERT INTO page VALUES (1, 10)', '1 rows', 'inserts a child of its own parent'),
	('chief', 'INSERT INTO page VALUES (1, 20)', '42501', 'I32: inserts no child of another affiliation''s parent'),
	('chief', 'UPDATE page SET doc_id = 20 WHERE id = 10', '42501', 'I32: moves no child to another affiliation''s parent'),
	('chief', 'INSERT INTO word VALUES (1, 10)', '1 rows', 'inserts a grandchild of its own parent'),
	('chief', 'INSERT INTO word VALUES (1, 20)', '42501', 'I32: inserts no grandchild of another affiliation''s parent'),
	('chief', 'INSERT INTO stamp VALUES (1, 10)', '1 rows', 'inserts a materialized child of its own parent'),
	('chief', 'INSERT INTO stamp VALUES (1, 20)', '42501', 'I32: inserts no materialized child of another affiliation''s parent'),
	('chief', 'INSERT INTO stamp (id, doc_id, bulwark_affiliation) VALUES (1, 20, 10)', '42501', 'I32: nor by naming the columns that are kept'),
	('chief', 'UPDATE stamp SET doc_id = 20 WHERE id = 10', '42501', 'I32: moves no materialized child'),
	('chief', 'INSERT INTO event VALUES (1, 1, ''10'')', '1 rows', 'inserts into a partitioned table'),
	('chief', 'INSERT INTO event_low VALUES (1, 1, ''20'')', '42501', 'I20: a partition, named directly, checks the same'),
	('chief', 'INSERT INTO flat VALUES (1, ''2'')', '42501', 'I24: writes nothing for another tenant where there are no affiliations'),
	-- a tenant's administrator
	('root', 'INSERT INTO doc (id) VALUES (1)', '1 rows', 'gets the tenant by default'),
	('root', 'INSERT INTO flat (id) VALUES (1)', '1 rows', 'gets the tenant by default, as text'),
	('root', 'INSERT INTO heir (id) VALUES (1)', '1 rows', 'gets the tenant by default, as a small integer, in a child'),
	('root', 'INSERT INTO event (id) VALUES (99)', '1 rows', 'gets the tenant by default, in a partition'),
	('root', 'INSERT INTO doc (id, tenant_id) VALUES (1, the(''b''))', '42501', 'I24: inserts nothing for another tenant'),
	('root', 'INSERT INTO doc (id, tenant_id) VALUES (1, NULL)', '42501', 'I27: inserts nothing for no tenant'),
	('root', 'INSERT INTO flat VALUES (1, ''01'')', '42501', 'I28: inserts nothing for a key that looks like its own'),
	('root', 'INSERT INTO page VALUES (1, 40)', '42501', 'I24: inserts no child of another tenant''s parent'),
	('root', 'INSERT INTO page VALUES (1, NULL)', '42501', 'I27: inserts no child of nobody'),
	('root', 'INSERT INTO stamp VALUES (1, 40)', '42501', 'I24: inserts no materialized child of another tenant''s parent'),
	('root', 'INSERT INTO stamp (id, doc_id, bulwark_tenant) VALUES (1, 40, the(''a''))', '42501', 'I24: nor by naming the columns that are kept'),
	('root', 'MERGE INTO doc USING (VALUES (1, the(''b''))) v (k, t) ON id = k WHEN NOT MATCHED THEN INSERT (id, tenant_id) VALUES (k, t)', '42501', 'I24: merges nothing in for another tenant'),
	('root', 'MERGE INTO doc USING (VALUES (40)) v (k) ON id = k WHEN MATCHED THEN UPDATE SET note = ''x''', '0 rows', 'I24: merges into no row of another tenant'),
	('root', 'INSERT INTO doc (id) VALUES (40) ON CONFLICT (id) DO UPDATE SET note = doc.note || ''x''', '42501', 'I25: a conflict with a hidden row updates nothing'),
	('root', 'INSERT INTO doc (id) VALUES (40) ON CONFLICT DO NOTHING', '0 rows', 'I25: nor does it show the row'),
	('root', 'UPDATE doc SET next = 40 WHERE id = 10', '23503', 'I26: refers to no row of another tenant'),
	('root', 'UPDATE doc SET next = 99 WHERE id = 10', '23503', 'I26: and gets the same answer for no row'),
	('root', 'TRUNCATE doc', '42501', 'I22: truncates nothing'),
	('root', 'TRUNCATE event_low', '42501', 'I22: truncates no partition'),
	('root', 'INSERT INTO language VALUES (3)', '42501', 'I32: writes no shared table'),
	('root', 'ALTER TABLE doc DISABLE ROW LEVEL SECURITY', '42501', 'I17: alters nothing'),
	-- rules
	('root', 'INSERT INTO inbox VALUES (1, the(''a''))', '1 rows', 'I21: writes through a rule'),
	('root', 'INSERT INTO inbox VALUES (1, the(''b''))', '42501', 'I21: writes nothing for another tenant through a rule'),
	('root', 'UPDATE inbox SET place = 1', '4 rows', 'I21: changes its own rows only through a rule'),
	('chief', 'INSERT INTO inbox VALUES (1, the(''a''), 20)', '42501', 'I21: writes nothing into another affiliation through a rule'),
	('chief', 'UPDATE inbox SET place = 1', '1 rows', 'I21: changes its affiliation''s rows only through a rule'),
	('reader', 'UPDATE inbox SET place = 1', '0 rows', 'I21: changes nothing through a rule'),
	-- a member of both tenants acts in one
	('both', 'UPDATE doc SET tenant_id = the(''b'') WHERE id = 10', '42501', 'I24: moves no row to the other of its tenants'),
	('both', 'UPDATE page SET doc_id = 40 WHERE id = 10', '42501', 'I24: moves no child to the other of its tenants'),
	('both', 'UPDATE doc SET tenant_id = tenant_id WHERE id = 10', '1 rows', 'may write the tenant that is there'),
	-- no identity at all
	('nobody', 'INSERT INTO doc (id, tenant_id) VALUES (1, the(''a''))', '42501', 'I27: writes nothing'),
	('nobody', 'UPDATE doc SET note = ''x''', '0 rows', 'I27: updates nothing'),
	('nobody', 'INSERT INTO page VALUES (1, 10)', '42501', 'I27: writes no child'),
	('nobody', 'DELETE FROM language', '0 rows', 'I27: deletes nothing shared');

CREATE TABLE answered (actor text PRIMARY KEY, answers jsonb);
\set ask 'SELECT coalesce(jsonb_object_agg(n, answer(statement)), ''{}'') AS got FROM (SELECT * FROM attempts WHERE actor = :''actor'' ORDER BY n) a \\gset'

\set actor root
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor reader
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor chief
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor guest
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor both
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor stranger
BEGIN; SELECT bulwark.assume(the(:'actor'), the('b')) \g /dev/null
SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor nobody
BEGIN; SET LOCAL ROLE pgtap_protect_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');

SELECT is(d.answers ->> a.n::text, a.expected, CASE WHEN what ~ '^I[0-9]+: '
		THEN regexp_replace(what, ': ', ': ' || actor || ': ') ELSE actor || ': ' || what END)
	FROM attempts a JOIN answered d USING (actor) ORDER BY a.n;

-- I17: the owner is bound, too; without FORCE it would not be.
ALTER TABLE flat OWNER TO pgtap_protect_owner;
BEGIN; SET LOCAL ROLE pgtap_protect_owner;
SELECT answer('SELECT id FROM flat') AS none \gset
ROLLBACK;
BEGIN; SELECT bulwark.assume(the('root'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_protect_owner;
SELECT answer('SELECT id FROM flat') AS some \gset
ROLLBACK;
SELECT is(:'none'::text, '', 'I17: the owner sees nothing without an identity');
SELECT is(:'some'::text, '10', 'I17: and with one what it shows');

-- bulwark_admin protects what it owns, and nothing else.
BEGIN; SET LOCAL ROLE pgtap_protect_owner;
SELECT answer($$SELECT 1 AS id, bulwark.unprotect('flat')$$) AS own, answer($$SELECT 1 AS id, bulwark.unprotect('doc')$$) AS other,
	answer($$SELECT 1 AS id, bulwark.protect('doc', 'tenant_id')$$) AS again \gset
ROLLBACK;
SELECT is(:'own'::text, '1', 'a member of bulwark_admin unprotects a table that it owns');
SELECT is(:'other'::text, '42501', 'I17: and none that it does not own');
SELECT is(:'again'::text, '42501', 'I17: nor protects it');
ALTER TABLE flat OWNER TO pgtap_protect_keeper;
GRANT SELECT, UPDATE ON flat TO bulwark_maintenance;
BEGIN; SET LOCAL ROLE pgtap_protect_keeper;
SELECT answer($$SELECT 1 AS id, bulwark.unprotect('flat')$$) AS owner \gset
SET LOCAL ROLE bulwark_maintenance;
SELECT answer('SELECT id FROM flat') AS all_rows, answer($$UPDATE flat SET tenant = '2' WHERE id = 10$$) AS moved \gset
ROLLBACK;
SELECT is(:'owner'::text, '42501', 'I17: an owner who is no bulwark_admin cannot unprotect');
SELECT is(:'all_rows'::text, '10 40 41 42 43 44 90', 'bulwark_maintenance sees all rows, those of no tenant too');
SELECT is(:'moved'::text, '1 rows', 'I24: and moves one to another tenant');

-- bulwark_admin writes shared tables.
GRANT ALL ON language TO pgtap_protect_owner;
BEGIN; SET LOCAL ROLE pgtap_protect_owner;
SELECT answer('SELECT id FROM language') AS read, answer('INSERT INTO language VALUES (3)') AS written \gset
ROLLBACK;
SELECT is(:'read'::text, '1 2', 'bulwark_admin reads a shared table without an identity');
SELECT is(:'written'::text, '1 rows', 'bulwark_admin writes a shared table');

-- Keys over periods, and keys that are not enforced.
SELECT current_setting('server_version_num')::int >= 180000 AS has_periods \gset
\if :has_periods
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE room (id int, tenant_id uuid, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
CREATE TABLE stay (id int PRIMARY KEY, tenant_id uuid, room int, at daterange, other int,
	CONSTRAINT stay_room FOREIGN KEY (room, PERIOD at) REFERENCES room (id, PERIOD at),
	CONSTRAINT stay_other FOREIGN KEY (other) REFERENCES stay NOT ENFORCED);
SELECT bulwark.protect('room', 'tenant_id'), bulwark.protect('stay', 'tenant_id') \g /dev/null
INSERT INTO room VALUES (1, the('a'), '[2024-01-01,2025-01-01)'), (1, the('a'), '[2025-01-01,2026-01-01)'),
	(1, the('b'), '[2026-01-01,2027-01-01)'), (2, the('b'), '[2024-01-01,2025-01-01)');
SELECT lives_ok($$INSERT INTO stay VALUES (1, the('a'), 1, '[2024-12-01,2025-02-01)')$$, 'I26: a period that two rows of the tenant cover');
SELECT throws_ok(format($$INSERT INTO stay VALUES (2, the('a'), %s, %L)$$, room, at), '23503',
		'insert or update on table "stay" violates foreign key constraint "stay_room"', 'I26: ' || what)
	FROM (VALUES (2, '[2024-02-01,2024-03-01)', 'a period of another tenant''s row'),
		(1, '[2025-12-01,2026-02-01)', 'a period that rows of two tenants cover'),
		(9, '[2024-02-01,2024-03-01)', 'a period of none')) AS s (room, at, what);
SELECT lives_ok($$INSERT INTO stay (id, tenant_id, other) VALUES (3, the('a'), 99)$$, 'a key that is not enforced is none');
SELECT is((SELECT count(*) FROM bulwark.isolation_check('stay') WHERE check_name LIKE 'foreign_key%' AND status <> 'ok'), 0::bigint,
	'and isolation_check() asks for no guard of it');
DROP TABLE stay, room;
\endif

SELECT * FROM finish();
DROP TABLE flat;
DROP OWNED BY pgtap_protect_app, pgtap_protect_owner, pgtap_protect_keeper CASCADE;
DROP ROLE pgtap_protect_app, pgtap_protect_owner, pgtap_protect_keeper;
