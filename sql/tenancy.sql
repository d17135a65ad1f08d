-- Tenants, affiliations, principals, memberships and roles: what the management
-- functions take, refuse and leave behind.  (Who may call them: test/pgtap/authority.sql;
-- two at once: test/specs/last_administrator.spec.)
CREATE FUNCTION tenant(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT format('a0000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION place(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT format('b0000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION person(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT format('c0000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END
$$;
-- granted at a time and by a name that do not depend on the run
CREATE VIEW listed AS
	SELECT split_part(email, '@', 1) AS who, role, affiliation_slug AS place, expires_at, disabled
	FROM bulwark.members WHERE tenant_slug LIKE 'reg-%' ORDER BY tenant_slug, email, role, affiliation_slug;

-- Tenants
SELECT bulwark.tenant_create('reg-acme', 'Acme', 'ACME GmbH', 'eu', tenant(1)) = tenant(1) AS id;
SELECT bulwark.tenant_create('reg-seven', 'Seven', '7', id => tenant(2)) = tenant(2) AS id;
SELECT bulwark.tenant_create('reg-zero', 'Zero', '007007', id => tenant(3)) = tenant(3) AS id;
SELECT bulwark.tenant_create('reg-cafe', 'Café', U&'caf\00E9', id => tenant(4)) = tenant(4) AS id;
SELECT bulwark.tenant_create('reg-min', 'Min', '-9223372036854775808', id => tenant(5)) = tenant(5) AS id;
SELECT slug, name, key, region, suspended_at, pinned FROM bulwark.tenants WHERE slug LIKE 'reg-%' ORDER BY slug;
-- the number is there for canonical decimals only
SELECT slug, key, key_int8 FROM bulwark_internal.tenants WHERE slug LIKE 'reg-%' ORDER BY slug;

-- I28: what could be taken for another tenant's slug, key or id is refused
SELECT what, attempt(format('bulwark.tenant_create(%L, %L, %L, id => %L)', slug, 'X', key, id)) AS answer
FROM (VALUES
	(1, 'I28: a slug twice', 'reg-acme', 'k', NULL::uuid),
	(2, 'I28: a slug in capitals', 'REG-ACME', 'k', NULL),
	(3, 'I28: a key twice', 'reg-x', '7', NULL),
	(4, 'I28: a key with a leading zero', 'reg-x', '07', NULL),
	(5, 'I28: a key with a sign', 'reg-x', '+7', NULL),
	(6, 'I28: a key with fewer leading zeros', 'reg-x', '7007', NULL),
	(7, 'I28: a key in small letters', 'reg-x', 'acme gmbh', NULL),
	(8, 'I28: a key in another Unicode form', 'reg-x', U&'cafe\0301', NULL),
	(9, 'I28: a slug that is another''s key', '7', 'k', NULL),
	(10, 'I28: a slug that reads as another''s key', '0007', 'k', NULL),
	(11, 'I28: a key that is another''s slug', 'reg-x', 'reg-acme', NULL),
	(12, 'I28: a key that is another''s id', 'reg-x', tenant(1)::text, NULL),
	(13, 'I28: a key that reads as another''s id', 'reg-x', '{' || upper(replace(tenant(1)::text, '-', '')) || '}', NULL),
	(14, 'I28: an id twice', 'reg-x', 'k', tenant(1)),
	(15, 'I28: blank before a key', 'reg-x', ' 8', NULL),
	(16, 'I28: blank after a key', 'reg-x', '8 ', NULL),
	(17, 'I28: no-break space after a key', 'reg-x', U&'8\00A0', NULL),
	(18, 'an empty key', 'reg-x', '', NULL),
	(19, 'a line end in a key', 'reg-x', E'a\nb', NULL),
	(20, 'an invisible character in a key', 'reg-x', U&'a\200Bb', NULL),
	(21, 'a key of 256 bytes', 'reg-x', repeat('k', 256), NULL),
	(22, 'an empty slug', '', 'k', NULL),
	(23, 'a slug with a blank', 'reg x', 'k', NULL),
	(24, 'a slug that begins with a hyphen', '-reg', 'k', NULL),
	(25, 'a slug of 64 letters', repeat('s', 64), 'k', NULL),
	(26, 'no slug', NULL, 'k', NULL)
) AS v (n, what, slug, key, id) ORDER BY n;
SELECT count(*) AS left_behind FROM bulwark.tenants WHERE slug IN ('reg-x', '7', '0007');

SELECT bulwark.tenant_suspend(tenant(2), 'unpaid');
SELECT bulwark.tenant_suspend(tenant(2), 'still unpaid');
SELECT slug, suspended_at IS NOT NULL AS suspended, suspended_reason FROM bulwark.tenants WHERE slug = 'reg-seven';
SELECT bulwark.tenant_resume(tenant(2));
SELECT slug, suspended_at IS NOT NULL AS suspended, suspended_reason FROM bulwark.tenants WHERE slug = 'reg-seven';
SELECT attempt('bulwark.tenant_suspend(tenant(99), ''x'')');
SELECT attempt('bulwark.tenant_suspend(tenant(2), '''')');
SELECT attempt('bulwark.tenant_resume(tenant(99))');
SELECT attempt('bulwark.tenant_resume(NULL)');

-- Affiliations: a tree in each tenant, names apart for each
SELECT bulwark.affiliation_create(tenant(1), 'north', 'North', '1', id => place(1)) = place(1) AS id;
SELECT bulwark.affiliation_create(tenant(1), 'oslo', 'Oslo', '2', place(1), place(2)) = place(2) AS id;
SELECT bulwark.affiliation_create(tenant(1), 'harbour', 'Harbour', parent_id => place(2), id => place(3)) = place(3) AS id;
SELECT bulwark.affiliation_create(tenant(1), 'south', 'South', id => place(4)) = place(4) AS id;
SELECT bulwark.affiliation_create(tenant(2), 'north', 'North', '1', id => place(5)) = place(5) AS id;
SELECT tenant_slug, slug, key, parent_id FROM bulwark.affiliations WHERE tenant_slug LIKE 'reg-%' ORDER BY 1, 2;
SELECT attempt('bulwark.affiliation_create(tenant(1), ''North'', ''x'')') AS "I28: a slug in capitals";
SELECT attempt('bulwark.affiliation_create(tenant(1), ''x'', ''x'', ''01'')') AS "I28: a key with a leading zero";
SELECT attempt('bulwark.affiliation_create(tenant(1), ''2'', ''x'', ''k'')') AS "I28: a slug that is another's key";
SELECT attempt('bulwark.affiliation_create(tenant(1), ''x'', ''x'', id => place(5))') AS "an id of another tenant's";
SELECT attempt('bulwark.affiliation_create(tenant(1), ''x'', ''x'', parent_id => place(5))') AS "a parent of another tenant's";
SELECT attempt('bulwark.affiliation_create(tenant(99), ''x'', ''x'')') AS "an unknown tenant";
SELECT attempt('bulwark.affiliation_move(place(1), place(3))') AS "below its own descendant";
SELECT attempt('bulwark.affiliation_move(place(1), place(1))') AS "below itself";
SELECT attempt('bulwark.affiliation_move(place(1), place(5))') AS "below another tenant's";
SELECT attempt('bulwark.affiliation_move(place(2), place(4))') AS "with all below it";
SELECT attempt('bulwark.affiliation_move(place(4), place(3))') AS "below what came below it";
SELECT attempt('bulwark.affiliation_move(place(2), NULL)') AS "to the top";
SELECT attempt('bulwark.affiliation_drop(place(2))') AS "one with others below it";
SELECT attempt('bulwark.affiliation_drop(place(3))') AS "a leaf";
SELECT attempt('bulwark.affiliation_drop(place(3))') AS "again";
SELECT tenant_slug, slug, parent_id FROM bulwark.affiliations WHERE tenant_slug LIKE 'reg-%' ORDER BY 1, 2;

-- Principals
SELECT bulwark.principal_create('one@reg.example', 'One', id => person(1)) = person(1) AS id;
SELECT bulwark.principal_create('two@reg.example', id => person(2)) = person(2) AS id;
SELECT bulwark.principal_create('robot@reg.example', kind => 'service', id => person(3)) = person(3) AS id;
SELECT email, display_name, kind, disabled_at FROM bulwark.principals WHERE email LIKE '%@reg.example' ORDER BY 1;
SELECT attempt('bulwark.principal_create(''ONE@reg.example'')') AS "an e-mail address in capitals";
SELECT attempt('bulwark.principal_create(''x@reg.example'', id => person(1))') AS "an id twice";
SELECT attempt('bulwark.principal_create('''')') AS "no e-mail address";
SELECT attempt('bulwark.principal_create(''x@reg.example'', kind => ''robot'')') AS "another kind";
SELECT attempt('bulwark.principal_link(person(1), ''https://reg.example'', ''1'')') AS linked;
SELECT attempt('bulwark.principal_link(person(1), ''https://reg.example'', ''1'')') AS again;
SELECT attempt('bulwark.principal_link(person(2), ''https://reg.example'', ''1'')') AS "another's subject";
SELECT attempt('bulwark.principal_link(person(99), ''https://reg.example'', ''2'')') AS "an unknown principal";
SELECT attempt('bulwark.principal_unlink(person(2), ''https://reg.example'', ''1'')') AS "not its own";
SELECT attempt('bulwark.principal_unlink(person(1), ''https://reg.example'', ''1'')') AS unlinked;
SELECT count(*) FROM bulwark.principal_links WHERE issuer = 'https://reg.example';

-- Roles
SELECT name, permissions FROM bulwark.roles WHERE builtin ORDER BY name COLLATE "C";
SELECT bulwark.role_create(tenant(1), 'Case officer', '{orders:read,orders:update,orders:read}') IS NOT NULL AS id;
SELECT bulwark.role_create(NULL, 'reg_common', '{*:read}') IS NOT NULL AS id;
SELECT name, tenant_id, permissions FROM bulwark.roles WHERE name IN ('Case officer', 'reg_common') ORDER BY name COLLATE "C";
SELECT attempt(format('bulwark.role_create(%L, %L, %L)', tenant, name, permissions)) AS answer, permissions
FROM (VALUES (1, tenant(1), 'case officer', '{orders:read}'), (2, tenant(1), 'reg_common', '{orders:read}'),
	(3, NULL, 'Case Officer', '{orders:read}'), (4, tenant(2), 'Case officer', '{orders:read}'), (5, tenant(1), 'x', '{orders}'),
	(6, tenant(1), 'x', '{orders:}'), (7, tenant(1), 'x', '{:read}'), (8, tenant(1), 'x', '{ord*:read}'), (9, tenant(1), 'x', '{orders:Read}'),
	(10, tenant(1), 'x', '{orders:read:all}'), (11, tenant(1), 'x', '{" orders:read"}'), (12, tenant(1), 'x', '{NULL}'),
	(13, tenant(99), 'x', '{}'), (14, tenant(1), 'x', NULL)) AS v (n, tenant, name, permissions) ORDER BY n;
SELECT attempt('bulwark.role_alter(tenant(1), ''Case officer'', ''{*:read}'')') AS altered;
SELECT attempt('bulwark.role_alter(NULL, ''tenant_admin'', ''{}'')') AS "I31: a built-in role altered";
SELECT attempt('bulwark.role_drop(NULL, ''owner'')') AS "I31: a built-in role dropped";
SELECT attempt('bulwark.role_drop(tenant(1), ''owner'')') AS "I31: a built-in role dropped as one's own";
SELECT attempt('bulwark.role_drop(tenant(1), ''reg_common'')') AS "one for all tenants dropped as one's own";
SELECT attempt('bulwark.role_drop(tenant(2), ''nothing'')') AS "an unknown role";
SELECT attempt('bulwark.role_drop(tenant(2), ''Case officer'')') AS dropped;

-- Memberships
CREATE FUNCTION grants(who int, role text, place uuid DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS uuid LANGUAGE sql
	AS $$ SELECT bulwark.membership_grant(person(who), tenant(1), role, place, until) $$;
SELECT grants(1, 'tenant_admin') AS one \gset
SELECT grants(2, 'Case officer', place(1)) AS two \gset
SELECT grants(1, 'tenant_admin') = :'one' AS "the same again";
SELECT grants(2, 'Case officer', place(1), '2099-01-01 00:00:00+00') = :'two' AS "the same with an end";
SELECT * FROM listed;
SELECT grants(2, 'Case officer', place(1), 'infinity') = :'two' AS "and without";
SELECT * FROM listed;
SELECT attempt('grants(2, ''read_only'', place(5))') AS "another tenant's affiliation";
SELECT attempt('grants(2, ''nothing'')') AS "an unknown role";
SELECT attempt('grants(99, ''read_only'')') AS "an unknown principal";
SELECT attempt('grants(2, ''read_only'', NULL, now())') AS "an end that is past";
SELECT attempt('grants(2, ''read_only'', NULL, ''-infinity'')') AS "an end that was never";
SELECT attempt('bulwark.membership_revoke(person(99))') AS "an unknown membership";
SELECT attempt('bulwark.role_drop(tenant(1), ''Case officer'')') AS "a role that is held";
SELECT attempt('bulwark.affiliation_drop(place(1))') AS "an affiliation that has members";

-- one that has ended is replaced, and its tickets with it
SELECT grants(2, 'viewer', NULL, '2099-01-01') AS ended \gset
UPDATE bulwark_internal.memberships SET expires_at = '2001-01-01' WHERE membership_id = :'ended';
SELECT grants(2, 'viewer', NULL, '2099-01-01') <> :'ended' AS "another id";
SELECT generation FROM bulwark_internal.member_generations WHERE principal_id = person(2) AND tenant_id = tenant(1);

-- I31: the last tenant-wide administrator stays
SELECT attempt(format('bulwark.membership_revoke(%L)', :'one')) AS "I31: revoked";
SELECT attempt('bulwark.principal_disable(person(1))') AS "I31: disabled";
SELECT attempt('grants(1, ''tenant_admin'', NULL, ''2099-01-01'')') AS "I31: left to expire";
SELECT grants(2, 'tenant_admin', NULL, '2099-01-01') IS NOT NULL AS "another that will end does not count";
SELECT attempt(format('bulwark.membership_revoke(%L)', :'one')) AS "I31: revoked";
SELECT grants(2, 'tenant_admin', place(1)) IS NOT NULL AS "another of an affiliation does not count";
SELECT attempt(format('bulwark.membership_revoke(%L)', :'one')) AS "I31: revoked";
SELECT bulwark.role_create(tenant(1), 'deputy', '{users:*}') IS NOT NULL AS id;
SELECT grants(3, 'deputy') IS NOT NULL AS "another who manages users does";
SELECT attempt(format('bulwark.membership_revoke(%L)', :'one')) AS revoked;
SELECT attempt('bulwark.role_alter(tenant(1), ''deputy'', ''{*:read}'')') AS "I31: its role altered";
SELECT attempt('bulwark.role_alter(tenant(1), ''deputy'', ''{users:manage,*:read}'')') AS "but not of users:manage";
SELECT attempt('bulwark.principal_disable(person(3))') AS "I31: disabled";
SELECT bulwark.tenant_suspend(tenant(1), 'closed');
SELECT attempt('bulwark.principal_disable(person(3))') AS "a suspended tenant may lose it";
SELECT bulwark.tenant_resume(tenant(1));
SELECT * FROM listed;
SELECT bulwark.principal_enable(person(3));
SELECT generation FROM bulwark_internal.principals WHERE principal_id = person(3);
SELECT bulwark.tickets_revoke(person(3));
SELECT generation FROM bulwark_internal.principals WHERE principal_id = person(3);

-- A database for one tenant, a service for some
SELECT bulwark.pin_tenant(tenant(1));
SELECT bulwark.pin_tenant(tenant(1));
SELECT slug FROM bulwark.tenants WHERE pinned;
SELECT attempt('bulwark.pin_tenant(tenant(2))') AS "pinned to another";
SELECT attempt('bulwark.pin_tenant(tenant(99))') AS "pinned to none";
SELECT bulwark.unpin_tenant();
SELECT slug FROM bulwark.tenants WHERE pinned;
CREATE ROLE regress_tenancy_service;
SELECT bulwark.service_scope('regress_tenancy_service', ARRAY[tenant(1), tenant(2)]);
SELECT bulwark.service_scope('regress_tenancy_service', ARRAY[tenant(2)]);
SELECT tenant_ids FROM bulwark_internal.service_scopes WHERE role = 'regress_tenancy_service';
SELECT attempt('bulwark.service_scope(''regress_tenancy_service'', ARRAY[tenant(99)])') AS "an unknown tenant";
SELECT attempt('bulwark.service_scope(''regress_tenancy_nobody'', NULL)') AS "an unknown role";
SELECT bulwark.service_scope('regress_tenancy_service', NULL);
SELECT count(*) FROM bulwark_internal.service_scopes WHERE role = 'regress_tenancy_service';

DROP ROLE regress_tenancy_service;
DELETE FROM bulwark_internal.principals WHERE email LIKE '%@reg.example';
DELETE FROM bulwark_internal.tenants WHERE slug LIKE 'reg-%';
DELETE FROM bulwark_internal.roles WHERE name = 'reg_common';
DROP VIEW listed;
DROP FUNCTION tenant, place, person, attempt, grants;
