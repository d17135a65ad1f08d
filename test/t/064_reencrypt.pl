# Rotation of a tenant's key while its values are read and written: reencrypt()
# finishes whatever interrupts it, loses nobody's update, and leaves nothing behind.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('reencrypt', conf => "restart_after_crash = on\nfsync = on\n");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE who AS SELECT bulwark.tenant_create('acme', 'Acme') AS tenant, bulwark.principal_create('p@example.org') AS principal;
SELECT bulwark.membership_grant(principal, tenant, 'tenant_admin') FROM who;
CREATE TABLE v (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, s bulwark.secret, e bulwark.encrypted_text, plain text) WITH (fillfactor = 60);
CREATE TABLE fired (id int);
CREATE FUNCTION act() RETURNS boolean LANGUAGE sql RETURN bulwark.assume((SELECT principal FROM public.who), (SELECT tenant FROM public.who)) IS NOT NULL;
BEGIN;
SELECT act();
INSERT INTO v SELECT i, 0, bulwark.encrypt('s' || i, 'v.s'), bulwark.encrypt_text('0 of ' || i, i::text), '0 of ' || i FROM generate_series(1, 20000) i;
UPDATE v SET e = bulwark.encrypt_text(repeat('long', 3000), id::text), plain = repeat('long', 3000) WHERE id % 1000 = 0;
COMMIT;
SELECT bulwark.audit('v');
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.fired VALUES (NEW.id); RETURN NEW; END $$;
-- Each transaction changes a row, and adds one.
CREATE PROCEDURE write(worker int, times int) LANGUAGE plpgsql AS $$
DECLARE
	at int;
BEGIN
	FOR i IN 1 .. times LOOP
		at := 1 + floor(random() * 20000);
		PERFORM act();
		UPDATE v SET n = n + 1, plain = (n + 1) || ' of ' || id, e = bulwark.encrypt_text((n + 1) || ' of ' || id, id::text) WHERE id = at;
		INSERT INTO v SELECT k, 0, bulwark.encrypt('s' || k, 'v.s'), bulwark.encrypt_text('0 of ' || k, k::text), '0 of ' || k
		FROM (SELECT 100000 * worker + i + coalesce((SELECT count(*) FROM v WHERE id >= 100000 * worker AND id < 100000 * (worker + 1)), 0)::int AS k) k
		ON CONFLICT DO NOTHING;
		COMMIT;
	END LOOP;
END $$;
-- Values that are not under the newest key; those that are wrong.
CREATE FUNCTION outdated() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM v, (SELECT replace(key_id::text, '-', '') AS id
	FROM bulwark_internal.tenant_keys WHERE kind = 'd' ORDER BY version DESC LIMIT 1) k
	WHERE substr(encode(s::bytea, 'hex'), 11, 32) <> k.id OR substr(encode(e::bytea, 'hex'), 11, 32) <> k.id);
CREATE FUNCTION wrong() RETURNS bigint LANGUAGE sql RETURN (SELECT count(*) FROM v WHERE bulwark.decrypt_text(e, id::text) IS DISTINCT FROM plain);
SQL

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub as_tenant { return (split /\n/, sql("BEGIN; SELECT act(); $_[0]; COMMIT;"))[-1] }

sub background
{
	my ($statement) = @_;
	my $run = { err => '' };
	$run->{handle} = IPC::Run::start([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', $statement ],
		'<', \undef, '>', \$run->{out}, '2>', \$run->{err});
	return $run;
}

is(sql('SELECT outdated()'), 0, 'all values are under the first key');
sql('SELECT bulwark.tenant_key_rotate(tenant) FROM who');
is(sql('SELECT outdated()'), 20000, 'and none under the second, after the rotation');
is(as_tenant('SELECT wrong()'), 0, 'S13: values under the old key still open');

# --- killed in the middle, with writers ------------------------------------------------
my @writers = map { background("CALL write($_, 2000)") } 1 .. 3;
my $run = background(q(CALL bulwark.reencrypt('v', 20)));
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM bulwark.reencrypt_progress WHERE rows_written >= 200))
	or die 'it never began';
my $seen = sql('SELECT command, relation, phase, blocks_total > 0, rows_written > 0 FROM bulwark.reencrypt_progress');
like($seen, qr/^reencrypt\|v\|re-encrypting.*\|t\|t$/, 'the view shows how far it is');
$node->stop('immediate');
$_->{handle}->finish for $run, @writers;
$node->start;
my $left = sql('SELECT outdated()');
cmp_ok($left, '>', 0, 'S13: killed in the middle');
cmp_ok($left, '<', 20000, 'and what was committed stays done');
is(sql('SELECT count(*) FROM bulwark.reencrypt_progress'), 0, 'nobody is at it after the crash');

# --- taken up again, with writers, a row locked all along, and one rotation more -----------
my $locker = session_start($node, 'postgres');
session_say($locker, 'BEGIN; SELECT n FROM v WHERE id = 77 FOR UPDATE;');
# a writer that has read the old key before the rotation and writes after
my $before = sql('SELECT sum(n) FROM v');
my $sleeper = background(q(BEGIN; SELECT act(); INSERT INTO v SELECT 999999, 0, bulwark.encrypt('s', 'v.s'), bulwark.encrypt_text('late', '999999'), 'late'; SELECT pg_sleep(3); COMMIT;));
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'));
sql('SELECT bulwark.tenant_key_rotate(tenant) FROM who');
@writers = map { background("CALL write($_, 300)") } 1 .. 3;
$run = background(q(CALL bulwark.reencrypt('v', 500)));
$node->poll_query_until('postgres', q(SELECT count(*) > 0 FROM bulwark.reencrypt_progress WHERE rows_locked > 0))
	or die 'the locked row was not passed over';
pass('a row that somebody has locked is passed over');
session_say($locker, 'COMMIT;');
session_end($locker);
for my $one ($run, $sleeper, @writers)
{
	$one->{handle}->finish;
	is($one->{err}, '', 'ends without an error');
}
is(sql('SELECT outdated()'), 0, 'S13: in the end every value is under the active key, also one written by a transaction that began before the rotation');
is(as_tenant('SELECT wrong()'), 0, 'S13: and opens to what was written last');
is(sql('SELECT sum(n) FROM v') - $before, 900, 'no update is lost');
is(as_tenant(q(SELECT count(*) FROM v WHERE id <= 20000 AND id % 100 = 3 AND bulwark.decrypt(s, 'test', 'v.s') <> 's' || id)), 0, 'credentials too, under their context');

# --- what it does not do -----------------------------------------------------------------------
sql('CREATE TRIGGER fire BEFORE UPDATE ON v FOR EACH ROW EXECUTE FUNCTION fire()');
my $count = q(SELECT count(*) FROM bulwark.ledger WHERE entity_type = 'public.v' AND action IN ('insert', 'update', 'delete'));
my $entries = sql($count);
sql('SELECT bulwark.tenant_key_rotate(tenant) FROM who');
sql(q(CALL bulwark.reencrypt('v', 5000)));
is(sql('SELECT outdated()'), 0, 'once more');
is(sql('SELECT count(*) FROM fired'), 0, 'no trigger of a user fires');
is(sql($count), $entries, 'rows that say the same are no entries');
cmp_ok(sql(q(SELECT count(*) FROM bulwark.ledger WHERE metadata ->> 'operation' = 'reencrypt')), '>', 4, 'a batch is');
sql(q(CALL bulwark.reencrypt('v')));
my ($rc, $out, $err) = $node->psql('postgres', q(UPDATE v SET e = set_byte(e::bytea, 60, get_byte(e::bytea, 60) # 1)::bulwark.encrypted_text WHERE id = 5));
sql('SELECT bulwark.tenant_key_rotate(tenant) FROM who');
($rc, $out, $err) = $node->psql('postgres', q(CALL bulwark.reencrypt('v')));
like($err, qr/1 values cannot be opened and stay as they are/, 'a damaged value is told, and stops nothing');
is(sql('SELECT outdated()'), 1, 'all others are moved');
is(sql('SELECT (bulwark.ledger_verify()).ok'), 't', 'the ledger verifies');
done_testing();
