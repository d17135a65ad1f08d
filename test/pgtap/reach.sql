-- What an identity reaches is what the tables say, whatever the history of their
-- rows: versions in a chain, dead ones, vacuumed pages, line pointers used again.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;

SELECT plan(17);

SELECT bulwark.tenant_create('reach', 'Reach') AS tenant \gset
CREATE TABLE place (n int PRIMARY KEY, id uuid NOT NULL);
CREATE TABLE person (n int PRIMARY KEY, id uuid NOT NULL);
-- A tree of 400: some deep, some wide, four roots.  Keys are texts and int8s.
DO $$
BEGIN
	FOR i IN 1..400 LOOP
		INSERT INTO place SELECT i, bulwark.affiliation_create((SELECT tenant_id FROM bulwark_internal.tenants WHERE slug = 'reach'),
			'p' || i, 'P ' || i, CASE WHEN i % 3 = 0 THEN i::text ELSE 'key ' || i END,
			(SELECT p.id FROM place p WHERE i > 4 AND p.n = CASE WHEN i % 2 = 0 THEN i / 5 ELSE i - 4 END));
	END LOOP;
END $$;
INSERT INTO person SELECT i, bulwark.principal_create('reach-' || i || '@example.org') FROM generate_series(1, 6) i;
SELECT count(bulwark.role_create(:'tenant', name, permissions))
FROM (VALUES ('orders', '{orders:read}'::text[]), ('reads', '{*:read}'), ('invoices', '{invoices:*,orders:update}')) r (name, permissions) \g /dev/null

-- Person 1 holds one leaf, 2 a root, 3 to 5 many places under several roles, 6 the
-- same with ends, some of which have passed when it is looked at.
CREATE FUNCTION give(a int, b int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC
	SELECT count(bulwark.membership_grant(person.id, t.tenant_id, (ARRAY['orders', 'reads', 'invoices'])[1 + (place.n / 2 + person.n) % 3],
		place.id, CASE WHEN person.n = 6 AND place.n % 3 = 0 THEN clock_timestamp() + CASE WHEN place.n % 2 = 0 THEN '6 seconds' ELSE '1 hour' END::interval END))
	FROM bulwark_internal.tenants t, person, place
	WHERE t.slug = 'reach' AND place.n BETWEEN a AND b AND CASE person.n WHEN 1 THEN place.n = 390 WHEN 2 THEN place.n = 2 ELSE place.n % (person.n - 1) = 0 END;
END;
SELECT give(1, 400) \g /dev/null

CREATE FUNCTION expected(person uuid, resource text, action text) RETURNS uuid[] LANGUAGE sql STABLE BEGIN ATOMIC
	WITH RECURSIVE reached AS (
		SELECT m.affiliation_id FROM bulwark_internal.memberships m JOIN bulwark_internal.roles r USING (role_id)
		WHERE m.principal_id = person AND (m.expires_at IS NULL OR m.expires_at > clock_timestamp())
			AND EXISTS (SELECT FROM unnest(r.permissions) p
				WHERE split_part(p, ':', 1) IN ('*', resource) AND split_part(p, ':', 2) IN ('*', action))
		UNION
		SELECT p.affiliation_id FROM bulwark_internal.affiliation_parents p JOIN reached r ON p.parent_id = r.affiliation_id)
	SELECT COALESCE(array_agg(affiliation_id ORDER BY affiliation_id), '{}') FROM reached;
END;

-- Each person in a transaction of its own: the list, one look-up of each place by
-- id (the first few are answered without a hash set) and by key.
CREATE PROCEDURE look(INOUT differences text) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	r record;
	wanted uuid[];
	got uuid[];
	tenant uuid := (SELECT tenant_id FROM bulwark_internal.tenants WHERE slug = 'reach');
BEGIN
	differences := '';
	FOR p IN SELECT * FROM person ORDER BY n LOOP
		COMMIT;
		PERFORM bulwark.assume(p.id, tenant);
		FOR r IN SELECT * FROM (VALUES ('orders', 'read'), ('orders', 'update'), ('invoices', 'read'), ('invoices', 'delete'), ('other', 'delete')) v (resource, action) LOOP
			wanted := expected(p.id, r.resource, r.action);
			SELECT COALESCE(array_agg(id ORDER BY id) FILTER (WHERE bulwark.affiliation_visible(id, r.resource, r.action)), '{}') INTO got FROM place;
			IF got <> wanted THEN differences := differences || format('%s %s:%s by id; ', p.n, r.resource, r.action); END IF;
			SELECT COALESCE(array_agg(DISTINCT id ORDER BY id), '{}') INTO got FROM unnest(bulwark.affiliations_with(r.resource, r.action)) id;
			IF got <> wanted THEN differences := differences || format('%s %s:%s in the list; ', p.n, r.resource, r.action); END IF;
			SELECT COALESCE(array_agg(affiliation_id ORDER BY affiliation_id) FILTER (WHERE bulwark.affiliation_visible(key, r.resource, r.action)), '{}') INTO got
			FROM bulwark_internal.affiliations;
			IF got <> wanted THEN differences := differences || format('%s %s:%s by key; ', p.n, r.resource, r.action); END IF;
		END LOOP;
	END LOOP;
	COMMIT;
END $$;

CALL look('') \gset
SELECT is(:'differences'::text, '', 'as granted');
SELECT cmp_ok(sum(cardinality(expected(id, 'orders', 'read'))), '>', 500::bigint, 'there is something to reach') FROM person;
SELECT pg_sleep(6.5) \g /dev/null
CALL look('') \gset
SELECT is(:'differences'::text, '', 'when some have ended');

UPDATE bulwark_internal.memberships SET granted_by = 'again' WHERE ctid::text LIKE '%1)';
UPDATE bulwark_internal.memberships SET granted_by = 'and again' WHERE granted_by = 'again';
UPDATE bulwark_internal.affiliation_parents SET tenant_id = tenant_id WHERE ctid::text LIKE '%3)';
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with versions in a chain');
VACUUM bulwark_internal.memberships, bulwark_internal.affiliation_parents;
CALL look('') \gset
SELECT is(:'differences'::text, '', 'after a vacuum');

SELECT bulwark.membership_revoke(membership_id) FROM bulwark_internal.memberships m JOIN place p ON p.id = m.affiliation_id WHERE p.n % 4 < 2 AND p.n BETWEEN 10 AND 380 \g /dev/null
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with dead rows');
VACUUM bulwark_internal.memberships;
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with pages that all see');
-- those that end soon have ended: none does while it is looked
SELECT give(1, 200) \g /dev/null
SELECT pg_sleep(6.5) \g /dev/null
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with line pointers used again');
BEGIN;
SELECT give(1, 400) \g /dev/null
UPDATE bulwark_internal.memberships SET granted_by = 'undone';
ROLLBACK;
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with what a rollback left');
UPDATE bulwark_internal.memberships SET role_id = (SELECT role_id FROM bulwark_internal.roles WHERE name = 'reads')
FROM place p WHERE p.id = affiliation_id AND p.n % 5 = 0 AND NOT EXISTS (SELECT FROM bulwark_internal.memberships o JOIN bulwark_internal.roles r USING (role_id)
	WHERE r.name = 'reads' AND o.principal_id = memberships.principal_id AND o.affiliation_id = memberships.affiliation_id);
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with other roles');
SELECT bulwark.affiliation_move((SELECT id FROM place WHERE n = 20), (SELECT id FROM place WHERE n = 3)) \g /dev/null
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with a node moved');

REINDEX INDEX CONCURRENTLY bulwark_internal.memberships_member_idx;
SELECT bulwark.principal_create('reach-8@example.org') \g /dev/null
CALL look('') \gset
SELECT is(:'differences'::text, '', 'by an index made anew');
INSERT INTO bulwark_internal.affiliation_parents SELECT :'tenant', root.id, below.id FROM place root, place below WHERE root.n = 1 AND below.n = 13;
CALL look('') \gset
SELECT is(:'differences'::text, '', 'with a circle in the tree');

SET default_transaction_isolation = 'serializable';
CALL look('') \gset
SELECT is(:'differences'::text, '', 'in serializable transactions');
SELECT bulwark.principal_create('reach-7@example.org') AS seven \gset
SELECT bulwark.membership_grant(:'seven', :'tenant', 'reads', id) FROM place WHERE n = 1 \g /dev/null
BEGIN;
SELECT bulwark.assume(:'seven', :'tenant') \g /dev/null
SELECT is(count(*), 1::bigint, 'a serializable transaction notes what it has read of memberships') FROM pg_locks
WHERE pid = pg_backend_pid() AND mode = 'SIReadLock' AND relation = 'bulwark_internal.memberships'::regclass;
COMMIT;
SET default_transaction_isolation = 'repeatable read';
CALL look('') \gset
SELECT is(:'differences'::text, '', 'in repeatable read');
RESET default_transaction_isolation;
SELECT bulwark.membership_grant(id, :'tenant', 'reads') FROM person WHERE n = 1 \g /dev/null
BEGIN;
SELECT bulwark.assume((SELECT id FROM person WHERE n = 1), :'tenant') \g /dev/null
SELECT is((bulwark.permitted('orders', 'read'), bulwark.affiliation_visible(gen_random_uuid(), 'orders', 'read'), cardinality(bulwark.affiliations_with('orders', 'read')),
	bulwark.permitted('orders', 'delete'))::text, '(t,t,400,f)', 'a role in the whole tenant reaches all of it');
COMMIT;
SELECT * FROM finish();
