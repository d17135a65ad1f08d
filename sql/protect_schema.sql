-- protect_schema(): every table's kind, by its columns and foreign keys.
CREATE SCHEMA regress_protect_schema;
SET search_path = regress_protect_schema;
SET bulwark.new_tables = ignore;
\pset format unaligned

-- Parents are declared after their children, and named so that order matters.
CREATE TABLE z_account (id int PRIMARY KEY, tenant_id uuid NOT NULL, place int);
CREATE TABLE tag (id int PRIMARY KEY, tenant_id text, place int);
CREATE INDEX ON tag (tenant_id, place);
CREATE TABLE bad_type (tenant_id numeric);
CREATE TABLE country (code text PRIMARY KEY);
CREATE TABLE y_order (id int PRIMARY KEY, account_id int NOT NULL REFERENCES z_account, country text REFERENCES country, previous int REFERENCES y_order);
CREATE TABLE a_line (id int PRIMARY KEY, order_id int NOT NULL REFERENCES y_order, tag_id int REFERENCES tag);
CREATE TABLE b_owned (order_id int NOT NULL REFERENCES y_order ON DELETE CASCADE, tag_id int NOT NULL REFERENCES tag);
CREATE TABLE c_either (order_id int REFERENCES y_order, tag_id int REFERENCES tag);
CREATE TABLE d_below (id int PRIMARY KEY);
ALTER TABLE c_either ADD id int PRIMARY KEY;
ALTER TABLE d_below ADD either_id int NOT NULL REFERENCES c_either;
CREATE TABLE e_twice (one int NOT NULL REFERENCES z_account, other int CONSTRAINT "the other" REFERENCES z_account);
CREATE TABLE f_late (account_id int NOT NULL);
ALTER TABLE f_late ADD CONSTRAINT late FOREIGN KEY (account_id) REFERENCES z_account NOT VALID;
CREATE TABLE g_parts (id int, account_id int NOT NULL REFERENCES z_account) PARTITION BY LIST (id);
CREATE TABLE g_parts_1 PARTITION OF g_parts FOR VALUES IN (1);
CREATE TABLE loop_a (id int PRIMARY KEY);
CREATE TABLE loop_b (id int PRIMARY KEY, a int REFERENCES loop_a);
ALTER TABLE loop_a ADD b int REFERENCES loop_b;
CREATE TABLE "Quoted ""name""" ("tenant_id" int);
CREATE VIEW a_view AS SELECT * FROM tag;
CREATE TEMP TABLE a_temp (tenant_id uuid);

SELECT relation, kind, reason, statement FROM bulwark.protect_schema('regress_protect_schema', affiliation_column => 'place');
SELECT count(*) FROM bulwark.protected_tables;

-- The calls are made, the rest is left; then there is nothing more to call.
SELECT count(*) > 0 AS done FROM bulwark.protect_schema('regress_protect_schema', affiliation_column => 'place', dry_run => false);
SELECT relation, kind, parent, key_columns FROM bulwark.protected_tables ORDER BY relation::text;
SELECT relation, kind, reason, statement FROM bulwark.protect_schema('regress_protect_schema', affiliation_column => 'place')
	WHERE kind <> 'undecided' AND statement IS NOT NULL;

-- What it says can be fed to \gexec.
SELECT statement FROM bulwark.protect_schema('regress_protect_schema', affiliation_column => 'place') WHERE statement IS NOT NULL \gexec
SELECT relation, kind, reason, statement FROM bulwark.protect_schema('regress_protect_schema', affiliation_column => 'place')
	WHERE kind <> 'undecided' AND statement IS NOT NULL;

SELECT bulwark.protect_schema('regress_nowhere');
SELECT bulwark.protect_schema(NULL);
SELECT bulwark.protect_schema('pg_catalog');
SELECT bulwark.protect_schema('information_schema');

-- The tenants' own table is the one to which tenant columns refer, by that key;
-- what refers to it otherwise is its child.
CREATE SCHEMA regress_protect_own;
SET search_path = regress_protect_own;
CREATE TABLE firm (id int PRIMARY KEY, parent_id int REFERENCES firm, name text);
CREATE TABLE account (id int PRIMARY KEY, firm_id int NOT NULL REFERENCES firm);
CREATE INDEX ON account (firm_id);
CREATE TABLE address (id int PRIMARY KEY, of_firm int REFERENCES firm);
CREATE INDEX ON address (of_firm);
CREATE TABLE code (firm_id bytea PRIMARY KEY);
SELECT relation, kind, reason, statement FROM bulwark.protect_schema('regress_protect_own', 'firm_id');
SELECT count(*) AS done FROM bulwark.protect_schema('regress_protect_own', 'firm_id', dry_run => false);
SELECT relation, kind, tenant_column, parent FROM bulwark.protected_tables WHERE relation::text ~ '^(firm|account|address|code)$' ORDER BY relation::text;

-- A pinned database: affiliations, and tables of the one tenant.
CREATE SCHEMA regress_protect_pinned;
SET search_path = regress_protect_pinned;
CREATE TABLE persona (id int PRIMARY KEY, place int);
CREATE TABLE integration (id int PRIMARY KEY);
CREATE TABLE calls (id int, persona_id int REFERENCES persona, integration_id int REFERENCES integration);
SELECT bulwark.tenant_create('regress-protect-schema', 'Pinned') AS pinned \gset
SELECT bulwark.pin_tenant(:'pinned');
SELECT relation, kind, reason, statement FROM bulwark.protect_schema('regress_protect_pinned', affiliation_column => 'place');
SELECT bulwark.unpin_tenant();

SET client_min_messages = error;
DROP SCHEMA regress_protect_schema, regress_protect_pinned, regress_protect_own CASCADE;
DELETE FROM bulwark_internal.tenants WHERE slug = 'regress-protect-schema';
SELECT count(*) FROM bulwark.protected_tables;
