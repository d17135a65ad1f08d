-- secrets_check: where plaintexts would show beside the encrypted columns, as the
-- server is set up.

CREATE FUNCTION bulwark_internal.process_limit(resource text) RETURNS bigint
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'bulwark_process_limit';
REVOKE ALL ON FUNCTION bulwark_internal.process_limit(text) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.process_limit(text) IS
	'A limit of the server''s processes in bytes, core or memlock; NULL: none.';

CREATE FUNCTION bulwark_internal.expression_opens(expression pg_node_tree) RETURNS boolean
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'bulwark_expression_opens';
REVOKE ALL ON FUNCTION bulwark_internal.expression_opens(pg_node_tree) FROM PUBLIC;
COMMENT ON FUNCTION bulwark_internal.expression_opens(pg_node_tree) IS
	'Does the stored expression open an encrypted value, as far as views and the bodies of functions show it, or run a query that is a string?';

-- What holds what an expression gave, and the expression.
CREATE VIEW bulwark_internal.kept_expressions AS
	SELECT format('index %s of %s', indexrelid::regclass, indrelid::regclass) AS name, indexprs AS expression FROM pg_index WHERE indexprs IS NOT NULL
UNION ALL
	SELECT format('index %s of %s', indexrelid::regclass, indrelid::regclass), indpred FROM pg_index WHERE indpred IS NOT NULL
UNION ALL
	SELECT format('statistics %I of %s', stxname, stxrelid::regclass), stxexprs FROM pg_statistic_ext WHERE stxexprs IS NOT NULL
UNION ALL
	SELECT format('default of column %s of %s', adnum, adrelid::regclass), adbin FROM pg_attrdef
UNION ALL
	SELECT format('default of domain %s', oid::regtype), typdefaultbin FROM pg_type WHERE typdefaultbin IS NOT NULL
UNION ALL
	SELECT format('constraint %I of %s', conname, coalesce(nullif(conrelid, 0)::regclass::text, format('domain %s', contypid::regtype))), conbin
	FROM pg_constraint WHERE conbin IS NOT NULL
UNION ALL
	SELECT format('partition key of %s', partrelid::regclass), partexprs FROM pg_partitioned_table WHERE partexprs IS NOT NULL
UNION ALL
	SELECT format('materialized view of %s', r.ev_class::regclass), r.ev_action FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relkind = 'm';

CREATE FUNCTION bulwark.secrets_check() RETURNS TABLE (check_name text, status text, detail text)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	WITH setting AS (
		SELECT current_setting('log_statement') AS log_statement,
			current_setting('log_min_duration_statement') <> '-1' OR current_setting('log_min_duration_sample') <> '-1'
				OR current_setting('log_transaction_sample_rate')::float8 > 0 AS log_durations,
			current_setting('log_parameter_max_length') <> '0' AS log_parameters,
			current_setting('log_parameter_max_length_on_error') <> '0' AS log_error_parameters,
			current_setting('log_min_error_statement') AS log_min_error_statement,
			current_setting('debug_print_parse')::boolean OR current_setting('debug_print_rewritten')::boolean
				OR current_setting('debug_print_plan')::boolean AS debug_print,
			coalesce(current_setting('auto_explain.log_min_duration', true), '-1') <> '-1' AS auto_explain,
			coalesce(nullif(current_setting('pgaudit.log', true), ''), 'none') <> 'none' OR coalesce(current_setting('pgaudit.role', true), '') <> '' AS pgaudit,
			coalesce(nullif(current_setting('pgaudit.log_parameter', true), '')::boolean, false) AS pgaudit_parameter,
			current_setting('ssl')::boolean AS ssl,
			current_setting('listen_addresses') AS listen_addresses
	),
	answer (n, check_name, status, bad, good) AS (
		SELECT 1, 'log_statement', CASE WHEN log_statement <> 'none' THEN 'warning' END,
			format('log_statement is %s. In statements that name encrypt() and its kin constants are overwritten; a plaintext that reaches them '
				'through a function of the application''s own is logged as the client sent it: set log_statement = none.', log_statement),
			'Statements are not logged.' FROM setting
		UNION ALL
		SELECT 2, 'log_durations', CASE WHEN log_durations THEN 'warning' END,
			'Statements that are slow, or drawn by lot, are logged: see log_statement.',
			'No statement is logged for its duration.' FROM setting
		UNION ALL
		SELECT 3, 'log_parameters', CASE WHEN log_parameters AND (log_statement <> 'none' OR log_durations) THEN 'fail' END,
			'Bound parameters are logged with statements. They are overwritten where the statement names encrypt() and its kin, and are whole where '
				'the application has a function in between: set log_parameter_max_length = 0.',
			'No bound parameter is logged with a statement.' FROM setting
		UNION ALL
		SELECT 4, 'log_error_parameters', CASE WHEN log_error_parameters THEN 'fail' END,
			'Bound parameters are logged with errors: set log_parameter_max_length_on_error = 0.',
			'No bound parameter is logged with an error.' FROM setting
		UNION ALL
		SELECT 5, 'log_error_statements', CASE WHEN log_min_error_statement NOT IN ('fatal', 'panic') THEN 'warning' END,
			format('log_min_error_statement is %s: statements that fail are logged. Send plaintexts as bound parameters, or set it to panic.', log_min_error_statement),
			'Statements that fail are not logged.' FROM setting
		UNION ALL
		SELECT 6, 'debug_print', CASE WHEN debug_print THEN 'fail' END,
			'Parse trees and plans are logged, with constants in a form that is only overwritten where the statement names encrypt() and its kin: '
				'set debug_print_parse, debug_print_rewritten and debug_print_plan off.',
			'Parse trees and plans are not logged.' FROM setting
		UNION ALL
		SELECT 7, 'auto_explain', CASE WHEN auto_explain THEN 'warning' END,
			'auto_explain logs statements, their parameters and the constants of plans: see log_statement; set auto_explain.log_parameter_max_length = 0.',
			'auto_explain logs nothing.' FROM setting
		UNION ALL
		SELECT 8, 'pgaudit', CASE WHEN pgaudit_parameter THEN 'fail' WHEN pgaudit THEN 'warning' END,
			CASE WHEN pgaudit_parameter THEN 'pgaudit logs bound parameters. They are overwritten where the statement names encrypt() and its kin, and are whole where '
					'the application has a function in between: set pgaudit.log_parameter = off.'
				ELSE 'pgaudit logs statements: see log_statement.' END,
			'pgaudit logs nothing.' FROM setting
		UNION ALL
		SELECT 9, 'role_settings', CASE WHEN count(*) > 0 THEN 'warning' END,
			format('Roles or databases have settings of their own about what is logged: %s.', string_agg(s.whose, ', ' ORDER BY s.whose)),
			'No role or database has settings of its own about what is logged.'
		FROM (
			SELECT DISTINCT concat_ws(' in ', nullif(setrole, 0)::regrole::text, d.datname) AS whose
			FROM pg_db_role_setting r LEFT JOIN pg_database d ON d.oid = r.setdatabase, unnest(r.setconfig) AS c (entry)
			WHERE c.entry ~ '^(log_(statement|min_duration|parameter|min_error|transaction)|debug_print|auto_explain\.|pgaudit\.)'
		) s
		UNION ALL
		SELECT 10, 'core_dumps', CASE WHEN bulwark_internal.process_limit('core') IS DISTINCT FROM 0 THEN 'warning' END,
			'A server process that crashes may leave its memory in a file, with the plaintexts that PostgreSQL itself holds at that moment: '
				'start the server with ulimit -c 0 (LimitCORE=0).',
			'Server processes leave no core files.'
		UNION ALL
		SELECT 11, 'network', CASE WHEN NOT ssl AND listen_addresses <> '' THEN 'fail' END,
			'Plaintexts cross the network in the clear: set ssl = on, and use hostssl in pg_hba.conf.',
			'Connections are local, or TLS is there for them.' FROM setting
		UNION ALL
		SELECT 12, 'kept_plaintexts', CASE WHEN count(*) > 0 THEN 'fail' END,
			format('These keep what they decrypt, or what a query that is a string does: %s. Drop them.', string_agg(k.name, ', ' ORDER BY k.name)),
			'No index, statistics object, default, constraint, partition key or materialized view opens a value.'
		FROM bulwark_internal.kept_expressions k WHERE bulwark_internal.expression_opens(k.expression)
		UNION ALL
		SELECT 13, 'shared_activity', CASE WHEN count(*) > 0 THEN 'warning' END,
			format('pg_stat_activity shows statements of %s before their constants are overwritten, for as long as they wait for a table''s lock: to other sessions of '
				'the login, and to members of pg_monitor. Send plaintexts as bound parameters, and ALTER ROLE ... SET track_activities = off.',
				string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname)),
			'No login of bulwark_secrets shows its statements.'
		FROM pg_roles r
		WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, 'bulwark_secrets', 'MEMBER') AND bulwark_internal.activity_tracked(r.oid)
	)
	SELECT a.check_name, coalesce(a.status, 'ok'), CASE WHEN a.status IS NULL THEN a.good ELSE a.bad END
	FROM answer a ORDER BY array_position('{fail,warning}', a.status), a.n;
$$;
REVOKE ALL ON FUNCTION bulwark.secrets_check() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bulwark.secrets_check() TO bulwark_admin, bulwark_keys, bulwark_auditor, bulwark_maintenance;
COMMENT ON FUNCTION bulwark.secrets_check() IS
	'What the server, as it is set up for this session, would show of plaintexts outside the encrypted columns. One row a check, the worst first. status: ok, warning (it may, if the application does its part), fail. detail says what to do. Columns whose values are bound to no context: isolation_check(). For bulwark_admin, bulwark_keys, bulwark_auditor and bulwark_maintenance (42501).';
