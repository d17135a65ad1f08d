-- Sealed columns of ledger contents: under the tenant's key, shown to whoever may
-- decrypt the tenant's data, and gone with the key while every proof holds.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS bulwark;
CREATE ROLE content_service LOGIN IN ROLE bulwark_impersonator;
RESET client_min_messages;
CREATE SCHEMA content;
GRANT USAGE ON SCHEMA content TO content_service;
SET search_path = content;
SELECT bulwark.tenant_create('content', 'Content') AS tenant \gset
SELECT bulwark.principal_create('content-boss@example.org') AS boss \gset
SELECT bulwark.principal_create('content-auditor@example.org') AS auditor \gset
SELECT count(bulwark.membership_grant(p, :'tenant', r)) FROM (VALUES (:'boss'::uuid, 'tenant_admin'), (:'auditor', 'auditor')) m (p, r);

CREATE TABLE patient (id int PRIMARY KEY, tenant_id uuid NOT NULL, name text, diagnosis text, visits int);
SELECT bulwark.audit('patient', sealed_columns => '{diagnosis,visits}');
SELECT bulwark.protect('patient', 'tenant_id');
GRANT SELECT ON patient TO content_service;
INSERT INTO patient VALUES (1, :'tenant', 'Ada', 'canary-gout', 3), (2, :'tenant', 'Bob', NULL, NULL);
UPDATE patient SET diagnosis = 'canary-cured' WHERE id = 1;
SELECT count(*) > 0 AS stored, bool_or(position('canary' IN encode(content, 'escape')) > 0) AS in_the_clear
FROM bulwark_internal.ledger_entries WHERE content IS NOT NULL;
SET SESSION AUTHORIZATION content_service;
BEGIN;
SELECT bulwark.assume(:'boss', :'tenant') IS NOT NULL AS boss;
SELECT action, old ->> 'diagnosis' AS old, new ->> 'diagnosis' AS new, new ->> 'visits' AS visits, new ->> 'name' AS name
FROM bulwark.ledger WHERE entity_type = 'content.patient' AND action IN ('insert', 'update') ORDER BY entry_id;
COMMIT;
-- An auditor sees that there is something.
BEGIN;
SELECT bulwark.assume(:'auditor', :'tenant') IS NOT NULL AS auditor;
SELECT action, old -> 'diagnosis' AS old, new -> 'diagnosis' AS new
FROM bulwark.ledger WHERE entity_type = 'content.patient' AND action IN ('insert', 'update') ORDER BY entry_id;
COMMIT;
RESET SESSION AUTHORIZATION;
-- S14: the key goes, and the values with it; the proofs stay.
SELECT bulwark.tenant_key_destroy(:'tenant', 'content', immediately => true) IS NOT NULL AS destroyed;
SET SESSION AUTHORIZATION content_service;
BEGIN;
SELECT bulwark.assume(:'boss', :'tenant') IS NOT NULL AS boss;
SELECT action, old -> 'diagnosis' AS old, new -> 'diagnosis' AS new, new ->> 'name' AS name
FROM bulwark.ledger WHERE entity_type = 'content.patient' AND action IN ('insert', 'update') ORDER BY entry_id;
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT ok FROM bulwark.ledger_verify();
SELECT bulwark.unprotect('patient');
SELECT bulwark.audit_stop('patient');
SET client_min_messages = warning;
DROP SCHEMA content CASCADE;
DROP ROLE content_service;
