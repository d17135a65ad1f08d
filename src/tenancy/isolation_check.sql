-- isolation_check: all checks in one answer.

-- Every check, and what holds where it finds nothing.
CREATE FUNCTION bulwark_internal.isolation_checks() RETURNS TABLE (check_name text, per_table boolean, promise text)
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
	VALUES
		('protected', true, 'Protected.'),
		('row_security', true, 'Row security is enabled, and forced on the owner.'),
		('policies', true, 'The policies are there, restrictive, as protect() writes them.'),
		('permissive_policies', true, 'No permissive policy but protect()''s own.'),
		('triggers', true, 'The triggers are there and always fire.'),
		('tenant_default', true, 'A tenant column defaults to the identity''s tenant.'),
		('children', true, 'All partitions and inheritance children are protected.'),
		('column_type', true, 'Tenant and affiliation columns tell every two values apart.'),
		('materialized', true, 'No materialize is left to be done.'),
		('pinned_tenant', true, 'Not bound to a tenant that the database is not pinned to.'),
		('app_privileges', true, 'No application role has TRUNCATE, TRIGGER, REFERENCES or MAINTAIN.'),
		('owner', true, 'No application role owns it.'),
		('foreign_code', true, 'Functions that run with it belong to its owner or a superuser.'),
		('views', true, 'Every view over it has security_invoker.'),
		('materialized_views', true, 'No materialized view holds its rows.'),
		('rules', true, 'No rule.'),
		('cascades', true, 'No cascade runs triggers past row security.'),
		('publications', true, 'In no publication.'),
		('unique_keys', true, 'No unique key tells of another tenant''s values.'),
		('tenant_index', true, 'An index begins with the column that decides.'),
		('usable_indexes', true, 'No index has an operator or a function that is not leakproof.'),
		('null_tenant', true, 'No row without a tenant.'),
		('foreign_keys', true, 'No foreign key joins rows of two tenants.'),
		('foreign_key_guards', true, 'Every foreign key to another protected table keeps to one tenant.'),
		('encryption_context', false, 'Every encrypted value is bound to a context.'),
		('unprotected_tables', false, 'Every table with a tenant column, or a reference to a protected table, is protected.'),
		('foreign_tables', false, 'No application role reads a foreign table.'),
		('unbound_logins', false, 'Every login with privileges on protected tables is a member of bulwark_app or of another role of bulwark.'),
		('app_attributes', false, 'No application role has SUPERUSER, BYPASSRLS, CREATEROLE, REPLICATION or CREATEDB.'),
		('app_ownership', false, 'No application role owns anything here.'),
		('server_files', false, 'No application role reaches the server''s files.'),
		('data_roles', false, 'No application role is a member of pg_read_all_data, pg_write_all_data, pg_maintain or pg_create_subscription.'),
		('activity_roles', false, 'No application role is a member of pg_monitor, pg_read_all_stats or pg_signal_backend.'),
		('app_and_service', false, 'No application role is also a service, an administrator or an auditor.'),
		('bypass_roles', false, 'No role but bulwark_maintenance has BYPASSRLS.'),
		('service_scopes', false, 'Every limit of a service bears the name of its role.'),
		('cluster_roles', false, 'Bulwark''s roles have neither LOGIN nor attributes.'),
		('shared_activity', false, 'Back ends of an application login cannot read each other''s statements.'),
		('statement_statistics', false, 'No application role reads statistics of statements.'),
		('planner_statistics', false, 'No application role reads the planner''s statistics.'),
		('definer_search_path', false, 'Every SECURITY DEFINER function pins a search_path in which no application role creates.'),
		('definer_functions', false, 'No application role executes a SECURITY DEFINER function of a role past row security.'),
		('untrusted_functions', false, 'No application role executes a function in an untrusted language.'),
		('session_languages', false, 'No application role uses a language that keeps variables in the session.'),
		('foreign_access', false, 'No application role can connect from here to another server.'),
		('schema_create', false, 'No application role can create objects in a schema.'),
		('temporary_objects', false, 'No application role can create temporary objects.'),
		('large_objects', false, 'No application role has large objects.'),
		('settings', false, 'No setting weakens a guard.'),
		('preloaded', false, 'The library is preloaded.'),
		('own_privileges', false, 'Application roles have on bulwark''s objects what installation granted, no more.'),
		('default_privileges', false, 'Default privileges would grant application roles nothing on bulwark''s objects.');
$$;
REVOKE ALL ON FUNCTION bulwark_internal.isolation_checks() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.isolation_checks() IS
	'Every check of isolation_check(), per protected table or for the database, and what holds where it finds nothing.';

-- Runs as the extension's owner, who can read all catalogs; it reads rows of
-- tables with their owners' rights, and shows of them no more than keys.
CREATE FUNCTION bulwark.isolation_check(relation regclass DEFAULT NULL)
	RETURNS TABLE (relation regclass, check_name text, status text, detail text)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH chosen AS MATERIALIZED (
		SELECT coalesce(array_agg(p.relation::oid), '{}') AS relations
		FROM bulwark_internal.protections p WHERE $1 IS NULL OR $1 IN (p.relation, p.root)
	),
	finding AS MATERIALIZED (
		SELECT f.* FROM chosen, LATERAL bulwark_internal.check_structure(relations) f
		UNION ALL SELECT f.* FROM chosen, LATERAL bulwark_internal.check_policies(relations) f
		UNION ALL SELECT f.* FROM chosen, LATERAL bulwark_internal.check_rights(relations) f
		UNION ALL SELECT f.* FROM chosen, LATERAL bulwark_internal.check_readers(relations) f
		UNION ALL SELECT f.* FROM chosen, LATERAL bulwark_internal.check_indexes(relations) f
		UNION ALL SELECT f.* FROM chosen, LATERAL bulwark_internal.check_rows(relations) f
		UNION ALL SELECT f.* FROM bulwark_internal.check_contexts($1) f
		UNION ALL SELECT $1, 'protected', 'fail', format('Not protected: call bulwark.protect(%L, ...).', $1)
			FROM chosen WHERE $1 IS NOT NULL AND relations = '{}'
		UNION ALL SELECT f.* FROM bulwark_internal.check_reach() f WHERE $1 IS NULL
		UNION ALL SELECT f.* FROM bulwark_internal.check_roles() f WHERE $1 IS NULL
		UNION ALL SELECT f.* FROM bulwark_internal.check_activity() f WHERE $1 IS NULL
		UNION ALL SELECT f.* FROM bulwark_internal.check_settings() f WHERE $1 IS NULL
	),
	answer AS (
		SELECT * FROM finding
		UNION ALL
		SELECT t.relid::regclass, c.check_name, 'ok', c.promise
		FROM bulwark_internal.isolation_checks() c, chosen, unnest(chosen.relations) AS t (relid) WHERE c.per_table
		UNION ALL
		SELECT NULL, c.check_name, 'ok', c.promise
		FROM bulwark_internal.isolation_checks() c WHERE $1 IS NULL AND NOT c.per_table
	),
	-- A promise holds where nothing was found; of the database, nowhere in it.
	judged AS (
		SELECT a.*, a.status = 'ok' AND bool_or(a.status <> 'ok') OVER (PARTITION BY CASE WHEN c.per_table THEN a.relation END, a.check_name) AS broken
		FROM answer a JOIN bulwark_internal.isolation_checks() c ON c.check_name = a.check_name
	)
	SELECT j.relation, j.check_name, j.status, j.detail FROM judged j WHERE NOT j.broken
	ORDER BY array_position('{fail,warning,ok}', j.status), j.relation::text COLLATE "C" NULLS FIRST, j.check_name COLLATE "C", j.detail COLLATE "C";
$$;
REVOKE ALL ON FUNCTION bulwark.isolation_check(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.isolation_check(regclass) TO bulwark_admin, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark.isolation_check(regclass) IS
	'Attacks the set-up from inside. relation: one protected table with its partitions and inheritance children; NULL: all of them, and what '
	'surrounds them in the database and the cluster. One row for each finding, the worst first, and one with status ok for each check that '
	'found none. status: ok, warning (weaker than it could be), fail (a way past isolation). detail says what to do; of tenants'' rows it shows '
	'keys only, at most ten. For bulwark_admin, bulwark_auditor and bulwark_maintenance (42501).';
