-- Identity: what proves it, what cannot, and how long it lasts.  Each block names
-- the attempt it answers.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE ROLE identity_app LOGIN IN ROLE bulwark_app;
CREATE ROLE identity_app2 LOGIN IN ROLE bulwark_app;
CREATE ROLE identity_service LOGIN IN ROLE bulwark_impersonator;
CREATE ROLE identity_both LOGIN IN ROLE bulwark_app, bulwark_impersonator;
RESET client_min_messages;
CREATE SCHEMA identity_test;
GRANT USAGE ON SCHEMA identity_test TO PUBLIC;
SET search_path = identity_test;

CREATE FUNCTION id(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS
	$$ SELECT ('1d000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
SELECT count(bulwark.tenant_create('idt-' || t, 'T' || t, 'idt-key-' || t, NULL, id(t))) FROM generate_series(1, 2) t;
SELECT count(bulwark.affiliation_create(id(1), 'idt-' || a, 'A', NULL, NULL, id(10 + a))) FROM generate_series(1, 3) a;
SELECT count(bulwark.principal_create('p' || p || '@identity.test', NULL, 'user', id(100 + p))) FROM generate_series(1, 4) p;
-- 101 administers tenant 1, 102 tenant 2, 103 belongs to one affiliation of 1 and to all of 2, 104 to none
SELECT count(*) FROM (SELECT bulwark.membership_grant(id(101), id(1), 'tenant_admin')
	UNION ALL SELECT bulwark.membership_grant(id(102), id(2), 'tenant_admin')
	UNION ALL SELECT bulwark.membership_grant(id(103), id(1), 'admin', id(11))
	UNION ALL SELECT bulwark.membership_grant(id(103), id(2), 'read_only')) m;

CREATE TABLE note (note_id int PRIMARY KEY, tenant_id uuid NOT NULL, affiliation_id uuid, body text);
INSERT INTO note SELECT n, id(1 + n % 2), CASE WHEN n % 2 = 0 THEN id(11 + n / 2 % 3) END, 'note ' || n FROM generate_series(1, 12) n;
GRANT SELECT, INSERT, UPDATE, DELETE ON note TO bulwark_app;
SELECT bulwark.protect('note', 'tenant_id', 'affiliation_id');

-- What a session reads, in one word.
CREATE FUNCTION seen() RETURNS text STABLE LANGUAGE sql SET search_path = identity_test, pg_temp AS
	$$ SELECT coalesce(string_agg(note_id::text, ',' ORDER BY note_id), 'nothing') FROM note $$;
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA identity_test TO PUBLIC;

-- Tickets, made by a login that may assume, for the login that will use them.
CREATE FUNCTION ticket(principal uuid, tenant uuid, ttl interval DEFAULT '10 minutes') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM bulwark.assume(principal, tenant);
	RETURN bulwark.ticket_issue(ttl);
END $$;
REVOKE ALL ON FUNCTION ticket FROM PUBLIC;
BEGIN; SELECT ticket(id(101), id(1)) AS one \gset
COMMIT;
BEGIN; SELECT ticket(id(102), id(2)) AS two \gset
COMMIT;
BEGIN; SELECT ticket(id(103), id(1)) AS limited \gset
COMMIT;

-- I13: an identity ends with its transaction; the app role sees by it and no further
BEGIN;
SELECT set_config('bulwark.ticket', :'one', true) = '' AS shown;
SET LOCAL ROLE identity_app;
SELECT seen();
SELECT identity -> 'email' AS email, identity -> 'tenant_slug' AS tenant, identity -> 'roles' AS roles,
	identity -> 'proof' AS proof, identity ? 'expires_at' AS expires FROM bulwark.identity();
COMMIT;
BEGIN;
SET LOCAL ROLE identity_app;
SELECT seen(), bulwark.identity();
COMMIT;
BEGIN;
SELECT set_config('bulwark.ticket', :'limited', true) \g /dev/null
SET LOCAL ROLE identity_app;
SELECT seen();
ROLLBACK;

-- I1: nothing but a genuine ticket sets an identity, and nothing keeps one
BEGIN;
SELECT attempt($$SET LOCAL bulwark.ticket = 'bwt1.forged'$$);
SELECT attempt($$SET bulwark.ticket = '(proved)'$$);
SELECT attempt($$SELECT set_config('bulwark.ticket', '(set)', false)$$);
SELECT attempt(format('ALTER ROLE identity_app SET bulwark.ticket = %L', :'one'));
SELECT attempt(format('ALTER DATABASE %I SET bulwark.ticket = %L', current_database(), :'one'));
SELECT attempt(format('CREATE FUNCTION identity_test.f() RETURNS int LANGUAGE sql SET bulwark.ticket = %L AS ''SELECT 1''', :'one'));
SELECT set_config('bulwark.ticket', :'one', true) \g /dev/null
SELECT attempt('CREATE FUNCTION identity_test.f() RETURNS int LANGUAGE sql SET bulwark.ticket FROM CURRENT AS ''SELECT 1''');
SELECT attempt($$ALTER SYSTEM SET bulwark.ticket = 'x'$$);
SELECT attempt($$SET LOCAL bulwark.ticket = 'bwt1.forged'$$);
SELECT bulwark.tenant_id() = id(1) AS unchanged;
ROLLBACK;

-- I16: the value is never shown
BEGIN;
SELECT set_config('bulwark.ticket', :'one', true) \g /dev/null
SHOW bulwark.ticket;
SELECT current_setting('bulwark.ticket');
SELECT count(*) FROM pg_settings WHERE name = 'bulwark.ticket' AND setting LIKE 'bwt1%';
ROLLBACK;

-- I2: every altered byte is refused, and every length
BEGIN;
SELECT count(*) AS altered, count(*) FILTER (WHERE result <> '28000 token or ticket refused') AS not_refused FROM (
	SELECT attempt(format('SET LOCAL bulwark.ticket = %L',
		overlay(:'one' PLACING CASE substr(:'one', i, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM i FOR 1))) AS result
	FROM generate_series(1, length(:'one')) i) x;
SELECT count(*) FILTER (WHERE result <> '28000 token or ticket refused') AS not_refused FROM (
	SELECT attempt(format('SET LOCAL bulwark.ticket = %L', left(:'one', i))) AS result
	FROM generate_series(1, length(:'one') - 1) i) x;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'one' || 'A')), attempt(format('SET LOCAL bulwark.ticket = %L', :'one' || '='));
ROLLBACK;

-- I35: a ticket works for the login it was issued to, no other
SET SESSION AUTHORIZATION identity_app;
BEGIN;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'one'));
SELECT seen();
ROLLBACK;
RESET SESSION AUTHORIZATION;

-- I39: only a trusted back end's login assumes, whatever role or definer it goes through
CREATE FUNCTION lend(p uuid, t uuid) RETURNS jsonb SECURITY DEFINER LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
	$$ BEGIN RETURN bulwark.assume(p, t); END $$;
GRANT EXECUTE ON FUNCTION lend TO PUBLIC;
SET SESSION AUTHORIZATION identity_app;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))');
SELECT attempt('SELECT identity_test.lend(identity_test.id(101), identity_test.id(1))');
ROLLBACK;
SET SESSION AUTHORIZATION identity_both;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))');
ROLLBACK;
BEGIN;
SET LOCAL ROLE bulwark_impersonator;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))') AS "by SET ROLE";
ROLLBACK;
RESET SESSION AUTHORIZATION;
CREATE TABLE lever (n int);
CREATE FUNCTION pull() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
	$$ BEGIN PERFORM bulwark.assume(identity_test.id(101), identity_test.id(1)); RETURN NEW; END $$;
CREATE TRIGGER pull BEFORE INSERT ON lever FOR EACH ROW EXECUTE FUNCTION pull();
GRANT INSERT ON lever TO identity_app;
SET SESSION AUTHORIZATION identity_app;
BEGIN;
SELECT attempt('INSERT INTO identity_test.lever VALUES (1)') AS "by an owner's trigger";
SELECT attempt('SET LOCAL ROLE bulwark_impersonator') AS "not granted";
ROLLBACK;
RESET SESSION AUTHORIZATION;
DROP TABLE lever;
SET SESSION AUTHORIZATION identity_service;
BEGIN;
SELECT bulwark.assume(id(101), id(1)) -> 'assumed_by' AS assumed_by;
ROLLBACK;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(104), identity_test.id(1))');
SELECT attempt('SELECT bulwark.assume(identity_test.id(199), identity_test.id(1))');
SELECT attempt('SELECT bulwark.assume(identity_test.id(102), identity_test.id(1))');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT bulwark.service_scope('identity_service', ARRAY[id(2)]);
SET SESSION AUTHORIZATION identity_service;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))');
SELECT attempt('SELECT bulwark.assume(identity_test.id(102), identity_test.id(2))');
ROLLBACK;
RESET SESSION AUTHORIZATION;
-- the limit stays with the role, whatever its name; once that role is gone, with the name
ALTER ROLE identity_service RENAME TO identity_renamed;
SET SESSION AUTHORIZATION identity_renamed;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))') AS renamed;
ROLLBACK;
RESET SESSION AUTHORIZATION;
CREATE ROLE identity_service LOGIN IN ROLE bulwark_impersonator;
SET SESSION AUTHORIZATION identity_service;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1))') AS another;
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT bulwark.service_scope('identity_service', '{}');
DROP ROLE identity_service;
CREATE ROLE identity_service LOGIN IN ROLE bulwark_impersonator;
SET SESSION AUTHORIZATION identity_service;
BEGIN;
SELECT attempt('SELECT bulwark.assume(identity_test.id(102), identity_test.id(2))') AS "made anew";
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT bulwark.service_scope('identity_service', NULL), bulwark.service_scope('identity_renamed', NULL);
SELECT count(*) FROM bulwark_internal.service_scopes;
DROP ROLE identity_renamed;

-- outside a transaction block: an error, not silence; in a function it serves that statement
SELECT bulwark.assume(id(101), id(1));
SELECT * FROM bulwark.assume(id(101), id(1));
CREATE FUNCTION as_whom(p uuid, t uuid) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
	ignored jsonb;
BEGIN
	ignored := bulwark.assume(p, t);
	RETURN bulwark.tenant_id();
END $$;
SELECT as_whom(id(101), id(1)) = id(1) AS serves;
SELECT bulwark.tenant_id();
SELECT attempt('SELECT bulwark.assume(identity_test.id(101), identity_test.id(1), false)');

-- I9: no change inside a statement that reads
BEGIN;
SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
SELECT attempt(format('SELECT note_id, set_config(''bulwark.ticket'', %L, true) FROM identity_test.note', :'two'));
SELECT attempt(format('SELECT note_id FROM identity_test.note WHERE set_config(''bulwark.ticket'', %L, true) IS NOT NULL', :'two'));
SELECT attempt(format('WITH c AS MATERIALIZED (SELECT set_config(''bulwark.ticket'', %L, true)) SELECT * FROM identity_test.note, c', :'two'));
SELECT seen();
ROLLBACK;
BEGIN;
SET LOCAL ROLE identity_app;
SELECT attempt(format('SELECT count(*), (SELECT set_config(''bulwark.ticket'', %L, true)) FROM identity_test.note', :'one'));
SELECT attempt(format('DO $d$ BEGIN PERFORM * FROM identity_test.note; PERFORM set_config(''bulwark.ticket'', %L, true); END $d$', :'one'));
SELECT seen();
ROLLBACK;
-- nor row by row, through a definer function, in a trigger
CREATE TABLE target (n bigint);
CREATE FUNCTION switch() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN PERFORM identity_test.lend(identity_test.id(102), identity_test.id(2)); RETURN NEW; END $$;
CREATE TRIGGER switch BEFORE INSERT ON target FOR EACH ROW EXECUTE FUNCTION switch();
GRANT SELECT, INSERT ON target TO bulwark_app;
BEGIN;
SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
SELECT attempt('SELECT note_id, identity_test.lend(identity_test.id(102), identity_test.id(2)) FROM identity_test.note');
SELECT attempt('SELECT * FROM identity_test.note WHERE identity_test.lend(identity_test.id(102), identity_test.id(note_id * 0 + 2)) IS NOT NULL');
SELECT attempt('INSERT INTO identity_test.target SELECT note_id FROM identity_test.note');
SELECT seen(), (SELECT count(*) FROM target) AS written;
ROLLBACK;
BEGIN;
SET LOCAL ROLE identity_app;
SELECT attempt('INSERT INTO identity_test.target SELECT n FROM (SELECT count(*) AS n FROM identity_test.note) c');
SELECT attempt('SELECT (SELECT count(*) FROM identity_test.note WHERE note_id > n), identity_test.lend(identity_test.id(102), identity_test.id(2)) FROM generate_series(1, 2) n');
SELECT seen(), (SELECT count(*) FROM target) AS written;
ROLLBACK;
DROP TABLE target;
-- planning reads nothing: an estimate must not stand against the identity that comes
BEGIN;
SET LOCAL ROLE identity_app;
EXPLAIN (COSTS OFF) SELECT * FROM note;
RESET ROLE;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'one'));
ROLLBACK;

-- I10: a cursor opened as A is never fetched as B
BEGIN;
SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
DECLARE c CURSOR FOR SELECT note_id FROM note ORDER BY 1;
FETCH 2 FROM c;
RESET ROLE;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'two'));
SELECT bulwark.release();
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'two'));
FETCH ALL FROM c;
ROLLBACK;

-- I11, I40: a savepoint rolled back restores, never switches; once B, only B
BEGIN;
SELECT set_config('bulwark.ticket', :'one', true) \g /dev/null
SAVEPOINT s;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'two'));
SELECT bulwark.release();
SELECT bulwark.tenant_id();
ROLLBACK TO s;
SELECT bulwark.tenant_id() = id(1) AS restored;
RESET bulwark.ticket;
SELECT bulwark.tenant_id(), attempt(format('SET LOCAL bulwark.ticket = %L', :'two'));
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'one')), bulwark.tenant_id() = id(1) AS again;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT set_config('bulwark.ticket', :'two', true) \g /dev/null
SELECT bulwark.tenant_id() = id(2) AS second;
ROLLBACK TO s;
SELECT bulwark.tenant_id();
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'one'));
ROLLBACK;
-- a plain SET, then a savepoint in the next transaction: revives nothing
SELECT set_config('bulwark.ticket', :'one', false) \g /dev/null
BEGIN;
SELECT bulwark.tenant_id();
SAVEPOINT s;
SET LOCAL bulwark.ticket = '';
ROLLBACK TO s;
SELECT bulwark.tenant_id();
SELECT set_config('bulwark.ticket', :'two', true) \g /dev/null
SELECT bulwark.tenant_id() = id(2) AS second;
COMMIT;
RESET ALL;
SET search_path = identity_test;
DISCARD ALL;
SET search_path = identity_test;
SELECT bulwark.tenant_id();

-- I40: COMMIT inside a procedure ends the identity
CREATE PROCEDURE two_transactions(t text, INOUT inside uuid DEFAULT NULL, INOUT after uuid DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('bulwark.ticket', t, true);
	inside := bulwark.tenant_id();
	COMMIT;
	after := bulwark.tenant_id();
END $$;
CALL two_transactions(:'one');

-- I7: expiry, in an open transaction
BEGIN;
SELECT ticket(id(101), id(1), '2 seconds') AS short \gset
COMMIT;
BEGIN;
SELECT set_config('bulwark.ticket', :'short', true) \g /dev/null
SELECT bulwark.tenant_id() = id(1) AS before;
SELECT pg_sleep(2.2);
SELECT bulwark.tenant_id() AS expired;
SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'short'));
ROLLBACK;

-- I36: re-issuing never moves the end, and keeps how it was proved
BEGIN;
SELECT bulwark.assume(id(101), id(1)) ->> 'expires_at' AS absolute_end \gset
SELECT bulwark.ticket_issue('1 hour') AS t \gset
COMMIT;
CREATE PROCEDURE reissue(INOUT t text, n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		PERFORM set_config('bulwark.ticket', t, true);
		t := bulwark.ticket_issue('1 hour');
		COMMIT;
	END LOOP;
END $$;
CALL reissue(:'t', 100) \gset
BEGIN;
SELECT set_config('bulwark.ticket', :'t', true) \g /dev/null
SELECT (bulwark.identity() ->> 'expires_at')::timestamptz <= :'absolute_end'::timestamptz AS not_past,
	bulwark.identity() ->> 'proof' AS proof, bulwark.identity() ->> 'assumed_by' AS assumed_by;
SELECT attempt('SELECT bulwark.ticket_issue(''61 minutes'')'), attempt('SELECT bulwark.ticket_issue(''-1 second'')'), attempt('SELECT bulwark.ticket_issue(''0'')');
ROLLBACK;
SELECT attempt('SELECT bulwark.ticket_issue()');
-- disabled and enabled again, revoked and granted again: the old ticket stays refused
BEGIN; SELECT ticket(id(103), id(2)) AS old \gset
COMMIT;
SELECT bulwark.principal_disable(id(103));
BEGIN; SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'old'));
ROLLBACK;
SELECT bulwark.principal_enable(id(103));
BEGIN; SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'old'));
ROLLBACK;
BEGIN; SELECT ticket(id(103), id(2)) AS old \gset
COMMIT;
SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE principal_id = id(103) AND tenant_id = id(2);
SELECT bulwark.membership_grant(id(103), id(2), 'read_only') IS NOT NULL AS granted;
BEGIN; SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'old'));
ROLLBACK;
BEGIN; SELECT ticket(id(103), id(2)) AS old \gset
COMMIT;
SELECT bulwark.tickets_revoke(id(103));
BEGIN; SELECT attempt(format('SET LOCAL bulwark.ticket = %L', :'old'));
ROLLBACK;

-- I8: revoked in the transaction's own statement: the next sees nothing
BEGIN;
SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
DECLARE c CURSOR FOR SELECT note_id FROM note ORDER BY 1;
FETCH 1 FROM c;
RESET ROLE;
SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE principal_id = id(103) AND tenant_id = id(1);
FETCH 1 FROM c;
SET LOCAL ROLE identity_app;
SELECT seen();
ROLLBACK;
-- the same for a cursor over an index scan, whose condition was worked out when it was opened
CREATE INDEX ON note (tenant_id, affiliation_id);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
BEGIN;
SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
EXPLAIN (COSTS OFF) SELECT note_id FROM note;
DECLARE c CURSOR FOR SELECT note_id FROM note;
FETCH 1 FROM c;
RESET ROLE;
SAVEPOINT s;
SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE principal_id = id(103) AND tenant_id = id(1);
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH 1 FROM c;
SELECT bulwark.membership_grant(id(103), id(1), 'read_only', id(12)) IS NOT NULL AS granted;
FETCH 1 FROM c;
ROLLBACK;
RESET enable_seqscan;
RESET enable_bitmapscan;
DROP INDEX note_tenant_id_affiliation_id_idx;
BEGIN;
SELECT bulwark.assume(id(102), id(2)) \g /dev/null
SELECT bulwark.tenant_suspend(id(2), 'test');
SELECT bulwark.tenant_id();
SELECT bulwark.tenant_resume(id(2));
ROLLBACK;

-- I12: prepared as A, executed as B with a generic plan: B's rows, no literal of A
SET plan_cache_mode = force_generic_plan;
PREPARE p AS SELECT string_agg(note_id::text, ',' ORDER BY note_id) FROM note;
PREPARE q AS SELECT count(note_id) FROM note;
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p; EXECUTE p;
COMMIT;
BEGIN; SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p; EXECUTE p;
COMMIT;
BEGIN; SELECT bulwark.assume(id(102), id(2)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p; EXECUTE p; EXECUTE q; EXPLAIN (COSTS OFF) EXECUTE q;
COMMIT;
BEGIN; SET LOCAL ROLE identity_app; EXECUTE p;
COMMIT;
DEALLOCATE p;
DEALLOCATE q;
RESET plan_cache_mode;

-- I12: functions with plans of their own, inlined ones, views; one plan, many roles
CREATE VIEW seen_view WITH (security_invoker) AS SELECT note_id FROM note;
CREATE FUNCTION inlined() RETURNS SETOF int STABLE LANGUAGE sql AS 'SELECT note_id FROM identity_test.seen_view';
CREATE FUNCTION kept() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM identity_test.note); END';
GRANT SELECT ON seen_view TO identity_app, identity_app2;
CREATE FUNCTION all_ways() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN format('view %s, inlined %s, kept %s, seen %s', (SELECT string_agg(note_id::text, ',' ORDER BY note_id) FROM identity_test.seen_view),
		(SELECT string_agg(i::text, ',' ORDER BY i) FROM identity_test.inlined() i), identity_test.kept(), identity_test.seen());
END $$;
GRANT EXECUTE ON FUNCTION inlined, kept, all_ways TO PUBLIC;
SET plan_cache_mode = force_generic_plan;
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; SELECT all_ways(); SET LOCAL ROLE identity_app2; SELECT all_ways();
COMMIT;
BEGIN; SELECT bulwark.assume(id(102), id(2)) \g /dev/null
SET LOCAL ROLE identity_app; SELECT all_ways(); SET LOCAL ROLE identity_app2; SELECT all_ways();
COMMIT;
BEGIN; SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; SELECT all_ways(); SELECT bulwark.release(); SELECT all_ways();
COMMIT;
BEGIN; SET LOCAL ROLE identity_app2; SELECT all_ways();
COMMIT;
RESET plan_cache_mode;

-- I12: the same through an index condition derived for an affiliation's member,
-- then run by a tenant-wide role, which also sees rows without an affiliation
INSERT INTO note VALUES (100, id(1), NULL, 'no affiliation'), (101, id(1), id(999), 'unregistered');
CREATE INDEX ON note (tenant_id, affiliation_id);
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
PREPARE p AS SELECT string_agg(note_id::text, ',' ORDER BY note_id) FROM note;
PREPARE q AS SELECT count(note_id) FROM note;
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p; EXECUTE q; EXPLAIN (COSTS OFF) EXECUTE q;
COMMIT;
BEGIN; SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p; EXECUTE q; EXPLAIN (COSTS OFF) EXECUTE q;
COMMIT;
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; EXECUTE p;
COMMIT;
DEALLOCATE p;
DEALLOCATE q;
RESET enable_seqscan;
RESET plan_cache_mode;
DELETE FROM note WHERE note_id >= 100;

-- I15: forced parallel plans see what serial ones do; a plain SET of an earlier transaction, nothing
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
ALTER TABLE note SET (parallel_workers = 2);
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
EXPLAIN (COSTS OFF) SELECT count(*), min(note_id) FROM note;
SELECT count(*), min(note_id) FROM note;
COMMIT;
SELECT set_config('bulwark.ticket', :'one', false) \g /dev/null
BEGIN; SET LOCAL ROLE identity_app;
SELECT count(*), min(note_id) FROM note;
COMMIT;
RESET bulwark.ticket;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- I27: no identity, NULL tenant, NULL affiliation
BEGIN; SET LOCAL ROLE identity_app;
SELECT seen(), bulwark.tenant_id(), bulwark.principal_id(), bulwark.tenant_key(), bulwark.tenant_key_int8(),
	bulwark.affiliations_with('note', 'read'), bulwark.affiliation_keys_with('note', 'read'), bulwark.affiliation_keys_int8_with('note', 'read'),
	bulwark.permitted('note', 'read'), bulwark.affiliation_visible(id(11), 'note', 'read');
ROLLBACK;
BEGIN; SELECT bulwark.assume(id(103), id(1)) \g /dev/null
SELECT bulwark.affiliation_visible(NULL::uuid, 'note', 'read') AS null_affiliation,
	bulwark.affiliation_visible(id(11), NULL, 'read') AS null_resource, bulwark.permitted('note', NULL) AS null_action,
	bulwark.affiliation_visible(id(11), 'note', 'read') AS own, bulwark.affiliation_visible(id(12), 'note', 'read') AS other,
	bulwark.affiliation_visible(1.5::numeric, 'note', 'read') AS other_type,
	bulwark.permitted(repeat('x', 1000), 'read') AS long_name;
ROLLBACK;

-- I8, I10: a cursor that has begun gives nothing after its identity has ended, whatever its plan has kept
BEGIN; SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app;
DECLARE plain CURSOR FOR SELECT note_id FROM identity_test.note;
DECLARE sorted CURSOR FOR SELECT note_id FROM identity_test.note ORDER BY body DESC;
DECLARE counted CURSOR FOR SELECT note_id, count(*) OVER () FROM identity_test.note;
FETCH plain; FETCH sorted; FETCH counted;
SELECT bulwark.release();
FETCH ALL plain; FETCH ALL sorted; FETCH ALL counted;
ROLLBACK;

-- I43: without an identity, an error instead of an empty table, where it is asked for
CREATE MATERIALIZED VIEW note_count AS SELECT count(*) AS n FROM note;
CREATE ROLE identity_owner;
GRANT CREATE ON SCHEMA identity_test TO identity_owner;
ALTER MATERIALIZED VIEW note_count OWNER TO identity_owner;
ALTER TABLE note OWNER TO identity_owner;
SET bulwark.missing_identity = error;
BEGIN; SET LOCAL ROLE identity_owner;
SELECT attempt('UPDATE note SET body = ''migrated''');
SELECT attempt('REFRESH MATERIALIZED VIEW note_count');
SELECT attempt('SELECT * FROM identity_test.note');
EXPLAIN (COSTS OFF) SELECT note_id FROM note;
ROLLBACK;
-- what is not protected, emptied because what is protected shows nothing
CREATE TABLE mention (note_id int);
INSERT INTO mention SELECT note_id FROM note;
ALTER TABLE mention OWNER TO identity_owner;
BEGIN; SET LOCAL ROLE identity_owner;
SELECT attempt('DELETE FROM identity_test.mention m WHERE NOT EXISTS (SELECT FROM identity_test.note n WHERE n.note_id = m.note_id)');
SELECT attempt('DELETE FROM identity_test.mention WHERE note_id NOT IN (SELECT note_id FROM identity_test.note)');
SELECT attempt('CREATE TABLE identity_test.copy AS SELECT * FROM identity_test.note');
SELECT attempt('INSERT INTO identity_test.mention SELECT max(note_id) FROM identity_test.note');
SELECT count(*) FROM mention;
ROLLBACK;
BEGIN; SELECT bulwark.assume(id(101), id(1)) \g /dev/null
SET LOCAL ROLE identity_app; SELECT seen();
COMMIT;
GRANT bulwark_maintenance TO identity_owner;
BEGIN; SET LOCAL ROLE bulwark_maintenance;
SELECT attempt('SET LOCAL bulwark.missing_identity = hide');
ROLLBACK;
RESET bulwark.missing_identity;
SELECT n FROM note_count;
BEGIN; SET LOCAL ROLE identity_owner;
REFRESH MATERIALIZED VIEW note_count;
SELECT n FROM note_count;
ROLLBACK;
ALTER TABLE note OWNER TO CURRENT_USER;

-- annotate: once, bounded, gone with the transaction
BEGIN;
SELECT bulwark.annotate('/notes', 'req-1', '192.0.2.1', '{"a": 1}');
SELECT attempt('SELECT bulwark.annotate(''/again'')');
ROLLBACK;
BEGIN;
SELECT attempt(format('SELECT bulwark.annotate(%L)', repeat('x', 8193)));
SAVEPOINT s;
SELECT bulwark.annotate('/a');
ROLLBACK TO s;
SELECT attempt(format('SELECT bulwark.annotate(%L)', repeat('x', 8192)));
ROLLBACK;

DROP SCHEMA identity_test CASCADE;
DROP OWNED BY identity_app, identity_app2, identity_service, identity_both, identity_owner;
DROP ROLE identity_owner, identity_app, identity_app2, identity_service, identity_both;
