# I33: default privileges of whoever installs the extension neither add to what
# it grants nor take from it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('default_privileges');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'bulwark'\n");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION bulwark; CREATE ROLE outsider; CREATE ROLE app LOGIN IN ROLE bulwark_app");

sub database
{
	my ($name, @defaults) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, "ALTER DEFAULT PRIVILEGES $_") foreach @defaults;
	return $name;
}

# What an install without any default privileges grants, to compare with.
my $acl = <<'SQL';
SELECT o || ' ' || a.grantee::regrole || ' ' || a.privilege_type FROM (
	SELECT p.oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner FROM pg_proc p
	WHERE pronamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace)
	UNION ALL
	SELECT c.oid::regclass::text, coalesce(relacl, acldefault('r', relowner)), relowner FROM pg_class c
	WHERE relnamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace) AND relkind IN ('r', 'v')
	UNION ALL
	SELECT t.oid::regtype::text, coalesce(typacl, acldefault('T', typowner)), typowner FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
	WHERE typnamespace IN ('bulwark'::regnamespace, 'bulwark_internal'::regnamespace) AND typelem = 0 AND coalesce(relkind, 'c') = 'c'
	UNION ALL
	SELECT nspname, nspacl, nspowner FROM pg_namespace WHERE nspname IN ('bulwark', 'bulwark_internal')
) AS v (o, acl, owner), aclexplode(acl) AS a WHERE a.grantee <> owner ORDER BY 1
SQL
my $plain = $node->safe_psql('postgres', $acl);

my @all = qw(FUNCTIONS TABLES SEQUENCES SCHEMAS TYPES);
my $generous = database('generous', map { ("GRANT ALL ON $_ TO outsider", "GRANT ALL ON $_ TO PUBLIC") } @all);
$node->safe_psql($generous, 'CREATE EXTENSION bulwark');
is($node->safe_psql($generous, $acl), $plain, 'I33: default privileges that give everything to a role and to PUBLIC add nothing');

my $strict = database('strict', 'REVOKE ALL ON FUNCTIONS FROM PUBLIC');
$node->safe_psql($strict, 'CREATE EXTENSION bulwark');
is($node->safe_psql($strict, $acl), $plain, 'default privileges that take functions from PUBLIC leave it the accessors');

foreach my $role (qw(bulwark_app bulwark_impersonator bulwark_secrets bulwark_auditor bulwark_maintenance bulwark_keys bulwark_retention bulwark_admin))
{
	my $database = database("to_$role", "GRANT EXECUTE ON FUNCTIONS TO $role");
	my (undef, undef, $err) = $node->psql($database, 'CREATE EXTENSION bulwark');
	like($err, qr/default privileges of role "\w+" grant to bulwark's roles/, "I33: default privileges that give functions to $role are refused");
}

$node->stop;
done_testing();
