-- I44: PostgreSQL follows foreign keys past FORCE ROW LEVEL SECURITY, as the table's
-- owner.  Whatever code of the application's that reaches, row security binds it;
-- the foreign key itself goes on seeing all rows.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
SET bulwark.new_tables = ignore;

SELECT plan(23);

CREATE ROLE pgtap_cascade_app LOGIN IN ROLE bulwark_app;
CREATE ROLE pgtap_cascade_owner;
GRANT CREATE ON SCHEMA public TO pgtap_cascade_owner;

CREATE TABLE thing (name text PRIMARY KEY, id uuid NOT NULL);
GRANT SELECT ON thing TO PUBLIC;
CREATE FUNCTION the(name text) RETURNS uuid LANGUAGE sql STABLE AS 'SELECT id FROM public.thing t WHERE t.name = $1';
INSERT INTO thing SELECT 'a', bulwark.tenant_create('cascade-a', 'A');
INSERT INTO thing SELECT 'b', bulwark.tenant_create('cascade-b', 'B');
INSERT INTO thing SELECT 'north', bulwark.affiliation_create(the('a'), 'north', 'North', '10');
INSERT INTO thing SELECT 'south', bulwark.affiliation_create(the('a'), 'south', 'South', '20');
INSERT INTO thing SELECT name, bulwark.principal_create('cascade-' || name || '@example.org') FROM unnest('{root,chief}'::text[]) name;
SELECT bulwark.membership_grant(the('root'), the('a'), 'tenant_admin'),
	bulwark.membership_grant(the('chief'), the('a'), 'admin', the('north')) \g /dev/null

SET ROLE pgtap_cascade_owner;
CREATE TABLE secret (id int PRIMARY KEY, tenant_id uuid NOT NULL, body text);
-- What can be seen here and now goes into the setting seen.WHAT.  Immutable, so that
-- the planner may call it, too.
CREATE FUNCTION look(what text, value int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM set_config('seen.' || what, (SELECT string_agg(body, ',' ORDER BY id) FROM public.secret), true);
	RETURN value;
END
$$;
-- A plan of the owner's, kept in the session.
CREATE FUNCTION kept_look() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
	'BEGIN RETURN (SELECT string_agg(body, '','' ORDER BY id) FROM public.secret); END';
GRANT SELECT ON secret TO pgtap_cascade_app;

CREATE DOMAIN looking AS int CHECK (public.look('domain', value) IS NOT NULL);
CREATE TYPE level AS ENUM ('1', '2', '3');
CREATE FUNCTION level_int(level) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN public.look(''cast'', $1::text::int); END';
CREATE CAST (level AS int) WITH FUNCTION level_int(level) AS IMPLICIT;
CREATE FUNCTION distance(int, int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RETURN public.look(''distance'', $1) - $2; END';
CREATE TYPE span AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = distance);

CREATE TABLE par (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE chi (id int PRIMARY KEY, tenant_id uuid NOT NULL, note text, place int,
	par int DEFAULT public.look('default', 9) REFERENCES par ON UPDATE CASCADE ON DELETE SET DEFAULT,
	doubled int GENERATED ALWAYS AS (public.look('generated', par)) STORED,
	CONSTRAINT looks CHECK (public.look('check', par) > 0));
CREATE INDEX ON chi (public.look('index', par));
CREATE INDEX ON chi (par) WHERE public.look('predicate', par) > 0;
CREATE TABLE typed (id int PRIMARY KEY, tenant_id uuid NOT NULL, level level REFERENCES par ON DELETE CASCADE);
CREATE TABLE valued (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE valuing (tenant_id uuid NOT NULL, id looking REFERENCES valued ON UPDATE CASCADE);
CREATE TABLE ranged (id int PRIMARY KEY, tenant_id uuid NOT NULL, par int REFERENCES par ON UPDATE CASCADE, span span);
CREATE INDEX ON ranged (par);
CREATE INDEX ON ranged USING gist (span);
-- keys below keys: what the trigger on mid deletes has rows below it again
CREATE TABLE top (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE mid (id int PRIMARY KEY, tenant_id uuid NOT NULL, top int REFERENCES top ON DELETE CASCADE);
CREATE TABLE aside (id int PRIMARY KEY, tenant_id uuid NOT NULL);
CREATE TABLE below (id int PRIMARY KEY, tenant_id uuid NOT NULL, place int, aside int REFERENCES aside ON DELETE CASCADE);
-- ours: what materialize keeps follows the parent
CREATE TABLE doc (id int PRIMARY KEY, tenant_id uuid NOT NULL, place int);
CREATE TABLE page (id int PRIMARY KEY, doc int REFERENCES doc);
-- rules
CREATE TABLE log (line text);
CREATE TABLE told (line text, tenant_id uuid NOT NULL);
CREATE VIEW invoker WITH (security_invoker) AS SELECT body FROM secret;
CREATE TABLE ruled (id int PRIMARY KEY, tenant_id uuid NOT NULL, par int REFERENCES par ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE inbox (id int);
CREATE RULE to_below AS ON INSERT TO inbox DO INSTEAD UPDATE below SET place = 10 WHERE id = NEW.id;
GRANT ALL ON ALL TABLES IN SCHEMA public TO pgtap_cascade_app;
REVOKE ALL ON thing FROM pgtap_cascade_app;

CREATE FUNCTION look_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.look(TG_ARGV[0], 1);
	PERFORM set_config('seen.kept', public.kept_look(), true);
	UPDATE public.secret SET body = 'written';
	UPDATE public.secret SET body = 'sa' WHERE tenant_id = public.the('a');
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER looks BEFORE UPDATE OR DELETE ON chi FOR EACH ROW EXECUTE FUNCTION look_trigger('before');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER after_looks AFTER UPDATE ON chi FOR EACH ROW WHEN (public.look('when', NEW.par) > 0) EXECUTE FUNCTION nothing();
CREATE TRIGGER looks BEFORE UPDATE ON page FOR EACH ROW EXECUTE FUNCTION look_trigger('page');
CREATE TRIGGER after_looks AFTER UPDATE ON page FOR EACH ROW EXECUTE FUNCTION look_trigger('page_after');
CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		DELETE FROM public.aside WHERE id = OLD.id;
		IF current_setting('nest.fail', true) = 'inside' THEN RAISE EXCEPTION 'inside'; END IF;
	EXCEPTION WHEN raise_exception THEN
	END;
	PERFORM public.look('nested', OLD.id);
	IF current_setting('nest.fail', true) = 'outside' THEN RAISE EXCEPTION 'outside'; END IF;
	RETURN OLD;
END
$$;
CREATE TRIGGER nests BEFORE DELETE ON mid FOR EACH ROW EXECUTE FUNCTION nest();
RESET ROLE;

INSERT INTO secret VALUES (1, the('a'), 'sa'), (2, the('b'), 'sb');
INSERT INTO par VALUES (1, the('a')), (2, the('a')), (3, the('a')), (9, the('a'));
INSERT INTO chi VALUES (1, the('a'), 'x', 10, 1), (2, the('a'), 'x', 10, 2);
INSERT INTO typed VALUES (1, the('a'), '2');
INSERT INTO valued VALUES (1, the('a'));
INSERT INTO valuing VALUES (the('a'), 1);
INSERT INTO ranged SELECT i, the('a'), CASE i WHEN 1 THEN 1 END, CASE i WHEN 1 THEN span(0, 100000) ELSE span(i, i + 5) END FROM generate_series(1, 1500) i;
INSERT INTO top VALUES (1, the('a'));
INSERT INTO mid VALUES (1, the('a'), 1);
INSERT INTO aside VALUES (1, the('a'));
INSERT INTO below VALUES (1, the('a'), 20, 1);
INSERT INTO doc VALUES (1, the('a'), 10);
INSERT INTO page VALUES (1, 1);
INSERT INTO ruled VALUES (1, the('a'), 3);
SELECT bulwark.protect(name::regclass, 'tenant_id') FROM unnest('{secret,par,chi,typed,valued,valuing,ranged,top,mid,aside,told,ruled}'::text[]) name \g /dev/null
SELECT bulwark.protect('below', 'tenant_id', 'place'), bulwark.protect('doc', 'tenant_id', 'place'),
	bulwark.protect('page', parent => 'doc', materialize => true) \g /dev/null
CALL bulwark.materialize('page');

CREATE FUNCTION of_b() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT body FROM public.secret WHERE id = 2';
CREATE FUNCTION rows_left() RETURNS text LANGUAGE sql SECURITY DEFINER AS
	$$SELECT format('%s of mid, %s of below', (SELECT count(*) FROM public.mid), (SELECT count(*) FROM public.below))$$;
-- Run a statement, undone at once: what each place saw meanwhile, and what is left of
-- B's secret; or the error.
CREATE FUNCTION seen(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement;
	SELECT string_agg(name || '=' || current_setting('seen.' || name, true), ' ' ORDER BY n) INTO result
	FROM unnest('{direct,before,kept,check,generated,index,predicate,when,default,domain,cast,distance,page,page_after,nested}'::text[])
		WITH ORDINALITY AS s (name, n)
	WHERE current_setting('seen.' || name, true) <> '';
	result := concat_ws(' ', result, 'b=' || of_b(), CASE WHEN statement ~ 'top|aside' THEN rows_left() END);
	RAISE EXCEPTION USING ERRCODE = 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZ000' THEN result WHEN '0A000' THEN SQLERRM ELSE SQLSTATE END || ' as ' || current_user;
END
$$;

CREATE TABLE attempts (n int GENERATED ALWAYS AS IDENTITY, actor text, statement text, expected text, what text);
GRANT SELECT ON attempts TO PUBLIC;
INSERT INTO attempts (actor, statement, expected, what) VALUES
	('root', $$SELECT look('direct', 1)$$, 'direct=sa b=sb', 'a function called directly'),
	('root', 'UPDATE par SET id = 100 WHERE id = 1', 'before=sa kept=sa check=sa generated=sa index=sa predicate=sa when=sa cast=sa distance=sa b=sb',
		'triggers, checks, generated columns, indexes and a range''s distance in ON UPDATE CASCADE'),
	('root', 'DELETE FROM par WHERE id = 1', '23503', 'a key that another key holds'),
	('root', 'DELETE FROM par WHERE id = 2', 'before=sa kept=sa check=sa generated=sa index=sa predicate=sa when=sa default=sa cast=sa b=sb',
		'ON DELETE SET DEFAULT'),
	('root', 'UPDATE valued SET id = 5', 'domain=sa b=sb', 'a domain''s check'),
	('root', $$INSERT INTO typed VALUES (2, the('a'), '1')$$, 'cast=sa b=sb', 'a cast that a check of a key plans and runs'),
	('root', 'UPDATE doc SET place = 20', 'kept=sa page=sa page_after=sa b=sb', 'triggers BEFORE and AFTER on what materialize follows'),
	('root', 'DELETE FROM top', 'nested=sa b=sb 0 of mid, 0 of below', 'a cascade within a cascade''s trigger'),
	('root', $$SET LOCAL nest.fail = 'inside'; DELETE FROM top$$, 'nested=sa b=sb 0 of mid, 1 of below', 'an error that the trigger catches'),
	('root', $$SET LOCAL nest.fail = 'outside'; DELETE FROM top$$, 'P0001', 'an error that it lets go'),
	('root', $$SELECT look('direct', 1)$$, 'direct=sa b=sb', 'what runs after that'),
	('root', $$UPDATE chi SET note = 'y' WHERE id = 1$$, 'before=sa kept=sa check=sa generated=sa when=sa b=sb', 'code that a plain UPDATE reaches'),
	('chief', 'UPDATE below SET place = 10', 'b=sb', 'rows of another affiliation'),
	('chief', 'DELETE FROM aside', 'b=sb 1 of mid, 0 of below', 'the cascade, which takes rows that the identity does not see, also where a rule writes');

\set ask 'SELECT coalesce(jsonb_object_agg(n, seen(statement)), ''{}'') AS got FROM (SELECT * FROM attempts WHERE actor = :''actor'' ORDER BY n) a \\gset'
CREATE TABLE answered (actor text PRIMARY KEY, answers jsonb);
\set actor root
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_cascade_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
\set actor chief
BEGIN; SELECT bulwark.assume(the(:'actor'), the('a')) \g /dev/null
SET LOCAL ROLE pgtap_cascade_app;
:ask
ROLLBACK; INSERT INTO answered VALUES (:'actor', :'got');
SELECT is(d.answers ->> a.n::text, a.expected || ' as pgtap_cascade_app', 'I44: ' || actor || ': ' || what)
	FROM attempts a JOIN answered d USING (actor) ORDER BY a.n;

-- The plan that a cascade's trigger made is the session's: it shows nothing more later.
BEGIN; SET LOCAL ROLE pgtap_cascade_app;
SELECT coalesce(kept_look(), 'nothing') AS seen \gset
ROLLBACK;
SELECT is(:'seen'::text, 'nothing', 'I44: a plan that was made in a cascade shows nothing without an identity');

-- Rules put what they do into the foreign key's own query.
CREATE TABLE rules (n int GENERATED ALWAYS AS IDENTITY, rule text, expected text, what text);
INSERT INTO rules (rule, expected, what) VALUES
	('ON UPDATE TO ruled DO ALSO INSERT INTO log SELECT body FROM secret', 'a rule cannot use "secret" within the query of a foreign key', 'that reads'),
	('ON UPDATE TO ruled DO ALSO INSERT INTO log SELECT NEW.id FROM (SELECT FROM secret WHERE body = ''sb'') s',
		'a rule cannot use "secret" within the query of a foreign key', 'that reads in a sub-select'),
	('ON UPDATE TO ruled WHERE EXISTS (SELECT FROM secret WHERE body = ''sb'') DO INSTEAD NOTHING',
		'a rule cannot use "secret" within the query of a foreign key', 'with a condition that reads'),
	('ON UPDATE TO ruled DO ALSO INSERT INTO log SELECT body FROM invoker', 'a rule cannot use "invoker" within the query of a foreign key', 'that reads a view'),
	('ON UPDATE TO ruled DO ALSO UPDATE secret SET body = NULL', 'a rule cannot use "secret" within the query of a foreign key', 'that updates'),
	('ON UPDATE TO ruled DO ALSO INSERT INTO told VALUES (''x'', NEW.tenant_id)', 'a rule cannot use "told" within the query of a foreign key', 'that inserts'),
	('ON UPDATE TO ruled DO ALSO INSERT INTO log VALUES (OLD.id || look(''direct'', 1)::text)', 'direct=sa cast=sa b=sb', 'on tables without row security'),
	('ON DELETE TO ruled DO ALSO INSERT INTO log SELECT body FROM secret', 'cast=sa b=sb', 'of another event');
CREATE FUNCTION with_rule(rule text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SET LOCAL ROLE pgtap_cascade_owner;
	EXECUTE 'CREATE RULE tried AS ' || rule;
	SET LOCAL ROLE pgtap_cascade_app;
	result := seen('UPDATE par SET id = 300 WHERE id = 3');
	SET LOCAL ROLE pgtap_cascade_owner;
	DROP RULE tried ON ruled;
	RETURN result;
END
$$;
BEGIN; SELECT bulwark.assume(the('root'), the('a')) \g /dev/null
SELECT jsonb_object_agg(n, with_rule(rule)) AS got FROM (SELECT * FROM rules ORDER BY n) r \gset
ROLLBACK;
SELECT is(:'got'::jsonb ->> n::text, expected || ' as pgtap_cascade_app', 'I44: a rule ' || what) FROM rules ORDER BY n;

SELECT * FROM finish();
DROP OWNED BY pgtap_cascade_app, pgtap_cascade_owner CASCADE;
DROP ROLE pgtap_cascade_app, pgtap_cascade_owner;
