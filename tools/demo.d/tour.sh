# The tour: what each person sees, what is refused and why.  Every step says what
# must come of it and is checked.  Sourced by tools/demo.

counts="SELECT (SELECT count(*) FROM personas) AS personas, (SELECT count(*) FROM calls) AS calls,
       (SELECT count(*) FROM attachments) AS attachments, (SELECT count(*) FROM threat_actors) AS actors,
       (SELECT count(*) FROM integrations) AS integrations, (SELECT count(*) FROM countries) AS countries;"

# What that query must give to somebody who reaches these affiliations of a tenant,
# counted by hand: tenant, affiliations (SQL condition on slug), actors (SQL condition).
counted() {
	truth "
	WITH p AS (SELECT p.persona_id FROM personas p JOIN bulwark.tenants t USING (tenant_id) JOIN bulwark.affiliations a USING (affiliation_id)
			WHERE t.slug = '$1' AND a.slug IN ($2))
	SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM calls JOIN p USING (persona_id)),
		(SELECT count(*) FROM attachments JOIN emails USING (email_id) JOIN p USING (persona_id)),
		(SELECT count(*) FROM threat_actors x JOIN bulwark.tenants t USING (tenant_id) LEFT JOIN bulwark.affiliations a USING (affiliation_id)
			WHERE t.slug = '$1' AND (a.slug IN ($2) OR a.slug IS NULL AND $3)), 3, 11"
}

# The query as one person, and the count by hand beside it.
as_person() {
	local name=$1 what=$2 numbers
	show demo_app <<-SQL
		BEGIN;
		SELECT bulwark.authenticate(:'$name') \\gset
		:counts
		COMMIT;
	SQL
	numbers=$(counted "$3" "$4" "$5" | sed 's/ / *\\| */g')
	expect "^ *$numbers\$" "$what"
}

everywhere="'emea','dach','nordics','americas','latam'"

tour() {
	printf "\\\\set counts %s\n" "'$(tr '\n' ' ' <<<"${counts%;}")\\;'" >>"$scratch/people"
	before
	tokens
	same_query
	forgotten
	injected
	writing
	definitions
	pooled
	tickets
	revoked
	trusted
	people_managed
	checked
	recorded
	proved
}

before() {
	title "Before: a tenant column, and nothing that looks at it"
	say "The service's login reads whatever its queries ask for. One forgotten condition, and 20 customers" \
		"read each other's data."
	show demo_app <<-'SQL'
		SELECT count(*), count(DISTINCT tenant_id) AS tenants FROM personas;
	SQL
	expect '\| +20$' "the application's login sees all 20 tenants"

	title "Protected: one call a table"
	say "Calls, SMS and e-mails follow their persona through the foreign key; attachments follow their" \
		"e-mail; countries are shared. No data moves, no query of the application changes."
	show demo_dba quiet <"$parts/protect.sql"
	expect_none 'ERROR' "all tables are protected"
	show demo_dba <<-'SQL'
		SELECT relation, kind, tenant_column, affiliation_column, parent
		FROM bulwark.protected_tables WHERE root IS NULL ORDER BY relation;
	SQL
	expect 'calls +\| child' "the registry shows how"

	say "Now the same query by the same login: nobody has said who is asking."
	show demo_app <<-'SQL'
		SELECT count(*), count(DISTINCT tenant_id) AS tenants FROM personas;
	SQL
	expect '^ +0 +\| +0$' "without an identity there are no rows"
}

tokens() {
	title "An identity is proved: a JWT that the identity provider signed"
	say "This demo's identity provider is an Ed25519 key of openssl's. Its public half is registered;" \
		"ana's token says:"
	printf '\n    %s\n' "$(claims ana alder)"
	say ""
	say "A service passes the token as a bound parameter; here psql fills in :'ana'."
	show demo_app <<-'SQL'
		BEGIN;
		SELECT * FROM jsonb_each_text(bulwark.authenticate(:'ana'));
		COMMIT;
	SQL
	expect '^ tenant_slug +\| alder$' "the token is verified, and ana is at alder"

	say "One character of the signature changed; another audience; no algorithm at all; and dan, whom the" \
		"provider knows but who is a member of nothing. All get one answer; the cause is in the server's log."
	{
		printf "\\\\set altered '%s'\n" "$(sign "$(claims ana alder)" | sed -E 's/(.)(.{20})$/\1\2/; y/ABCDEFGHIJKLMNOPQRSTUVWXYZ/BCDEFGHIJKLMNOPQRSTUVWXYZA/')"
		printf "\\\\set audience '%s'\n" "$(sign "$(claims ana alder | sed 's/bulwark-demo/another-service/')")"
		printf "\\\\set none '%s.%s.'\n" "$(printf '{"alg":"none"}' | base64url)" "$(claims ana alder | base64url)"
	} >>"$scratch/people"
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'altered'); ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'audience'); ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'none'); ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'dan'); ROLLBACK;
	SQL
	verdict "$([ "$(grep -c 'ERROR:  token or ticket refused' <<<"$seen")" = 4 ] && echo 0 || echo 1)" "refused, four times"
}

same_query() {
	title "The same query, asked by four people"
	say "$counts"
	printf '\n'
	say "ana is tenant_admin of alder: every affiliation, and threat actors that have none yet."
	as_person ana "ana sees all of alder, and nothing of the other 19" alder "$everywhere" true
	say "bruno is admin of emea: emea and what lies below it (dach, nordics)."
	as_person bruno "bruno sees emea, dach and nordics" alder "'emea','dach','nordics'" false
	say "carla is read_only in nordics."
	as_person carla "carla sees nordics" alder "'nordics'" false
	say "eve is tenant_admin of another tenant, birch."
	as_person eve "eve sees all of birch, and nothing of alder" birch "$everywhere" true
}

forgotten() {
	local emea
	title "A forgotten WHERE"
	say "Reading or writing, the condition that the programmer forgot is there."
	show demo_app <<-'SQL'
		BEGIN;
		SELECT bulwark.authenticate(:'bruno') \gset
		SELECT a.slug AS affiliation, count(*) FROM personas LEFT JOIN bulwark.affiliations a USING (affiliation_id) GROUP BY 1 ORDER BY 1;
		UPDATE personas SET status = 'archived'; \echo :ROW_COUNT rows
		ROLLBACK;
	SQL
	emea=$(counted alder "'emea','dach','nordics'" false)
	expect "^${emea%% *} rows\$" "an UPDATE without WHERE reaches bruno's affiliations, no further"
}

injected() {
	title "An SQL injection in a tenant's login"
	say "The application pastes what eve typed into its query. She typed: x' UNION ALL SELECT kind, endpoint FROM integrations --"
	show demo_app <<-'SQL'
		BEGIN;
		SELECT bulwark.authenticate(:'eve') \gset
		SELECT name, status FROM personas WHERE name = 'x' UNION ALL SELECT kind, endpoint FROM integrations --';
		;
		COMMIT;
	SQL
	expect 'birch.example/hook' "she gets her own tenant's rows"
	expect_none '(alder|cedar|yew).example/hook' "and no other's"
	say "So she stacks statements: become somebody else, turn the filter off, read what is behind it."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'eve') \gset
		SELECT bulwark.authenticate(:'ana'); ROLLBACK;
		BEGIN; SELECT set_config('bulwark.ticket', 'bwt1.forged.forged', true); ROLLBACK;
		SET row_security = off; SELECT count(*) FROM personas;
		RESET row_security;
		SELECT * FROM bulwark_internal.memberships;
		SET ROLE demo_dba;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" -ge 5 ] && echo 0 || echo 1)" "five attempts, five errors"
	expect_none '^ +[1-9][0-9]*$' "and no row"
}

writing() {
	title "Writing where one may not"
	say "fay works for alder and for birch. Even so a transaction is in one tenant only, and rows stay where they are."
	printf "\\\\set birch %s\n\\\\set alder %s\n\\\\set alder_persona %s\n" \
		"$(truth "SELECT tenant_id FROM bulwark.tenants WHERE slug = 'birch'")" \
		"$(truth "SELECT tenant_id FROM bulwark.tenants WHERE slug = 'alder'")" \
		"$(truth "SELECT min(persona_id) FROM personas JOIN bulwark.tenants USING (tenant_id) WHERE slug = 'alder'")" >>"$scratch/people"
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'fay') \gset
		INSERT INTO integrations (tenant_id, kind, endpoint) VALUES (:'birch', 'siem', 'https://elsewhere.example'); ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'fay') \gset
		UPDATE personas SET tenant_id = :'birch'; ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'fay') \gset
		SELECT bulwark.authenticate(:'fay2'); ROLLBACK;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" = 3 ] && echo 0 || echo 1)" "a row of another tenant, a moved row, a second identity: refused"
	say "eve of birch writes a call for a persona of alder, whose number she guessed. For her there is no such persona."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'eve') \gset
		INSERT INTO calls (persona_id, started_at, seconds, caller) VALUES (:alder_persona, '2025-03-01Z', 1, '+1666'); ROLLBACK;
	SQL
	expect '^ERROR:' "refused"
	say "carla may read, not write."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'carla') \gset
		UPDATE personas SET status = 'archived'; \echo :ROW_COUNT rows
		DELETE FROM sms; \echo :ROW_COUNT rows
		INSERT INTO personas (affiliation_id, name, country) SELECT affiliation_id, 'Sam', 'SE' FROM bulwark.affiliations WHERE slug = 'nordics'; ROLLBACK;
	SQL
	verdict "$([ "$(grep -c '^0 rows' <<<"$seen")" = 2 ] && grep -q '^ERROR:' <<<"$seen" && echo 0 || echo 1)" "nothing updated, nothing deleted, nothing inserted"
}

definitions() {
	title "Definitions and other ways round"
	say "The application's login owns nothing; what it could still try is refused."
	show demo_app <<-'SQL'
		ALTER TABLE personas DISABLE ROW LEVEL SECURITY;
		DROP POLICY bulwark_tenant ON personas;
		TRUNCATE personas CASCADE;
		SELECT count(*) FROM calls_2025_02;
		CREATE TABLE copy AS SELECT * FROM personas;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" = 4 ] && echo 0 || echo 1)" "refused; and a partition read directly is as empty as its table"
	expect '^ +0$' "no row"
	say "A migration adds a table with a tenant column, and its author forgets to protect it."
	show demo_dba <<-'SQL'
		CREATE TABLE notes (tenant_id uuid NOT NULL, affiliation_id uuid NOT NULL, body text);
		DROP TABLE notes;
	SQL
	expect '^NOTICE: .*"notes" is protected' "it is protected as the others are"
}

pooled() {
	title "A pooled connection"
	say "One connection, two people, one after the other, as a transaction-pooling PgBouncer does it. The identity" \
		"ends with its transaction."
	show demo_app <<-'SQL'
		SELECT pg_backend_pid() AS connection \gset
		BEGIN; SELECT bulwark.authenticate(:'ana') ->> 'email' AS acting; SELECT count(*) FROM integrations WHERE endpoint LIKE '%alder%'; COMMIT;
		SELECT count(*) FROM integrations;
		BEGIN; SELECT bulwark.authenticate(:'eve') ->> 'email' AS acting; SELECT count(*) FROM integrations WHERE endpoint LIKE '%alder%'; COMMIT;
		SELECT pg_backend_pid() = :connection AS same_connection;
	SQL
	verdict "$([ "$(grep -cE '^ +3$' <<<"$seen")" = 1 ] && [ "$(grep -cE '^ +0$' <<<"$seen")" = 2 ] && echo 0 || echo 1)" \
		"three rows as ana, none between, none of alder as eve"
	expect '^ t$' "on one connection"
	say "What would reach the next person on that connection is refused once somebody has been there."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'eve') \gset
		COMMIT;
		CREATE TEMP TABLE personas (name text);
		PREPARE p AS SELECT 1;
		LISTEN gossip;
		SET search_path = pg_temp, public;
		BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; ROLLBACK;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" = 5 ] && echo 0 || echo 1)" "five residues, five errors"
}

tickets() {
	title "Tickets: the identity carried to the next transaction"
	say "After the first proof a ticket does: a short string under a key that the database does not hold. It is for" \
		"one login, ends by itself, and no tool shows it."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'carla') \gset
		SELECT bulwark.ticket_issue('2 seconds') AS ticket \gset
		COMMIT;
		BEGIN; SELECT set_config('bulwark.ticket', :'ticket', true) \gset
		SELECT bulwark.identity() ->> 'email' AS acting; SHOW bulwark.ticket; COMMIT;
		SELECT pg_sleep(2.1) \g /dev/null
		BEGIN; SELECT set_config('bulwark.ticket', :'ticket', true); ROLLBACK;
	SQL
	expect 'carla@demo.example' "the ticket makes carla act again"
	expect_none 'bwt1' "SHOW does not show it"
	expect '^ERROR:  token or ticket refused' "two seconds later it is refused"
}

revoked() {
	title "A membership revoked while a session is open"
	say "carla's transaction is open, in REPEATABLE READ even, when her administrator removes her from another" \
		"session (the line that begins with \\!). Her next statement sees nothing."
	printf '%s\n' "SELECT bulwark.membership_revoke(membership_id) FROM bulwark.members WHERE email = 'carla@demo.example'" >"$dir/revoke-carla.sql"
	printf '#!/bin/sh\nexec %s -Xq -o /dev/null -h %s -U demo_dba -f %s demo\n' "$bin/psql" "$dir" "$dir/revoke-carla.sql" >"$dir/revoke-carla"
	chmod 755 "$dir/revoke-carla"
	show demo_app <<-SQL
		BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT bulwark.authenticate(:'carla') \\gset
		SELECT count(*) > 0 AS sees_personas FROM personas;
		\\! $dir/revoke-carla
		SELECT count(*) AS personas FROM personas;
		COMMIT;
	SQL
	expect '^ t$' "carla reads"
	expect '^ +0$' "and after the revocation does not"
	show demo_dba <<-'SQL'
		SELECT bulwark.membership_grant(p.principal_id, a.tenant_id, 'read_only', a.affiliation_id) IS NOT NULL AS carla_is_back
		FROM bulwark.principals p, bulwark.affiliations a JOIN bulwark.tenants t USING (tenant_id)
		WHERE p.email = 'carla@demo.example' AND t.slug = 'alder' AND a.slug = 'nordics';
	SQL
	expect '^ t$' "granted again, for the next run"
}

trusted() {
	title "Trusted back ends, and who is here now"
	say "A back end that has checked its user itself has a login that may assume an identity. It is filtered like" \
		"everybody, and the identity says who assumed it."
	show demo_bff <<-'SQL'
		SELECT count(*) FROM personas;
	SQL
	expect '^ +0$' "no identity, no rows: the login itself has no rights on data"
	printf "\\\\set ana_id %s\n" "$(truth "SELECT principal_id FROM bulwark.principals WHERE email = 'ana@demo.example'")" >>"$scratch/people"
	show demo_bff <<-'SQL'
		BEGIN; SELECT bulwark.assume(:'ana_id', :'alder') ->> 'assumed_by' AS assumed_by;
		SELECT count(*) AS integrations FROM integrations;
		SELECT email, tenant_slug, proof, assumed_by FROM bulwark.live_identities;
		COMMIT;
	SQL
	expect '^ demo_bff$' "assumed, and by whom"
	expect '^ +3$' "filtered as ana is"
}

people_managed() {
	title "Who may give rights to whom"
	say "The extension's own tables are isolated too. Each administrator sees and manages the members of their" \
		"own tenant and affiliations, and nobody grants more than they hold."
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'bruno') \gset
		SELECT email, role, affiliation_slug FROM bulwark.members ORDER BY 1, 2;
		SELECT bulwark.membership_grant(bulwark.principal_id(), bulwark.tenant_id(), 'tenant_admin'); ROLLBACK;
		BEGIN; SELECT bulwark.authenticate(:'eve') \gset
		SELECT count(*) AS members_of_other_tenants FROM bulwark.members WHERE tenant_id <> bulwark.tenant_id();
		SELECT bulwark.membership_grant(bulwark.principal_id(), :'alder', 'read_only'); ROLLBACK;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" = 2 ] && echo 0 || echo 1)" "bruno does not become tenant_admin, nor eve a member of alder"
	expect '^ +0$' "and eve sees no member of another tenant"
}

checked() {
	title "The set-up, attacked from inside"
	say "isolation_check() looks for what would undo all this: owners, views, foreign keys, indexes, grants, roles." \
		"Here it finds that one login serves all tenants and could read what others of it are running."
	show demo_dba <<-'SQL'
		SELECT status, count(*) FROM bulwark.isolation_check() GROUP BY status ORDER BY status;
		\pset format wrapped
		\pset columns 100
		SELECT check_name, detail FROM bulwark.isolation_check() WHERE status = 'fail';
	SQL
	expect 'shared_activity' "found"
	say "It says what to do. (The warnings are about primary keys: see the threat model.)"
	show postgres <<-'SQL'
		ALTER ROLE demo_app SET track_activities = off;
		ALTER ROLE demo_bff SET track_activities = off;
	SQL
	show demo_dba <<-'SQL'
		SELECT count(*) AS failures FROM bulwark.isolation_check() WHERE status = 'fail';
	SQL
	expect '^ +0$' "nothing fails"
}

recorded() {
	title "The record of it: a ledger that nobody edits"
	say "Auditing is one call a table, too. Each row that changes from now on is an entry, written in the" \
		"transaction that changes it and under the identity that was proved."
	show demo_dba <<-'SQL'
		SELECT bulwark.audit('personas');
	SQL
	show demo_app <<-'SQL'
		BEGIN; SELECT bulwark.authenticate(:'ana') \gset
		SELECT bulwark.annotate(route => 'PATCH /personas', request_id => 'req-1');
		UPDATE personas SET status = 'archived' WHERE persona_id = (SELECT min(persona_id) FROM personas);
		COMMIT;
		BEGIN; SELECT bulwark.authenticate(:'ana') \gset
		DELETE FROM personas WHERE persona_id = (SELECT max(persona_id) FROM personas WHERE status = 'none such');
		SELECT action, actor_email, actor_proof, route, old ->> 'status' AS was, new ->> 'status' AS is
		FROM bulwark.ledger WHERE entity_type = 'public.personas';
		COMMIT;
	SQL
	expect 'update +\| ana@demo.example +\| token' "who, what, from where, before and after"
	say "Not even the superuser changes or removes an entry, or switches the recording off."
	show postgres <<-'SQL'
		DELETE FROM bulwark_internal.ledger_segment_1;
		UPDATE bulwark_internal.ledger_segment_1 SET content = NULL;
		TRUNCATE bulwark_internal.ledger_segment_1;
		ALTER TABLE personas DISABLE TRIGGER "!bulwark_ledger";
		DROP EXTENSION bulwark CASCADE;
	SQL
	verdict "$([ "$(grep -c '^ERROR:' <<<"$seen")" = 5 ] && echo 0 || echo 1)" "refused, five times"
}

proved() {
	title "Proved offline, against a checkpoint kept elsewhere"
	say "The entries are leaves of a Merkle tree whose root is signed. An auditor keeps the public key and a" \
		"checkpoint, gets an export, and needs neither the server nor its word."
	show postgres <<-'SQL'
		SELECT bulwark.ledger_seal() > 0 AS sealed;
		SELECT ok, integrity, coverage, tree_size > 0 AS has_entries, problems FROM bulwark.ledger_verify();
	SQL
	expect '^ t +\| ok +\| ok' "the server's own check holds"
	as_postgres "$bin/psql" -XqAt -h "$dir" -d demo -c 'SELECT bulwark.ledger_public_key()' >"$scratch/vkey"
	as_postgres "$bin/psql" -XqAt -h "$dir" -d demo -c 'SELECT bulwark.ledger_checkpoint()' >"$scratch/checkpoint"
	as_postgres "$bin/psql" -XqAt -h "$dir" -d demo -c "SELECT bulwark.ledger_export('jsonl')" >"$scratch/export"
	offline "$scratch/export"
	expect '^verified: ' "the export is what was signed"
	say "Somebody would rather that it had been eve:"
	sed 's/ana@demo.example/eve@demo.example/' "$scratch/export" >"$scratch/changed"
	offline "$scratch/changed"
	expect 'problem: .*actor_email' "named"
}

# What bulwarkctl says of an export.
offline() {
	printf '\n  %sbulwarkctl verify --key ... --checkpoint ... %s%s\n' "$bold" "${1##*/}" "$plain"
	seen=$("$bin/bulwarkctl" verify --key "$(cat "$scratch/vkey")" --checkpoint "$scratch/checkpoint" "$1" 2>&1) || true
	printf '%s\n' "$seen" | sed 's/^/    /' | cut -c1-110 | head -24
}
