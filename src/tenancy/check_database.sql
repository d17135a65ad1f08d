-- check_database: what surrounds the protected tables: roles and logins of the
-- cluster, what application roles reach in this database, and settings.

-- A login that holds two of these is both sides of a wall.
CREATE FUNCTION bulwark_internal.check_roles() RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NULL::regclass, 'unbound_logins', 'warning',
		format('Login %s has privileges on protected tables and is not a member of bulwark_app: policies bind it, but what it leaves in a '
			'session does reach the next tenant, and the checks of application roles pass it by: GRANT bulwark_app TO %I.', r.rolname, r.rolname)
	FROM pg_roles r
	WHERE r.rolcanlogin AND NOT r.rolsuper
		AND NOT EXISTS (SELECT FROM pg_roles b WHERE b.rolname ~ '^bulwark_(admin|keys|retention|impersonator|secrets|app|auditor|maintenance)$'
			AND pg_has_role(r.oid, b.oid, 'MEMBER'))
		AND EXISTS (SELECT FROM (SELECT DISTINCT t.relowner, g.grantee FROM bulwark_internal.checked_tables t, aclexplode(t.relacl) g
				WHERE g.grantee <> t.relowner) p
			WHERE NOT pg_has_role(r.oid, p.relowner, 'MEMBER') AND (p.grantee = 0 OR pg_has_role(r.oid, p.grantee, 'MEMBER')))
UNION ALL
	SELECT NULL, 'app_attributes', 'fail',
		format('Application role %s %s %s: ALTER ROLE %I %s.', a.rolname,
			CASE WHEN r.oid = a.oid THEN 'has' ELSE format('is a member of %s, which has', r.rolname) END,
			string_agg(x.attribute, ', ' ORDER BY x.n), r.rolname, string_agg('NO' || x.attribute, ' ' ORDER BY x.n))
	FROM bulwark_internal.app_roles a
	JOIN pg_roles r ON r.oid = a.oid OR NOT a.rolsuper AND pg_has_role(a.oid, r.oid, 'MEMBER') AND r.oid NOT IN (SELECT oid FROM bulwark_internal.app_roles)
	CROSS JOIN LATERAL (VALUES (1, r.rolsuper, 'SUPERUSER'), (2, r.rolbypassrls, 'BYPASSRLS'), (3, r.rolcreaterole, 'CREATEROLE'),
		(4, r.rolreplication, 'REPLICATION'), (5, r.rolcreatedb, 'CREATEDB')) AS x (n, present, attribute)
	WHERE x.present
	GROUP BY a.oid, a.rolname, r.oid, r.rolname
UNION ALL
	SELECT NULL, 'app_ownership', 'fail',
		format('Application role %s owns %s objects of this database, which it can change, drop or grant: '
			'REASSIGN OWNED BY %I TO a role that it is not a member of. Among them: %s.', o.rolname, o.count, o.rolname, o.some)
	FROM (
		SELECT a.rolname, count(*), (array_agg(pg_describe_object(d.classid, d.objid, 0) ORDER BY d.classid, d.objid))[1:5]::text AS some
		FROM bulwark_internal.app_roles a
		JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = a.oid AND d.deptype = 'o'
		JOIN pg_database b ON b.datname = current_database()
		WHERE d.dbid = b.oid OR d.classid = 'pg_database'::regclass AND d.objid = b.oid
		GROUP BY a.rolname
	) o
UNION ALL
	SELECT NULL, p.check_name, p.status,
		format('Application role %s is a member of %s, and so %s: REVOKE %I FROM it, or from the role through which it has it.',
			a.rolname, r.rolname, p.danger, r.rolname)
	FROM (VALUES
		('server_files', 'fail', 'pg_read_server_files', 'reads the server''s files, those of the tables among them'),
		('server_files', 'fail', 'pg_write_server_files', 'writes the server''s files, and can become superuser'),
		('server_files', 'fail', 'pg_execute_server_program', 'runs programs on the server, and can become superuser'),
		('data_roles', 'fail', 'pg_read_all_data', 'reads the statistics of protected tables (values of all tenants) and password hashes'),
		('data_roles', 'warning', 'pg_write_all_data', 'writes every table that is not protected'),
		('data_roles', 'warning', 'pg_maintain', 'runs what is attached to everybody''s tables'),
		('data_roles', 'fail', 'pg_create_subscription', 'has rows written past row security'),
		('activity_roles', 'fail', 'pg_monitor', 'reads statements and files of others'),
		('activity_roles', 'fail', 'pg_read_all_stats', 'reads statements of others'),
		('activity_roles', 'fail', 'pg_signal_backend', 'ends the statements of others')
	) AS p (check_name, status, role, danger)
	JOIN pg_roles r ON r.rolname = p.role
	JOIN bulwark_internal.app_roles a ON a.rolcanlogin AND NOT a.rolsuper AND pg_has_role(a.oid, r.oid, 'MEMBER')
UNION ALL
	SELECT NULL, 'app_and_service', 'fail',
		format('%s is an application role and a member of %s, so what its statements inject acts as both: give each its own login.',
			a.rolname, string_agg(r.rolname, ', ' ORDER BY r.rolname))
	FROM bulwark_internal.app_roles a
	JOIN pg_roles r ON r.rolname ~ '^bulwark_(admin|keys|retention|impersonator|secrets|auditor|maintenance)$'
		AND NOT a.rolsuper AND pg_has_role(a.oid, r.oid, 'MEMBER')
	GROUP BY a.rolname
UNION ALL
	SELECT NULL, 'bypass_roles', 'warning',
		format('No policy applies to %s: ALTER ROLE %I NOBYPASSRLS, and let it be a member of bulwark_maintenance where it must see all.', rolname, rolname)
	FROM pg_roles WHERE rolbypassrls AND NOT rolsuper AND rolname <> 'bulwark_maintenance'
UNION ALL
	SELECT NULL, 'service_scopes', 'warning',
		format('The limit of %I was set under the name %I, by which a dump carries it: call bulwark.service_scope(%L, ...) again.', r.rolname, s.role, r.rolname)
	FROM bulwark_internal.service_scopes s JOIN pg_roles r ON r.oid = s.role_oid WHERE r.rolname <> s.role
UNION ALL
	SELECT NULL, 'cluster_roles', 'fail',
		format('%s must be without LOGIN and attributes, and has %s: ALTER ROLE %I %s.', r.rolname,
			string_agg(x.attribute, ', ' ORDER BY x.n), r.rolname, string_agg('NO' || x.attribute, ' ' ORDER BY x.n))
	FROM pg_roles r
	CROSS JOIN LATERAL (VALUES (1, r.rolcanlogin, 'LOGIN'), (2, r.rolsuper, 'SUPERUSER'), (3, r.rolcreaterole, 'CREATEROLE'),
		(4, r.rolreplication, 'REPLICATION'), (5, r.rolcreatedb, 'CREATEDB')) AS x (n, present, attribute)
	WHERE x.present AND r.rolname ~ '^bulwark_(admin|keys|retention|impersonator|secrets|app|auditor|maintenance)$'
	GROUP BY r.rolname;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_roles() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_roles() IS
	'Attributes, possessions and memberships of application roles, and roles that no policy binds.';

CREATE FUNCTION bulwark_internal.activity_tracked(login oid) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT coalesce((
			SELECT split_part(c, '=', 2) FROM pg_db_role_setting s JOIN pg_database d ON d.datname = current_database(), unnest(s.setconfig) AS c
			WHERE s.setrole IN (login, 0) AND s.setdatabase IN (d.oid, 0) AND c LIKE 'track_activities=%'
			ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
		(SELECT reset_val FROM pg_settings WHERE name = 'track_activities'))::boolean;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.activity_tracked(oid) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.activity_tracked(oid) IS
	'Do the statements of a login''s next session in this database show in pg_stat_activity?';

-- What one back end learns of another's statements.  All tenants share a login,
-- and a login may read what its own other back ends are running.
CREATE FUNCTION bulwark_internal.check_activity() RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH executable AS (
		SELECT p.oid, p.proname FROM pg_proc p
		WHERE p.proname IN ('pg_stat_get_activity', 'pg_stat_get_backend_activity',
				'pg_stat_statements', 'pg_store_plans', 'pg_stat_monitor_internal',
				'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_ls_logdir', 'pg_stat_file',
				'pg_file_write', 'pg_file_rename', 'pg_file_unlink', 'pg_logdir_ls', 'lo_import', 'lo_export')
			AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
				WHERE g.privilege_type = 'EXECUTE' AND g.grantee <> p.proowner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees))
			AND (p.pronamespace = 'pg_catalog'::regnamespace
				OR p.oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'))
	),
	tracked AS (
		SELECT a.rolname FROM bulwark_internal.app_roles a
		WHERE a.rolcanlogin AND bulwark_internal.activity_tracked(a.oid)
	)
	SELECT NULL::regclass, 'shared_activity', 'fail',
		format('Back ends of login %s can read each other''s running statements, with the values of other tenants in them: '
			'ALTER ROLE %I SET track_activities = off, or REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC.', t.rolname, t.rolname, f.names)
	FROM tracked t, (
		SELECT string_agg(oid::regprocedure::text, ', ' ORDER BY proname) AS names FROM executable
		WHERE proname IN ('pg_stat_get_activity', 'pg_stat_get_backend_activity')
	) f
	WHERE f.names IS NOT NULL
UNION ALL
	SELECT NULL, 'statement_statistics', 'fail',
		format('Application roles can execute %s and read statements of their login''s other tenants: REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC.',
			oid::regprocedure, oid::regprocedure)
	FROM executable WHERE proname IN ('pg_stat_statements', 'pg_store_plans', 'pg_stat_monitor_internal')
UNION ALL
	SELECT NULL, 'planner_statistics', 'fail',
		format('%s can read %s, which holds values of all tenants: REVOKE SELECT ON %s FROM %s.',
			bulwark_internal.role_names(array_agg(g.grantee)), c.oid::regclass, c.oid::regclass, bulwark_internal.role_names(array_agg(g.grantee)))
	FROM pg_class c, LATERAL (
		SELECT grantee FROM aclexplode(c.relacl) WHERE privilege_type = 'SELECT'
		UNION SELECT e.grantee FROM pg_attribute a, aclexplode(a.attacl) e WHERE a.attrelid = c.oid AND e.privilege_type = 'SELECT'
	) g
	WHERE c.oid IN ('pg_statistic'::regclass, 'pg_statistic_ext_data'::regclass) AND g.grantee <> c.relowner
		AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)
	GROUP BY c.oid
UNION ALL
	SELECT NULL, 'server_files', 'fail',
		format('Application roles can execute %s, which reads or writes the server''s files: REVOKE EXECUTE ON FUNCTION %s FROM %s.',
			e.oid::regprocedure, e.oid::regprocedure,
			(SELECT bulwark_internal.role_names(array_agg(g.grantee)) FROM pg_proc p, aclexplode(p.proacl) g
				WHERE p.oid = e.oid AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)))
	FROM executable e
	WHERE e.proname ~ '^(pg_(read|ls|file|logdir)_|pg_stat_file$|lo_)';
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_activity() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_activity() IS
	'Can application roles read statements of other back ends, statistics that hold values, or files?';

-- Tables, functions and schemas of this database that application roles reach.
CREATE FUNCTION bulwark_internal.check_reach() RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH schema AS (
		SELECT n.oid, n.nspname, n.nspname ~ '^pg_' OR n.nspname IN ('information_schema', 'bulwark', 'bulwark_internal') AS system,
			(SELECT bulwark_internal.role_names(array_agg(g.grantee)) FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) g
				WHERE g.privilege_type = 'CREATE' AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) AS creators
		FROM pg_namespace n
	),
	definer AS (
		SELECT p.oid, r.rolname AS owner, bulwark_internal.bypasses(p.proowner)
				OR EXISTS (SELECT FROM pg_roles x WHERE x.rolname ~ '^bulwark_(admin|keys|retention|impersonator|secrets|auditor|maintenance)$'
					AND pg_has_role(p.proowner, x.oid, 'MEMBER')) AS powerful,
			(SELECT bulwark_internal.role_names(array_agg(g.grantee)) FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
				WHERE g.privilege_type = 'EXECUTE' AND g.grantee <> p.proowner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) AS callers,
			(SELECT substr(c, length('search_path=') + 1) FROM unnest(p.proconfig) AS c WHERE c LIKE 'search_path=%') AS search_path
		FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner
		WHERE p.prosecdef AND p.pronamespace IN (SELECT oid FROM schema WHERE NOT system)
	)
	SELECT c.oid::regclass AS relation, 'unprotected_tables' AS check_name, 'warning' AS status,
		format('%s, and is not protected: call bulwark.protect(%L, ...); see bulwark.protect_schema().',
			CASE WHEN a.attname IS NOT NULL THEN format('It has a column %I', a.attname)
				ELSE format('It refers to the protected table %s', k.referenced) END, format('%I.%I', n.nspname, c.relname)) AS detail
	FROM pg_class c
	JOIN schema n ON n.oid = c.relnamespace AND NOT n.system
	LEFT JOIN LATERAL (SELECT a.attname FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			AND (a.attname = 'tenant_id' OR a.attname IN (SELECT x.tenant_column FROM bulwark_internal.naming_columns x))
		ORDER BY a.attnum LIMIT 1) a ON true
	LEFT JOIN LATERAL (SELECT f.confrelid::regclass::text AS referenced FROM pg_constraint f JOIN bulwark_internal.protections p ON p.relation = f.confrelid
		WHERE f.conrelid = c.oid AND f.contype = 'f' AND p.kind <> 's' ORDER BY f.conname LIMIT 1) k ON true
	WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND (a.attname IS NOT NULL OR k.referenced IS NOT NULL)
		AND NOT EXISTS (SELECT FROM bulwark_internal.protections p WHERE p.relation = c.oid)
		AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid)	-- see check_structure()
UNION ALL
	SELECT c.oid::regclass, 'foreign_tables', 'warning',
		format('A foreign table, which has no row security, and %s can read it: REVOKE ALL ON %I.%I FROM %s.', g.names, n.nspname, c.relname, g.names)
	FROM pg_class c
	JOIN schema n ON n.oid = c.relnamespace
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(g.grantee)) AS names FROM aclexplode(c.relacl) g
		WHERE g.grantee <> c.relowner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) g
	WHERE c.relkind = 'f' AND g.names IS NOT NULL
UNION ALL
	SELECT NULL, 'definer_search_path', CASE WHEN d.powerful AND d.callers IS NOT NULL THEN 'fail' ELSE 'warning' END,
		format('SECURITY DEFINER function %s of %s finds names by %s: ALTER FUNCTION %s SET search_path = pg_catalog, ..., pg_temp, '
			'with schemas only in which no application role creates.', d.oid::regprocedure, d.owner,
			CASE WHEN d.search_path IS NULL THEN 'its caller''s search_path' ELSE format('a search_path with %s', w.names) END, d.oid::regprocedure)
	FROM definer d
	CROSS JOIN LATERAL (SELECT string_agg(btrim(s, ' "'), ', ') AS names
		FROM regexp_split_to_table(d.search_path, ',') AS s
		WHERE btrim(s, ' ') IN ('"$user"', '$user') OR btrim(s, ' "') IN (SELECT nspname FROM schema WHERE creators IS NOT NULL)) w
	WHERE d.search_path IS NULL OR w.names IS NOT NULL
UNION ALL
	SELECT NULL, 'definer_functions', 'warning',
		format('SECURITY DEFINER function %s runs as %s, to whom %s, and %s can execute it: give it an owner with fewer rights, or revoke EXECUTE.',
			d.oid::regprocedure, d.owner,
			CASE WHEN bulwark_internal.bypasses(to_regrole(quote_ident(d.owner))) THEN 'no policy applies' ELSE 'roles of bulwark are granted' END, d.callers)
	FROM definer d WHERE d.powerful AND d.callers IS NOT NULL
UNION ALL
	SELECT NULL, 'untrusted_functions', 'warning',
		format('Function %s in the untrusted language %s is executable by %s: what it lets its caller do, no policy filters.',
			p.oid::regprocedure, l.lanname, g.names)
	FROM pg_proc p
	JOIN pg_language l ON l.oid = p.prolang AND NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c')
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(g.grantee)) AS names FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
		WHERE g.grantee <> p.proowner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) g
	WHERE g.names IS NOT NULL
UNION ALL
	SELECT NULL, 'session_languages', 'warning',
		format('%s can use language %I, whose variables and functions outlive a transaction, for the next tenant in the session: '
			'REVOKE USAGE ON LANGUAGE %I FROM %s.', g.names, l.lanname, l.lanname, g.names)
	FROM pg_language l
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(g.grantee)) AS names FROM aclexplode(coalesce(l.lanacl, acldefault('l', l.lanowner))) g
		WHERE g.grantee <> l.lanowner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) g
	WHERE l.lanpltrusted AND l.lanname NOT IN ('sql', 'plpgsql') AND g.names IS NOT NULL
UNION ALL
	SELECT NULL, 'foreign_access', 'warning',
		format('%s can use %s, and reach databases past this session''s identity: REVOKE ALL ON %s FROM %s.', g.names, o.what, o.what, g.names)
	FROM (
		SELECT format('FUNCTION %s', p.oid::regprocedure) AS what, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl, p.proowner AS owner
		FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			AND e.extname = 'dblink' AND p.proname ~ '^dblink(_connect|_exec|_open|_send_query)?$'
		UNION ALL
		SELECT format('FOREIGN SERVER %I', srvname), srvacl, srvowner FROM pg_foreign_server
		UNION ALL
		SELECT format('FOREIGN DATA WRAPPER %I', fdwname), fdwacl, fdwowner FROM pg_foreign_data_wrapper
	) o
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(g.grantee)) AS names FROM aclexplode(o.acl) g
		WHERE g.grantee <> o.owner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) g
	WHERE g.names IS NOT NULL
UNION ALL
	SELECT NULL, 'schema_create', 'fail',
		format('%s can create objects in schema %I, and other tenants'' statements would find them: REVOKE CREATE ON SCHEMA %I FROM %s.',
			creators, nspname, nspname, creators)
	FROM schema WHERE creators IS NOT NULL AND nspname !~ '^pg_(toast_)?temp_'
UNION ALL
	SELECT NULL, 'temporary_objects', 'warning',
		format('%s can create temporary objects, which bulwark refuses to application logins unless bulwark.session_state is allow: '
			'REVOKE TEMPORARY ON DATABASE %I FROM %s.', g.names, d.datname, g.names)
	FROM pg_database d
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(g.grantee)) AS names FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) g
		WHERE g.privilege_type = 'TEMPORARY' AND g.grantee <> d.datdba AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)) g
	WHERE d.datname = current_database() AND g.names IS NOT NULL
UNION ALL
	SELECT NULL, 'large_objects', 'warning',
		format('Large objects have no row security, and application roles own or can read %s of them: keep the bytes in a protected table.', count(*))
	FROM pg_largeobject_metadata m
	WHERE m.lomowner IN (SELECT oid FROM bulwark_internal.app_grantees)
		OR EXISTS (SELECT FROM aclexplode(m.lomacl) g WHERE g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees))
	HAVING count(*) > 0;
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_reach() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_reach() IS
	'Unprotected tables, definer functions, foreign access, schemas and large objects within reach of application roles.';

CREATE FUNCTION bulwark_internal.check_settings() RETURNS SETOF bulwark_internal.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT NULL::regclass, 'settings', w.status, format('%s is %s%s: %s', w.name, w.value, s.place, w.danger)
	FROM (VALUES
		('bulwark.session_state', 'allow', 'warning', 'what one tenant leaves in a session reaches the next where connections are shared.'),
		('bulwark.introspection', 'allow', 'fail', 'application logins can count rows of other tenants by value.'),
		('bulwark.allow_session_identity', 'on', 'warning', 'an identity outlives its transaction where connections are shared.'),
		('bulwark.new_tables', 'ignore', 'warning', 'new tables with a tenant column are not protected.'),
		('bulwark.new_tables', 'warn', 'warning', 'new tables with a tenant column are not protected.'),
		('row_security', 'off', 'warning', 'statements on protected tables fail instead of being filtered.'),
		('lo_compat_privileges', 'on', 'fail', 'every role reads and writes all large objects.'),
		('allow_system_table_mods', 'on', 'warning', 'a superuser''s slip can remove policies from the catalogs.'),
		('session_replication_role', 'replica', 'warning', 'triggers of the application do not fire; bulwark''s do.')
	) AS w (name, value, status, danger)
	JOIN (
		SELECT name, reset_val AS value, '' AS place FROM pg_settings
		UNION ALL
		SELECT split_part(c, '=', 1), split_part(c, '=', 2),
			coalesce(' for role ' || r.rolname, '') || coalesce(' in database ' || d.datname, '')
		FROM pg_db_role_setting x
		LEFT JOIN pg_roles r ON r.oid = x.setrole
		LEFT JOIN pg_database d ON d.oid = x.setdatabase
		CROSS JOIN unnest(x.setconfig) AS c
		WHERE (x.setrole = 0 OR x.setrole IN (SELECT oid FROM bulwark_internal.app_roles))
			AND (x.setdatabase = 0 OR d.datname = current_database())
	) s ON s.name = w.name AND s.value = w.value
UNION ALL
	SELECT NULL, 'preloaded', 'fail', 'The library is not preloaded, so nothing guards what application roles do: '
		'shared_preload_libraries = ''bulwark'' in the configuration file, then a restart.'
	WHERE NOT EXISTS (SELECT FROM regexp_split_to_table(current_setting('shared_preload_libraries'), ',') AS l
		WHERE btrim(l, ' "') ~ '^(\$libdir/)?bulwark$')
UNION ALL
	SELECT NULL, 'own_privileges', 'fail',
		format('%s has %s on %s, which installation does not grant: REVOKE %s ON %s FROM %s.',
			bulwark_internal.role_names(ARRAY[g.grantee]), g.privilege_type, o.name, g.privilege_type, o.name, bulwark_internal.role_names(ARRAY[g.grantee]))
	FROM (
		SELECT 'pg_proc'::regclass AS classid, p.oid, 'ROUTINE ' || p.oid::regprocedure AS name, p.proowner AS owner, 'f'::"char" AS type,
			coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
		FROM pg_proc p WHERE p.pronamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
		UNION ALL
		SELECT 'pg_class'::regclass, c.oid, c.oid::regclass::text, c.relowner, 'r', c.relacl
		FROM pg_class c WHERE c.relnamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
		UNION ALL
		SELECT 'pg_namespace'::regclass, n.oid, 'SCHEMA ' || n.nspname, n.nspowner, 'n', n.nspacl
		FROM pg_namespace n WHERE n.nspname IN ('bulwark', 'bulwark_internal')
	) o
	CROSS JOIN LATERAL aclexplode(o.acl) g
	WHERE g.grantee <> o.owner AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(
				(SELECT i.initprivs FROM pg_init_privs i WHERE i.classoid = o.classid AND i.objoid = o.oid AND i.objsubid = 0),
				acldefault(o.type, o.owner))) b
			WHERE b.grantee = g.grantee AND b.privilege_type = g.privilege_type)
UNION ALL
	SELECT NULL, 'default_privileges', 'warning',
		format('What %s creates %s is granted to %s, so an update of the extension would be: '
			'ALTER DEFAULT PRIVILEGES FOR ROLE %I %s REVOKE ALL ON %s FROM %s.',
			r.rolname, coalesce('in schema ' || n.nspname, 'anywhere'), g.names, r.rolname, coalesce('IN SCHEMA ' || n.nspname, ''),
			CASE d.defaclobjtype WHEN 'f' THEN 'FUNCTIONS' WHEN 'r' THEN 'TABLES' ELSE 'TYPES' END, g.names)
	FROM pg_default_acl d
	JOIN pg_roles r ON r.oid = d.defaclrole
	LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
	CROSS JOIN LATERAL (SELECT bulwark_internal.role_names(array_agg(DISTINCT g.grantee)) AS names FROM aclexplode(d.defaclacl) g
		WHERE g.grantee <> d.defaclrole AND g.grantee IN (SELECT oid FROM bulwark_internal.app_grantees)
			AND (g.grantee <> 0 OR n.oid IS NOT NULL OR d.defaclobjtype = 'r')) g
	WHERE d.defaclobjtype IN ('f', 'r') AND g.names IS NOT NULL AND (n.oid IS NULL OR n.nspname IN ('bulwark', 'bulwark_internal'))
		AND d.defaclrole = (SELECT extowner FROM pg_extension WHERE extname = 'bulwark');
$$;
REVOKE ALL ON FUNCTION bulwark_internal.check_settings() FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.check_settings() IS
	'Settings that weaken a guard, and privileges on bulwark''s own objects beyond those of installation.';
