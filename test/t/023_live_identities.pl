# The view live_identities: who is acting right now, each to whom it concerns.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulwarkNode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bulwark_node('live');
app_role($node, 'live_app', 'red', 'blue');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE live_auditor LOGIN IN ROLE bulwark_auditor;
CREATE ROLE live_nobody LOGIN;
SELECT bulwark.principal_link(p, 'https://issuer.example', 'clerk'), bulwark.membership_grant(p, tenant_id, 'viewer')
FROM bulwark.principal_create('clerk@example.org') AS p, bulwark.tenants WHERE slug = 'red';
-- the tenant is that of the only membership, whatever the tokens of the tests claim
UPDATE bulwark_internal.issuers SET tenant_claim = 'none';
SQL

my $query = q(SELECT string_agg(format('%s at %s by %s', email, tenant_slug, proof), ', ' ORDER BY email) FROM bulwark.live_identities);
my %acting;
sub acts
{
	my ($name) = @_;
	$acting{$name} = session_start($node, 'live_app');
	session_say($acting{$name}, "BEGIN; SELECT bulwark.authenticate('" . token($name) . "') \\g /dev/null");
	return;
}
acts($_) foreach qw(red blue clerk);

my %all = map { $_ => "$_\@example.org at " . ($_ eq 'blue' ? 'blue' : 'red') . ' by token' } qw(red blue clerk);
is($node->safe_psql('postgres', $query), join(', ', @all{qw(blue clerk red)}), 'a superuser sees everybody who acts');
is($node->safe_psql('postgres', $query, extra_params => [ '-U', 'live_auditor' ]), join(', ', @all{qw(blue clerk red)}), 'an auditor too');
is(session_say($acting{red}, "$query;"), join(', ', @all{qw(clerk red)}), 'a tenant_admin sees those of the tenant, and none of another');
is(session_say($acting{blue}, "$query;"), $all{blue}, 'so does another tenant\'s');
is(session_say($acting{clerk}, "$query;"), $all{clerk}, 'a member without users:manage sees itself');
is($node->safe_psql('postgres', $query, extra_params => [ '-U', 'live_app' ]), '', 'an application without an identity sees nobody');
isnt($node->psql('postgres', $query, extra_params => [ '-U', 'live_nobody' ]), 0, 'a role that is none of ours may not look');

session_say($acting{red}, 'COMMIT;');
is($node->safe_psql('postgres', $query), join(', ', @all{qw(blue clerk)}), 'whose transaction has ended is not there');
is(session_say($acting{red}, "$query;"), '', 'and sees nobody');

session_end($_) foreach values %acting;
done_testing();
