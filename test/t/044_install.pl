# Installing and removing: preloading is required, nothing that somebody prepared
# is adopted or run, a second database shares the cluster roles, and what is left
# when the extension is dropped.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @roles = map { "bulwark_$_" } qw(admin app auditor impersonator keys ledger maintenance retention secrets);
my $node = PostgreSQL::Test::Cluster->new('install');
$node->init;
$node->start;

# The SQLSTATE, message and hint of what a script fails with; empty when it does not.
sub failure
{
	my ($database, $sql, @options) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY verbose\n$sql", on_error_stop => 1, @options);
	return $err =~ /((?:ERROR|FATAL): .*)/s ? $1 : '';
}

# --- without preloading -------------------------------------------------------------------
for my $sql ('CREATE EXTENSION bulwark', "LOAD 'bulwark'")
{
	like(failure('postgres', $sql), qr/ERROR:  55000: bulwark must be loaded via shared_preload_libraries\nHINT:  Add bulwark to shared_preload_libraries/,
		"$sql without preloading: an error that says what to do");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_roles WHERE rolname ~ '^bulwark'}), 0, 'and nothing is left of the attempt');

my $key = private_file('install.key', unpack 'H*', random_bytes(32));
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'\nbulwark.root_key_file = '$key'\nmax_prepared_transactions = 5\n");
$node->restart;
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
like(failure('postgres', 'CREATE EXTENSION bulwark', extra_params => [ '-U', 'nobody' ]), qr/42501/, 'only a superuser creates the extension');

# --- I42: what somebody prepared -----------------------------------------------------------
for my $case (
	[ 'schema bulwark', 'CREATE SCHEMA bulwark', 'DROP SCHEMA bulwark', '42P06' ],
	[ 'schema bulwark_internal', 'CREATE SCHEMA bulwark_internal', 'DROP SCHEMA bulwark_internal', '42P06' ],
	map({
		my $role = $_;
		map { [ "role $role with $_->[0]", "CREATE ROLE $role " . ($_->[1] // $_->[0]) . '; ' . ($_->[2] // '' =~ s/ROLE/$role/gr),
			($_->[3] // '') . "; DROP OWNED BY $role; DROP ROLE $role", '42710' ] }
			[ 'LOGIN' ], [ 'SUPERUSER' ], [ 'CREATEROLE' ], [ 'CREATEDB' ], [ 'REPLICATION' ],
			[ 'a member', 'ROLE nobody' ], [ 'a membership', 'IN ROLE nobody' ],
			[ 'a grant', '', "GRANT CREATE ON DATABASE postgres TO $role" ],
			[ 'a table', '', "CREATE TABLE prepared (); ALTER TABLE prepared OWNER TO $role" ]
	} qw(bulwark_admin bulwark_maintenance)),
	[ 'role bulwark_admin with BYPASSRLS', 'CREATE ROLE bulwark_admin BYPASSRLS', 'DROP ROLE bulwark_admin', '42710' ],
	[ 'role bulwark_maintenance with BYPASSRLS', 'CREATE ROLE bulwark_maintenance BYPASSRLS', 'DROP ROLE bulwark_maintenance', '42710' ])
{
	my ($what, $prepare, $undo, $state) = @$case;
	$node->safe_psql('postgres', $prepare);
	like(failure('postgres', 'CREATE EXTENSION bulwark'), qr/ERROR:  $state:/, "I42: $what made beforehand is not adopted");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_extension WHERE extname = 'bulwark'}), 0, "I42: $what: nothing is installed");
	$node->safe_psql('postgres', $undo);
}

# A superuser alone can say that a role is ours.
like(failure('postgres', q{SET ROLE nobody; SECURITY LABEL FOR bulwark ON ROLE nobody IS 'bulwark:cluster-role'}), qr/42501/,
	'I42: the mark of our roles is not for everybody');

# Functions, operators and casts that would be found first, were they looked for in public.
$node->safe_psql('postgres', <<'SQL');
GRANT CREATE ON SCHEMA public TO nobody;
ALTER DATABASE postgres SET search_path = public, pg_catalog;
CREATE TABLE public.ran (what text);
GRANT INSERT ON public.ran TO PUBLIC;
SQL
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'nobody' ]);
CREATE FUNCTION public.spring(what text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.ran VALUES (what || '' as '' || current_user); RETURN true; END';
CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE sql AS $$SELECT CASE WHEN public.spring('format') THEN pg_catalog.format($1, $2) END$$;
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS $$SELECT CASE WHEN public.spring('format') THEN pg_catalog.format($1, $2) END$$;
CREATE FUNCTION public.gen_random_uuid() RETURNS uuid LANGUAGE sql AS $$SELECT CASE WHEN public.spring('gen_random_uuid') THEN pg_catalog.gen_random_uuid() END$$;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$SELECT CASE WHEN public.spring('now') THEN pg_catalog.now() END$$;
CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT CASE WHEN public.spring('lower') THEN pg_catalog.lower($1) END$$;
CREATE FUNCTION public.equal(uuid, uuid) RETURNS boolean LANGUAGE sql AS $$SELECT public.spring('uuid =')$$;
CREATE FUNCTION public.equal(name, name) RETURNS boolean LANGUAGE sql AS $$SELECT public.spring('name =')$$;
CREATE FUNCTION public.equal(oid, oid) RETURNS boolean LANGUAGE sql AS $$SELECT public.spring('oid =')$$;
CREATE FUNCTION public.equal(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT public.spring('text =')$$;
CREATE FUNCTION public.differ(oid, oid) RETURNS boolean LANGUAGE sql AS $$SELECT public.spring('oid <>')$$;
CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = public.equal);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.equal);
CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.equal);
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.equal);
CREATE OPERATOR public.<> (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.differ);
CREATE TABLE public.pg_roles (oid oid, rolname name);
CREATE TABLE public.pg_proc (oid oid);
SQL
is(failure('postgres', 'CREATE EXTENSION bulwark'), '', 'I42: with functions, operators and tables planted in public it installs');
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.ran'), 0, 'I42: and none of them has run');
is($node->safe_psql('postgres', q{SELECT e.extnamespace::regnamespace FROM pg_extension e WHERE extname OPERATOR(pg_catalog.=) 'bulwark'}), 'pg_catalog', 'the extension is in no schema of users');

# Nor when it is used: as an administrator, whose search_path has them first.
$node->safe_psql('postgres', <<'SQL');
SET search_path = public, pg_catalog;
SELECT bulwark.membership_grant(bulwark.principal_create('a@example.org'), bulwark.tenant_create('a', 'A'), 'tenant_admin');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id uuid);
CREATE TABLE items (id int PRIMARY KEY, order_id int REFERENCES orders);
SELECT bulwark.protect('orders', 'tenant_id');
SELECT bulwark.protect('items', parent => 'orders', materialize => true);
INSERT INTO orders SELECT 1, tenant_id FROM bulwark.tenants;
INSERT INTO items VALUES (1, 1);
SELECT count(*) FROM bulwark.isolation_check();
BEGIN;
SELECT bulwark.assume(principal_id, tenant_id) FROM bulwark.members;
SET LOCAL ROLE bulwark_app;
SELECT * FROM bulwark.members;
COMMIT;
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.ran'), 0, 'I42: none runs in protect(), isolation_check() and the views either');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET search_path; DROP OWNED BY nobody');

# --- a second database -------------------------------------------------------------------------
is($node->safe_psql('postgres', q{SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname ~ '^bulwark'}), "@roles", 'the cluster roles are there');
$node->safe_psql('postgres', 'CREATE DATABASE second; CREATE ROLE app LOGIN IN ROLE bulwark_app; GRANT bulwark_admin TO nobody');
is(failure('second', 'CREATE EXTENSION bulwark'), '', 'a second database takes the roles, with members, that the first made');
$node->safe_psql('postgres', 'ALTER ROLE bulwark_admin LOGIN; CREATE DATABASE third');
like(failure('third', 'CREATE EXTENSION bulwark'), qr/ERROR:  42710: role "bulwark_admin" exists with LOGIN or attributes/, 'I42: but not one that has been given LOGIN since');
$node->safe_psql('postgres', 'ALTER ROLE bulwark_admin NOLOGIN; ALTER ROLE bulwark_maintenance NOBYPASSRLS');
is(failure('third', 'CREATE EXTENSION bulwark'), '', 'a role that has lost its attribute is taken');
is($node->safe_psql('third', q{SELECT rolbypassrls FROM pg_roles WHERE rolname = 'bulwark_maintenance'}), 't', 'and gets it back');

# --- started without the library -----------------------------------------------------------------
$node->safe_psql('postgres', 'GRANT SELECT ON orders, items TO app');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
like(failure('postgres', 'SELECT * FROM orders', extra_params => [ '-U', 'app' ]), qr/ERROR:  55000: bulwark must be loaded/,
	'a server started without the library shows an application an error, not rows');
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'bulwark'");
$node->restart;

# --- dropping it: the ledger would go, too
like(failure('postgres', 'DROP EXTENSION bulwark CASCADE'), qr/ERROR:  42501:.*ledger/s, 'L2: DROP EXTENSION is refused where there is a ledger');
$node->append_conf('postgresql.conf', 'bulwark.ledger_decommission = on');
$node->restart;
like(failure('postgres', 'DROP EXTENSION bulwark'), qr/ERROR:  2BP01:.*policy/s, 'DROP EXTENSION while tables are protected is refused');
$node->safe_psql('postgres', 'CREATE POLICY mine ON items USING (true)');
is(failure('postgres', 'DROP EXTENSION bulwark CASCADE'), '', 'CASCADE drops it');
is($node->safe_psql('postgres', <<'SQL'), "mine\n0\n0\nt|t\nt|t", 'and of each table the policies, triggers and defaults that were ours; row security stays');
SELECT policyname FROM pg_policies WHERE schemaname = 'public';
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ('orders'::regclass, 'items'::regclass);
SELECT count(*) FROM pg_attrdef WHERE adrelid IN ('orders'::regclass, 'items'::regclass);
SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid IN ('orders'::regclass, 'items'::regclass);
SQL
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders', extra_params => [ '-U', 'app' ]), 0, 'a table with no policy of its own is closed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM items', extra_params => [ '-U', 'app' ]), 1, 'one with a policy of its own is as open as that says');
is(failure('postgres', 'CREATE EXTENSION bulwark'), '', 'it can be created again');
is(failure('postgres', q{SELECT bulwark.protect('orders', 'tenant_id')}), '', 'and the tables be protected');

# After unprotect() there is nothing to cascade to.
$node->safe_psql('postgres', q{SELECT bulwark.unprotect('orders')});
is(failure('postgres', 'DROP EXTENSION bulwark'), '', 'after unprotect() nothing stands in the way');
is(failure('postgres', 'DROP DATABASE second; DROP DATABASE third; DROP OWNED BY ' . join(', ', @roles) . '; DROP ROLE ' . join(', ', @roles)), '', 'the roles go when no database needs them');

$node->stop;
done_testing();
